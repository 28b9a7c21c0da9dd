"""Sampling, details, full rings and watched probes."""

import os
import threading
import time
from collections import Counter
from itertools import pairwise

import pytest

from quantum_pulse import schema
from quantum_pulse.core import contract
from tests.core.rig import by_operation, in_thread, stepping


def budget(segments):
    return schema.RING_HEADER_BYTES + segments * schema.SEGMENT_BYTES


def repeat(probe, count):
    for _ in range(count):
        with probe:
            pass


def sampled(rig, number, every):
    probe = rig.probe(number)
    probe.probe_every = every
    return probe


def summed(rig):
    """The account by operation: started, committed, lost."""
    found = Counter()
    for row in rig.core.account():
        for name in ("started", "committed", "lost"):
            found[row.operation, name] += getattr(row, name)
    return found


# ---- sampling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [2, 7, 100])
def test_one_of_each_round_is_recorded(rig, every):
    repeat(sampled(rig, 1, every), 50 * every)
    rig.drain()
    assert [row.weight for row in rig.rows] == [every] * 50
    assert rig.totals() == (50, 50, 0)
    assert [row.span for row in rig.rows] == list(range(rig.rows[0].span, rig.rows[0].span + 50))


def test_which_one_is_random(rig):
    """The number of unsampled calls between two samples varies; were it fixed, the sum of two would always be one."""
    probe, marker = sampled(rig, 1, 10), rig.probe(2)
    for _ in range(500):
        with probe:
            pass
        with marker:
            pass
    rig.drain()
    places = [place for place, row in enumerate(rig.rows) if row.operation == 1]
    gaps = {after - before for before, after in pairwise(places)}
    assert len(places) == 50
    assert len(gaps) > 5


def test_threads_sample_for_themselves(rig):
    probe = sampled(rig, 1, 10)
    for _ in range(20):
        in_thread(repeat, probe, 10)
    rig.drain()
    assert [row.weight for row in rig.rows] == [10] * 20


def test_what_is_left_out_is_nobodys_parent(rig):
    outer, some, inner = rig.probe(1), sampled(rig, 2, 5), rig.probe(3)
    for _ in range(50):
        with outer, some, inner:
            pass
    rig.drain()
    found = by_operation(rig.rows)
    operation = {row.span: row.operation for row in rig.rows}
    assert Counter(operation[row.parent] for row in found[3]) == {1: 40, 2: 10}
    assert {operation[row.parent] for row in found[2]} == {1}


def test_recursion(rig):
    probe = sampled(rig, 1, 4)

    def dive(depth):
        with probe:
            if depth:
                dive(depth - 1)

    for _ in range(25):
        dive(7)
    rig.drain()
    assert len(rig.rows) == 50
    assert rig.totals() == (50, 50, 0)


def test_generators_beside_blocks(rig):
    """A generator's span is ended by the generator, not by a block of the same probe that was left out."""
    probe, inner = sampled(rig, 1, 3), rig.probe(2)

    def generator():
        with probe:
            yield
            with inner:
                pass
            yield

    for _ in range(30):
        one, other = generator(), generator()
        with probe:
            next(one)
            next(other)
            with probe:
                next(one)
            other.close()
        list(one)
    rig.drain()
    assert len(by_operation(rig.rows)[1]) == 40
    assert len(by_operation(rig.rows)[2]) == 30
    assert rig.totals() == (70, 70, 0)


def test_an_exception_in_a_call_that_is_left_out(rig):
    probe = sampled(rig, 1, 1000)
    for _ in range(100):
        with pytest.raises(KeyError), probe:
            raise KeyError
    assert rig.totals() in [(0, 0, 0), (1, 1, 0)]


def test_samples_that_were_measured_elsewhere(rig):
    probe = sampled(rig, 1, 5)
    for number in range(100):
        rig.core.add(probe, number, 7, None)
    rig.drain()
    assert [(row.duration, row.weight) for row in rig.rows] == [(7, 5)] * 20


def test_timed_functions_are_sampled(rig):
    function = rig.core.timed(sampled(rig, 1, 5), len)
    assert [function("ab") for _ in range(100)] == [2] * 100
    rig.drain()
    assert [row.weight for row in rig.rows] == [5] * 20


# ---- details ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("production", [False, True])
def test_details(rig, restart, production):
    restart(production=production)
    outer, detail, inner = rig.probe(1), rig.probe(2), rig.probe(3)
    detail.probe_detail = True
    with outer, detail, inner:
        rig.core.timed(detail, len)("")
        rig.core.add(detail, 1, 1, None)
    rig.drain()
    found = by_operation(rig.rows)
    assert len(found.get(2, ())) == (0 if production else 3)
    expected_parent = found[1][0].span if production else next(row.span for row in found[2] if row.duration > 1)
    if production:
        assert found[3][0].parent == expected_parent
    rig.drain()
    assert rig.totals() == ((2, 2, 0) if production else (5, 5, 0))


