"""Slots: what whoever reads the ring of a killed process knows of open blocks and losses. Each test of the core ends by
comparing them with its account; see `Rig.check_slots`."""

import contextvars
import gc
import threading

import pytest

from quantum_pulse import schema
from quantum_pulse.core import contract
from tests.core.rig import MODULES, ONE_SEGMENT, in_thread

IN_PAGE = (schema.FIRST_SLOTS_END - schema.FIRST_SLOTS_OFFSET) // schema.SLOT_BYTES
IN_SEGMENT = (schema.SEGMENT_BYTES - schema.SLOTS_OFFSET) // schema.SLOT_BYTES


def open_in_contexts(probe, count):
    """`count` blocks that are open at once, each in a context of its own, as tasks are. Returns ways to close them."""
    closing = []
    for _ in range(count):
        context = contextvars.copy_context()
        context.run(probe.__enter__)
        closing.append(lambda context=context: context.run(probe.__exit__, None, None, None))
    return closing


def test_blocks_are_told_while_they_are_open(rig):
    mine = threading.get_native_id()
    with rig.probe(1), rig.probe(2):
        opened, lost, *_ = rig.slots()
        assert opened == {(1, mine): 1, (2, mine): 1}
        other = in_thread(lambda: [rig.probe(2).__enter__(), threading.get_native_id()][1])
        opened, *_ = rig.slots()
        assert opened == {(1, mine): 1, (2, mine): 1, (2, other): 1}
    opened, lost, *_ = rig.slots()
    assert (opened, lost) == ({(2, other): 1}, {}), "a thread that has ended has left it open"


def test_more_than_the_first_page_holds(rig):
    mine = threading.get_native_id()
    for round_ in range(3):
        closing = open_in_contexts(rig.probe(1), IN_PAGE + 2 * IN_SEGMENT + 1)
        opened, _, used, room = rig.slots()
        assert opened == {(1, mine): len(closing)}
        assert (used, room) == (len(closing), IN_PAGE + 3 * IN_SEGMENT), f"round {round_} takes no more segments"
        for close in closing[::2] + closing[1::2]:
            close()
        assert rig.slots()[0] == {}
    assert len(rig.drain()) == 3 * len(closing)
    assert rig.totals() == (3 * len(closing), 3 * len(closing), 0)


def test_what_there_is_no_room_to_tell_is_counted(rig, restart):
    restart(ONE_SEGMENT)
    closing = open_in_contexts(rig.probe(1), IN_PAGE + 10)
    opened, _, used, room = rig.slots()
    assert opened.total() == used == room == IN_PAGE
    assert rig.totals() == (IN_PAGE + 10, 0, 0)
    for close in closing:
        close()
    assert rig.totals() == (IN_PAGE + 10, IN_PAGE + 10, 0)
    assert rig.slots()[0] == {}
    with rig.probe(2):
        assert rig.slots()[0].total() == 1


def test_samples_have_seven_eighths_of_the_segments(rig, restart):
    restart(schema.RING_HEADER_BYTES + 16 * schema.SEGMENT_BYTES)
    closing = open_in_contexts(rig.probe(1), IN_PAGE + 5 * IN_SEGMENT)
    _, _, used, room = rig.slots()
    assert used == room == IN_PAGE + 2 * IN_SEGMENT
    for _ in range(14 * schema.SEGMENT_ROWS + 1):
        with rig.probe(2):
            pass
    assert rig.totals()[2] == 1
    rig.may_tell_less = True  # there is no slot for that one either
    for close in closing:
        close()


def test_losses_of_threads_that_have_ended(rig, restart):
    restart(ONE_SEGMENT)

    def work():
        for _ in range(schema.SEGMENT_ROWS + 10):
            with rig.probe(1):
                pass
        return threading.get_native_id()

    threads = [in_thread(work) for _ in range(3)]
    gc.collect()
    _, lost, *_ = rig.slots()
    expected = [10, schema.SEGMENT_ROWS + 10, schema.SEGMENT_ROWS + 10]
    assert lost.total() == sum(expected)
    if len(set(threads)) == 3:  # the system gives numbers out again
        assert [lost[1, thread] for thread in threads] == expected


def test_a_block_belongs_to_the_thread_that_ends_it(rig):
    def traced():
        with rig.probe(1):
            yield

    generator = traced()
    other = in_thread(lambda: [next(generator), threading.get_native_id()][1])
    assert rig.slots()[0] == {(1, other): 1}
    next(generator, None)
    assert rig.slots()[0] == {}
    accounts = {}
    for row in rig.core.account():
        numbers = accounts.setdefault((row.operation, row.thread), [0, 0, 0])
        numbers[:] = map(sum, zip(numbers, row[2:], strict=True))
    mine = threading.get_native_id()
    assert {key: value for key, value in accounts.items() if any(value)} == {(1, mine): [1, 1, 0]}
    assert [row.thread for row in rig.drain()] == [mine]


def test_a_block_that_outlives_the_recording_leaves_the_next_alone(rig, restart):
    with rig.probe(1):
        restart()
        with rig.probe(2):
            assert {operation for operation, _ in rig.slots()[0]} == {2}
    assert rig.slots()[0] == {}
    assert rig.totals() == (1, 1, 0)


def test_the_sizes_in_c_are_those_of_the_schema():
    native = pytest.importorskip(MODULES["native"])
    assert (native.SLOT_BYTES, native.SLOTS_OFFSET) == (schema.SLOT_BYTES, schema.SLOTS_OFFSET)


def test_a_flight_recorder_tells_what_is_open_although_it_is_full(rig, restart):
    restart(schema.RING_HEADER_BYTES + 16 * schema.SEGMENT_BYTES, on_full=contract.OVERWRITE)
    for _ in range(20 * schema.SEGMENT_ROWS):
        with rig.probe(2):
            pass
    closing = open_in_contexts(rig.probe(1), 1000)
    opened, lost, *_ = rig.slots()
    assert opened == {(1, threading.get_native_id()): 1000}
    assert lost.total() == rig.totals()[2] >= 5 * schema.SEGMENT_ROWS
    for close in closing:
        close()
