"""Code that records while the core itself is at work: signal handlers, weak references, the collector's callbacks."""

import asyncio
import contextlib
import gc
import signal
import threading
import time
import weakref

import pytest

from tests.core.rig import FREE_THREADED, by_operation, in_thread, nested, stepping
from tests.core.test_objects import Garbage, eager_collector


def churn(rig, rounds):
    """All ways of recording, new types of errors, new threads and new contexts among them."""
    for number in range(rounds):
        nested(rig, 1, 2, 3)
        kind = type(f"Error{number % 50}", (Exception,), {})
        with contextlib.suppress(kind), rig.probe(4):
            raise kind
        rig.core.timed(rig.probe(5), len)([])
        list(stepping(rig, 6))
        if number % 20 == 0:
            asyncio.run(task(rig))
            thread = threading.Thread(target=nested, args=(rig, 7))
            thread.start()
            thread.join()


async def task(rig):
    with rig.probe(8):
        await asyncio.gather(*(inner(rig) for _ in range(3)))


async def inner(rig):
    with rig.probe(9):
        await asyncio.sleep(0)
        nested(rig, 10)


def check(rig, intruders):
    """Nothing missing, nothing twice, and each row inside of its parent in the same thread, where that is known."""
    rig.drain()
    started, committed, lost = rig.totals()
    assert (started, lost) == (committed, 0)
    assert committed == len(rig.rows)
    assert len({row.span for row in rig.rows}) == len(rig.rows)
    rows = by_operation(rig.rows)
    for operation, times in intruders.items():
        assert len(rows.get(operation, ())) == times
    known = {row.span: row for row in rig.rows}
    for row in rig.rows:
        assert row.parent == 0 or row.parent in known
        if row.operation in (2, 3):  # whoever comes in between is a child, never a parent
            assert known[row.parent].operation == row.operation - 1


def test_a_signal_handler(rig):
    times = [0]

    def handler(number, frame):
        times[0] += 1
        with contextlib.suppress(KeyError), rig.probe(101), rig.probe(102):
            raise KeyError

    before = signal.signal(signal.SIGVTALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)  # SIGALRM is what ends a test that hangs
        end = time.monotonic() + 20
        while times[0] < 200 and time.monotonic() < end:
            churn(rig, 20)
            rig.drain()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    assert times[0] >= 200
    check(rig, {101: times[0], 102: times[0]})


@pytest.mark.parametrize("what", ["collector", "finaliser", "weak reference"])
def test_collections_while_the_core_allocates(rig, what):
    """A collection begins wherever something is allocated, in the middle of the core too."""
    times, calls, busy, watched = [0], [0], [False], []
    often, rounds = (1, 20) if FREE_THREADED and what == "collector" else (101, 1)  # collections are fewer there

    def record(*_):
        if not busy[0]:  # what it does makes garbage as well
            busy[0] = True
            times[0] += 1
            nested(rig, 101, 102)
            busy[0] = False

    def litter():
        if what == "finaliser":
            Garbage(record)
        elif what == "weak reference":
            cycle = Garbage(int)
            watched.append(weakref.ref(cycle, record))

    def on_collection(phase, info):
        calls[0] += 1
        if calls[0] % often == 0:  # there are many, and not only where the last one was
            record()

    if what == "collector":
        gc.callbacks.append(on_collection)
    try:
        with eager_collector():
            gc.freeze()  # what is there already would be looked at each time
            gc.enable()
            for _ in range(60):
                litter()
                churn(rig, rounds)
                rig.drain()
            gc.disable()
            gc.unfreeze()
        gc.collect()
    finally:
        if what == "collector":
            gc.callbacks.remove(on_collection)
    assert times[0] > 50
    check(rig, {101: times[0], 102: times[0]})


@pytest.mark.skipif(FREE_THREADED, reason="a collection needs more objects than a first sample makes")
def test_a_collection_while_the_core_takes_room(rig):
    """A thread's first sample takes a segment. What a collection anywhere in the midst of that records is kept too."""
    own, times = threading.local(), [0]

    def on_collection(phase, info):
        if getattr(own, "until", 0):
            own.until -= 1
            if not own.until:
                times[0] += 1
                nested(rig, 101, 102)

    def first_sample(number):
        own.until = number
        nested(rig, 1)
        own.until = 0

    gc.callbacks.append(on_collection)
    try:
        with eager_collector():
            gc.freeze()
            gc.enable()
            for number in range(1, 200):
                in_thread(first_sample, number)
                rig.drain()
            gc.disable()
            gc.unfreeze()
    finally:
        gc.callbacks.remove(on_collection)
    assert times[0] > 5
    check(rig, {1: 199, 101: times[0], 102: times[0]})


@pytest.fixture
def own_callbacks():
    """No callbacks of collections but ours: Python swallows what is raised in one, an interrupt too."""
    others = [one for one in gc.callbacks if not getattr(one, "__module__", "").startswith("quantum_pulse")]
    for one in others:
        gc.callbacks.remove(one)
    yield
    gc.callbacks.extend(others)


def test_a_handler_that_raises(rig, own_callbacks):
    """KeyboardInterrupt at any moment: what it interrupts ends with it, and the account stays exact."""

    def handler(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGVTALRM, handler)
    rig.may_tell_less = rig.core.NAME == "python"
    interrupted = 0
    try:
        for _ in range(100):
            with contextlib.suppress(KeyboardInterrupt):
                try:
                    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0003)
                    while True:
                        nested(rig, 1, 2, 3)
                finally:
                    interrupted += 1
            rig.drain()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    gc.collect()  # an interrupted ExitStack is in cycles, which hold frames of the core and so the mapping
    assert interrupted == 100
    with rig.probe(4):
        pass
    rows = rig.drain()
    assert rows[-1].operation == 4
    started, committed, lost = rig.totals()
    assert lost == 0
    # An interrupt between the end of __enter__ and the block leaves a span open for good, in any context manager.
    assert 0 <= started - committed <= 3 * 100
