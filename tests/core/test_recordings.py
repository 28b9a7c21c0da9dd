"""The life of a recording: off, start, stop, and what spans two of them."""

import asyncio
import threading

import pytest

from tests.core.rig import ROOMY


def test_a_second_start_is_refused(rig):
    with pytest.raises(RuntimeError):
        rig.core.start(str(rig.folder / "second.ring"), ROOMY)
    assert not (rig.folder / "second.ring").exists()


def test_what_needs_a_recording_says_so(rig):
    rig.close()
    for name in ("ask", "progress", "losses", "account"):
        with pytest.raises(RuntimeError):
            getattr(rig.core, name)()
    rig.core.stop()
    rig.core.close()


def test_off_records_nothing(rig):
    rig.close()
    function = rig.core.timed(rig.probe(1), lambda: 5)
    with pytest.raises(KeyError), rig.probe(1):
        raise KeyError
    assert function() == 5
    rig.start()
    assert rig.drain() == []
    assert rig.totals() == (0, 0, 0)


def test_what_is_finished_at_stop_can_still_be_drained(rig):
    with rig.probe(1):
        pass
    rig.core.stop()
    with rig.probe(1):
        pass
    assert len(rig.drain()) == 1
    assert rig.totals() == (1, 1, 0)


def test_a_span_left_open_at_stop_is_counted_as_open(rig):
    with rig.probe(1):
        with rig.probe(2):
            pass
        rig.core.stop()
    assert [row.operation for row in rig.drain()] == [2]
    assert {row.operation: row[2:] for row in rig.core.account()} == {1: (1, 0, 0), 2: (1, 1, 0)}


def test_an_exit_without_an_enter_is_no_sample(rig):
    rig.close()
    with rig.probe(1):
        rig.start()
        with rig.probe(2):
            pass
    with rig.probe(3):
        pass
    assert [(row.operation, row.parent) for row in rig.drain()] == [(2, 0), (3, 0)]
    assert rig.totals() == (2, 2, 0)


def test_a_span_over_two_recordings_is_in_neither(rig, restart):
    with rig.probe(1):
        with rig.probe(1), rig.probe(2):
            restart()
            with rig.probe(3):
                pass
        with rig.probe(1):
            pass
    with rig.probe(3):
        pass
    assert [(row.operation, row.parent) for row in rig.drain()] == [(3, 0), (1, 0), (3, 0)]
    assert rig.totals() == (3, 3, 0)


def test_a_call_over_two_recordings_is_in_neither(rig, restart):
    def again():
        restart()
        with rig.probe(2):
            pass

    rig.core.timed(rig.probe(1), again)()
    assert [(row.operation, row.parent) for row in rig.drain()] == [(2, 0)]


def test_threads_and_tasks_that_live_through_two_recordings(rig, restart):
    step, done = threading.Semaphore(0), threading.Semaphore(0)

    def thread():
        with rig.probe(1):
            step.acquire()
            with rig.probe(2):
                pass
            done.release()

    async def main():
        async def child(gate):
            with rig.probe(3):
                await gate.wait()
                with rig.probe(4):
                    pass

        gate = asyncio.Event()
        with rig.probe(5):
            task = asyncio.create_task(child(gate))
            await asyncio.sleep(0)
            restart()
            gate.set()
            await task
        with rig.probe(6):
            pass

    worker = threading.Thread(target=thread)
    worker.start()
    asyncio.run(main())
    step.release()
    done.acquire()
    worker.join()
    assert sorted((row.operation, row.parent) for row in rig.drain()) == [(2, 0), (4, 0), (6, 0)]
    assert rig.totals() == (3, 3, 0)


def test_spans_are_unique_over_recordings(rig, restart):
    for _ in range(10):
        with rig.probe(1):
            pass
    first = rig.drain()
    restart()
    for _ in range(10):
        with rig.probe(1):
            pass
    assert {row.span for row in first}.isdisjoint(row.span for row in rig.drain())
