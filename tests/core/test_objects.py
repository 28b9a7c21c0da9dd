"""Finalisers that record, and objects that nothing must keep alive."""

import asyncio
import contextlib
import contextvars
import functools
import gc
import sys
from collections import Counter

import pytest

from tests.core.rig import FREE_THREADED, by_operation, nested, stepping


class Garbage:
    """A cycle whose finaliser runs `action` when the collector comes by."""

    def __init__(self, action):
        self.action = action
        self.me = self

    def __del__(self):
        self.action()


@contextlib.contextmanager
def eager_collector():
    """Collections as often as Python can, once enabled; the block enables it itself.

    That is at every allocation, but where it is free-threaded: there a thread counts 512 of them first.
    """
    thresholds = gc.get_threshold()
    gc.collect()
    gc.disable()
    gc.set_threshold(1, 0 if FREE_THREADED else 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.enable()


def test_a_finaliser_that_records_while_a_span_of_a_generator_opens(rig):
    probe, action = rig.probe(1), functools.partial(nested, rig, 2, 3)

    def generator():
        Garbage(action)
        gc.enable()
        with probe:
            gc.disable()
        yield

    nested(rig, 1, 2, 3)
    rig.drain()
    with eager_collector():
        for _ in range(50):
            list(generator())
    gc.collect()
    found = Counter(row.operation for row in rig.drain())
    assert found == {1: 50, 2: 50, 3: 50}
    assert rig.totals() == (153, 153, 0)


@pytest.mark.parametrize("depth", [1, 7, 8, 15, 16])
def test_a_finaliser_that_records_while_a_span_of_a_task_opens(rig, depth):
    """Also when the stack of open spans grows meanwhile."""
    brackets = []
    probe, action = rig.probe(1), functools.partial(nested, rig, *[2] * 20)

    async def main():
        with contextlib.ExitStack() as stack:
            for _ in range(depth - 1):
                stack.enter_context(rig.probe(9))
            for _ in range(50):
                Garbage(action)
                before = rig.core.now()
                gc.enable()
                with probe:
                    gc.disable()
                    after = rig.core.now()
                brackets.append((before, after))

    nested(rig, 1, 2, 9)
    rig.drain()
    rig.rows.clear()
    with eager_collector():
        asyncio.run(main())
    gc.collect()
    rows = by_operation(rig.drain())
    assert len(rows[1]) == 50
    assert len(rows[2]) == 1000
    assert all(before <= row.start <= after for row, (before, after) in zip(rows[1], brackets, strict=True))
    started, committed, lost = rig.totals()
    assert started == committed == len(rig.rows) + 3
    assert lost == 0


def test_spans_keep_no_objects_alive(rig):
    """Tasks, contexts and generators that are gone leave no objects of ours behind."""

    async def task():
        with rig.probe(1):
            await asyncio.sleep(0)
        list(stepping(rig, 2))

    async def tasks():
        await asyncio.gather(*(task() for _ in range(20)))

    def rounds(count):
        for _ in range(count):
            asyncio.run(tasks())
            list(stepping(rig, 2))
            contextvars.copy_context().run(nested, rig, 1, 2)
        rig.drain()
        rig.rows.clear()
        gc.collect()
        return sys.getallocatedblocks()

    rounds(3)
    before = rounds(1)
    after = rounds(100)
    # 2,000 tasks: one block kept for each would show.
    assert after - before < 1000
