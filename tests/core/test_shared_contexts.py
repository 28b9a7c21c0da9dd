"""Tasks that run in one Context: kernels run every cell in one, unittest every step of a test."""

import asyncio
import contextlib
import contextvars
import itertools
import random
import sys
import unittest

import pytest

from tests.core.rig import by_operation, stepping


def shared(*coroutines):
    """Run the coroutines as tasks that take turns in one context."""

    async def main():
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        await asyncio.gather(*(loop.create_task(coroutine, context=context) for coroutine in coroutines))

    asyncio.run(main())


def test_each_sample_has_the_number_of_its_own_task(rig):
    async def work(operation):
        with rig.probe(operation):
            await asyncio.sleep(0.002)
        with rig.probe(operation):
            await asyncio.sleep(0.002)

    shared(work(1), work(2))
    rows = by_operation(rig.drain())
    tasks = {operation: {row.task for row in rows[operation]} for operation in (1, 2)}
    assert [len(numbers) for numbers in tasks.values()] == [1, 1]
    assert tasks[1] != tasks[2]


@pytest.mark.parametrize("first", ["the one that entered first", "the one that entered last"])
def test_tasks_that_take_turns_do_not_enclose_each_other(rig, first):
    async def cell(number, ends, turn, other):
        with rig.probe(1):
            await asyncio.sleep(0)  # now both are open
            with rig.probe(10 + number):
                await asyncio.sleep(0)
            if not ends:
                await turn.wait()
        other.set()

    async def both():
        one, two = asyncio.Event(), asyncio.Event()
        ends = first == "the one that entered first"
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        a = loop.create_task(cell(1, ends, one, two), context=context)
        b = loop.create_task(cell(2, not ends, two, one), context=context)
        await asyncio.gather(a, b)

    with rig.probe(9):
        asyncio.run(both())
    rows = by_operation(rig.drain())
    outer = {row.task: row for row in rows[1]}
    assert len(outer) == 2
    assert {row.parent for row in rows[1]} == {rows[9][0].span}
    for inner in (rows[11][0], rows[12][0]):
        assert inner.parent == outer[inner.task].span
        assert outer[inner.task].start <= inner.start
        assert inner.end <= outer[inner.task].end


def test_many_tasks_in_one_context_keep_their_own_trees(rig):
    """Whatever order they run in, each task's samples nest as its blocks do."""
    choose, numbers = random.Random(7), itertools.count(1)
    expected = {}  # operation -> that of the parent

    async def work(depth, parent):
        for _ in range(choose.randint(1, 3)):
            number = next(numbers)
            expected[number] = parent
            with rig.probe(number):
                for _ in range(choose.randint(0, 3)):
                    await asyncio.sleep(0)
                if depth < 3 and choose.random() < 0.6:
                    await work(depth + 1, number)
                if choose.random() < 0.3:
                    inside, child = next(numbers), next(numbers)
                    expected[inside] = expected[child] = number
                    with rig.probe(inside):  # who copies a context is known by who recorded in it last
                        pass
                    await asyncio.create_task(copied(child))

    async def copied(number):
        await asyncio.sleep(0)
        with rig.probe(number):
            await asyncio.sleep(0)

    shared(*(work(1, 0) for _ in range(20)))
    rows = rig.drain()
    row_of = {row.operation: row for row in rows}
    assert len(row_of) == len(rows) == len(expected) > 100
    operation_of = {0: 0, **{row.span: row.operation for row in rows}}
    assert {row.operation: operation_of[row.parent] for row in rows} == expected
    for row in rows:
        parent = row_of.get(expected[row.operation])
        assert parent is None or parent.start <= row.start <= row.end <= parent.end
    assert rig.totals() == (len(rows), len(rows), 0)


def test_a_task_made_in_a_shared_context_is_a_child_of_the_one_that_made_it(rig):
    ready = []

    async def child():
        await asyncio.sleep(0)
        with rig.probe(3):
            pass

    async def maker():
        with rig.probe(1):
            await ready[0].wait()
            with rig.probe(4):
                pass
            await asyncio.create_task(child())

    async def other():
        with rig.probe(2):
            ready[0].set()
            await asyncio.sleep(0.005)

    async def main():
        ready.append(asyncio.Event())
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.create_task(one(), context=context) for one in (maker, other)))

    asyncio.run(main())
    row = {row.operation: row for row in rig.drain()}
    assert row[3].parent == row[4].parent == row[1].span
    assert row[1].parent == row[2].parent == 0


