"""Functions wrapped by `timed`."""

import asyncio
import copy
import functools
import gc
import inspect
import pickle
import sys
import time
import types
import weakref

import pytest

from tests.core.rig import by_operation


def to_be_pickled(number):
    return number + 1


def test_timed_passes_everything_through(rig):
    def function(a, /, b, *rest, c=3, **more):
        """What it does."""
        return a, b, rest, c, more

    timed = rig.core.timed(rig.probe(1), function)
    assert timed(1, 2) == (1, 2, (), 3, {})
    assert timed(1, b=2, c=4, d=5) == (1, 2, (), 4, {"d": 5})
    assert timed(*range(20)) == (0, 1, tuple(range(2, 20)), 3, {})
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        timed(1)
    rows = rig.drain()
    assert [rig.error(row) for row in rows] == ["", "", "", "TypeError"]
    assert {(row.operation, row.parent) for row in rows} == {(1, 0)}


def test_timed_takes_as_long_as_the_call(rig):
    readings = []

    def function():
        readings.append(time.perf_counter_ns())
        time.sleep(0.002)
        readings.append(time.perf_counter_ns())

    timed = rig.core.timed(rig.probe(1), function)
    before = time.perf_counter_ns()
    timed()
    after = time.perf_counter_ns()
    (row,) = rig.drain()
    assert before <= row.start <= readings[0]
    assert readings[1] <= row.end <= after


def test_timed_hands_on_the_very_exception(rig):
    error = KeyError("this one")

    def function():
        raise error

    timed = rig.core.timed(rig.probe(1), function)
    with pytest.raises(KeyError) as caught:
        timed()
    assert caught.value is error
    assert caught.traceback[-1].name == "function"
    assert [rig.error(row) for row in rig.drain()] == ["KeyError"]


def test_timed_looks_like_the_function(rig):
    def function(a: int, b: str = "x") -> float:
        """What it does."""
        return 0.5

    function.mark = "mine"
    timed = rig.core.timed(rig.probe(1), function)
    assert timed.__wrapped__ is function
    for name in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__", "mark"):
        assert getattr(timed, name) == getattr(function, name)
    assert inspect.signature(timed) == inspect.signature(function)
    assert inspect.unwrap(timed) is function
    assert inspect.isroutine(timed)
    assert inspect.getdoc(timed) == "What it does."
    assert inspect.getsource(timed) == inspect.getsource(function)
    timed.other = 1
    assert timed.other == 1
    assert callable(timed)
    assert "function" in repr(timed)
    assert weakref.ref(timed)() is timed
    assert {timed: 1}[timed] == 1


def test_timed_is_taken_for_a_function_by_those_who_look_closely(rig):
    """Frameworks look for a signature without following `__wrapped__`, and at the `__call__` of what is no function."""

    def function(a: int, b: str = "x", *, c=3) -> float:
        return a, b, c

    timed = rig.core.timed(rig.probe(1), function)
    assert timed.__call__(1, c=2) == (1, "x", 2)
    assert type(timed).__call__(timed, 1) == (1, "x", 3)
    assert len(rig.drain()) == 2
    assert inspect.signature(timed) == inspect.signature(function)
    if not inspect.isfunction(timed):  # else it is a wrapper of any arguments, as functools makes them
        assert timed.__call__.__module__ == __name__
        assert inspect.getfullargspec(timed) == inspect.getfullargspec(timed.__call__)
        assert inspect.getfullargspec(timed) == inspect.getfullargspec(function)
        assert timed.__code__ is function.__code__
    with pytest.raises(AttributeError, match="nothing_such"):
        timed.nothing_such  # noqa: B018 - the look-up is what is tried
    with pytest.raises(TypeError):
        type(timed).__call__()
    assert copy.copy(timed) is timed


