"""Trees and surroundings against sets of nanoseconds: the slow obvious way."""

import asyncio
import itertools
import time

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import quantum_pulse as qp
from quantum_pulse.reading import nesting, spans


class Work(qp.Operation):
    READ = qp.op(category="Input", priority=1)
    COUNT = qp.op(category="Logic", priority=2)
    WRITE = qp.op(category="Input")


@pytest.fixture
def definitions():
    return [member.definition for member in Work]


def row(span, parent, start, duration, operation=0, **more):
    return {"span": span, "parent": parent, "start": start, "duration": duration, "operation": operation, **more}


@st.composite
def forests(draw):
    """Samples whose parents came before them, in any order, in parts; some parents are not there."""
    count = draw(st.integers(1, 40))
    rows = []
    for span in range(1, count + 1):
        parent = draw(st.integers(0, span - 1))
        rows.append(row(span, parent, draw(st.integers(0, 60)), draw(st.integers(0, 60)), draw(st.integers(0, 2))))
    kept = draw(st.lists(st.sampled_from(rows), unique_by=lambda one: one["span"], min_size=1))
    cuts = [0, *sorted(draw(st.lists(st.integers(0, len(kept)), max_size=3))), len(kept)]
    return [kept[first:last] for first, last in itertools.pairwise(cuts) if last > first]


def oracle(parts, chosen=lambda _: True):
    """Path -> [calls, total, self, concurrent, detached] in ns; intervals are sets of nanoseconds."""
    samples = {one["span"]: one for part in parts for one in part}
    names = ["Work.READ", "Work.COUNT", "Work.WRITE"]

    def when(one):
        return set(range(one["start"], one["start"] + one["duration"]))

    def path(one):
        above = samples.get(one["parent"])
        return (*(path(above) if above else ()), names[one["operation"]])

    found = {}
    for one in filter(chosen, samples.values()):
        inside = [when(other) & when(one) for other in samples.values() if other["parent"] == one["span"]]
        entry = found.setdefault(nesting.SEPARATOR.join(path(one)), [0, 0, 0, 0, 0])
        entry[0] += 1
        entry[1] += one["duration"]
        entry[2] += len(when(one).difference(*inside))
        if one["parent"] in samples:
            own = when(one) & when(samples[one["parent"]])
            siblings = [
                other for other in samples.values() if other["parent"] == one["parent"] and other["span"] != one["span"]
            ]
            entry[3] += len(own & set().union(*map(when, siblings)))
            entry[4] += one["duration"] - len(own)
    return found


def as_found(tree):
    return {
        path: [
            one["count"],
            *(round(one[name] * 1000) for name in ("total_us", "self_us")),
            *(round(one[name] * one["total_us"] * 1000) for name in ("concurrent", "detached")),
        ]
        for path, one in tree.iterrows()
    }


@pytest.mark.parametrize("block_rows", [1, spans.BLOCK_ROWS])
@settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=list(HealthCheck))
@given(forests())
def test_a_tree_is_the_oracles(write_capture, block_rows, parts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans, "BLOCK_ROWS", block_rows)
        check_tree(write_capture, parts)


def check_tree(write_capture, parts):
    tree = qp.open(write_capture(parts)).tree()
    assert as_found(tree) == oracle(parts)
    assert list(tree.columns) == list(nesting.COLUMNS)
    assert tree["depth"].tolist() == [path.count(nesting.SEPARATOR) for path in tree.index]
    # Depth first: each path comes after the one that it is part of.
    for path in tree.index:
        above = path.rpartition(nesting.SEPARATOR)[0]
        assert not above or above not in tree.index or tree.index.get_loc(above) < tree.index.get_loc(path)


@settings(deadline=None, derandomize=True, max_examples=30, suppress_health_check=list(HealthCheck))
@given(forests(), st.integers(0, 60), st.integers(0, 60))
def test_a_tree_of_an_interval(write_capture, parts, one, other):
    low, high = sorted([one, other])
    tree = qp.open(write_capture(parts)).tree(
        start=pd.Timestamp(write_capture.anchor_ns + low, tz="UTC"),
        end=pd.Timestamp(write_capture.anchor_ns + high, tz="UTC"),
    )
    assert as_found(tree) == oracle(parts, lambda sample: low <= sample["start"] < high)


def test_paths_begin_at_the_operations_asked_for(write_capture, definitions):
    parts = [[row(1, 0, 0, 100), row(2, 1, 10, 50, 1), row(3, 2, 20, 10, 2), row(4, 3, 20, 5, 1), row(5, 0, 200, 9, 2)]]
    tree = qp.open(write_capture(parts, operations=definitions)).tree(Work.COUNT)
    assert tree.index.tolist() == [
        "Work.COUNT", "Work.COUNT > Work.WRITE", "Work.COUNT > Work.WRITE > Work.COUNT"
    ]  # fmt: skip
    assert (tree["self_us"] * 1000).round().tolist() == [40, 5, 5]