def test_what_a_finished_task_left_open_encloses_those_that_follow(rig):
    class Test(unittest.IsolatedAsyncioTestCase):
        def setUp(self):
            self.enterContext(rig.probe(1))

        async def asyncSetUp(self):
            self.enterContext(rig.probe(2))

        async def test(self):
            with rig.probe(3):
                await asyncio.sleep(0)

    result = unittest.TestResult()
    Test("test").run(result)
    assert result.wasSuccessful()
    row = {row.operation: row for row in rig.drain()}
    assert row[1].parent == 0
    assert row[2].parent == row[1].span
    assert row[3].parent == row[2].span
    assert rig.totals() == (3, 3, 0)


def test_code_outside_of_tasks_is_not_inside_of_a_suspended_task(rig):
    context = contextvars.copy_context()

    async def work(gate):
        with rig.probe(1):
            await gate.wait()

    def callback():
        with rig.probe(2):
            pass

    async def main():
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()
        task = loop.create_task(work(gate), context=context)
        await asyncio.sleep(0)
        loop.call_soon(callback, context=context)
        await asyncio.sleep(0)
        gate.set()
        await task

    asyncio.run(main())
    row = {row.operation: row for row in rig.drain()}
    assert (row[1].parent, row[2].parent) == (0, 0)
    assert row[2].task == 0


def test_a_generator_works_for_the_task_that_resumes_it(rig):
    async def begin(generator, begun, done):
        next(generator)
        begun.set()
        await done.wait()

    async def go_on(generator, begun, done):
        await begun.wait()
        with rig.probe(5):
            next(generator)
        with contextlib.suppress(StopIteration):
            next(generator)
        done.set()

    async def main():
        generator, begun, done = stepping(rig, 1, 2), asyncio.Event(), asyncio.Event()
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(one(generator, begun, done), context=context) for one in (begin, go_on)]
        await asyncio.gather(*tasks)

    asyncio.run(main())
    rows = by_operation(rig.drain())
    assert (rows[1][0].parent, rows[5][0].parent) == (0, 0)
    assert [row.parent for row in rows[2]] == [rows[1][0].span, rows[5][0].span]


def test_a_recording_that_starts_again_has_forgotten_who_took_turns(rig, restart):
    async def cell(gate):
        rig.probe(1).__enter__()
        await gate.wait()
        with rig.probe(2):
            await asyncio.sleep(0)

    async def main():
        gate = asyncio.Event()
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(cell(gate), context=context) for _ in range(2)]
        await asyncio.sleep(0.001)
        restart()
        gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    rows = by_operation(rig.drain())
    assert set(rows) == {2}
    assert [row.parent for row in rows[2]] == [0, 0]
    assert len({row.task for row in rows[2]}) == 2


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
@pytest.mark.parametrize("context", ["copied", "shared"])
def test_eager_tasks(rig, context):
    async def child(number):
        with rig.probe(number):
            with rig.probe(10 + number):
                pass
            await asyncio.sleep(0)
            with rig.probe(20 + number):
                await asyncio.sleep(0)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        one = contextvars.copy_context() if context == "shared" else None
        with rig.probe(1):
            tasks = [loop.create_task(child(number), context=one) for number in (2, 3)]
            with rig.probe(4):
                pass
            await asyncio.gather(*tasks)

    asyncio.run(main())
    row = {row.operation: row for row in rig.drain()}
    above = 0 if context == "shared" else row[1].span  # where the context was copied
    assert row[2].parent == row[3].parent == above
    assert row[4].parent == row[1].span
    for number in (2, 3):
        assert row[10 + number].parent == row[20 + number].parent == row[number].span
        assert row[number].task == row[10 + number].task == row[20 + number].task
    assert len({row[number].task for number in (1, 2, 3)}) == 3
