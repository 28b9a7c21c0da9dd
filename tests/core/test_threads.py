"""Spans of many threads."""

import gc
import sys
import threading
import time
from collections import Counter

from quantum_pulse import schema
from tests.core.rig import by_operation, in_thread


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

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    for number, rows in by_operation(rig.drain()).items():
        assert [rig.errors[row.error] for row in rows] == [f"E{number}x{index}" for index in range(each)]
