"""Histograms for Prometheus, read by its own parsers."""

import gzip
import math

import numpy as np
import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.cli import main
from quantum_pulse.export.exporters import openmetrics
from quantum_pulse.operations import Category, Definition
from quantum_pulse.reading import scan
from tests.view.captures import ENGINE

DURATION = "quantum_pulse_duration_seconds"


def families(text, how=openmetrics_parser):
    return {family.name: family for family in how.text_string_to_metric_families(text)}


@pytest.fixture
def written(tmp_path):
    def write(capture, **chosen):
        capture.export(tmp_path / "c.prom", overwrite=True, **chosen)
        return (tmp_path / "c.prom").read_text(encoding="utf-8")

    return write


def test_counts_are_exact_at_each_bound(written, monkeypatch):
    capture = qp.open(ENGINE)
    samples, stats = capture.samples(), capture.stats().reset_index().set_index("operation")

    def refuse(*_):
        raise AssertionError("samples were read")

    monkeypatch.setattr(scan, "batches", refuse)
    found = families(written(capture))
    assert found[DURATION].type == "histogram"
    assert found[DURATION].unit == "seconds"
    bounds = {}
    for sample in found[DURATION].samples:
        name = sample.labels["operation"]
        assert sample.labels["category"] == stats.loc[name, "category"]
        own = samples.loc[samples["operation"] == name, "duration_ns"].to_numpy()
        if sample.name.endswith("_sum"):
            assert sample.value == pytest.approx(own.sum() / 1e9, rel=1e-12)
        elif sample.name.endswith("_count"):
            assert sample.value == len(own)
        else:
            bound = float(sample.labels["le"])
            assert sample.value == np.count_nonzero(own <= round(min(bound * 1e9, 2**62))), sample
            bounds.setdefault(name, []).append(bound)
    assert len(set(map(tuple, bounds.values()))) == 1, "so that operations can be added up"
    edges = np.array(next(iter(bounds.values()))[:-1])
    widths = np.diff(edges) / (edges[:-1] + 1e-9)
    assert widths.max() < 0.2501
    assert edges[-1] >= samples["duration_ns"].max() / 1e9
    errors = {sample.labels["operation"]: sample.value for sample in found["quantum_pulse_errors"].samples}
    assert errors == stats["errors"].to_dict()
    budgets = {sample.labels["operation"]: sample.value for sample in found["quantum_pulse_budget_seconds"].samples}
    assert budgets == pytest.approx((capture.definitions()["budget_us"].dropna() / 1e6).to_dict())


def test_the_older_format_is_understood_too(written):
    found = families(written(qp.open(ENGINE)), parser)
    assert found[DURATION].type == "histogram"


def test_strange_names(write_capture, written):
    odd = 'We"ird\\.na\nme\u2028 \U0001f642'
    path = write_capture(
        [[{"duration": 5, "weight": 3}]], operations=[Definition(odd, "work", "", Category(odd), 1, 7)]
    )
    found = families(written(qp.open(path)))
    assert {(s.labels["operation"], s.labels["category"]) for s in found[DURATION].samples} == {(odd, odd)}
    assert [s.value for s in found[DURATION].samples if s.name.endswith("_count")] == [3]


def test_no_line_but_the_last_bucket_is_infinite(write_capture, written):
    """Not for the longest durations and weights that there are, nor for budgets that are no time."""
    longest, most = schema.MOST_NS - 1, 2**31 - 1
    rows = [{"duration": longest, "weight": most}, {"duration": 0, "operation": 1}, {"duration": 7, "operation": 2}]
    budgets = (float("inf"), 10**400, 1e15)
    operations = [Definition(f"W.{place}", "w", "", Category("A"), 1, own) for place, own in enumerate(budgets)]
    text = written(qp.open(write_capture([rows * 3], operations=operations)))
    found = families(text)
    assert {sample.labels["operation"]: sample.value for sample in found["quantum_pulse_budget_seconds"].samples} == {
        "W.2": 1e9
    }
    sums = {sample.labels["operation"]: sample.value for sample in found[DURATION].samples if "sum" in sample.name}
    assert sums == {"W.0": pytest.approx(3 * longest * most / 1e9), "W.1": 0, "W.2": 21e-9}
    assert all(math.isfinite(sample.value) for family in found.values() for sample in family.samples)
    last = [float(sample.labels["le"]) for sample in found[DURATION].samples if "le" in sample.labels]
    assert [bound for bound in last if not math.isfinite(bound)] == [math.inf] * 3
    assert families(text, parser)[DURATION].type == "histogram"


def test_nothing_is_valid_too(write_capture, written):
    capture = qp.open(write_capture([[{"duration": 5}]]))
    assert families(written(capture, start=10))[DURATION].samples == []


def test_selections_several_captures_and_gzip(write_capture, written, tmp_path):
    rows = [{"operation": place % 2, "start": 1000 * place, "duration": 100} for place in range(10)]
    capture = qp.open([write_capture([rows], path=tmp_path / name) for name in "ab"])
    found = families(written(capture, start=4e-6))
    counts = {
        (sample.labels["capture"], sample.labels["operation"]): sample.value
        for sample in found[DURATION].samples
        if sample.name.endswith("_count")
    }
    assert counts == {(name, operation): 3 for name in "ab" for operation in ("Work.READ", "Work.COUNT")}
    capture.export(tmp_path / "c.prom.gz")
    assert families(gzip.decompress((tmp_path / "c.prom.gz").read_bytes()).decode()).keys() == found.keys()


def test_counters_are_counters_in_the_classic_format(tmp_path):
    """Prometheus' own reader goes by the name of the samples, where Python's takes both."""
    qp.open(ENGINE).export(tmp_path / "c.prom", format="prometheus")
    text = (tmp_path / "c.prom").read_text(encoding="utf-8")
    kinds = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE"))
    names = {line.partition("{")[0].partition(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    suffixes = ("_bucket", "_count", "_sum")
    for name in names:
        family = next((name.removesuffix(end) for end in suffixes if name.removesuffix(end) in kinds), name)
        assert kinds[family] == ("counter" if name.endswith("_total") else "histogram" if family != name else "gauge")
    assert "# EOF" not in text
    assert families(text, parser).keys() == {name.removesuffix("_total") for name in kinds}


def test_more_series_than_prometheus_takes_are_warned_of(written, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(openmetrics, "MOST_SERIES", 100)
    with pytest.warns(UserWarning, match=r"\d+ series of 17 operations are more than Prometheus handles well"):
        written(qp.open(ENGINE))
    assert main(["export", str(ENGINE), "-o", str(tmp_path / "x.prom")]) == 0
    assert "handles well; select some with --operations" in capsys.readouterr().err
