"""Rings that are too small, many threads, a capture that is deleted: what is lost is counted, and else nothing is."""

import logging
import shutil
import sys
import threading
import time

import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.recorder import session
from quantum_pulse.recorder.ringfiles import RingFiles
from tests.recorder.work import Step, assert_balances, processes, work


@pytest.mark.parametrize("segments", [1, 4])
def test_losses_are_counted_exactly(tmp_path, segments):
    """Threads in a tight loop and rings that are far too small."""
    path, live, count = tmp_path / "capture", [], 20_000
    ready = threading.Barrier(4)

    def hammer():
        ready.wait()
        for _ in range(count):
            with Step.A:
                pass
            with Step.B:
                pass

    with qp.record(path, budget_bytes=schema.RING_HEADER_BYTES + segments * schema.SEGMENT_BYTES) as recorder:
        threads = [threading.Thread(target=hammer) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            recorder.flush()
            live.append(recorder.account())
    for account in live:
        assert account["started"] >= account["written"]
        assert min(account.values()) >= 0
    (process,) = processes(path)
    account = process["account"]
    assert_balances(account)
    assert account["started"] == 4 * 2 * count
    assert account["open"] == account["pending"] == 0
    assert account["lost"] > 0, "the budget was too large for this test"
    capture = qp.open(path)
    assert len(capture.samples()) == account["written"] > 0
    losses = capture.losses()
    assert losses["count"].sum() == account["lost"]
    assert set(losses["operation"]) <= {"Step.A", "Step.B"}
    assert set(losses["cause"]) == {"rings full"}
    assert (losses["start"] <= losses["end"]).all()
    assert losses["start"].astype("int64").min() >= process["started_ns"] - 1_000_000
    assert losses["end"].astype("int64").max() <= process["stopped_ns"] + 1_000_000
    # A thread's own equation, where its id was not given to another one.
    written = capture.samples().groupby(["operation", "thread"], observed=True).size()
    lost = losses.groupby(["operation", "thread"])["count"].sum()
    together = written.add(lost, fill_value=0)
    assert together.sum() == 4 * 2 * count
    assert (together % count == 0).all()


def test_many_short_lived_threads_lose_nothing(tmp_path):
    """Each takes a segment of its own for one sample: the writer must give segments back before they run out."""
    segments, threads = 256, 1000
    with qp.record(tmp_path / "capture", budget_bytes=schema.RING_HEADER_BYTES + segments * schema.SEGMENT_BYTES):
        for _ in range(threads):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            time.sleep(0.0005)
    (process,) = processes(tmp_path / "capture")
    assert process["account"]["written"] == threads
    assert qp.open(tmp_path / "capture").losses().empty


def test_a_long_burst_fits_the_default_budget(tmp_path):
    with qp.record(tmp_path / "capture"):
        work(300_000)
    (process,) = processes(tmp_path / "capture")
    assert process["account"]["written"] == 300_000


def test_new_errors_in_many_threads_keep_their_names(tmp_path):
    count, each = 8, 60
    ready = threading.Barrier(count)
    operations = list(qp.Operation("Failing", {f"N{number}": qp.op() for number in range(count)}))

    def fail(operation):
        kinds = [type(f"{operation.name}x{index}", (Exception,), {}) for index in range(each)]
        ready.wait()
        for kind in kinds:
            try:
                with operation:
                    raise kind
            except kind:
                pass

    interval = sys.getswitchinterval()
    with qp.record(tmp_path / "capture"):
        sys.setswitchinterval(1e-6)
        try:
            threads = [threading.Thread(target=fail, args=(operation,)) for operation in operations]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
    capture = qp.open(tmp_path / "capture")
    for operation in operations:
        expected = [f"{operation.name}x{index}" for index in range(each)]
        assert capture.samples(operation)["error"].tolist() == expected


@pytest.mark.parametrize("what", ["capture", "samples"])
def test_a_capture_that_is_deleted_while_recording(tmp_path, caplog, what):
    path = tmp_path / "capture"
    with caplog.at_level(logging.DEBUG, logger="quantum_pulse"):
        recorder = qp.start(path)
        work(10)
        recorder.flush()
        shutil.rmtree(path if what == "capture" else path / what)
        for _ in range(3):
            work(10)
            with pytest.raises(KeyError), Step.B:
                raise KeyError
            recorder.flush()
        assert session.active() is recorder
        account = recorder.account()
        recorder.stop()
        recorder.stop()
    assert [record.levelname for record in caplog.records if record.levelname != "DEBUG"] == ["ERROR"]
    assert str(path) in caplog.text
    assert_balances(account)
    assert account["written"] == 10
    assert account["lost" if what == "capture" else "pending"] >= 11
    assert session.active() is None
    with qp.record(tmp_path / "next"):
        work()
    assert len(qp.open(tmp_path / "next").samples()) == 1
    if what == "samples":
        (process,) = processes(path)
        assert process["state"] == "failed"
        assert_balances(process["account"])


def test_after_a_failure_probes_cost_nothing_and_record_nothing(tmp_path, caplog):
    recorder = qp.start(tmp_path / "capture")
    shutil.rmtree(tmp_path / "capture")
    work()
    recorder.flush()
    started = recorder.account()["started"]
    work(100)
    assert recorder.account()["started"] == started
    recorder.stop()


@pytest.mark.parametrize("where", ["capture", "memory"])
def test_the_last_of_others_ends_while_one_begins(tmp_path, monkeypatch, where):
    """The folder of rings goes with the last of them."""
    memory = tmp_path / "memory"
    memory.mkdir()
    path, times = tmp_path / "capture", []

    def removing(open_locked):
        def work(self):
            times.append(self.ring.parent.rmdir())
            return open_locked(self)

        return work

    monkeypatch.setattr(RingFiles, "_open_locked", removing(RingFiles._open_locked))
    with qp.record(path, ring_folder=memory if where == "memory" else None), Step.A:
        pass
    assert times == [None]
    assert len(qp.open(path).samples()) == 1
