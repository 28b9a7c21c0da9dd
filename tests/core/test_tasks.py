"""Spans of asyncio's tasks, and of contexts that are copied."""

import asyncio
import contextlib
import contextvars
import threading

import pytest

from tests.core.rig import by_operation, in_thread


def test_tasks_that_interleave(rig):
    async def work(number):
        with rig.probe(number):
            for _ in range(3):
                await asyncio.sleep(0)
                with rig.probe(100 + number):
                    await asyncio.sleep(0)
                    with rig.probe(200 + number):
                        await asyncio.sleep(0.001 * (number % 3))

    async def main():
        await asyncio.gather(*(work(number) for number in range(50)))

    asyncio.run(main())
    rows = rig.drain()
    assert len(rows) == 50 * 7
    spans = {row.span: row for row in rows}
    tasks = {}
    for row in rows:
        level, number = divmod(row.operation, 100)
        tasks.setdefault(number, set()).add(row.task)
        if level == 0:
            assert row.parent == 0
        else:
            assert spans[row.parent].operation == row.operation - 100
            assert spans[row.parent].start <= row.start
            assert row.end <= spans[row.parent].end
    assert all(len(numbers) == 1 for numbers in tasks.values()), "a task has one number"
    numbers = {number for found in tasks.values() for number in found}
    assert len(numbers) == 50, "and no two have the same"
    assert min(numbers) > 0
    assert rig.totals() == (350, 350, 0)


def test_task_is_0_outside_of_tasks(rig):
    seen = []

    async def main():
        loop = asyncio.get_running_loop()
        called = asyncio.Event()

        def callback():
            with rig.probe(2):
                called.set()

        loop.call_soon(callback)
        await called.wait()
        with rig.probe(3):
            pass
        with rig.probe(3):
            pass
        await asyncio.to_thread(seen.append, 1)

    with rig.probe(1):
        asyncio.run(main())
    with rig.probe(4):
        pass
    rows = by_operation(rig.drain())
    assert rows[1][0].task == rows[2][0].task == rows[4][0].task == 0
    assert rows[3][0].task == rows[3][1].task > 0


def test_numbers_of_tasks_are_not_used_twice(rig):
    async def one():
        with rig.probe(1):
            await asyncio.sleep(0)

    for _ in range(3):
        asyncio.run(one())

    async def more():
        for _ in range(5):
            await asyncio.create_task(one())

    asyncio.run(more())
    assert len({row.task for row in rig.drain()}) == 8


def test_a_child_task_inherits_the_span_that_was_open(rig):
    async def child(operation, gate):
        await gate.wait()
        with rig.probe(operation):
            await asyncio.sleep(0)

    async def main():
        gate = asyncio.Event()
        with rig.probe(1):
            with rig.probe(2):
                inner = asyncio.create_task(child(11, gate))
            outer = asyncio.create_task(child(12, gate))
        free = asyncio.create_task(child(13, gate))
        with rig.probe(3):  # open when the children run, but not when they were made
            gate.set()
            await asyncio.gather(inner, outer, free)

    asyncio.run(main())
    row = {row.operation: row for row in rig.drain()}
    assert row[11].parent == row[2].span
    assert row[12].parent == row[1].span
    assert row[13].parent == 0
    assert len({row[operation].task for operation in (3, 11, 12, 13)}) == 4
    assert row[1].task == row[2].task == row[3].task


def test_tasks_under_a_span_outside_of_the_loop(rig):
    async def child():
        with rig.probe(3):
            await asyncio.sleep(0)

    async def main():
        with rig.probe(2):
            await asyncio.gather(child(), child())
        await child()

    with rig.probe(1):
        asyncio.run(main())
    rows = by_operation(rig.drain())
    assert rows[2][0].parent == rows[1][0].span
    assert [row.parent for row in rows[3]] == [rows[2][0].span, rows[2][0].span, rows[1][0].span]


def test_to_thread_inherits(rig):
    def work():
        with rig.probe(2):
            return threading.get_native_id()

    async def main():
        with rig.probe(1):
            inside = await asyncio.to_thread(work)
        await asyncio.to_thread(work)
        return inside

    thread = asyncio.run(main())
    rows = by_operation(rig.drain())
    inside, after = rows[2]
    assert (inside.parent, inside.thread) == (rows[1][0].span, thread)
    assert after.parent == 0


def test_task_group_cancels(rig):
    async def work(operation, seconds):
        with rig.probe(operation):
            await asyncio.sleep(seconds)
            raise KeyError

    async def main():
        with rig.probe(1):
            async with asyncio.TaskGroup() as group:
                group.create_task(work(2, 0.005))
                group.create_task(work(3, 60))

    with pytest.raises(ExceptionGroup):
        asyncio.run(main())
    rows = {row.operation: row for row in rig.drain()}
    assert {operation: rig.error(row) for operation, row in rows.items()} == {
        1: "ExceptionGroup",
        2: "KeyError",
        3: "CancelledError",
    }
    assert rows[2].parent == rows[3].parent == rows[1].span


@pytest.mark.parametrize("later", ["closed", "another"])
def test_a_copied_context_has_the_span_that_was_open_when_it_was_copied(rig, later):
    def work():
        with rig.probe(2):
            pass

    def main():
        with rig.probe(1):
            context = contextvars.copy_context()
        with rig.probe(3) if later == "another" else contextlib.nullcontext():
            in_thread(context.run, work)

    in_thread(main)
    rows = {row.operation: row for row in rig.drain()}
    assert rows[2].parent == rows[1].span