# ---- full rings ------------------------------------------------------------------------------------------------------


def test_overwriting(rig, restart):
    restart(budget(4), on_full=contract.OVERWRITE)
    one, other = rig.probe(1), rig.probe(2)
    for _ in range(5000):
        with one:
            pass
    for _ in range(5000):
        with one, other:
            pass
    rig.drain()
    spans = [row.span for row in rig.rows]
    assert 3 * schema.SEGMENT_ROWS < len(rig.rows) <= 4 * schema.SEGMENT_ROWS
    assert len(set(spans)) == len(spans)
    assert max(spans) - min(spans) <= len(spans), "the newest, but for one whose inner one was lost"
    found, kept = summed(rig), Counter(row.operation for row in rig.rows)
    for operation, started in ((1, 10_000), (2, 5_000)):
        assert found[operation, "started"] == started
        assert found[operation, "committed"] == kept[operation]
        assert found[operation, "lost"] == started - kept[operation]
    losses = rig.core.losses()
    assert rig.core.losses() == losses, "those since the start, each time"
    assert {loss.cause for loss in losses} == {contract.OVERWRITTEN}
    assert {loss.thread for loss in losses} == {threading.get_native_id()}
    assert sum(loss.samples for loss in losses) == 15_000 - len(spans)
    assert all(loss.first_ns < loss.last_ns <= max(row.end for row in rig.rows) for loss in losses)
    assert rig.agent["lost"] == 15_000 - len(spans)


def test_what_is_being_written_is_not_overwritten(rig, restart):
    restart(budget(4), on_full=contract.OVERWRITE)
    repeat(rig.probe(1), 3 * schema.SEGMENT_ROWS)
    batch = rig.drain(release=False)
    repeat(rig.probe(2), 5 * schema.SEGMENT_ROWS)
    rig.agent.release()
    rig.drain()
    assert len(batch) == 3 * schema.SEGMENT_ROWS
    assert summed(rig)[1, "lost"] == 0
    assert summed(rig)[2, "lost"] == 5 * schema.SEGMENT_ROWS - sum(row.operation == 2 for row in rig.rows)


def test_threads_that_ended_are_overwritten_too(rig, restart):
    restart(budget(4), on_full=contract.OVERWRITE)
    for _ in range(50):
        in_thread(repeat, rig.probe(1), 10)
    repeat(rig.probe(2), 100)
    rig.drain()
    kept = Counter(row.operation for row in rig.rows)
    assert kept[2] == 100
    assert kept[1] >= 10
    assert summed(rig)[1, "started"] == 500
    assert summed(rig)[1, "lost"] == 500 - kept[1]


def test_waiting(rig, restart):
    restart(budget(2), on_full=contract.WAIT)
    going = threading.Event()

    def drain():
        while not going.is_set():
            time.sleep(0.001)
            rig.drain()

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        repeat(rig.probe(1), 10_000)
    finally:
        going.set()
        thread.join()
    rig.drain()
    assert len(rig.rows) == 10_000
    assert rig.totals() == (10_000, 10_000, 0)


def test_waiting_ends_with_the_recording(rig, restart):
    restart(budget(1), on_full=contract.WAIT)
    thread = threading.Thread(target=repeat, args=(rig.probe(1), 2 * schema.SEGMENT_ROWS))
    thread.start()
    time.sleep(0.1)
    assert thread.is_alive()
    rig.core.stop()
    thread.join(3)
    assert not thread.is_alive()


def test_waiting_in_vain_is_not_repeated(rig, restart):
    """Nobody drains: the program goes on after a while, and does not wait for each sample again."""
    if rig.core.NAME == "python":
        pytest.skip("the same rule, and five seconds more")
    restart(budget(1), on_full=contract.WAIT)
    began = time.monotonic()
    repeat(rig.probe(1), 2 * schema.SEGMENT_ROWS)
    assert contract.LONGEST_WAIT_NS / 1e9 <= time.monotonic() - began < 2 * contract.LONGEST_WAIT_NS / 1e9
    assert rig.totals()[2] == schema.SEGMENT_ROWS
    rig.drain()
    repeat(rig.probe(1), schema.SEGMENT_ROWS)
    assert rig.totals()[2] == schema.SEGMENT_ROWS, "there is room again"


# ---- the account of many threads -------------------------------------------------------------------------------------