def test_a_timed_function_is_a_celery_task(rig):
    celery = pytest.importorskip("celery")

    def add(task, a, b=1):
        return task.name, a + b

    app = celery.Celery("tests", broker="memory://", set_as_current=False)
    timed = rig.core.timed(rig.probe(1), add)
    task = app.task(timed, bind=True, shared=False)
    assert task.name == f"{__name__}.add"
    assert task.apply((1,), {"b": 5}).get() == (task.name, 6)
    with pytest.raises(TypeError):
        task(1, 2, 3, 4)
    task = app.task(rig.core.timed(rig.probe(2), to_be_pickled), shared=False)
    assert task.apply((1,)).get() == 2
    assert [row.operation for row in rig.drain()][-1] == 2


def test_timed_methods(rig):
    timed = functools.partial(rig.core.timed, rig.probe(1))

    class Shop:
        def __init__(self, stock):
            self.stock = stock

        @timed
        def sell(self, count, *, price=2):
            """Sell some."""
            self.stock -= count
            return count * price

        @staticmethod
        @timed
        def tax(price):
            return price / 10

        @classmethod
        @timed
        def empty(cls):
            return cls(0)

        @property
        @timed
        def left(self):
            return self.stock

    class Kiosk(Shop):
        def sell(self, count, *, price=1):
            return super().sell(count, price=price)

    shop = Shop(10)
    assert shop.sell(3) == 6
    assert Shop.sell(shop, 2, price=5) == 10
    bound = shop.sell
    assert isinstance(bound, types.MethodType)
    assert bound.__self__ is shop
    assert bound(1) == 2
    assert list(inspect.signature(bound).parameters) == ["count", "price"]
    assert Shop.sell.__doc__ == "Sell some."
    assert shop.left == 4
    assert (Shop.tax(50), shop.tax(50)) == (5, 5)
    assert (Shop.empty().stock, type(Kiosk.empty())) == (0, Kiosk)
    assert Kiosk(5).sell(2) == 2
    assert len(rig.drain()) == 9


def test_timed_functions_are_pickled_by_name(rig, monkeypatch):
    timed = rig.core.timed(rig.probe(1), to_be_pickled)
    monkeypatch.setattr(sys.modules[__name__], "to_be_pickled", timed)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(timed, protocol)) is timed


def test_timed_functions_nest_and_recurse(rig):
    def fibonacci(n):
        return n if n < 2 else timed(n - 1) + timed(n - 2)

    timed = rig.core.timed(rig.probe(1), fibonacci)
    with rig.probe(2):
        assert timed(12) == 144
    rows = rig.drain()
    assert len(rows) == 465 + 1
    spans = {row.span: row for row in rows}
    assert sum(row.parent == rows[-1].span for row in rows) == 1
    for row in rows[:-1]:
        assert spans[row.parent].start <= row.start <= row.end <= spans[row.parent].end


def test_timed_inside_a_generator_and_in_a_task(rig):
    timed = rig.core.timed(rig.probe(5), lambda: None)

    def generator():
        with rig.probe(1):
            timed()
            yield
            timed()

    async def main():
        with rig.probe(2):
            await asyncio.sleep(0)
            timed()

    for _ in generator():
        timed()
    asyncio.run(main())
    rows = by_operation(rig.drain())
    one, two = rows[1][0].span, rows[2][0].span
    assert [row.parent for row in rows[5]] == [one, 0, one, two]
    assert rows[5][3].task == rows[2][0].task > 0


def test_timed_of_what_is_no_function(rig):
    timed = rig.core.timed(rig.probe(1), functools.partial(int, base=2))
    assert timed("101") == 5
    assert rig.core.timed(rig.probe(1), len)([1, 2]) == 2
    assert len(rig.drain()) == 2


def test_timed_keeps_nothing_alive(rig):
    class Thing:
        pass

    thing = Thing()
    timed = rig.core.timed(rig.probe(1), lambda value: value)
    assert timed(thing) is thing
    assert timed(value=thing) is thing
    watch = weakref.ref(thing)
    del thing
    assert watch() is None
    watch = weakref.ref(timed)
    timed.me = timed
    del timed
    gc.collect()
    assert watch() is None