def test_weights_stand_for_calls(write_capture):
    # The child is sampled one in ten: it explains ten times what is seen of it.
    parts = [[row(number * 2 + 1, 0, number * 1000, 100) for number in range(10)] + [row(2, 1, 10, 40, 1, weight=10)]]
    tree = qp.open(write_capture(parts)).tree()
    assert tree["count"].tolist() == [10, 10]
    assert tree["self_us"].tolist() == [0.6, 0.4]


def test_a_deep_recursion(write_capture):
    parts = [[row(number + 1, number, number, 5000 - 2 * number) for number in range(2000)]]
    tree = qp.open(write_capture(parts)).tree()
    # What is deeper than that is folded into the deepest.
    assert tree["depth"].tolist() == list(range(nesting.MOST_DEPTH))
    assert (tree["self_us"].iloc[:-1] * 1000).round().eq(2).all()
    assert tree["count"].iloc[-1] == 2000 - nesting.MOST_DEPTH + 1


class Gathered(qp.Operation):
    READ = qp.op()
    COUNT = qp.op()


def test_tasks_at_once_are_shown_as_such(tmp_path):
    async def work():
        barrier = asyncio.Barrier(3)

        async def part():
            with Gathered.COUNT:
                await barrier.wait()

        with Gathered.READ:
            await asyncio.gather(part(), part(), part())

    with qp.record(tmp_path / "capture"):
        asyncio.run(work())
    capture = qp.open(tmp_path / "capture")
    tree, samples = capture.tree(), capture.samples(Gathered.COUNT)
    assert tree.index.tolist() == ["Gathered.READ", "Gathered.READ > Gathered.COUNT"]
    outer, inner = tree.iloc[0], tree.iloc[1]
    ends = samples["start"] + pd.to_timedelta(samples["duration_ns"], unit="ns")
    covered = (ends.max() - samples["start"].min()).value
    # All three were there at once, so that together they explain no more than the time from first to last.
    assert outer["self_us"] * 1000 == pytest.approx(outer["total_us"] * 1000 - covered, abs=1)
    assert inner["self_us"] == inner["total_us"] > covered / 1000
    assert inner["concurrent"] > 0
    assert inner["detached"] == 0


# ---- the slowest -----------------------------------------------------------------------------------------------------


@pytest.fixture
def path(write_capture, definitions):
    first = [row(3, 2, 120, 30, 1), row(4, 3, 125, 5, 2), row(5, 2, 150, 40, 2), row(6, 0, 130, 100, 2, thread=2)]
    # The enclosing spans end later, so they stand in a later part.
    second = [row(2, 1, 110, 300), row(1, 0, 100, 400), row(7, 0, 1000, 50), row(8, 0, 0, 111, 1, thread=3)]
    return write_capture([first, second], operations=definitions)


def test_the_slowest_are_found(path):
    capture = qp.open(path)
    everything = capture.samples()
    for operation in (None, Work.READ, [Work.COUNT, Work.WRITE]):
        for n in (1, 2, 3, 100):
            own = capture.samples(operation).sort_values(["duration_ns", "start"], ascending=[False, True]).head(n)
            found = capture.slowest(n, operation)
            assert found.table["span"].tolist() == own["span"].tolist()
            assert list(found.table.columns) == list(everything.columns)
            assert len(found) == len(own)
    assert capture.slowest(3, start=0.5).table.empty
    assert "Work.READ" in capture.slowest()._repr_html_()
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="n must be"):
            capture.slowest(wrong)


def test_a_slow_sample_has_its_surroundings(path):
    found = {int(one.sample["span"]): one for one in qp.open(path).slowest(100)}
    assert len(found) == 8
    middle = found[2]
    assert middle.ancestors["span"].tolist() == [1]
    assert middle.children["span"].tolist() == [3, 5]
    meanwhile = middle.meanwhile.reset_index()
    assert meanwhile["operation"].tolist() == ["Work.WRITE", "Work.COUNT"]
    assert meanwhile["thread"].tolist() == [2, 3]
    assert (meanwhile["overlap_us"] * 1000).round().tolist() == [100, 1]
    assert meanwhile["share"].tolist() == pytest.approx([100 / 300, 1 / 300])
    assert found[4].ancestors["span"].tolist() == [1, 2, 3]
    assert found[4].children.empty
    assert found[7].meanwhile.empty
    assert "2 children" in repr(middle)


def test_the_parent_of_a_task_that_outlived_it_is_found(write_capture):
    parts = [[row(1, 0, 0, 10)], [row(2, 1, 5000, 100, 1)]]
    (slow,) = qp.open(write_capture(parts)).slowest(1)
    assert slow.ancestors["span"].tolist() == [1]


def test_a_pause_of_the_collector_is_beside_what_it_held_up(tmp_path):
    import gc

    with qp.record(tmp_path / "capture"), Gathered.READ:
        gc.collect()
        time.sleep(0.001)
    (slow,) = qp.open(tmp_path / "capture").slowest(1)
    assert "gc" in slow.events["event"].tolist()


def test_a_sample_of_a_few_nanoseconds_has_surroundings(write_capture):
    capture = qp.open(write_capture([[{"duration": 5}]]))
    assert capture.slowest(1)[0].children.empty
