"""Rings that are too small, many threads, a capture that is deleted: what is lost is counted, and else nothing is."""

import logging
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.recorder import session
from quantum_pulse.rings import places
from tests import agents
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
    """Each takes a segment of its own for one sample: the agent must give segments back before they run out."""
    segments, threads = 256, 1000
    budget = schema.RING_HEADER_BYTES + segments * schema.SEGMENT_BYTES
    with qp.record(tmp_path / "capture", budget_bytes=budget) as recorder:
        recorder.flush()  # the agent is at work
        for _ in range(threads):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            give_up = time.monotonic() + 10
            # The machine may be busy with something else. What is written may not have been given back yet.
            while recorder.account()["pending"] > segments // 3 and time.monotonic() < give_up:
                time.sleep(0.005)
    (process,) = processes(tmp_path / "capture")
    assert process["account"]["written"] == threads
    assert qp.open(tmp_path / "capture").losses().empty


def test_many_short_lived_threads_while_the_agent_starts(tmp_path):
    with qp.record(tmp_path / "capture"):
        for _ in range(1000):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
    (process,) = processes(tmp_path / "capture")
    assert process["account"]["written"] == 1000
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


def problems(caplog):
    return [record.levelname for record in caplog.records if record.levelname != "DEBUG"]


def delete(path):
    """At once: the agent may put something into a folder that is being emptied."""
    path.rename(path.with_name("deleted"))
    shutil.rmtree(path.with_name("deleted"))


def fail():
    work(10)
    with pytest.raises(KeyError), Step.B:
        raise KeyError


def test_a_capture_that_is_deleted_while_recording(tmp_path, caplog):
    """The program goes on, is not held up, and is told when it ends; nothing is left of it in memory."""
    path = tmp_path / "capture"
    with caplog.at_level(logging.DEBUG, logger="quantum_pulse"):
        recorder = qp.start(path)
        work(10)
        recorder.flush()
        (ring,) = agents.rings(path)
        folder = ring.resolve().parent
        delete(path)
        before = time.monotonic()
        for _ in range(3):
            fail()
            recorder.flush()
        assert session.active() is recorder
        account = recorder.account()
        recorder.stop()
        recorder.stop()
        assert time.monotonic() - before < 10
    assert problems(caplog) == ["ERROR"]
    assert str(path) in caplog.text
    assert_balances(account)
    assert account["written"] == 10
    assert account["pending"] == 33
    assert_balances(recorder.account())
    assert session.active() is None
    assert not path.exists()
    agents.wait_until_taken(path)
    assert not folder.exists()
    with qp.record(tmp_path / "next"):
        work()
    assert len(qp.open(tmp_path / "next").samples()) == 1


@pytest.mark.parametrize("what", ["samples", "processes"])
def test_a_folder_of_the_capture_that_is_deleted_is_made_again(tmp_path, caplog, what):
    path = tmp_path / "capture"
    with caplog.at_level(logging.DEBUG, logger="quantum_pulse"):
        recorder = qp.start(path)
        work(10)
        recorder.flush()
        shutil.rmtree(path / what)
        for _ in range(3):
            fail()
            recorder.flush()
        recorder.stop()
    assert problems(caplog) == []
    (process,) = processes(path)
    assert process["state"] == "finished"
    assert_balances(process["account"])
    assert process["account"]["written"] == 43
    assert len(qp.open(path).samples()) == (33 if what == "samples" else 43)


def test_the_link_to_the_rings_that_is_deleted(tmp_path):
    """Somebody who tidies up a capture takes the way to the rings away, and not what is in them."""
    path = tmp_path / "capture"
    recorder = qp.start(path)
    work(10)
    recorder.flush()
    shutil.rmtree(path / "rings")
    for _ in range(3):
        fail()
    recorder.stop()
    assert recorder.account() == {"started": 43, "written": 43, "pending": 0, "open": 0, "lost": 0}
    assert len(qp.open(path).samples()) == 43
    agents.wait_until_taken(path)
    (process,) = processes(path)
    assert process["state"] == "finished"


def test_a_program_whose_capture_is_gone_goes_on_until_its_rings_are_full(tmp_path):
    budget = schema.RING_HEADER_BYTES + 4 * schema.SEGMENT_BYTES
    recorder = qp.start(tmp_path / "capture", budget_bytes=budget)
    recorder.flush()
    delete(tmp_path / "capture")
    before = time.monotonic()
    work(100_000)
    account = recorder.account()
    recorder.stop()
    assert time.monotonic() - before < 10
    assert_balances(account)
    assert account["started"] == 100_000
    assert account["lost"] >= 100_000 - 4 * schema.SEGMENT_ROWS


@pytest.mark.parametrize("where", ["capture", "memory"])
def test_the_last_of_others_ends_while_one_begins(tmp_path, monkeypatch, where):
    """The folder of rings goes with the last of them."""
    memory = tmp_path / "memory"
    memory.mkdir()
    path, times = tmp_path / "capture", []

    def link(target, name, *, known=os.symlink):
        if not times:
            times.append(Path(name).parent.rmdir())
        known(target, name)

    monkeypatch.setattr(places.os, "symlink", link)
    with qp.record(path, ring_folder=memory if where == "memory" else None), Step.A:
        pass
    assert times == [None]
    assert len(qp.open(path).samples()) == 1


def test_an_agent_that_ends_waits_for_one_who_begins(tmp_path):
    """The folders stay, whoever of the two comes first."""
    path = tmp_path / "capture"
    path.mkdir()
    place, order = places.Place(str(path)), []

    def end():
        other = places.Place(str(path))
        with other.closing():
            other.unlink()
            other.remove()
        order.append("removed")

    with place.opened():
        ending = threading.Thread(target=end)
        ending.start()
        time.sleep(0.1)
        os.close(place.open_fifo())
        order.append("begun")
    ending.join()
    assert order == ["begun", "removed"]
    assert not Path(place.control).exists()
    assert not (path / "rings").exists()
