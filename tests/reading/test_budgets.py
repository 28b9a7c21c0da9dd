"""Budgets of a capture: counts, and whether they are kept."""

import json

import numpy as np
import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse.agent import parts
from quantum_pulse.diagnosis import budgets as budget_checks
from quantum_pulse.operations import Category, Definition
from quantum_pulse.reading import budgets as counting
from quantum_pulse.reading import durations as reading
from quantum_pulse.reading import unfinished
from quantum_pulse.reading.selection import Selection
from quantum_pulse.view import budgets
from tests.reading.conftest import write_capture  # noqa: F401 - a fixture


def definition(name, budget_us, quantile=0.99):
    return Definition(name, "work", "", Category("A"), budget_us=budget_us, budget_quantile=quantile)


def test_calls_are_counted_with_their_weight(write_capture):  # noqa: F811 - the fixture
    durations = [1000 * (1 + 7 * turn % 20) for turn in range(20)]
    parts = [
        [
            {"start": place, "duration": duration, "operation": 1, "weight": 2}
            for place, duration in enumerate(durations)
        ],
        [{"operation": 0}],
    ]
    capture = qp.open(write_capture(parts))
    counted = {"budget_us": 10, "count": 40, "over": 20, "share": 0.5, "open_over": 0, "quantile": 0.99}
    assert capture.budgets(check=False).to_dict("index") == {"Work.COUNT": counted}
    (row,) = capture.budgets().to_dict("records")
    assert {name: row[name] for name in counted} == counted
    assert row["verdict"] == "missed"
    assert row["value_us"] == pytest.approx(np.quantile(np.arange(1, 21), 0.99))


def test_no_budget(write_capture):  # noqa: F811 - the fixture
    budgets = qp.open(write_capture([[{"duration": 1}]], operations=[definition("A.B", None)])).budgets()
    assert budgets.empty
    assert list(budgets.columns) == [
        "budget_us", "count", "over", "share", "open_over", "quantile",
        "value_us", "ci_low_us", "ci_high_us", "q_value", "verdict",
    ]  # fmt: skip


@pytest.fixture
def hanging(write_capture):  # noqa: F811 - the fixture
    """A call of W.ENDS, and blocks that had not ended: two above the budget of 10 µs, one not, one just begun."""

    def write():
        path = write_capture([[{"duration": 1000}]], operations=[definition("W.ENDS", 10)])
        block = {"category": "A", "thread": 1, "task": 0, "parent": 0, "weight": 1, "operation": "W.ENDS"}
        second = write_capture.anchor_ns + 10**9
        # What takes exactly its budget is not above it.
        elapsed = [10_001, 3_000_000_000, 10_000, None]
        until = second + 4 * 10**9
        blocks = [
            block | {"span": 100 + place, "start": None if one is None else until - one}
            for place, one in enumerate(elapsed)
        ]
        (file,) = (path / "processes").iterdir()
        told = {"state": "finished", "stopped_ns": until, "unfinished": blocks}
        file.write_text(json.dumps(json.loads(file.read_text()) | told))
        return path

    return write


def test_calls_that_have_not_ended_and_are_above_already(hanging):
    capture = qp.open(hanging())
    (row,) = capture.budgets().to_dict("records")
    assert (row["count"], row["over"], row["share"], row["open_over"]) == (1, 0, 0.0, 2)
    (row,) = capture.budgets(check=False).to_dict("records")
    assert row["open_over"] == 2
    both = qp.open([hanging(), hanging()])
    assert both.budgets()["open_over"].tolist() == [4]


def test_an_interval_in_which_no_call_has_ended(hanging):
    source = qp.open(hanging())._source
    began_ns = int(unfinished.frame(source)["start"].min().value)
    found = budget_checks.check(source, Selection(None, began_ns - 1000, None))
    assert found[["count", "over", "share", "open_over", "verdict"]].to_numpy().tolist() == [[0, 0, 0.0, 2, "too_few"]]
    assert budgets.lines(found.to_dict("index")).endswith("p99, budget 10.0 µs; 2 are unfinished and exceed it already")
    assert budget_checks.check(source, Selection(None, began_ns - 1000, began_ns + 1000))["open_over"].tolist() == [1]
    assert budget_checks.check(source, Selection(None, began_ns + 5 * 10**9, None)).empty


