"""Levels, sampling, and what becomes of samples when the rings are full."""

import contextlib
import gc
import itertools
import json
import math
import re
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.errors import EmptyCaptureError, RecordingError
from tests import agents


class Modes(qp.Operation):
    OUTER = qp.op("Always")
    DETAIL = qp.op("Only at full", detail=True)
    SOME = qp.op("One of ten", sample_every=10)
    INNER = qp.op("Inside of the others")


def budget(segments):
    return schema.RING_HEADER_BYTES + segments * schema.SEGMENT_BYTES


def repeat(operation, count):
    for _ in range(count):
        with operation:
            pass


def balanced(recorder):
    account = recorder.account()
    assert account["started"] == sum(account[name] for name in ("written", "pending", "open", "lost")), account
    return account


# ---- levels ----------------------------------------------------------------------------------------------------------


def nest():
    with Modes.OUTER, Modes.DETAIL, Modes.INNER:
        pass


def test_details_are_recorded_at_full_only(tmp_path):
    with qp.record(tmp_path / "full"):
        nest()
    with qp.record(tmp_path / "production", level="production") as recorder:
        nest()
        Modes.DETAIL(len)("")
        with Modes.DETAIL.timer():
            pass
    full, production = (qp.open(tmp_path / name).samples() for name in ("full", "production"))
    assert full["operation"].tolist() == ["Modes.OUTER", "Modes.DETAIL", "Modes.INNER"]
    assert production["operation"].tolist() == ["Modes.OUTER", "Modes.INNER"]
    assert production["parent"].tolist() == [0, production["span"][0]]
    assert balanced(recorder)["started"] == 2


def test_off_writes_nothing(tmp_path):
    with qp.record(tmp_path / "capture", level="off") as recorder:
        nest()
        assert recorder.stats().empty
        recorder.flush()
    assert not (tmp_path / "capture").exists()
    qp.start(tmp_path / "capture", level="off")
    qp.stop()
    qp.start(tmp_path / "capture").stop()
    with pytest.raises(RecordingError, match="nothing is being recorded"):
        qp.stop()


def test_the_level_may_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTUM_PULSE_LEVEL", "production")
    with qp.record(tmp_path / "first"):
        nest()
    with qp.record(tmp_path / "second", level="full"):
        nest()
    assert len(qp.open(tmp_path / "first").samples()) == 2
    assert len(qp.open(tmp_path / "second").samples()) == 3


def test_a_level_that_is_none_in_the_environment_breaks_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("QUANTUM_PULSE_LEVEL", "loud")
    for name in ("first", "second"):
        with qp.record(tmp_path / name):
            nest()
        assert len(qp.open(tmp_path / name).samples()) == 3
    assert [record.getMessage() for record in caplog.records] == [
        "QUANTUM_PULSE_LEVEL must be 'full', 'production' or 'off', not 'loud'; it is left out of account"
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "loud"}, "level must be 'full', 'production' or 'off', not 'loud'"),
        ({"level": ["full"]}, "level must be 'full', 'production' or 'off', not ['full']"),
        ({"on_full": ["drop"]}, "on_full must be 'drop', 'overwrite' or 'wait', not ['drop']"),
        ({"metrics_interval_s": "x"}, "metrics_interval_s must be a number of seconds above 0, not 'x'"),
        ({"if_exists": ["append"]}, "if_exists must be 'append', 'replace' or 'error', not ['append']"),
        ({"on_full": "block"}, "on_full must be 'drop', 'overwrite' or 'wait', not 'block'"),
        ({"save_on": {Modes.OUTER: 5}}, "save_on needs on_full='overwrite'"),
        ({"on_full": "overwrite", "save_on": 5}, "save_on must map operations"),
        ({"on_full": "overwrite", "save_on": {Modes.OUTER: -5}}, "a number of microseconds, 'error', or both"),
        ({"on_full": "overwrite", "save_on": {Modes.OUTER: "slow"}}, "a number of microseconds, 'error', or both"),
        ({"on_full": "overwrite", "save_on": {Modes.OUTER: (5, 6)}}, "a number of microseconds, 'error', or both"),
        ({"on_full": "overwrite", "save_on": {Modes.OUTER: ()}}, "a number of microseconds, 'error', or both"),
        ({"on_full": "overwrite", "save_last_s": 5}, "save_last_s needs save_on"),
        (
            {"on_full": "overwrite", "save_on": {Modes.OUTER: 5}, "save_last_s": 0},
            "save_last_s must be a number of seconds above 0, not 0",
        ),
        (
            {"on_full": "overwrite", "save_on": {Modes.OUTER: 5}, "save_last_s": "5s"},
            "save_last_s must be a number of seconds above 0, not '5s'",
        ),
    ],
)
def test_options_that_are_none(tmp_path, options, message):
    with pytest.raises(RecordingError, match=re.escape(message)):
        qp.start(tmp_path / "capture", **options)
    assert not (tmp_path / "capture").exists()


