"""Spans that a generator holds open while it is suspended, of both kinds."""

import asyncio
import contextlib
import contextvars
import gc
import time
import weakref

import pytest

from quantum_pulse import schema
from tests.core.rig import ONE_SEGMENT, by_operation, in_thread, nested, stepping


def test_a_suspended_generator_adopts_nothing(rig):
    generator = stepping(rig, 1)
    next(generator)
    with rig.probe(5):
        next(generator)
        with rig.probe(6):
            pass
    assert list(generator) == []
    rows = by_operation(rig.drain())
    assert (rows[1][0].parent, rows[5][0].parent) == (0, 0)
    assert rows[6][0].parent == rows[5][0].span
    # What runs inside the generator belongs to what was opened last, be it inside or around.
    assert [row.parent for row in rows[2]] == [rows[1][0].span, rows[5][0].span]


def test_generators_that_interleave(rig):
    for _ in zip(stepping(rig, 1, 5), stepping(rig, 11, 5), strict=True):
        with rig.probe(21):
            pass
    rows = by_operation(rig.drain())
    assert {row.parent for row in rows[21] + rows[1] + rows[11]} == {0}
    assert {row.parent for row in rows[2]} == {rows[1][0].span}
    assert {row.parent for row in rows[12]} == {rows[11][0].span}
    assert (len(rows[2]), len(rows[12])) == (5, 5)


def test_one_probe_in_two_generators_and_around_them(rig):
    """Each exit finds the enter of its own generator."""

    def generator(seconds):
        with rig.probe(1):
            time.sleep(seconds)
            yield
            time.sleep(seconds)

    with rig.probe(1):
        slow, fast = generator(0.02), generator(0.001)
        next(slow), next(fast)
        assert list(slow) == []
        assert list(fast) == []
    slow_row, fast_row, outer = rig.drain()
    assert slow_row.duration >= 40_000_000
    assert slow_row.parent == fast_row.parent == outer.span
    assert fast_row.start > slow_row.start
    assert outer.start < slow_row.start


def test_delegation(rig):
    def outer():
        with rig.probe(10):
            yield from stepping(rig, 1)

    for _ in outer():
        with rig.probe(20):
            pass
    rows = by_operation(rig.drain())
    assert rows[1][0].parent == rows[10][0].span
    assert {row.parent for row in rows[20]} == {0}


def test_a_context_manager_made_of_a_generator_encloses_its_block(rig):
    @contextlib.contextmanager
    def managed():
        with rig.probe(1):
            yield

    with managed():
        with rig.probe(2):
            pass
        list(stepping(rig, 5))
    with rig.probe(3):
        pass
    with pytest.raises(KeyError), managed():
        raise KeyError
    rows = by_operation(rig.drain())
    assert rows[2][0].parent == rows[5][0].parent == rows[1][0].span
    assert rows[3][0].parent == 0
    assert [rig.error(row) for row in rows[1]] == ["", "KeyError"]


def test_a_context_manager_in_a_generator_and_a_span_around(rig):
    @contextlib.contextmanager
    def managed():
        with rig.probe(1):
            yield

    def generator():
        with managed(), rig.probe(2):
            yield
            with rig.probe(3):
                pass

    with rig.probe(4):
        suspended = generator()
        next(suspended)
        assert list(suspended) == []
    row = {row.operation: row for row in rig.drain()}
    assert row[1].parent == row[4].span
    assert row[2].parent == row[1].span
    assert row[3].parent == row[2].span


def test_an_async_context_manager_encloses_its_block(rig):
    @contextlib.asynccontextmanager
    async def managed():
        with rig.probe(1):
            await asyncio.sleep(0)
            yield
            await asyncio.sleep(0)

    async def child():
        with rig.probe(4):
            await asyncio.sleep(0)

    async def main():
        async with managed():
            with rig.probe(2):
                await asyncio.sleep(0)
            await asyncio.create_task(child())
        with rig.probe(3):
            pass

    asyncio.run(main())
    row = {row.operation: row for row in rig.drain()}
    assert row[2].parent == row[4].parent == row[1].span
    assert row[3].parent == 0


def test_async_generators(rig):
    async def generator(operation):
        with rig.probe(operation):
            for step in range(3):
                with rig.probe(operation + 1):
                    await asyncio.sleep(0)
                yield step

    async def consume(operation):
        async for _ in generator(operation):
            with rig.probe(operation + 2):
                await asyncio.sleep(0)

    async def main():
        await asyncio.gather(consume(10), consume(20))

    asyncio.run(main())
    rows = by_operation(rig.drain())
    for operation in (10, 20):
        assert rows[operation][0].parent == 0
        assert [row.parent for row in rows[operation + 1]] == [rows[operation][0].span] * 3
        assert [row.parent for row in rows[operation + 2]] == [0] * 3


@pytest.mark.parametrize("how", ["close", "drop", "cycle"])
def test_a_generator_that_ends_early(rig, how):
    def generator():
        with rig.probe(1):
            me = held[0] if how == "cycle" else None  # a cycle through its own frame
            yield me

    held = []
    held.append(generator())
    next(held[0])
    with rig.probe(2):
        if how == "close":
            held.pop().close()
        elif how == "drop":
            held.clear()
        else:
            watch = weakref.ref(held[0])
            held.clear()
            gc.collect()
            assert watch() is None
        with rig.probe(3):
            pass
    row = {row.operation: row for row in rig.drain()}
    assert rig.error(row[1]) == "GeneratorExit"
    assert (row[1].parent, row[2].parent) == (0, 0)
    assert row[3].parent == row[2].span
    assert rig.totals() == (3, 3, 0)


