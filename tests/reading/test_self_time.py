"""What each call took without the calls inside of it."""

import numpy as np
import pytest

import quantum_pulse as qp
from quantum_pulse.reading import self_time
from tests.reading.conftest import write_capture  # noqa: F401 - a fixture

READ, COUNT, WRITE = 0, 1, 2


@pytest.fixture
def calls(write_capture):  # noqa: F811 - the fixture
    def of(rows, **options):
        (run,) = self_time.runs(qp.open(write_capture([rows], **options))._source)
        return run

    return of


def test_own_time_by_the_definition(calls):
    """Calls nested at random, against a sum over all pairs."""
    rng = np.random.default_rng(1)
    rows = []
    for span in range(1, 200):
        parent = int(rng.integers(0, span)) if span > 1 else 0
        start = rows[parent - 1]["start"] + int(rng.integers(0, 50)) if parent else span * 10_000
        rows.append({"start": start, "duration": int(rng.integers(1, 400)), "operation": int(rng.integers(3))})
        rows[-1] |= {"span": span, "parent": parent}
    found = calls(rows)
    for number, name in enumerate(("Work.READ", "Work.COUNT", "Work.WRITE")):
        expected = []
        for row in sorted((row for row in rows if row["operation"] == number), key=lambda row: row["start"]):
            end = row["start"] + row["duration"]
            inside = sum(
                max(min(end, other["start"] + other["duration"]) - max(row["start"], other["start"]), 0)
                for other in rows
                if other["parent"] == row["span"]
            )
            expected.append(max(row["duration"] - inside, 0))
        assert sorted(found[name].self_time.tolist()) == sorted(expected)
        assert found[name].duration.sum() == sum(row["duration"] for row in rows if row["operation"] == number)
        assert sum(found[name].inside.values()) == sum(
            row["duration"] for row in rows if row["operation"] == number and row["parent"]
        )


def test_what_is_around_is_named(calls):
    rows = [
        {"start": 0, "duration": 100, "operation": READ},
        {"start": 10, "duration": 30, "operation": COUNT, "parent": 1},
        {"start": 50, "duration": 20, "operation": COUNT, "parent": 1},
        {"start": 200, "duration": 5, "operation": COUNT},
    ]
    found = calls(rows)
    assert found["Work.READ"].self_time.tolist() == [50]
    assert found["Work.READ"].inside == {}
    assert found["Work.COUNT"].self_time.tolist() == [30, 20, 5]
    assert found["Work.COUNT"].inside == {"Work.READ": 50.0}


def test_a_child_that_outlives_its_parent_and_two_at_once(calls):
    rows = [
        {"start": 0, "duration": 100, "operation": READ},
        {"start": 80, "duration": 1000, "operation": COUNT, "parent": 1},
        {"start": 200, "duration": 100, "operation": READ},
        {"start": 200, "duration": 90, "operation": COUNT, "parent": 3},
        {"start": 200, "duration": 90, "operation": COUNT, "parent": 3},
    ]
    assert calls(rows)["Work.READ"].self_time.tolist() == [80, 0]


def test_where_only_some_calls_inside_were_recorded_self_times_are_not_known(calls):
    rows = [
        {"start": 0, "duration": 100, "operation": READ},
        {"start": 10, "duration": 30, "operation": COUNT, "parent": 1, "weight": 10},
        {"start": 200, "duration": 100, "operation": WRITE, "weight": 10},
    ]
    found = calls(rows)
    assert found["Work.READ"].self_time.size == 0
    assert found["Work.WRITE"].self_time.tolist() == [100]


def test_spans_of_two_processes_are_not_mixed_up(write_capture):  # noqa: F811 - the fixture
    rows = [
        {"start": 0, "duration": 100, "operation": READ},
        {"start": 10, "duration": 30, "operation": COUNT, "parent": 1},
    ]
    paths = [write_capture([rows], process=process) for process in (1, 2)]
    for name in ("samples", "processes"):
        for file in (paths[1] / name).iterdir():
            file.rename(paths[0] / name / f"2{file.name}")
    (run,) = self_time.runs(qp.open(paths[0])._source)
    assert run["Work.READ"].self_time.tolist() == [70, 70]
    assert run["Work.COUNT"].inside == {"Work.READ": 60.0}
    assert [len(run) for run in self_time.runs(qp.open([paths[0], write_capture([rows[:1]])])._source)] == [2, 1]
