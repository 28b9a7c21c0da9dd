"""Spans of many threads."""

import asyncio
import contextlib
import gc
import sys
import threading
import time
from collections import Counter

import pytest

from quantum_pulse import schema
from quantum_pulse.core import contract
from quantum_pulse.rings import contents
from tests.core.rig import FREE_THREADED, MODULES, by_operation, in_thread


def test_threads(rig, restart):
    restart(schema.RING_HEADER_BYTES + 128 * schema.SEGMENT_BYTES)
    ready = threading.Barrier(8)

    def work(number):
        ready.wait()
        for _ in range(2500):
            with rig.probe(number), rig.probe(20):
                pass
        ready.wait()  # all at once, so that no native id is used twice
        return threading.get_native_id()

    ids = {}
    threads = [threading.Thread(target=lambda n=n: ids.__setitem__(n, work(n))) for n in range(8)]
    with rig.probe(30):
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            rig.drain()
            time.sleep(0.005)
    rig.drain()
    assert len(rig.rows) == 8 * 5000 + 1
    assert len({row.span for row in rig.rows}) == len(rig.rows)
    spans = {row.span: row for row in rig.rows}
    for number in range(8):
        own = [row for row in rig.rows if row.thread == ids[number]]
        assert Counter(row.operation for row in own) == {number: 2500, 20: 2500}
        for row in own:
            if row.operation == number:
                assert row.parent == 0, "parents never reach across threads"
            else:
                assert (spans[row.parent].operation, spans[row.parent].thread) == (number, row.thread)
    account = {(row.operation, row.thread): row[2:] for row in rig.core.account()}
    assert account == {
        (30, threading.get_native_id()): (1, 1, 0),
        **{(number, ids[number]): (2500, 2500, 0) for number in range(8)},
        **{(20, ids[number]): (2500, 2500, 0) for number in range(8)},
    }


def test_two_thousand_short_lived_threads_in_a_bounded_file(rig, restart):
    segments = 150
    restart(schema.RING_HEADER_BYTES + segments * schema.SEGMENT_BYTES)

    def work():
        with rig.probe(1):
            pass

    for number in range(2000):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if number % 100 == 99:
            rig.drain()
    rig.drain()
    assert rig.totals() == (2000, 2000, 0)
    assert len({row.span for row in rig.rows}) == 2000
    assert {row.parent for row in rig.rows} == {0}
    assert rig.agent["used"] <= segments
    assert rig.ring.stat().st_size <= schema.segments_at(segments) + segments * schema.SEGMENT_BYTES


def test_what_an_ended_thread_left_is_not_lost(rig):
    def work():
        with rig.probe(1):
            pass
        rig.probe(2).__enter__()  # and never left

    in_thread(work)
    gc.collect()
    assert [row.operation for row in rig.drain()] == [1]
    assert rig.drain() == []
    assert {row.operation: row[2:] for row in rig.core.account()} == {1: (1, 1, 0), 2: (1, 0, 0)}


