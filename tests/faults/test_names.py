"""Names that steer a terminal, or that Markdown and spreadsheets take for something else than text."""

import csv
import json
import os
import subprocess
import sys

import pyarrow as pa
import pytest

import quantum_pulse as qp
from quantum_pulse import schema, shown
from tests.faults import hostile

ESCAPE = "\x1b]0;PWNED\x07\x1b[2J"
NAME = f"=K.A{ESCAPE}[x](http://evil.example)<script>alert(1)</script>@all www.evil.example"
STEERING = ("\x1b", "\x07", "\x9b")


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """Two captures whose operations, hosts and machines have such names."""
    folder = tmp_path_factory.mktemp("names")
    sound = hostile.record(folder / "a", rounds=1)
    other = hostile.record(folder / "b", rounds=1)
    for path in (sound, other):
        for file in (path / "samples").glob("*.parquet"):

            def change(table):
                names = [NAME if name == "Harm.INNER" else name for name in table["operation"].to_pylist()]
                field = table.schema.field("operation")
                return table.set_column(0, field, pa.array(names).dictionary_encode().cast(field.type))

            def footer(content):
                for one in (*content["operations"], *content["histograms"]):
                    key = "name" if "name" in one else "operation"
                    one[key] = NAME if one[key] == "Harm.INNER" else one[key]

            hostile.rewrite(file, change, footer)
    for file in (other / schema.PROCESSES).glob("*.json"):
        content = json.loads(file.read_text())
        content["environment"]["cpu"] = NAME
        file.write_text(json.dumps(content))
    return sound, other


def run(*arguments, **variables):
    command = [sys.executable, "-m", "quantum_pulse", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, env={**os.environ, **variables})


@pytest.mark.parametrize(
    "arguments",
    [
        ("stats", "B"),
        ("stats", "B", "--by", "operation,thread", "--sort", "p99_us"),
        ("compare", "A", "B", "--all"),
        ("compare", "A", "B", "--format", "markdown", "--all"),
        ("compare", "A", "B", "--format", "json"),
        ("report", "B", "--format", "text"),
        ("report", "B", "--format", "markdown"),
        ("overhead", "B"),
        ("export", "B", "-o", "-", "--format", "csv"),
        ("export", "B", "-o", "-", "--format", "csv", "--operations", "nope"),
        ("stats", "B/" + ESCAPE),
        ("recover", "B" + ESCAPE),
    ],
    ids=lambda arguments: " ".join(arguments).replace("\x1b", "").replace("\x07", ""),
)
def test_no_output_steers_a_terminal(named, arguments):
    a, b = named
    words = [word.replace("A", str(a), 1) if word == "A" else word for word in arguments]
    words = [word.replace("B", str(b), 1) if word.startswith("B") else word for word in words]
    done = run(*words)
    for output in (done.stdout.decode(), done.stderr.decode()):
        assert not any(char in output for char in STEERING)
    assert done.stdout or done.returncode


def test_nothing_that_is_shown_steers_a_terminal(named):
    first, second = (qp.open(path) for path in named)
    compared = second.compare(first)
    slowest = second.slowest(2)
    for found in (second, compared, slowest, slowest[0], second.correlate(), second.report()):
        for text in (str(found), repr(found)):
            assert not any(char in text for char in STEERING), type(found)
    assert not any(char in compared.summary for char in STEERING)


def test_markdown_has_names_as_text(named):
    first, second = (qp.open(path) for path in named)
    for text in (second.compare(first).to_markdown(everything=True), second.report().text("markdown")):
        assert "evil" in text
        outside = "".join(text.split("`")[::2])  # what stands in code marks is code
        assert "<script>" not in outside
        assert "](http" not in outside
        assert "http://evil" not in outside


def test_no_cell_of_a_csv_file_is_a_formula(named, tmp_path):
    path = tmp_path / "out.csv"
    qp.open(named[1]).export(path)
    with open(path, newline="") as file:
        cells = [cell for row in csv.DictReader(file) for cell in (row["operation"], row["category"], row["error"])]
    assert any("evil" in cell for cell in cells)
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_a_cell_is_no_formula(begin):
    assert shown.cell(f"{begin}1+1").startswith("'")
    assert shown.cell("1+1") == "1+1"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("arguments", [("stats",), ("report", "--format", "text"), ("overhead",)])
def test_a_terminal_that_knows_few_characters(named, encoding, arguments):
    done = run(arguments[0], named[1], *arguments[1:], PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "Harm.OUTER" in done.stdout.decode(encoding)
