"""Blocks that are objects: ended anywhere, and given their operation late."""

import asyncio
import contextvars
import gc
import os
import threading
from collections import Counter

import pytest

from tests.core.rig import by_operation, in_thread


def open_blocks(rig):
    """Open blocks by operation, as the ring file says."""
    found = Counter()
    for (operation, _), count in rig.slots()[0].items():
        found[operation] += count
    return found


def balances(rig):
    """Started, committed and lost add up for each operation and thread."""
    totals = {}
    for one in rig.core.account():
        started, ended = totals.get((one.operation, one.thread), (0, 0))
        totals[one.operation, one.thread] = started + one.started, ended + one.committed + one.lost
    return all(started == ended for started, ended in totals.values())


def test_a_block_encloses_what_runs_until_it_ends(rig):
    with rig.probe(1):
        block = rig.core.Block(rig.probe(2))
        with rig.probe(3):
            pass
        assert open_blocks(rig) == {1: 1, 2: 1}
        block.end()
        block.end()
        with rig.probe(4):
            pass
    rows = by_operation(rig.drain())
    assert len(rows[2]) == 1
    assert rows[2][0].parent == rows[4][0].parent == rows[1][0].span
    assert rows[3][0].parent == rows[2][0].span
    assert rows[2][0].start <= rows[3][0].start <= rows[3][0].end <= rows[2][0].end <= rows[4][0].start
    assert balances(rig)


def test_what_outlives_a_block_is_inside_of_it_and_goes_on(rig):
    block = rig.core.Block(rig.probe(1))
    with rig.probe(2):
        block.end()
        with rig.probe(3):
            pass
    with rig.probe(4):
        pass
    rows = by_operation(rig.drain())
    assert rows[2][0].parent == rows[1][0].span
    assert rows[2][0].end > rows[1][0].end
    assert rows[3][0].parent == rows[2][0].span
    assert rows[4][0].parent == 0


def test_an_error_is_named(rig):
    block = rig.core.Block(rig.probe(1))
    block.end(KeyError)
    assert rig.error(rig.drain()[0]) == "KeyError"


def test_a_block_of_another_probe_after_all(rig):
    block = rig.core.Block(rig.probe(1))
    with rig.probe(3):
        pass
    block.become(rig.probe(2))
    assert open_blocks(rig) == {2: 1}
    block.become(rig.probe(2))
    block.end()
    block.become(rig.probe(1))
    rows = by_operation(rig.drain())
    assert set(rows) == {2, 3}
    assert rows[3][0].parent == rows[2][0].span
    assert rows[3][0].start > rows[2][0].start
    assert balances(rig)
    started = Counter()
    for one in rig.core.account():
        started[one.operation] += one.started
    assert +started == {2: 1, 3: 1}


def test_with_does_not_end_a_block_that_is_held(rig):
    block = rig.core.Block(rig.probe(1))
    with rig.probe(1):
        pass
    rig.probe(1).__exit__(None, None, None)
    assert len(rig.drain()) == 1
    block.end()
    assert len(rig.drain()) == 1
    assert balances(rig)


@pytest.mark.parametrize("renames", [False, True])
def test_a_block_is_ended_in_another_thread(rig, renames):
    block = rig.core.Block(rig.probe(1))

    def end():
        if renames:
            block.become(rig.probe(2))
        block.end()
        return threading.get_native_id()

    other = in_thread(end)
    with rig.probe(3):
        pass
    rows = {row.operation: row for row in rig.drain()}
    assert rows[2 if renames else 1].thread == other
    assert rows[3].parent == 0
    assert balances(rig)


def test_a_block_is_renamed_in_one_thread_and_ended_in_another(rig):
    block = rig.core.Block(rig.probe(1))
    in_thread(block.become, rig.probe(2))
    assert open_blocks(rig) == {2: 1}
    in_thread(block.become, rig.probe(3))
    block.end()
    assert [row.operation for row in rig.drain()] == [3]
    assert balances(rig)