def test_a_string_where_an_operation_belongs(tmp_path):
    with pytest.raises(TypeError, match=r"did you mean Modes\.OUTER"):
        qp.start(tmp_path / "capture", on_full="overwrite", save_on={"Modes.OUTR": 5})


# ---- sampling --------------------------------------------------------------------------------------------------------


def test_samples_stand_for_all_calls(tmp_path):
    with qp.record(tmp_path / "capture") as recorder:
        repeat(Modes.SOME, 5000)
        for _ in range(1000):
            Modes.SOME(len)("")
        for _ in range(1000):
            with Modes.SOME.timer():
                pass
    capture = qp.open(tmp_path / "capture")
    samples = capture.samples()
    assert len(samples) == 700
    assert (samples["weight"] == 10).all()
    assert capture.stats()["count"].tolist() == [7000]
    assert balanced(recorder)["written"] == 700


def test_sampling_is_random_within_a_round(tmp_path):
    """A program that does something slow every tenth call is seen as it is."""
    with qp.record(tmp_path / "capture"):
        for number in range(3000):
            try:
                with Modes.SOME:
                    if number % 10 == 0:
                        raise KeyError
            except KeyError:
                pass
    errors = qp.open(tmp_path / "capture").stats()["errors"].iloc[0]
    assert 100 < errors < 600  # 300 expected; more than 5 standard deviations of 51 on each side


def test_what_is_not_sampled_encloses_nothing(tmp_path):
    with qp.record(tmp_path / "capture"):
        for _ in range(1000):
            with Modes.OUTER, Modes.SOME, Modes.INNER:
                pass
    samples = qp.open(tmp_path / "capture").samples()
    name = dict(zip(samples["span"], samples["operation"], strict=True))
    parents = samples[samples["operation"] == "Modes.INNER"]["parent"].map(name).value_counts().to_dict()
    assert {key: count for key, count in parents.items() if count} == {"Modes.OUTER": 900, "Modes.SOME": 100}
    assert set(samples[samples["operation"] == "Modes.SOME"]["parent"].map(name)) == {"Modes.OUTER"}


def test_recursion_through_a_sampled_operation(tmp_path):
    def dive(depth):
        with Modes.SOME:
            if depth:
                dive(depth - 1)
            time.sleep(0.0001)

    with qp.record(tmp_path / "capture") as recorder:
        for _ in range(10):
            dive(9)
    samples = qp.open(tmp_path / "capture").samples()
    assert len(samples) == 10
    account = balanced(recorder)
    assert account["open"] == 0
    # Each is as long as its own depth says, not as one of the others.
    assert (samples["duration_ns"] >= 100_000).all()


def test_generators_and_threads_are_sampled(tmp_path):
    @Modes.SOME
    def steps():
        yield 1
        with Modes.INNER:
            yield 2

    def work():
        for _ in range(100):
            assert list(steps()) == [1, 2]

    with qp.record(tmp_path / "capture") as recorder:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    counts = qp.open(tmp_path / "capture").stats()["count"].to_dict()
    assert counts == {("Modes", "Modes.INNER"): 400, ("Modes", "Modes.SOME"): 400}
    assert balanced(recorder)["open"] == 0


# ---- full rings ------------------------------------------------------------------------------------------------------


