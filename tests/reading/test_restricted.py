"""A capture in an interval of time, or of calls with some attributes: it answers as one that holds nothing else."""

import io

import numpy as np
import pandas as pd
import pytest

import quantum_pulse as qp
from tests.reading.conftest import ANCHOR_NS

RESTRICTIONS = {
    "the middle of parts": {"start": 0.5, "end": 2.5},
    "at the edges of parts": {"start": 1.0, "end": 2.0},
    "from a moment on": {"start": 2.2},
    "up to a moment": {"end": 0.3},
    "an attribute": {"where": {"error": "KeyError"}},
    "calls without it, for a time": {"start": 0.4, "end": 2.2, "where": {"error": [None, "ValueError"]}},
}


def rows_of(seed, count=4000):
    """Three seconds of calls; some of every kind reach from each second into the next."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "span": np.arange(1, count + 1),
            "start": np.arange(count) * (3 * 10**9 // count),
            "duration": (20_000 * np.exp(rng.standard_normal(count))).astype(np.int64),
            "operation": rng.integers(0, 3, count),
            "error": rng.integers(0, 3, count) * (rng.random(count) < 0.5),
            "thread": rng.integers(1, 4, count),
            "weight": rng.integers(1, 3, count),
        }
    )


def parts_of(rows):
    """A part a second, or so: stragglers of a second are in the next part."""
    part = (rows["start"] + (rows.index % 7 == 0) * 300_000_000) // 10**9
    return [{name: own[name].to_numpy() for name in rows.columns} for _, own in rows.groupby(part)]


@pytest.fixture(params=list(RESTRICTIONS.values()), ids=list(RESTRICTIONS))
def pair(request, write_capture):
    """A restricted capture, and one with its samples alone."""
    rows = rows_of(seed=1)
    is_in = np.ones(len(rows), bool)
    if "start" in request.param:
        is_in &= rows["start"] >= request.param["start"] * 1e9
    if "end" in request.param:
        is_in &= rows["start"] < request.param["end"] * 1e9
    if "where" in request.param:
        wanted = np.atleast_1d(request.param["where"]["error"]).tolist()
        is_in &= rows["error"].map({0: None, 1: "KeyError", 2: "ValueError"}).isin(wanted)
    where = {name: value for name, value in request.param.items() if name == "where"}
    times = {name: value for name, value in request.param.items() if name != "where"}
    capture = qp.open(write_capture(parts_of(rows))).between(**times)
    if where:
        capture = capture.where(where["where"])
    alone = rows[is_in]
    return capture, alone, qp.open(write_capture(parts_of(alone)))


def batches(capture):
    found = [*capture.iter_samples(rows=500)] or [capture.samples()]
    return pd.concat(found).sort_values("start", ignore_index=True)


MIDDLE = {"start": pd.Timestamp(ANCHOR_NS, tz="UTC"), "end": pd.Timestamp(ANCHOR_NS + 3 * 10**9, tz="UTC")}
QUESTIONS = {
    "samples": lambda capture: capture.samples(),
    "batches": lambda capture: batches(capture),
    "stats": lambda capture: capture.stats(),
    "by thread": lambda capture: capture.stats("thread"),
    "approximate": lambda capture: capture.stats(approximate=True).drop(columns=["p50_us"]),
    "timeline": lambda capture: capture.timeline("100ms"),
    "tree": lambda capture: capture.tree(),
    "slowest": lambda capture: capture.slowest(20).table.astype(object),
    "heat map": lambda capture: capture.heatmap(capture.operations.Work.READ, **MIDDLE),
    "budgets": lambda capture: capture.budgets(),
    "counted budgets": lambda capture: capture.budgets(check=False),
    "validation": lambda capture: capture.validate(),
    "overhead": lambda capture: capture.overhead(),
}


@pytest.mark.parametrize("ask", list(QUESTIONS.values()), ids=list(QUESTIONS))
def test_a_restricted_capture_answers_as_one_that_holds_nothing_else(pair, ask):
    capture, _, alone = pair
    pd.testing.assert_frame_equal(ask(capture), ask(alone), check_categorical=False)


@pytest.mark.parametrize("ask", list(QUESTIONS.values()), ids=list(QUESTIONS))
def test_an_interval_without_calls_has_empty_answers(write_capture, ask):
    capture = qp.open(write_capture(parts_of(rows_of(seed=1)))).between(1.0000001, 1.0000002)
    answer = ask(capture)
    assert not answer.get("count", pd.Series([answer.size])).sum()


def test_it_says_how_many_samples_it_has_and_which(pair):
    capture, alone, _ = pair
    assert f": {len(alone):,} samples " in repr(capture)
    assert "UTC" in repr(capture) or "where error is" in repr(capture)


def test_an_export_has_what_the_samples_have(pair):
    capture, alone, _ = pair
    target = io.BytesIO()
    assert capture.export(target, "parquet").rows == len(alone)
    target.seek(0)
    assert pd.read_parquet(target)["span"].sort_values().tolist() == alone["span"].tolist()
    assert capture.export(io.BytesIO(), "trace").rows == len(alone)


def test_an_interval_of_an_interval_counts_from_its_own_start(write_capture):
    capture = qp.open(write_capture(parts_of(rows_of(seed=2))))
    inner = capture.between("1s").between("0.5s", "1s")
    pd.testing.assert_frame_equal(inner.samples(), capture.samples(start="1.5s", end="2s"))
    pd.testing.assert_frame_equal(inner.samples(), capture.between("1s").samples(start="0.5s", end="1s"))


def test_the_arguments_of_methods_are_the_same_as_a_restricted_capture(write_capture):
    capture = qp.open(write_capture(parts_of(rows_of(seed=3))))
    chosen = {"start": "0.7s", "end": "2.1s", "where": {"error": "KeyError"}}
    part = capture.between("0.7s", "2.1s").where({"error": "KeyError"})
    for name in ("stats", "samples", "tree", "validate", "overhead", "budgets"):
        pd.testing.assert_frame_equal(getattr(capture, name)(**chosen), getattr(part, name)())
    pd.testing.assert_frame_equal(capture.flame(**chosen).table, part.flame().table)
    pd.testing.assert_frame_equal(capture.slowest(5, **chosen).table, part.slowest(5).table)
    pd.testing.assert_frame_equal(capture.timeline("100ms", **chosen), part.timeline("100ms"))


def test_several_captures_in_one_interval(write_capture):
    paths = [write_capture(parts_of(rows_of(seed)), process=seed) for seed in (1, 2)]
    several, alone = qp.open(paths), [qp.open(path) for path in paths]
    counted = several.between(0.5, 1.5).stats("capture")["count"]
    assert counted.tolist() == [one.stats(start=0.5, end=1.5)["count"].sum() for one in alone]
    assert several.between(0.5, 1.5).tree()["count"].sum() == counted.sum()


def nested(count=50):
    """Calls of Work.READ with two of Work.COUNT inside, every third with an error, a millisecond each."""
    rows = []
    for number in range(count):
        start, span = number * 1_000_000, 3 * number + 1
        error = number % 3 == 0
        rows.append({"span": span, "start": start, "duration": 900_000, "error": int(error)})
        for inside in (1, 2):
            at = start + inside * 300_000
            rows.append({"span": span + inside, "parent": span, "start": at, "duration": 100_000, "operation": 1})
    return pd.DataFrame(rows).fillna(0).astype("int64")


def test_a_tree_has_what_ran_inside_the_calls_and_around_them(write_capture):
    capture = qp.open(write_capture([{name: own.to_numpy() for name, own in nested().items()}]))
    failed = capture.where({"error": "KeyError"}).tree()
    assert failed["count"].to_dict() == {"Work.READ": 17, "Work.READ > Work.COUNT": 34}
    assert failed["self_us"].to_dict() == {"Work.READ": 17 * 700.0, "Work.READ > Work.COUNT": 34 * 100.0}
    # From the middle of a call on: the rest of it is still on its path.
    late = capture.between("10.4ms", "11ms").tree()
    assert late["count"].to_dict() == {"Work.READ > Work.COUNT": 1}
    slow = capture.where({"error": "KeyError"}).slowest(1)[0]
    assert slow.children["operation"].tolist() == ["Work.COUNT"] * 2


def test_self_time_in_a_comparison_knows_the_calls_inside(write_capture):
    from quantum_pulse.reading import self_time

    capture = qp.open(write_capture([{name: own.to_numpy() for name, own in nested().items()}]))
    (calls,) = self_time.runs(capture.where({"error": "KeyError"})._source)
    assert set(calls) == {"Work.READ"}
    assert calls["Work.READ"].self_time.tolist() == [700_000] * 17
    (calls,) = self_time.runs(capture.between("10ms", "12ms")._source)
    assert calls["Work.READ"].self_time.tolist() == [700_000] * 2
    assert calls["Work.COUNT"].inside == {"Work.READ": 4 * 100_000.0}


def test_metrics_and_events_are_those_of_the_time():
    capture = qp.sample("slow_exchange")
    part = capture.between("0.5s", "1.2s")
    begin = capture.samples()["start"].min() + pd.Timedelta("0.5s")
    end = begin + pd.Timedelta("0.7s")
    metrics, events = capture.metrics(), capture.events()
    since = metrics["time"] - pd.to_timedelta(metrics["interval_ns"])
    pd.testing.assert_frame_equal(
        part.metrics(), metrics[(metrics["time"] > begin) & (since < end)].reset_index(drop=True)
    )
    inside = (events["start"] >= begin) & (events["start"] < end)
    pd.testing.assert_frame_equal(part.events(), events[inside].reset_index(drop=True))
    assert 0 < len(part.metrics()) < len(metrics)
    assert 0 < len(part.events()) < len(events)


def test_losses_and_open_calls_of_another_time_are_left_out(tmp_path):
    class Work(qp.Operation):
        READ = qp.op()

    with qp.record(tmp_path / "capture") as recorder:
        with Work.READ:
            pass
        with Work.READ:
            recorder.stop()
    capture = qp.open(tmp_path / "capture")
    began = capture.unfinished()["start"].iloc[0]
    assert len(capture.between(began).unfinished()) == 1
    assert len(capture.between(end=began).unfinished()) == 0
    source = capture._source
    at = int(began.value)
    source.note_loss("one", {"start": at, "end": at + 10, "count": 3, "cause": "a disk"})
    source.note_loss("two", {"count": 1, "cause": "who knows"})
    assert capture.between(began).losses()["count"].tolist() == [3, 1]
    assert capture.between(end=began).losses()["count"].tolist() == [1]


def test_what_a_part_turns_out_to_be_is_known_to_the_whole(write_capture):
    path = write_capture(parts_of(rows_of(seed=4)))
    capture = qp.open(path)
    part = capture.between("0.5s", "2.5s")
    damaged = sorted((path / "samples").iterdir())[1]
    content = bytearray(damaged.read_bytes())
    content[100:4000] = bytes(3900)
    damaged.write_bytes(bytes(content))
    assert part.stats()["count"].sum() < 4000
    assert damaged.name in capture.losses()["cause"].iloc[0]
    assert damaged.name in part.losses()["cause"].iloc[0]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda capture: capture.between("2s", "1s"), "is before"),
        (lambda capture: capture.between("noon"), "not a valid time"),
        (lambda capture: capture.where({"tenent": "acme"}), "no attribute 'tenent'"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(ask, message):
    with pytest.raises(ValueError, match=message):
        ask(qp.sample("engine"))