def test_a_block_is_ended_in_a_task_that_was_created_inside_of_it(rig):
    async def child(block):
        with rig.probe(2):
            pass
        block.end()
        with rig.probe(3):
            pass

    async def late(go):
        await go.wait()
        with rig.probe(4):
            pass

    async def main():
        go = asyncio.Event()
        block = rig.core.Block(rig.probe(1))
        tasks = [asyncio.create_task(child(block)), asyncio.create_task(late(go))]
        await tasks[0]
        with rig.probe(5):
            go.set()
            await tasks[1]
        await asyncio.create_task(late(go))

    asyncio.run(main())
    rows = by_operation(rig.drain())
    assert rows[2][0].parent == rows[1][0].span
    assert rows[3][0].parent == 0, "it began after the block had ended"
    assert [row.parent for row in rows[4]] == [0, 0], "also where the task was created before"
    assert rows[5][0].parent == 0
    assert balances(rig)


def test_what_began_before_the_end_keeps_its_parent_in_all_tasks(rig):
    async def child(go):
        with rig.probe(2):
            await go.wait()
            with rig.probe(3):
                pass
        with rig.probe(4):
            pass

    async def main():
        go = asyncio.Event()
        with rig.probe(5):
            block = rig.core.Block(rig.probe(1))
            task = asyncio.create_task(child(go))
            await asyncio.sleep(0)
            block.end()
            go.set()
            await task

    asyncio.run(main())
    rows = by_operation(rig.drain())
    assert rows[2][0].parent == rows[1][0].span
    assert rows[3][0].parent == rows[2][0].span
    assert rows[4][0].parent == rows[5][0].span, "what encloses the block encloses what comes after it"


def test_contexts_that_were_copied_and_recorded_nothing_yet(rig):
    with rig.probe(7):
        pass
    block = rig.core.Block(rig.probe(1))
    before = contextvars.copy_context()
    block.end()
    for context in (before, contextvars.copy_context()):
        context.run(lambda: rig.probe(2).__enter__() and rig.probe(2).__exit__(None, None, None))
    assert [row.parent for row in rig.drain() if row.operation == 2] == [0, 0]


def test_a_block_that_is_given_up_ends(rig):
    block = rig.core.Block(rig.probe(1))
    del block
    gc.collect()
    rows = rig.drain()
    assert [(row.operation, rig.error(row)) for row in rows] == [(1, "GeneratorExit")]
    with rig.probe(2):
        pass
    assert rig.drain()[0].parent == 0


def test_blocks_and_recordings_that_end(rig, restart):
    block = rig.core.Block(rig.probe(1))
    rig.core.stop()
    block.become(rig.probe(2))
    outside = rig.core.Block(rig.probe(1))
    restart()
    outside.end()
    block.end()
    with rig.probe(3):
        pass
    assert [(row.operation, row.parent) for row in rig.drain()] == [(3, 0)]
    assert rig.totals() == (1, 1, 0)


def test_sampled_and_detailed_blocks(rig, restart):
    rig.probe(1).probe_every = 4
    for _ in range(400):
        block = rig.core.Block(rig.probe(1))
        with rig.probe(2):
            pass
        block.end()
    rows = by_operation(rig.drain())
    assert len(rows[1]) == 100
    assert sum(row.weight for row in rows[1]) == 400
    assert sum(row.parent == 0 for row in rows[2]) == 300
    restart(production=True)
    rig.probe(3).probe_detail = True
    rig.core.Block(rig.probe(3)).end()
    assert rig.drain() == []


def test_the_wrong_arguments(rig):
    with pytest.raises(TypeError):
        rig.core.Block("request")
    block = rig.core.Block(rig.probe(1))
    with pytest.raises(TypeError):
        block.become("request")
    block.end()


def test_thousands_of_blocks_leave_nothing(rig):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def some():
        for number in range(3_000):
            block = rig.core.Block(rig.probe(1))
            block.become(rig.probe(2 + number % 3))
            contextvars.copy_context().run(block.end)
            if number % 500 == 0:
                rig.drain()
                rig.rows.clear()

    for _ in range(5):  # until the rings have been used once
        some()
    before = resident()
    for _ in range(5):
        some()
    assert resident() - before < 2_000_000
    assert balances(rig)