@contextlib.contextmanager
def often_switching():
    """Threads take turns as often as the interpreter lets them, rather than every 5 ms."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def test_errors_that_are_new_in_many_threads_at_once(rig):
    """A name must never be taken for another, whichever thread comes first."""
    count, each = 8, 60
    ready = threading.Barrier(count)

    def work(number):
        kinds = [type(f"E{number}x{index}", (Exception,), {}) for index in range(each)]
        probe = rig.probe(number)
        ready.wait()
        for kind in kinds:
            try:
                with probe:
                    raise kind
            except kind:
                pass

    with often_switching():
        threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number, rows in by_operation(rig.drain()).items():
        assert [rig.errors[row.error] for row in rows] == [f"E{number}x{index}" for index in range(each)]


@contextlib.contextmanager
def recording_threads(*functions, meanwhile=lambda: time.sleep(0.001)):
    """Threads that call these again and again, until the block ends; `meanwhile` is called until they have ended."""
    going = threading.Event()

    def repeat(function):
        while not going.is_set():
            function()

    threads = [threading.Thread(target=repeat, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        going.set()
        while any(thread.is_alive() for thread in threads):
            meanwhile()


def test_everything_at_once(rig, restart):
    """Blocks, errors, generators, tasks, contexts that go to other threads: each sample once, inside of its parent."""
    restart(schema.RING_HEADER_BYTES + 32 * schema.SEGMENT_BYTES, on_full=contract.WAIT)
    generators = []

    def stepping():
        with rig.probe(1):
            yield
            yield

    def blocks():
        with rig.probe(2), rig.probe(3), contextlib.suppress(KeyError), rig.probe(4):
            raise KeyError
        for _ in stepping():
            with rig.probe(5):
                pass

    async def task():
        with rig.probe(6):
            await asyncio.sleep(0)
            await asyncio.gather(*(asyncio.to_thread(blocks) for _ in range(2)))

    async def tasks():
        with rig.probe(7):
            await asyncio.gather(*(task() for _ in range(3)))

    def suspend():
        if len(generators) < 100:
            generator = stepping()
            next(generator)
            generators.append(generator)

    def close():
        with contextlib.suppress(IndexError):
            generators.pop().close()

    functions = (blocks, blocks, lambda: asyncio.run(tasks()), suspend, close)
    with recording_threads(*functions, meanwhile=rig.drain):
        end = time.monotonic() + 1
        while time.monotonic() < end:
            rig.drain()
    while generators:
        close()
    rig.core.stop()
    rig.drain()
    assert rig.totals() == (len(rig.rows), len(rig.rows), 0)
    assert contents.entered(rig.agent.file) == len(rig.rows)
    known = {row.span: row for row in rig.rows}
    assert len(known) == len(rig.rows)
    expected = {1: 0, 2: 0, 3: 2, 4: 3, 5: 0, 6: 7, 7: 0}  # of what is not in a task
    for row in rig.rows:
        parent = known[row.parent].operation if row.parent else 0
        assert row.parent < row.span
        assert parent == expected[row.operation] or (row.operation in (1, 2, 5) and parent == 6)
        if row.operation in (3, 4):
            assert known[row.parent].thread == row.thread
            assert known[row.parent].start <= row.start <= row.end <= known[row.parent].end


def test_nothing_follows_a_stop(rig, restart):
    """Threads are in the middle of a sample when a recording ends, and when the next one begins."""

    def blocks():
        for _ in range(100):
            with rig.probe(1), rig.probe(2):
                pass

    with often_switching(), recording_threads(*[blocks] * 3):
        for _ in range(25):
            restart()
            time.sleep(0.0005)
            rig.core.stop()
            rig.drain()
            started, committed, lost = rig.totals()
            assert committed == len(rig.rows)
            assert started - committed - lost in range(7), "at most two blocks in each thread"
            time.sleep(0.001)
            assert rig.drain() == []
            assert rig.totals() == (started, committed, lost)
            rig.close()


def test_the_interpreter_lock_stays_off():
    pytest.importorskip(MODULES["native"])
    assert getattr(sys, "_is_gil_enabled", lambda: True)() == (not FREE_THREADED)


def test_marks_are_changed_in_place():
    """Else each block would copy the context's variables, and cost three times as much."""
    native = pytest.importorskip(MODULES["native"])
    assert (sys.version_info < (3, 15)) == native.MARKS_IN_PLACE


@pytest.mark.skipif(not FREE_THREADED, reason="references are counted by one thread at a time")
def test_references_to_what_threads_share_are_not_counted():
    """Each block of each thread would write the word that counts them."""
    native = pytest.importorskip(MODULES["native"])

    class Probe(native.Probe):
        pass

    probe = Probe()
    probe.probe_id = 1
    once = native.timed(probe, by_operation)
    again = native.timed(probe, lambda: 1)  # may be made any number of times, and must go
    counted = {name: sys.getrefcount(one) < 1000 for name, one in locals().items()}
    assert (counted["probe"], counted["once"], counted["again"]) == (False, False, True)
    assert sys.getrefcount(probe.__enter__) == sys.getrefcount(probe.__exit__) == sys.getrefcount(probe)