def test_waiting_loses_nothing(tmp_path):
    with qp.record(tmp_path / "capture", budget_bytes=budget(4), on_full="wait") as recorder:
        threads = [threading.Thread(target=repeat, args=(Modes.OUTER, 20_000)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert balanced(recorder) == {"started": 60_000, "written": 60_000, "pending": 0, "open": 0, "lost": 0}
    assert qp.open(tmp_path / "capture").samples()["span"].is_unique


def test_dropping_loses_the_newest(tmp_path):
    gc.disable()  # collections take room as well
    try:
        with qp.record(tmp_path / "capture", budget_bytes=budget(2), metrics_interval_s=60) as recorder:
            recorder.flush()
            with agents.stopped(tmp_path / "capture"):  # a disk that is too slow
                repeat(Modes.OUTER, 10_000)
    finally:
        gc.enable()
    account = balanced(recorder)
    capture = qp.open(tmp_path / "capture")
    losses, samples = capture.losses(), capture.samples()
    assert account["lost"] == losses["count"].sum() == 10_000 - 2 * schema.SEGMENT_ROWS
    assert set(losses["cause"]) == {"rings full"}
    assert samples["span"].diff().dropna().eq(1).all(), "the oldest are there, without a gap"


def test_overwriting_keeps_the_newest(tmp_path):
    with qp.record(tmp_path / "capture", budget_bytes=budget(8), on_full="overwrite") as recorder:
        repeat(Modes.OUTER, 100_000)
        with Modes.INNER:
            pass
        account = balanced(recorder)
        assert account["written"] == 0
        assert list((tmp_path / "capture" / "samples").iterdir()) == []
    account = balanced(recorder)
    capture = qp.open(tmp_path / "capture")
    samples, losses = capture.samples(), capture.losses()
    # Of its eight segments one tells of open blocks.
    assert 6 * schema.SEGMENT_ROWS < len(samples) <= 7 * schema.SEGMENT_ROWS
    assert account == {
        "started": 100_001,
        "written": len(samples),
        "pending": 0,
        "open": 0,
        "lost": 100_001 - len(samples),
    }
    assert losses["count"].sum() == account["lost"]
    assert set(losses["cause"]) == {"overwritten by later ones"}
    assert set(losses["operation"]) == {"Modes.OUTER"}
    # The last of them, without a gap; what was lost lies before.
    assert samples["span"].diff().dropna().eq(1).all()
    assert samples["operation"].iloc[-1] == "Modes.INNER"
    assert losses["end"].max() <= samples["start"].min()


def test_overwriting_with_threads_that_come_and_go(tmp_path):
    with qp.record(tmp_path / "capture", budget_bytes=budget(6), on_full="overwrite") as recorder:
        for _ in range(100):
            thread = threading.Thread(target=repeat, args=(Modes.OUTER, 300))
            thread.start()
            thread.join()
            # `join` returns a moment before the thread of the operating system ends, and gives its segment up.
            while Path(f"/proc/self/task/{thread.native_id}").exists():
                time.sleep(0)
    account = balanced(recorder)
    assert account["started"] == 30_000
    samples = qp.open(tmp_path / "capture").samples()
    assert samples["span"].max() - samples["span"].min() == len(samples) - 1
    assert len(samples) == account["written"] > 3 * 300


def test_a_flush_saves_what_is_there(tmp_path):
    with qp.record(tmp_path / "capture", budget_bytes=budget(8), on_full="overwrite") as recorder:
        repeat(Modes.OUTER, 500)
        recorder.flush()
        assert balanced(recorder)["written"] == 500
        repeat(Modes.INNER, 100_000)
    capture = qp.open(tmp_path / "capture")
    assert capture.stats()["count"][("Modes", "Modes.OUTER")] == 500
    assert capture.losses()["count"].sum() + len(capture.samples()) == 100_500


def test_a_snapshot_leaves_the_recording_alone(tmp_path):
    with qp.record(
        tmp_path / "capture", budget_bytes=budget(8), on_full="overwrite", metrics_interval_s=0.01
    ) as recorder:
        repeat(Modes.OUTER, 2000)
        time.sleep(0.5)
        repeat(Modes.INNER, 10)
        recorder.snapshot(tmp_path / "last", last_s=0.4)
        path = recorder.snapshot(tmp_path / "all")
        repeat(Modes.OUTER, 10)
        with pytest.raises(RecordingError, match="already holds a capture; choose another path for the snapshot"):
            recorder.snapshot(tmp_path / "all")
        for wrong in (-1, float("inf"), float("nan"), "x", True):
            with pytest.raises(RecordingError, match="last_s must be a number of seconds above 0"):
                recorder.snapshot(tmp_path / "more", last_s=wrong)
        with pytest.raises(RecordingError, match="path is empty"):
            recorder.snapshot("")
    assert path == tmp_path / "all"
    whole = qp.open(path)
    assert whole.stats()["count"].tolist() == [10, 2000]
    assert len(whole.metrics()) > 0
    assert whole.losses().empty
    assert qp.open(tmp_path / "last").stats()["count"].to_dict() == {("Modes", "Modes.INNER"): 10}
    assert len(qp.open(tmp_path / "capture").samples()) == 2020
    with pytest.raises(RecordingError, match="has ended"):
        recorder.snapshot(tmp_path / "late")


def test_a_snapshot_while_others_record(tmp_path):
    going = threading.Event()

    def work():
        while not going.is_set():
            repeat(Modes.OUTER, 100)

    with qp.record(tmp_path / "capture", budget_bytes=budget(6), on_full="overwrite") as recorder:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(10):
            recorder.snapshot(tmp_path / str(number))
        going.set()
        for thread in threads:
            thread.join()
    for number in range(10):
        try:
            capture = qp.open(tmp_path / str(number))
        except EmptyCaptureError:
            continue
        samples = capture.samples()
        assert capture.losses().empty
        assert samples["span"].is_unique
        assert set(samples["operation"]) == {"Modes.OUTER"}
    balanced(recorder)


def test_snapshots_need_a_flight_recorder(tmp_path):
    with qp.record(tmp_path / "capture") as recorder, pytest.raises(RecordingError, match="on_full='overwrite'"):
        recorder.snapshot(tmp_path / "snapshot")


def wait_until_written(recorder):
    give_up = time.monotonic() + 10
    while recorder.account()["written"] == 0:
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.mark.parametrize("trigger", [2000, (1e9, "error"), "error"])
def test_what_is_slow_or_fails_saves_by_itself(tmp_path, trigger):
    with qp.record(tmp_path / "capture", on_full="overwrite", save_on={Modes.INNER: trigger}) as recorder:
        repeat(Modes.OUTER, 100)
        repeat(Modes.INNER, 100)
        with pytest.raises(KeyError), Modes.OUTER:
            raise KeyError
        time.sleep(0.05)
        assert recorder.account()["written"] == 0
        try:
            with Modes.INNER:
                time.sleep(0.003)
                if trigger != 2000:
                    raise ValueError
        except ValueError:
            pass
        wait_until_written(recorder)
        repeat(Modes.OUTER, 10)
        assert recorder.account()["written"] == 202
    (part,) = (tmp_path / "capture" / "samples").iterdir()
    footer = json.loads(pq.read_metadata(part).metadata[schema.FOOTER_KEY.encode()])
    (sample,) = footer["saved_for"]
    assert sample["operation"] == "Modes.INNER"
    assert sample["duration_ns"] > 3_000_000
    assert sample["error"] == (None if trigger == 2000 else "ValueError")
    assert len(qp.open(tmp_path / "capture").samples()) == 212


def test_whole_enums_can_save(tmp_path):
    with qp.record(tmp_path / "capture", on_full="overwrite", save_on={Modes: 2000}) as recorder:
        with Modes.OUTER:
            time.sleep(0.003)
        wait_until_written(recorder)
        # Not again within a second, but then.
        with Modes.INNER:
            time.sleep(0.003)
        time.sleep(0.1)
        assert recorder.account()["written"] == 1
        time.sleep(1.2)
        assert recorder.account()["written"] == 2


def test_a_save_is_of_the_last_seconds(tmp_path):
    """What is older stays in the rings, and is neither written nor counted as lost; a segment is saved as a whole."""
    options = {"on_full": "overwrite", "save_on": {Modes.INNER: 2000}, "save_last_s": 0.5}
    with qp.record(tmp_path / "capture", **options) as recorder:
        repeat(Modes.OUTER, 2 * schema.SEGMENT_ROWS)
        others = threading.Thread(target=repeat, args=(Modes.DETAIL, 100))
        others.start()
        others.join()
        time.sleep(1)
        repeat(Modes.SOME, 500)
        with Modes.INNER:
            time.sleep(0.003)
        wait_until_written(recorder)
        saved = sum(pq.read_metadata(part).num_rows for part in (tmp_path / "capture" / "samples").iterdir())
        assert saved == 51 == balanced(recorder)["written"]
        assert balanced(recorder)["lost"] == 0
        recorder.snapshot(tmp_path / "rest")
    assert qp.open(tmp_path / "rest").stats()["count"].sum() == 2 * schema.SEGMENT_ROWS + 100
    capture = qp.open(tmp_path / "capture")
    counts = capture.stats()["count"].droplevel("category").to_dict()
    assert counts == {"Modes.OUTER": 2 * schema.SEGMENT_ROWS, "Modes.DETAIL": 100, "Modes.SOME": 500, "Modes.INNER": 1}
    assert capture.saves()["operation"].tolist() == ["Modes.INNER"]
    assert capture.overwritten_until is None


def test_what_a_save_left_in_the_rings_is_overwritten_as_ever(tmp_path):
    options = {"on_full": "overwrite", "save_on": {Modes.INNER: 2000}, "save_last_s": 0.5, "budget_bytes": budget(8)}
    with qp.record(tmp_path / "capture", **options) as recorder:
        repeat(Modes.OUTER, 4 * schema.SEGMENT_ROWS)
        time.sleep(1)
        with Modes.INNER:
            time.sleep(0.003)
        wait_until_written(recorder)
        repeat(Modes.OUTER, 20 * schema.SEGMENT_ROWS)
        account = balanced(recorder)
    capture = qp.open(tmp_path / "capture")
    assert account["lost"] == capture.losses()["count"].sum() >= 15 * schema.SEGMENT_ROWS
    assert len(capture.samples()) + account["lost"] == 24 * schema.SEGMENT_ROWS + 1
    assert capture.stats()["count"].loc[:, "Modes.INNER"].item() == 1


def test_calls_that_waited_too_long_for_a_save_did_not_set_it_off(tmp_path, monkeypatch):
    monkeypatch.setattr("quantum_pulse.agent.recording.SHORTEST_SAVE_S", 1.5)
    options = {"on_full": "overwrite", "save_on": {Modes.INNER: "error"}, "save_last_s": 0.3, "writer": "thread"}

    def fail():
        with contextlib.suppress(KeyError), Modes.INNER:
            raise KeyError

    with qp.record(tmp_path / "capture", **options) as recorder:
        fail()
        wait_until_written(recorder)
        for seconds in (0.2, 0.8, 1.0):  # two in the pause after that save, of which one is recent when the pause ends
            fail()
            time.sleep(seconds)
    capture = qp.open(tmp_path / "capture")
    assert len(capture.samples()) == 4
    assert len(capture.saves()) == 2


def test_the_last_seconds_hold_what_was_saved_meanwhile(tmp_path):
    with qp.record(tmp_path / "capture", on_full="overwrite", save_on={Modes.INNER: 2000}) as recorder:
        repeat(Modes.OUTER, 100)
        time.sleep(0.7)
        repeat(Modes.OUTER, 50)
        with Modes.INNER:
            time.sleep(0.003)
        wait_until_written(recorder)
        repeat(Modes.OUTER, 10)
        asked_at = time.time()
        recorder.snapshot(tmp_path / "last", last_s=0.6)
        recorder.snapshot(tmp_path / "all", last_s=60)
        recorder.snapshot(tmp_path / "rings")
    last = qp.open(tmp_path / "last")
    for name, outer, inner in (("all", 160, 1), ("last", 60, 1), ("rings", 10, 0)):
        found = qp.open(tmp_path / name)
        counts = found.stats()["count"].droplevel("category").to_dict()
        assert counts == {"Modes.OUTER": outer, **({"Modes.INNER": inner} if inner else {})}
        assert found.samples()["span"].is_unique
        assert found.losses().empty
    assert abs(last.overwritten_until.timestamp() - (asked_at - 0.6)) < 0.1
    assert "whole from" in repr(last)
    assert qp.open(tmp_path / "rings").overwritten_until is None
    # What set it off is in the capture, and in a snapshot that has the sample.
    saves = qp.open(tmp_path / "capture").saves()
    assert saves["operation"].tolist() == last.saves()["operation"].tolist() == ["Modes.INNER"]
    assert saves["duration_us"].iloc[0] > 3000
    assert abs(saves["time"].iloc[0].timestamp() - asked_at) < 5


def test_a_parent_whose_children_were_overwritten_has_no_self_time(tmp_path):
    with qp.record(tmp_path / "capture", budget_bytes=budget(8), on_full="overwrite") as recorder:
        with Modes.OUTER:
            repeat(Modes.INNER, 50_000)
        for _ in range(500):
            with Modes.OUTER:
                repeat(Modes.INNER, 2)
        recorder.snapshot(tmp_path / "cut")
        until = qp.open(tmp_path / "cut").overwritten_until
    for name in ("cut", "capture"):
        capture = qp.open(tmp_path / name)
        assert capture.overwritten_until == until
        tree = capture.tree()
        assert tree.loc["Modes.OUTER", "count"] == 501
        assert math.isnan(tree.loc["Modes.OUTER", "self_us"]), "nobody knows what ran inside of the first"
        assert tree.loc["Modes.OUTER > Modes.INNER", "self_us"] > 0, "what has no children does"
        whole = capture.tree(start=until)
        assert whole.loc["Modes.OUTER", "count"] == 500
        assert 0 < whole.loc["Modes.OUTER", "self_us"] < whole.loc["Modes.OUTER", "total_us"]
        assert "Samples are complete from" in capture._repr_html_()
        assert "Samples are complete from" in capture.report().text("text")


def test_a_block_that_has_not_ended_is_no_lost_child(tmp_path):
    going, ended = threading.Event(), threading.Event()

    def hang():
        with Modes.INNER:
            going.set()
            ended.wait()

    thread = threading.Thread(target=hang)
    with qp.record(tmp_path / "capture", budget_bytes=budget(8), on_full="overwrite") as recorder:
        repeat(Modes.INNER, 50_000)
        with Modes.OUTER:
            thread.start()
            going.wait()
        recorder.snapshot(tmp_path / "cut")
        ended.set()
        thread.join()
    capture = qp.open(tmp_path / "cut")
    assert capture.overwritten_until is not None
    tree = capture.tree(capture.operations.Modes.OUTER)
    assert tree["self_us"].tolist() == tree["total_us"].tolist()


def test_calls_that_go_on_failing_are_saved_less_and_less_often(tmp_path, monkeypatch):
    """A fiftieth of all calls would otherwise have all of them written."""
    monkeypatch.setattr("quantum_pulse.agent.recording.SHORTEST_SAVE_S", 0.1)
    options = {"on_full": "overwrite", "save_on": {Modes.INNER: "error"}, "writer": "thread"}
    saved_at = {}  # by what was written then
    with qp.record(tmp_path / "capture", **options) as recorder:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            with contextlib.suppress(KeyError), Modes.INNER:
                raise KeyError
            saved_at.setdefault(recorder.account()["written"], time.monotonic())
            time.sleep(0.01)
    times = list(saved_at.values())[1:]
    apart = [after - before for before, after in itertools.pairwise(times)]
    assert 3 <= len(apart) <= 5
    assert apart[0] < 0.35 < 0.5 < apart[-1]


def test_saves_of_captures_without_any(tmp_path):
    with qp.record(tmp_path / "capture"):
        repeat(Modes.OUTER, 1)
    capture = qp.open(tmp_path / "capture")
    assert capture.saves().empty
    assert str(capture.saves()["time"].dtype) == "datetime64[ns, UTC]"
    assert capture.overwritten_until is None
