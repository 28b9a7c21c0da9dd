"""What a recording says of itself while it goes on, and afterwards."""

import os
import sys
import threading
import time

import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse.recorder import session
from tests.recorder.work import Step, processes, work


def test_flush_and_stats_live(tmp_path):
    with qp.record(tmp_path / "capture") as recorder:
        for round_ in range(1, 4):
            work(100)
            work(10, Step.B)
            recorder.flush()
            assert len(qp.open(tmp_path / "capture").samples()) == 110 * round_
            stats = recorder.stats()
            assert stats["count"].to_dict() == {("Other", "Step.B"): 10 * round_, ("Step", "Step.A"): 100 * round_}
        live = recorder.stats()
    recorder.flush()  # harmless
    # The spread is added up in another order once parts are merged.
    pd.testing.assert_frame_equal(qp.open(tmp_path / "capture").stats(), live, rtol=1e-12)


def test_flush_from_many_threads(tmp_path):
    counts = []

    def write(recorder):
        for _ in range(10):
            work(10)
            recorder.flush()
        counts.append(len(qp.open(tmp_path / "capture").samples()))

    with qp.record(tmp_path / "capture") as recorder:
        threads = [threading.Thread(target=write, args=(recorder,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert max(counts) == 400
        assert min(counts) >= 100


def test_stats_before_the_first_sample_are_an_empty_table(tmp_path):
    with qp.record(tmp_path / "capture") as recorder:
        before = recorder.stats()
        work()
        after = recorder.stats()
    assert before.empty
    assert (list(before.columns), before.index.names) == (list(after.columns), after.index.names)
    assert len(after) == 1


@pytest.mark.parametrize("level", ["full", "off"])
def test_stats_of_nothing_have_the_form_that_was_asked_for(tmp_path, level):
    with qp.record(tmp_path / "capture", level=level) as recorder, Step.A:
        empty = recorder.stats(by=["thread", "operation"], quantiles=[0.25], start="1s", top=3)
        assert recorder.stats(last_s=5).empty
    assert empty.empty
    assert (list(empty.index.names), "p25_us" in empty.columns) == (["thread", "category", "operation"], True)
    counts = recorder.stats(include_empty=True)["count"].to_dict()
    if level == "full":
        assert (counts["Step", "Step.A"], counts["Other", "Step.B"]) == (1, 0)
    else:
        assert counts == {}


def test_stats_of_the_last_seconds(tmp_path):
    with qp.record(tmp_path / "capture") as recorder:
        work(100)
        time.sleep(0.25)
        work(10)
        assert recorder.stats(last_s=0.2)["count"].tolist() == [10]
        assert recorder.stats(last_s=60)["count"].tolist() == [110]
        assert recorder.stats(start="200ms")["count"].tolist() == [10]
        assert recorder.stats(end="200ms")["count"].tolist() == [100]
        for wrong in (0, -1, float("nan"), "5"):
            with pytest.raises(ValueError, match="last_s must be a number of seconds above 0"):
                recorder.stats(last_s=wrong)
        with pytest.raises(ValueError, match="last_s replaces start and end"):
            recorder.stats(last_s=1, end="1s")


def test_a_capture_that_is_open_while_recording(tmp_path):
    with qp.record(tmp_path / "capture") as recorder:
        work(5)
        recorder.flush()
        early = qp.open(tmp_path / "capture")
        work(7)
        recorder.flush()
        assert len(early.samples()) == 5, "a capture is as it stood when it was opened"
        assert len(qp.open(tmp_path / "capture").samples()) == 12
        assert early.losses().empty
        assert [process["state"] for process in processes(tmp_path / "capture")] == ["recording"]
    assert len(early.samples()) == 5


def test_the_account_live_and_afterwards(tmp_path):
    with qp.record(tmp_path / "capture") as recorder:
        with Step.A:
            work(100)
            recorder.flush()
            account = recorder.account()
            assert account == {"started": 101, "written": 100, "pending": 0, "open": 1, "lost": 0}
        account = recorder.account()
        assert (account["started"], account["pending"] + account["written"]) == (101, 101)
    assert recorder.account() == {"started": 101, "written": 101, "pending": 0, "open": 0, "lost": 0}


def test_the_process_file(tmp_path):
    before = time.time_ns()
    with qp.record(tmp_path / "capture") as recorder:
        recorder.flush()
        give_up = time.monotonic() + 10
        while not processes(tmp_path / "capture"):  # it comes with the first look of the agent
            assert time.monotonic() < give_up
            time.sleep(0.01)
        (live,) = processes(tmp_path / "capture")
        work(2)
    (process,) = processes(tmp_path / "capture")
    assert set(process) >= {
        "pid",
        "state",
        "started_ns",
        "stopped_ns",
        "clock_anchor_ns",
        "core",
        "python",
        "argv",
        "host",
        "account",
        "losses",
        "ended",
        "failure",
    }
    assert (live["state"], live["stopped_ns"], live["account"]) == ("recording", None, None)
    assert live["ended"] is None
    assert (process["state"], process["ended"], process["failure"]) == ("finished", "stop", None)
    assert process["pid"] == os.getpid()
    assert before <= process["started_ns"] <= process["stopped_ns"] <= time.time_ns()
    assert process["core"] == session.core.NAME
    assert process["python"] == sys.version.split()[0]
    assert process["argv"] == sys.argv
    assert process["losses"] == []
    assert process["account"] == {"started": 2, "written": 2, "pending": 0, "open": 0, "lost": 0}
    now = process["clock_anchor_ns"] + session.core.now()
    assert abs(now - time.time_ns()) < 100_000_000
