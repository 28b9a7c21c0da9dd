"""The statistics as JSON: keys that scripts rely on, and figures that are those of the tables."""

import json
import re
from pathlib import Path

import pytest

import quantum_pulse as qp
from quantum_pulse.operations import Category, Definition
from quantum_pulse.reading.selection import Recorded
from tests.view.captures import ENGINE, with_losses

DOCUMENTED = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")


def read(path):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


@pytest.fixture
def written(tmp_path):
    def write(capture, **chosen):
        capture.export(tmp_path / "c.json", overwrite=True, **chosen)
        return read(tmp_path / "c.json")

    return write


def test_the_figures_are_those_of_the_tables(written):
    capture = qp.open(ENGINE)
    content = written(capture)
    stats = capture.stats().reset_index()
    for row, expected in zip(content["operations"], stats.to_dict("records"), strict=True):
        assert {name: row[name] for name in expected} == pytest.approx(expected)
    for row, expected in zip(content["budgets"], capture.budgets().reset_index().to_dict("records"), strict=True):
        # The p99 of few calls has no upper bound.
        known = {name: None if value == float("inf") else value for name, value in expected.items()}
        assert row == pytest.approx(known)
    assert {row["verdict"] for row in content["budgets"]} == {"kept", "missed", "inconclusive", "too_few"}
    assert None in {row["ci_high_us"] for row in content["budgets"]}
    assert content["losses"] == content["unfinished"] == []
    (recording,) = content["recordings"]
    assert recording["samples"] == {
        "started": len(capture.samples()),
        "written": len(capture.samples()),
        "open": 0,
        "lost": 0,
    }


def test_every_key_is_documented(written):
    keys = set()

    def collect(value):
        if isinstance(value, dict):
            for name, inner in value.items():
                keys.add(name)
                if name not in ("environment", "overhead"):
                    collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    collect(written(qp.open([ENGINE])))
    section = DOCUMENTED.partition("## JSON")[2].partition("\n## ")[0]
    assert keys <= set(re.findall(r"`(\w+)`", section))


def test_losses_selections_and_one_call(write_capture, written, tmp_path):
    losses = written(qp.open(with_losses(tmp_path / "lossy")))["losses"]
    assert [(loss["operation"], loss["count"]) for loss in losses] == [("<b>Engine.ORDER</b>", 12)]
    odd = 'We"ird\\.na\nme\u2028 \U0001f642'
    operations = [
        Definition(odd, "work", "", Category("Input"), 1, 10),
        Definition("Work.B", "work", "", Category("Input"), 1, 10),
    ]
    rows = [{"operation": place, "duration": 20_000, "start": 1000 * place} for place in (0, 1)]
    capture = qp.open(write_capture([rows], operations=operations))
    content = written(capture, operations=[Recorded(odd)])
    assert content["selection"]["operations"] == [odd]
    assert [(row["operation"], row["std_us"]) for row in content["operations"]] == [(odd, None)]
    assert [(row["operation"], row["over"]) for row in content["budgets"]] == [(odd, 1)]
    content = written(capture, start=1e-6)
    assert [row["operation"] for row in content["operations"]] == ["Work.B"]
    assert [(row["operation"], row["count"]) for row in content["budgets"]] == [("Work.B", 1)]
    assert written(capture, start=1)["operations"] == []
    several = written(qp.open([ENGINE, capture.path]))
    assert {row["capture"] for row in several["operations"]} == set(several["captures"])
    assert {row["capture"] for row in several["recordings"]} == set(several["captures"])