def test_an_async_generator_that_is_left_early(rig):
    async def generator():
        with rig.probe(1):
            while True:
                yield

    async def main():
        async for _ in generator():
            break
        with rig.probe(2):
            await asyncio.sleep(0)

    asyncio.run(main())
    gc.collect()
    row = {row.operation: row for row in rig.drain()}
    assert set(row) == {1, 2}
    assert row[2].parent == 0
    assert rig.totals() == (2, 2, 0)


def test_a_generator_that_moves_to_another_thread(rig):
    def generator():
        with rig.probe(1):
            yield
            with rig.probe(2):
                yield

    moving = generator()
    next(moving)
    with rig.probe(3):
        in_thread(next, moving)
        with rig.probe(4):
            pass
    in_thread(list, moving)
    with rig.probe(5):
        pass
    row = {row.operation: row for row in rig.drain()}
    assert set(row) == {1, 2, 3, 4, 5}
    # Another thread sees what it has opened itself; the generator's own span is the other right answer.
    assert row[2].parent in (0, row[1].span)
    assert row[4].parent == row[3].span
    assert row[1].parent == row[3].parent == row[5].parent == 0
    # A thread may have finished what another one started, so only the sum is an account.
    assert rig.totals() == (5, 5, 0)


def test_samples_of_a_generator_that_moved_can_be_lost_too(rig, restart):
    restart(ONE_SEGMENT)
    moving = stepping(rig, 1)
    next(moving)
    for _ in range(schema.SEGMENT_ROWS):
        with rig.probe(5):
            pass
    in_thread(list, moving)
    started, committed, lost = rig.totals()
    assert started == committed + lost == schema.SEGMENT_ROWS + 3
    assert committed == len(rig.drain()) == schema.SEGMENT_ROWS
    assert sum(loss.samples for loss in rig.core.losses()) == lost == 3


def test_a_generator_that_moves_between_tasks(rig):
    async def advance(generator):
        with rig.probe(9):
            next(generator, None)
            await asyncio.sleep(0)

    async def main():
        generator = stepping(rig, 1, 3)
        await asyncio.gather(*(advance(generator) for _ in range(4)))

    asyncio.run(main())
    rows = by_operation(rig.drain())
    assert [row.parent for row in rows[9]] == [0] * 4
    # Opened last: the generator's own span in its first step, afterwards that of the task which resumes it.
    first, *around = sorted(rows[9], key=lambda row: row.start)
    assert rows[1][0].parent == first.span
    assert [row.parent for row in rows[2]] == [rows[1][0].span, *(row.span for row in around[:2])]
    assert rig.totals() == (8, 8, 0)


def test_a_generator_open_at_stop(rig, restart):
    generator = stepping(rig, 1)
    next(generator)
    rig.core.stop()
    assert [row.operation for row in rig.drain()] == [2]
    assert rig.totals() == (2, 1, 0)
    restart()
    with rig.probe(5):
        list(generator)
    rows = by_operation(rig.drain())
    assert set(rows) == {2, 5}
    assert rows[2][0].parent == rows[5][0].span
    assert rig.totals() == (2, 2, 0)


def test_a_task_made_beside_a_suspended_generator_is_not_its_child(rig):
    async def child():
        with rig.probe(9):
            await asyncio.sleep(0)

    async def main():
        generator = stepping(rig, 1)
        next(generator)
        await asyncio.create_task(child())
        generator.close()

    asyncio.run(main())
    row = {row.operation: row for row in rig.drain()}
    assert row[9].parent == 0


def test_a_context_copied_beside_a_suspended_generator_is_not_its_child(rig):
    def main():
        generator = stepping(rig, 1)
        next(generator)
        contextvars.copy_context().run(nested, rig, 9)
        generator.close()

    main()  # in a thread's own context, and in one that was entered
    contextvars.copy_context().run(main)
    assert [row.parent for row in rig.drain() if row.operation == 9] == [0, 0]


def test_a_probe_around_a_generator_that_was_entered_in_it(rig):
    """An enter and its exit are matched in one frame, so a probe left elsewhere is no sample and does no harm."""

    def generator():
        rig.probe(1).__enter__()
        yield

    list(generator())
    rig.probe(1).__exit__(None, None, None)
    with rig.probe(2):
        pass
    rows = by_operation(rig.drain())
    assert rows[2][0].parent == 0


@pytest.mark.parametrize("entered", [False, True])
def test_a_span_that_was_closed_elsewhere_is_inherited_by_nobody(rig, entered):
    def main():
        generator = stepping(rig, 1)
        next(generator)
        in_thread(list, generator)
        contextvars.copy_context().run(nested, rig, 9)
        asyncio.run(asyncio.sleep(0))
        nested(rig, 9)

    in_thread(contextvars.copy_context().run if entered else lambda function: function(), main)
    assert [row.parent for row in rig.drain() if row.operation == 9] == [0, 0]