def test_each_by_its_own_quantile(write_capture):  # noqa: F811 - the fixture
    """The same durations of three operations: half keep 50 µs, nine in ten 59 µs, all but one in a hundred 70 µs."""
    rng = np.random.default_rng(2)
    operation = np.repeat([0, 1, 2], 4000)
    duration = (50_000 * np.exp(0.13 * rng.standard_normal(12_000))).astype(np.int64)
    operations = [definition("W.MEDIAN", 52.0, 0.5), definition("W.TAIL", 52.0), definition("W.CLOSE", 67.7)]
    rows = {"start": np.arange(12_000) * 1000, "duration": duration, "operation": operation}
    budgets = qp.open(write_capture([rows], operations=operations)).budgets()
    assert budgets["verdict"].to_dict() == {"W.MEDIAN": "kept", "W.TAIL": "missed", "W.CLOSE": "inconclusive"}
    assert budgets["quantile"].to_dict() == {"W.MEDIAN": 0.5, "W.TAIL": 0.99, "W.CLOSE": 0.99}
    assert (budgets["ci_low_us"] < budgets["value_us"]).all()
    assert (budgets["value_us"] < budgets["ci_high_us"]).all()
    with pytest.raises(ValueError, match="alpha must be"):
        qp.open(write_capture([rows], operations=operations)).budgets(alpha=2)


def test_operations_are_read_together_or_one_by_one(write_capture, monkeypatch):  # noqa: F811 - the fixture
    """The order recorded is that of the starts, whichever way; a part may have them in another."""
    rng = np.random.default_rng(5)
    names = ("W.A", "W.B", "W.C")
    part = {
        "operation": rng.integers(0, 3, 900),
        "duration": rng.integers(1, 100, 900),
        "weight": rng.integers(1, 3, 900),
    }
    part["start"] = rng.permutation(900)
    path = write_capture([part, {**part, "start": 900 + part["start"]}], operations=[definition(n, 1) for n in names])
    for capture in (qp.open(path), qp.open([path])):
        samples = capture.samples(columns=["operation", "duration_ns", "weight"]).astype({"operation": str})
        for most in (10**9, 1):
            monkeypatch.setattr(reading, "AT_ONCE", most)
            found = dict(counting.runs(capture._source))
            assert sorted(found) == list(names)
            for name, runs in found.items():
                ((durations, weights),) = runs
                own = samples[samples["operation"] == name]
                assert durations.tolist() == own["duration_ns"].tolist()
                assert weights.tolist() == own["weight"].tolist()


def test_equal_weights_are_no_weights(write_capture):  # noqa: F811 - the fixture
    """But for how many calls there are: sampling tells as much as the samples do."""
    rng = np.random.default_rng(6)
    rows = {"start": np.arange(3000) * 1000, "duration": rng.integers(1000, 20_000, 3000), "operation": np.ones(3000)}
    told = ["value_us", "ci_low_us", "ci_high_us", "q_value", "verdict"]
    plain, weighted = (
        qp.open(write_capture([rows | {"weight": np.full(3000, weight)}])).budgets()[told] for weight in (1, 7)
    )
    pd.testing.assert_frame_equal(plain, weighted)
    nearly = np.full(3000, 7)
    nearly[0] = 8
    other = qp.open(write_capture([rows | {"weight": nearly}])).budgets()[told]
    assert other["ci_low_us"].iloc[0] == pytest.approx(plain["ci_low_us"].iloc[0], rel=0.01)
    assert other["ci_high_us"].iloc[0] == pytest.approx(plain["ci_high_us"].iloc[0], rel=0.01)


@pytest.mark.parametrize("no_time", [float("inf"), float("nan"), 10**400, -1, 0])
def test_what_is_no_time_is_no_budget(write_capture, no_time):  # noqa: F811 - the fixture
    """Earlier versions let some of them be."""
    capture = qp.open(write_capture([[{"duration": 1}]], operations=[definition("A.B", no_time)]))
    assert capture.budgets().empty
    assert capture.definitions()["budget_us"].isna().all()


def test_what_an_older_version_wrote_is_for_the_p99(write_capture, monkeypatch):  # noqa: F811 - the fixture
    plain = parts.plain_definition
    monkeypatch.setattr(
        parts,
        "plain_definition",
        lambda one: {key: value for key, value in plain(one).items() if key != "budget_quantile"},
    )
    path = write_capture([[{"duration": 1, "operation": 1}] * 500])
    monkeypatch.undo()
    assert qp.open(path).budgets()["quantile"].tolist() == [0.99]


def test_runs_that_differ_make_it_cautious(write_capture):  # noqa: F811 - the fixture
    rng = np.random.default_rng(3)
    paths = [
        write_capture(
            [
                {
                    "start": np.arange(3000) * 1000,
                    "duration": (level * 1000 * np.exp(0.1 * rng.standard_normal(3000))).astype(np.int64),
                    "operation": np.ones(3000),
                }
            ]
        )
        for level in (3, 7.5, 3.3)
    ]
    for path in paths:
        assert qp.open(path).budgets()["verdict"].tolist() == ["kept"]
    assert qp.open(paths).budgets()["verdict"].tolist() == ["inconclusive"]
