"""Calls that are nested as deep as they are many: a chain of tasks, each started in the block of the one before."""

import numpy as np
import pytest

import quantum_pulse as qp
from quantum_pulse.reading import nesting, slowest
from tests.faults import hostile

LENGTH = 40_000
CODE = """
import sys, quantum_pulse as qp
path, folder = sys.argv[1:]
assert qp.open(path).tree()['count'].sum() == 40_000
print(qp.open(path).slowest(3)[0].ancestors)
qp.open(path).report(folder + '/report.html')
qp.open(path).export(folder + '/out.trace.json')
qp.open(path).compare(qp.open(path)).explanation
qp.open(path).overhead()
"""


def chain(kinds, length=LENGTH):
    """Rows of a chain of calls, each shortly after the one before."""
    spans = np.arange(1, length + 1)
    return {
        "span": spans,
        "parent": spans - 1,
        "start": spans * 1000,
        "duration": np.full(length, 900),
        "operation": np.resize(kinds, length),
    }


@pytest.mark.parametrize("kinds", [[0], [0, 1, 2]], ids=len)
def test_depth_costs_nothing(write_capture, tmp_path, kinds):
    path = write_capture([chain(kinds)])
    hostile.in_bounds(CODE, path, tmp_path, seconds=30, megabytes=1000)


def test_repetition_is_folded(write_capture):
    tree = qp.open(write_capture([chain([0, 1])])).tree()
    assert len(tree) == nesting.MOST_DEPTH
    assert tree["depth"].max() == nesting.MOST_DEPTH - 1
    assert tree["count"].sum() == LENGTH
    assert tree["total_us"].sum() == pytest.approx(LENGTH * 0.9)
    assert tree["self_us"].sum() == pytest.approx(LENGTH * 0.9)  # none lies in the one around it


def test_what_is_not_as_deep_stays(write_capture):
    length = nesting.MOST_DEPTH
    tree = qp.open(write_capture([chain([0], length)])).tree()
    assert tree["depth"].tolist() == list(range(length))
    assert (tree["count"] == 1).all()


@pytest.mark.parametrize("seed", range(5))
def test_one_by_one_as_generation_after_generation(write_capture, monkeypatch, seed):
    """The two ways to find the path of a call say the same."""
    chance = np.random.default_rng(seed)
    length = 2000
    rows = chain([0], length) | {"operation": chance.integers(0, 3, length)}
    rows["parent"] = np.array([chance.integers(max(place - 4, 0), place + 1) for place in range(length)])
    path = write_capture([rows])
    whole = qp.open(path).tree()
    for generations in (0, 1, 7):
        monkeypatch.setattr(nesting, "_MOST_GENERATIONS", generations)
        found = qp.open(path).tree()
        assert found.sort_index().equals(whole.sort_index())


@pytest.mark.parametrize("seed", range(5))
def test_what_is_nested_in_a_call(seed):
    chance = np.random.default_rng(seed)
    spans = np.sort(chance.choice(5000, 1000, replace=False)) + 1
    parents = np.array([0, *(chance.choice([0, 3, *spans[:place]]) for place in range(1, len(spans)))])
    around = dict(zip(spans.tolist(), parents.tolist(), strict=True))

    for wanted in spans[::50].tolist():
        inside = []
        for span in spans.tolist():
            at = around[span]
            while at and at != wanted:
                at = around.get(at, 0)
            inside.append(at == wanted)
        assert slowest._descendants(spans, parents, wanted).tolist() == inside


def test_ancestors_are_found_in_all_parts(write_capture):
    rows = chain([0, 1], 5000)
    pieces = [{name: values[first : first + 500] for name, values in rows.items()} for first in range(0, 5000, 500)]
    capture = qp.open(write_capture(pieces))
    table = capture.slowest(5000).table
    last = int(np.flatnonzero(table["span"] == 5000)[0])
    ancestors = capture.slowest(5000)[last].ancestors
    assert ancestors["span"].tolist() == list(range(4000, 5000))
