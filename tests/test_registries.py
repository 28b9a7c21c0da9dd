"""What is declared in one place, and followed everywhere: export formats, statistics, what fails a build."""

import inspect
import json

import numpy as np
import pytest

import quantum_pulse as qp
from quantum_pulse import analysis, registry, statistics
from quantum_pulse.cli import main
from quantum_pulse.export import formats
from tests.docs.pages import DOCS
from tests.view.captures import ENGINE

LINES = """
from quantum_pulse.export.exporter import Exporter


def write(source, wanted, out):
    names = sorted(str(one["name"]) for one in source.definitions())
    out.write("\\n".join(names).encode())
    return len(names)


EXPORTER = Exporter("names", "names of operations", write, rank=99, endings=(".names",), rows="operations")
"""


def test_a_module_of_the_package_is_an_entry_and_by_rank(tmp_path, monkeypatch):
    package = tmp_path / "some_registry"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, rank in (("one", 2), ("two", 1)):
        (package / f"{name}.py").write_text(f"class ENTRY: rank, name = {rank}, {name!r}")
    monkeypatch.syspath_prepend(tmp_path)
    assert [entry.name for entry in registry.entries("some_registry", "ENTRY")] == ["two", "one"]
    (package / "other.py").touch()
    with pytest.raises(AttributeError, match="ENTRY"):
        registry.entries("some_registry", "ENTRY")


def test_an_exporter_is_one_module(tmp_path, monkeypatch, capsys):
    """As if the module were in the package: it can be named, is found by its ending, and is in the help."""
    import importlib

    from quantum_pulse.export import exporters

    (tmp_path / "names.py").write_text(LINES)
    monkeypatch.setattr(exporters, "__path__", [*exporters.__path__, str(tmp_path)])
    try:
        importlib.reload(formats)
        made = qp.open(ENGINE).export(tmp_path / "engine.names")
        assert (made.format, made.what) == ("names", "operations")
        assert "Engine.SUBMIT" in (tmp_path / "engine.names").read_text().splitlines()
        assert main(["export", "--help"]) == 0
        assert "names        names of operations" in capsys.readouterr().out
    finally:
        monkeypatch.undo()
        importlib.reload(formats)
    assert "names" not in formats.FORMATS


@pytest.mark.parametrize("exporter", formats.FORMATS.values(), ids=lambda exporter: exporter.name)
def test_each_export_format_is_on_its_page(exporter):
    endings = ", ".join(f"`{ending}`" for ending in exporter.endings)
    assert f"| `{exporter.name}` | {endings}".rstrip() in (DOCS / "export.md").read_text()


def test_a_statistic_is_one_declaration(monkeypatch):
    """One more column: it is calculated, and shown where its declaration says so."""
    from quantum_pulse.reading import statistics as reading

    spread = statistics.Statistic("range_us", "range", lambda sums: (sums.high - sums.low) / 1000)
    for module in (statistics, reading):
        monkeypatch.setattr(module, "STATISTICS", (*statistics.STATISTICS, spread))
    stats = qp.open(ENGINE).stats()
    assert list(stats.columns) == [*statistics.COLUMNS, "range_us"]
    np.testing.assert_allclose(stats["range_us"], stats["max_us"] - stats["min_us"])
    assert qp.open(ENGINE).stats(quantiles=0.5).columns.tolist() == [
        *("count", "errors", "total_us", "mean_us", "std_us", "min_us", "p50_us", "max_us", "range_us")
    ]


def test_the_statistics_are_documented():
    text = inspect.getdoc(qp.Capture.stats)
    assert [name for name in statistics.COLUMNS if name not in text] == []


def test_a_build_fails_on_the_same_in_code_and_on_the_command_line(capsys):
    usual = inspect.signature(analysis.Comparison.failures).parameters["fail_on"].default
    assert main(["compare", "--help"]) == 0
    assert f"(default: {','.join(usual)})" in " ".join(capsys.readouterr().out.split())
    assert main(["compare", str(ENGINE), str(ENGINE), "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["over_budget"]