def test_threads_that_ended_do_not_pile_up(rig):
    for number in range(5000):
        in_thread(repeat, rig.probe(1), 2)
        if number % 50 == 0:
            rig.drain()
    rig.drain()
    assert rig.totals() == (10_000, 10_000, 0)
    rows = rig.core.account()
    assert len(rows) <= 4097
    assert any(row.thread == 0 for row in rows)


# ---- watching --------------------------------------------------------------------------------------------------------


def test_watched_probes(rig, restart):
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        restart(wake_fd=writing)
        repeat(rig.probe(1), 10)
        rig.core.watch(1, 1_000_000, False)
        rig.core.watch(2, 0, True)
        repeat(rig.probe(1), 10)
        repeat(rig.probe(2), 10)
        with pytest.raises(KeyError), rig.probe(1):
            raise KeyError
        assert rig.agent.trips() == []
        with pytest.raises(BlockingIOError):
            os.read(reading, 10)
        with rig.probe(1):
            time.sleep(0.002)
        with pytest.raises(KeyError), rig.probe(2):
            raise KeyError
        assert len(os.read(reading, 10)) == 1, "once is enough"
        slow, failed = rig.agent.trips()
        rig.drain()
        spans = {row.span: row for row in rig.rows}
        assert slow == (1, 0, slow.span, spans[slow.span].duration)
        assert slow.duration_ns > 2_000_000
        assert (failed.operation, rig.errors[failed.error]) == (2, "KeyError")
        assert spans[failed.span].error == failed.error
        assert rig.agent.trips() == []
        for _ in range(2):
            for _ in range(100):
                rig.core.add(rig.probe(1), 0, 2_000_000, None)
            assert len(os.read(reading, 10)) == 1, "and again once they were taken"
            added = [row.span for row in rig.drain()]
            assert len(added) == 100
            assert [trip.span for trip in rig.agent.trips()] == added[: schema.TRIPS], "the first few"
        assert rig.agent["trips"] == rig.agent["taken_trips"] == 2 + 2 * schema.TRIPS
    finally:
        os.close(reading)
        os.close(writing)


def test_a_generator_that_is_left_suspended(rig):
    probe = sampled(rig, 1, 2)
    held = [stepping(rig, 1) for _ in range(10)]
    for generator in held:
        next(generator)
    del held, generator
    repeat(probe, 2)
    started, committed, lost = rig.totals()
    assert (started, lost) == (committed, 0)


# ---- the brake -------------------------------------------------------------------------------------------------------


def test_rings_that_fill_slow_the_program_down(rig, restart):
    segments = contract.BRAKE_SEGMENTS
    restart(budget(segments))
    began = time.monotonic()
    repeat(rig.probe(1), segments * schema.SEGMENT_ROWS)
    # A pause for each segment of the second half, a third of the longest on average.
    assert time.monotonic() - began > 0.8 * segments / 2 / 3 * contract.BRAKE_NS / 1e9
    assert rig.totals()[2] == 0
    began = time.monotonic()
    repeat(rig.probe(1), 4 * schema.SEGMENT_ROWS)
    assert time.monotonic() - began < 3, "not for each sample that is lost"
    assert rig.totals()[2] == 4 * schema.SEGMENT_ROWS


def test_the_more_threads_record_the_longer_each_pauses(rig, restart):
    segments = contract.BRAKE_SEGMENTS
    restart(budget(segments))
    probe, over = rig.probe(1), threading.Event()

    def record_and_wait():
        repeat(probe, 1)
        over.wait()

    idle = [threading.Thread(target=record_and_wait) for _ in range(4 * contract.BRAKE_THREADS - 1)]
    for thread in idle:
        thread.start()
    try:
        began = time.monotonic()
        repeat(probe, (segments - len(idle)) * schema.SEGMENT_ROWS)
        # As above, but four times as long.
        assert time.monotonic() - began > 0.8 * 4 * segments / 2 / 3 * contract.BRAKE_NS / 1e9
    finally:
        over.set()
        for thread in idle:
            thread.join()
    assert rig.totals()[2] == 0


def test_whoever_makes_room_meanwhile_makes_it_in_time(rig, restart):
    """One thread fills rings much faster than another empties them: it is slowed, and nothing is lost."""
    restart(budget(contract.BRAKE_SEGMENTS))
    going = threading.Event()

    def drain():
        while not going.is_set():
            rig.drain(release=False, most=10 * schema.SEGMENT_ROWS)
            time.sleep(0.005)
            rig.agent.release()
            rig.agent["released_ns"] = rig.core.now()

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        repeat(rig.probe(1), 300 * schema.SEGMENT_ROWS)
    finally:
        going.set()
        thread.join()
    assert rig.totals()[2] == 0
