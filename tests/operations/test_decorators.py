"""Operations as decorators: functions stay what they were, and are recorded as they run."""

import asyncio
import contextlib
import functools
import inspect
import json
import pickle
import types
from unittest import mock

import pytest

import quantum_pulse as qp
from tests.operations.conftest import samples


class Plain(qp.Operation):
    A = qp.op()
    B = qp.op()
    C = qp.op()


@Plain.A
def plain(a, *, b=2):
    """A plain function."""
    return a, b


@Plain.A
async def coroutine(a, *, b=2):
    """A coroutine function."""
    await asyncio.sleep(0.002)
    return a, b


@Plain.A
def generator(a, *, b=2):
    """A generator function."""
    log = []
    while True:
        try:
            sent = yield a, b, log
        except KeyError as error:
            log.append(type(error).__name__)
        else:
            if sent == "end":
                return "returned"
            log.append(sent)


@Plain.A
async def async_generator(a, *, b=2):
    """An async generator function."""
    log = []
    try:
        while True:
            try:
                sent = yield a, b, log
            except KeyError as error:
                log.append(type(error).__name__)
            else:
                if sent == "end":
                    return
                log.append(sent)
    finally:
        await asyncio.sleep(0)
        log.append("closed")


KINDS = {
    plain: (),
    coroutine: (inspect.iscoroutinefunction,),
    generator: (inspect.isgeneratorfunction,),
    async_generator: (inspect.isasyncgenfunction,),
}


@pytest.mark.parametrize("function", KINDS, ids=lambda function: function.__name__)
def test_decorated_functions_stay_what_they_were(function):
    for predicate in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        assert predicate(function) == (predicate in KINDS[function])
    assert inspect.isroutine(function)
    assert list(inspect.signature(function).parameters) == ["a", "b"]
    assert function.__doc__.endswith("function.")
    assert function.__module__ == __name__
    assert function.__qualname__ == function.__name__
    assert function.__wrapped__.__name__ == function.__name__
    assert pickle.loads(pickle.dumps(function)) is function


def test_everything_works_without_a_recording():
    assert plain(1, b=3) == (1, 3)
    assert asyncio.run(coroutine(1)) == (1, 2)
    assert next(generator(1))[:2] == (1, 2)

    async def first():
        items = async_generator(1)
        item = await anext(items)
        await items.aclose()
        return item[:2]

    assert asyncio.run(first()) == (1, 2)
    with pytest.raises(TypeError):
        plain()


def test_a_function(recorder):
    assert plain(1) == (1, 2)
    assert plain(a=3, b=4) == (3, 4)
    with pytest.raises(TypeError):
        plain()
    found = samples(recorder)
    assert list(found["operation"]) == ["Plain.A"] * 3
    assert found["error"].isna().tolist() == [True, True, False]
    assert found["error"].iloc[2] == "TypeError"


def test_a_coroutine_is_timed_over_its_awaits(recorder):
    async def main():
        made = coroutine(0)  # not a sample until it runs
        await asyncio.sleep(0)
        made.close()
        await asyncio.gather(coroutine(1), coroutine(2))
        doomed = asyncio.create_task(coroutine(3))
        await asyncio.sleep(0)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed

    asyncio.run(main())
    found = samples(recorder)
    assert len(found) == 3
    assert (found["duration_ns"].iloc[:2] >= 2_000_000).all()
    assert found["error"].tolist()[2] == "CancelledError"
    assert found["task"].nunique() == 3
    assert found["task"].min() > 0


def test_a_generator_keeps_its_whole_protocol(recorder):
    running = generator(1)
    assert next(running) == (1, 2, [])
    assert running.send("sent") == (1, 2, ["sent"])
    assert running.throw(KeyError()) == (1, 2, ["sent", "KeyError"])
    with pytest.raises(StopIteration) as stop:
        running.send("end")
    assert stop.value.value == "returned"

    closed = generator(2)
    next(closed)
    closed.close()
    with pytest.raises(StopIteration):
        next(closed)

    failing = generator(3)
    next(failing)
    with pytest.raises(ZeroDivisionError):
        failing.throw(ZeroDivisionError())

    def delegate():
        return (yield from generator(4))

    delegated = delegate()
    next(delegated)
    with pytest.raises(StopIteration, match="returned"):
        delegated.send("end")
    errors = [error if isinstance(error, str) else None for error in samples(recorder)["error"]]
    assert errors == [None, "GeneratorExit", "ZeroDivisionError", None]


def test_an_async_generator_keeps_its_whole_protocol(recorder):
    async def main():
        running = async_generator(1)
        assert await anext(running) == (1, 2, [])
        assert await running.asend("sent") == (1, 2, ["sent"])
        _, _, log = await running.athrow(KeyError())
        assert log == ["sent", "KeyError"]
        with pytest.raises(StopAsyncIteration):
            await running.asend("end")
        assert log == ["sent", "KeyError", "closed"]

        closed = async_generator(2)
        _, _, log = await anext(closed)
        await closed.aclose()
        assert log == ["closed"], "the inner generator is closed when the outer one is, not some time later"
        with pytest.raises(StopAsyncIteration):
            await anext(closed)

        failing = async_generator(3)
        _, _, log = await anext(failing)
        with pytest.raises(ZeroDivisionError):
            await failing.athrow(ZeroDivisionError())
        assert log == ["closed"]

        left = async_generator(4)
        async for _, _, left_log in left:
            log = left_log
            break
        await left.aclose()
        assert log == ["closed"]

        return [item async for item in finite()]

    @Plain.B
    async def finite():
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    assert asyncio.run(main()) == [0, 1, 2]
    found = samples(recorder)
    errors = [error if isinstance(error, str) else None for error in found["error"]]
    assert errors == [None, "GeneratorExit", "ZeroDivisionError", "GeneratorExit", None]
    assert list(found["operation"]) == ["Plain.A"] * 4 + ["Plain.B"]


