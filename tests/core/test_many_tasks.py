"""A thousand tasks at once, on asyncio's loops and on trio, with all that ends them."""

import asyncio
import contextlib
import random

import anyio
import pytest

from tests.core.rig import by_operation

TASKS = 1000
CALL, STEP, CHILD = 1, 2, 3


def check_nesting(rows):
    """Each step belongs to a call of its own task, and lies within it. Returns the calls."""
    calls, steps = (by_operation(rows)[operation] for operation in (CALL, STEP))
    known = {row.span: row for row in rows}
    assert len(known) == len(rows)
    for row in steps:
        parent = known[row.parent]
        assert (parent.operation, parent.task) == (CALL, row.task)
        assert parent.start <= row.start
        assert row.end <= parent.end
    return calls


def limit(seed):
    """Seconds that a task has: for some plenty, for others hardly enough."""
    return 60 if seed % 3 == 0 else random.Random(TASKS + seed).random() * 0.03


async def call(rig, seed, sleep):
    """A call of three steps, at times of its own."""
    times = random.Random(seed)
    with rig.probe(CALL):
        for _ in range(3):
            with rig.probe(STEP):
                await sleep(times.random() * 0.01)


@pytest.mark.parametrize("way", ["gather", "TaskGroup"])
def test_a_thousand(rig, restart, way):
    restart(2**23)

    async def main():
        if way == "gather":
            await asyncio.gather(*(call(rig, seed, asyncio.sleep) for seed in range(TASKS)))
            return
        async with asyncio.TaskGroup() as group:
            for seed in range(TASKS):
                group.create_task(call(rig, seed, asyncio.sleep))

    asyncio.run(main())
    rows = rig.drain()
    assert len(rows) == 4 * TASKS
    calls = check_nesting(rows)
    assert {row.parent for row in calls} == {0}
    assert len({row.task for row in calls}) == TASKS
    assert rig.totals() == (4 * TASKS, 4 * TASKS, 0)


def test_timeouts_and_cancellation(rig, restart):
    restart(2**23)
    seeds = range(TASKS)

    async def main():
        async def with_timeout(seed):
            async with asyncio.timeout(limit(seed)):
                await call(rig, seed, asyncio.sleep)

        tasks = [asyncio.create_task(with_timeout(seed)) for seed in seeds]
        await asyncio.sleep(0.01)
        for task in random.Random(1).sample(tasks, TASKS // 10):
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    ended = asyncio.run(main())
    assert {type(one) for one in ended} == {type(None), TimeoutError, asyncio.CancelledError}
    rows = rig.drain()
    calls = check_nesting(rows)
    # A task that was cancelled before its first step has recorded nothing.
    cut = sum(one is not None for one in ended)
    assert 0 < sum(rig.error(row) == "CancelledError" for row in calls) <= cut
    assert sum(rig.error(row) == "" for row in calls) == TASKS - cut
    started, committed, lost = rig.totals()
    assert (committed, lost) == (started, 0), "nothing is left open"


def test_tasks_that_tasks_start_inside_of_spans(rig, restart):
    restart(2**23)

    async def child():
        with rig.probe(CHILD):
            await asyncio.sleep(0)

    async def parent():
        with rig.probe(CALL):
            async with asyncio.TaskGroup() as group:
                for _ in range(5):
                    with rig.probe(STEP):
                        group.create_task(child())
                        await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(parent() for _ in range(TASKS // 5)))

    asyncio.run(main())
    rows = rig.drain()
    check_nesting(rows)
    known = {row.span: row for row in rows}
    children = by_operation(rows)[CHILD]
    assert len(children) == TASKS
    assert {known[row.parent].operation for row in children} == {STEP}
    assert all(known[row.parent].task != row.task for row in children)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_through_anyio(rig, restart, backend):
    pytest.importorskip(backend)
    restart(2**23)

    async def cut_short(seed):
        with anyio.move_on_after(limit(seed)):
            await call(rig, seed, anyio.sleep)

    async def main():
        with rig.probe(CHILD):
            async with anyio.create_task_group() as group:
                for seed in range(TASKS):
                    group.start_soon(cut_short, seed)

    anyio.run(main, backend=backend)
    rows = rig.drain()
    calls = check_nesting(rows)
    (outermost,) = by_operation(rows)[CHILD]
    assert {row.parent for row in calls} == {outermost.span}
    errors = {rig.error(row) for row in rows}
    assert errors == {"", "CancelledError" if backend == "asyncio" else "Cancelled"}
    if backend == "trio":
        assert {row.task for row in rows} == {0}, "these are not asyncio's"
    started, committed, lost = rig.totals()
    assert (committed, lost) == (started, 0)


def test_on_uvloop(rig, restart):
    uvloop = pytest.importorskip("uvloop")
    restart(2**23)

    async def main():
        await asyncio.gather(*(call(rig, seed, asyncio.sleep) for seed in range(TASKS)))

    with contextlib.closing(uvloop.new_event_loop()) as loop:
        loop.run_until_complete(main())
    rows = rig.drain()
    assert len({row.task for row in check_nesting(rows)}) == TASKS
