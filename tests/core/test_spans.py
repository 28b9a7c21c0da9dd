"""Spans of one thread: nesting, order, errors."""

import asyncio
import contextlib
import threading
import time

import pytest


def test_the_clock_is_the_monotonic_one(rig):
    for _ in range(100):
        before, reading, after = time.perf_counter_ns(), rig.core.now(), time.perf_counter_ns()
        assert before <= reading <= after


def test_durations_lie_between_independent_readings_of_the_clock(rig):
    probe, clock, brackets = rig.probe(3), time.perf_counter_ns, []
    for number in range(200):
        before = clock()
        with probe:
            first = clock()
            while clock() - first < number * 500:
                pass
            last = clock()
        brackets.append((before, first, last, clock()))
    for row, (before, first, last, after) in zip(rig.drain(), brackets, strict=True):
        assert before <= row.start <= first
        assert last <= row.end <= after
        assert (row.operation, row.weight, row.thread) == (3, 1, threading.get_native_id())


def test_enter_gives_the_probe_and_exit_lets_exceptions_pass(rig):
    probe = rig.probe(1)
    with probe as entered:
        assert entered is probe
    assert probe.__enter__() is probe
    assert not probe.__exit__(KeyError, KeyError(), None)
    with pytest.raises(ZeroDivisionError), probe:
        raise ZeroDivisionError


def test_nesting(rig):
    a, b, c = rig.probe(1), rig.probe(2), rig.probe(3)
    with a:
        with b, c:
            pass
        with c:
            pass
    with c:
        pass
    rows = rig.drain()
    assert [row.operation for row in rows] == [3, 2, 3, 1, 3]
    c_in_b, in_a, c_in_a, root, alone = rows
    assert (root.parent, alone.parent) == (0, 0)
    assert in_a.parent == c_in_a.parent == root.span
    assert c_in_b.parent == in_a.span
    assert len({row.span for row in rows}) == 5
    assert min(row.span for row in rows) > 0
    assert {row.task for row in rows} == {0}


def test_recursion_keeps_the_same_probe_open_many_times(rig):
    def descend(depth):
        with rig.probe(7):
            if depth:
                descend(depth - 1)

    descend(99)
    rows = rig.drain()
    assert len(rows) == 100
    outwards = [*rows[1:], None]
    assert [row.parent for row in rows] == [0 if outer is None else outer.span for outer in outwards]
    assert all(outer is None or outer.duration >= row.duration for row, outer in zip(rows, outwards, strict=True))


def test_spans_that_are_not_closed_in_order(rig):
    a, b, c = rig.probe(1), rig.probe(2), rig.probe(3)
    a.__enter__()
    b.__enter__()
    a.__exit__(None, None, None)
    with c:
        pass
    b.__exit__(None, None, None)
    with c:
        pass
    first_a, first_c, first_b, last_c = rig.drain()
    assert [row.operation for row in (first_a, first_c, first_b, last_c)] == [1, 3, 2, 3]
    assert first_b.parent == first_a.span
    assert first_c.parent == first_b.span
    assert (first_a.parent, last_c.parent) == (0, 0)


def test_exit_stack(rig):
    with contextlib.ExitStack() as stack:
        assert stack.enter_context(rig.probe(1)) is rig.probe(1)
        stack.enter_context(rig.probe(2))
    inner, outer = rig.drain()
    assert (inner.operation, inner.parent, outer.parent) == (2, outer.span, 0)


def test_a_subclass_may_wrap_enter_and_exit(rig):
    class Wrapped(rig.core.Probe):
        def __enter__(self):
            return super().__enter__()

        def __exit__(self, *details):
            return super().__exit__(*details)

    wrapped = Wrapped()
    wrapped.probe_id = 5
    with wrapped:
        pass
    assert [row.operation for row in rig.drain()] == [5]


def test_exceptions_are_recorded_by_name(rig):
    class OutOfStockError(Exception):
        pass

    kinds = [KeyError, OutOfStockError, KeyError, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError]
    for kind in kinds:
        with pytest.raises(kind), rig.probe(1):
            raise kind
    with rig.probe(1), contextlib.suppress(KeyError):
        raise KeyError
    assert [rig.error(row) for row in rig.drain()] == [*(kind.__name__ for kind in kinds), ""]
    assert sorted(rig.errors) == list(range(7)), "each type is named once, and numbers count from 1"


def test_an_exception_closes_all_spans_that_it_leaves(rig):
    def fail():
        try:
            with rig.probe(2), rig.probe(3):
                raise KeyError
        except KeyError:
            raise ValueError from None

    with pytest.raises(ValueError), rig.probe(1):
        fail()
    assert [(row.operation, rig.error(row)) for row in rig.drain()] == [
        (3, "KeyError"),
        (2, "KeyError"),
        (1, "ValueError"),
    ]
    assert rig.totals() == (3, 3, 0)


def test_an_exception_type_that_cannot_be_hashed(rig):
    """The program's own odd types are no reason to break it, nor to give its errors each other's names."""

    class Unhashable(type):
        __hash__ = None

    class OddError(Exception, metaclass=Unhashable):
        pass

    for kind in (OddError, KeyError, OddError, ValueError):
        with pytest.raises(kind), rig.probe(1):
            raise kind
    rows = rig.drain()
    assert len(rows) == 4
    assert [rig.error(rows[1]), rig.error(rows[3])] == ["KeyError", "ValueError"]