def test_an_async_generator_whose_task_is_cancelled(recorder):
    log = []

    @Plain.A
    async def waiting():
        try:
            yield 1
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise
        finally:
            log.append("closed")

    async def consume():
        async for _ in waiting():
            pass

    async def main():
        task = asyncio.create_task(consume())
        await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert log == ["cancelled", "closed"]
    assert samples(recorder)["error"].tolist() == ["CancelledError"]


def test_methods(recorder):
    class Shop:
        def __init__(self, stock):
            self.stock = stock

        @Plain.A
        def sell(self, count):
            self.stock -= count
            return self.stock

        @staticmethod
        @Plain.A
        def tax(price):
            return price / 10

        @classmethod
        @Plain.A
        def empty(cls):
            return cls(0)

        @property
        @Plain.A
        def left(self):
            return self.stock

        @functools.cached_property
        @Plain.A
        def once(self):
            return object()

        @Plain.B
        async def order(self, count):
            return count

        @Plain.B
        def each(self):
            yield from range(self.stock)

        @Plain.A
        def __call__(self):
            return "called"

    class Kiosk(Shop):
        pass

    shop = Shop(3)
    assert shop.sell(1) == 2
    assert Shop.sell(shop, 0) == 2
    assert isinstance(shop.sell, types.MethodType)
    assert Shop.tax(10) == shop.tax(10) == 1
    assert type(Kiosk.empty()) is Kiosk
    assert shop.left == 2
    assert shop.once is shop.once
    assert asyncio.run(shop.order(4)) == 4
    assert list(shop.each()) == [0, 1]
    assert shop() == "called"
    assert len(samples(recorder)) == 2 + 2 + 1 + 1 + 1 + 1 + 1 + 1


def test_over_a_staticmethod_it_works_or_says_at_once_that_it_does_not(recorder):
    """A staticmethod can be called since Python 3.10, so it is easily decorated in the wrong order."""
    with contextlib.suppress(TypeError):

        class Shop:
            @Plain.A
            @staticmethod
            def tax(price):
                return price / 10

        assert Shop.tax(10) == 1
        assert Shop().tax(10) == 1


@pytest.mark.parametrize("value", [None, 5, "name", classmethod(len), property(len)])
def test_what_is_no_function_is_not_decorated(value):
    with pytest.raises(TypeError, match=r"@Plain\.A decorates a function"):
        Plain.A(value)


def test_decorating_what_others_decorated(recorder):
    @functools.lru_cache
    @Plain.A
    def cached(value):
        return value

    @contextlib.contextmanager
    @Plain.B
    def managed():
        with Plain.A:
            yield "value"

    assert [cached(1), cached(1), cached(2)] == [1, 1, 2]
    with managed() as value, Plain.C:
        assert value == "value"
    assert Plain.A(functools.partial(int, base=2))("11") == 3
    found = samples(recorder)
    assert list(found["operation"]) == ["Plain.A", "Plain.A", "Plain.B", "Plain.A", "Plain.C", "Plain.A"]
    spans, parents = found["span"].tolist(), found["parent"].tolist()
    assert parents == [0, 0, 0, spans[2], spans[3], 0]


class Callables:
    """What is called like a function."""

    async def method(self):
        pass

    async def __call__(self):
        pass


@functools.wraps(coroutine)
def only_wraps():
    pass


def with_attributes():
    yield


with_attributes.route = "/"


def marked():
    return asyncio.sleep(0)


if hasattr(inspect, "markcoroutinefunction"):
    inspect.markcoroutinefunction(marked)


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (Callables().method, inspect.iscoroutinefunction),
        (functools.partial(coroutine, 1), inspect.iscoroutinefunction),
        (functools.partial(functools.partial(async_generator, 1), b=3), inspect.isasyncgenfunction),
        (mock.AsyncMock(), inspect.iscoroutinefunction),
        (mock.create_autospec(coroutine), inspect.iscoroutinefunction),
        (with_attributes, inspect.isgeneratorfunction),
        (marked, inspect.iscoroutinefunction if hasattr(inspect, "markcoroutinefunction") else None),
        (types.coroutine(with_attributes), inspect.isgeneratorfunction),
        (only_wraps, None),
        (Callables(), None),
        (len, None),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_the_kind_of_what_is_decorated(function, kind):
    decorated = Plain.A(function)
    for predicate in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        assert predicate(decorated) == (predicate is kind)


def test_decorated_generators_nest_as_they_run(recorder):
    @Plain.A
    def rows():
        for number in range(3):
            with Plain.B:
                pass
            yield number

    for _ in rows():
        with Plain.C:
            pass
    found = samples(recorder)
    outer = found.loc[found["operation"] == "Plain.A"].iloc[0]
    parents = {name: set(group["parent"]) for name, group in found.groupby("operation", observed=True)}
    assert parents == {"Plain.A": {0}, "Plain.B": {outer["span"]}, "Plain.C": {0}}


def test_a_decorated_function_in_the_middle_of_a_stop(tmp_path):
    """Started in a recording, ended outside of it: nothing is recorded, nothing breaks."""

    @Plain.A
    def stops():
        qp.stop()
        return 5

    with qp.record(tmp_path / "capture"):
        with Plain.B:
            pass
        assert stops() == 5
    (process,) = (json.loads(file.read_text()) for file in (tmp_path / "capture" / "processes").iterdir())
    assert {name: process["account"][name] for name in ("started", "written", "open", "lost")} == {
        "started": 2,
        "written": 1,
        "open": 1,
        "lost": 0,
    }
