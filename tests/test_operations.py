"""Definitions, names and decorators; with a real recording wherever it matters what arrives in a capture."""

import asyncio
import contextlib
import copy
import enum
import functools
import inspect
import json
import pickle
import subprocess
import sys
import types

import pytest

import quantum_pulse as qp
from quantum_pulse.errors import DefinitionError
from quantum_pulse.operations import DEFAULT_PRIORITY, Definition, checked, registry


class Trading(qp.Operation):
    """Arbitrage engine."""

    PRICE_FEED_PARSING = qp.op("Parsing real-time price feeds", category="Market data", priority=1)
    ORDER_SUBMISSION = qp.op("Submitting orders", category="Execution", priority=1, budget_us=100)
    POSITION_UPDATE = qp.op(category="Execution", priority=3)
    HEARTBEAT = qp.op()


class Plain(qp.Operation):
    A = qp.op()
    B = qp.op()


@pytest.fixture
def recorder(tmp_path):
    with qp.record(tmp_path / "capture") as running:
        yield running


def samples(recorder):
    """What is recorded so far, in the order of starting."""
    recorder.flush()
    return qp.open(recorder.path).samples()


# ---- definitions -----------------------------------------------------------------------------------------------------


def test_a_definition_says_everything():
    submission = Trading.ORDER_SUBMISSION
    assert submission.description == "Submitting orders"
    assert submission.category == qp.Category("Execution")
    assert submission.priority == 1
    assert submission.budget_us == 100
    assert submission.definition.name == "Trading.ORDER_SUBMISSION"
    assert submission.definition.module == __name__
    assert Trading.__doc__ == "Arbitrage engine."


def test_defaults():
    heartbeat = Trading.HEARTBEAT
    assert heartbeat.description == ""
    assert heartbeat.category == qp.Category("Trading")
    assert heartbeat.priority == DEFAULT_PRIORITY == 3
    assert heartbeat.budget_us is None
    assert heartbeat.budget_quantile == 0.99
    assert qp.op(budget_us=5, budget_quantile=0.5).again().budget_quantile == 0.5


def test_equal_definitions_are_not_aliases():
    assert list(Plain) == [Plain.A, Plain.B]
    assert Plain.A is not Plain.B
    assert Plain.A != Plain.B
    assert Plain.A.probe_id != Plain.B.probe_id
    assert len(Plain.__members__) == 2


def test_one_op_for_two_members_makes_two(recorder):
    shared = qp.op("Shared", budget_us=5)

    class Shared(qp.Operation):
        FIRST = shared
        SECOND = shared

    assert [member.name for member in Shared] == ["FIRST", "SECOND"]
    assert {member.description for member in Shared} == {"Shared"}
    with Shared.FIRST, Shared.SECOND:
        pass
    assert list(samples(recorder)["operation"]) == ["Shared.FIRST", "Shared.SECOND"]


def test_auto_is_a_definition_without_anything():
    class Automatic(qp.Operation):
        A = enum.auto()
        B = qp.op("Beta")
        C = enum.auto()

    assert [member.name for member in Automatic] == ["A", "B", "C"]
    assert Automatic.A.description == ""
    assert Automatic.A.category.name == "Automatic"
    assert len({member.probe_id for member in Automatic}) == 3


def test_a_category_object():
    feeds = qp.Category("Feeds", "What comes in", "#336699", 1)

    class Feed(qp.Operation):
        READ = qp.op(category=feeds)
        PARSE = qp.op(category=feeds, priority=9)

    assert Feed.READ.category == feeds
    assert Feed.READ.category.colour == "#336699"
    assert (Feed.READ.priority, Feed.PARSE.priority) == (3, 9)


@pytest.mark.parametrize("value", [1, "a description", None, ("text", "category"), object(), qp.op])
def test_a_plain_value_is_refused(value):
    with pytest.raises(DefinitionError, match=r"Wrong.*op\(\)") as caught:
        qp.Operation("Wrong", {"MEMBER": value})
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, qp.QuantumPulseError)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("description", 5),
        ("description", None),
        ("category", 5),
        ("category", b"bytes"),
        ("priority", "high"),
        ("priority", 1.5),
        ("priority", True),
        ("priority", None),
        ("budget_us", "100"),
        ("budget_us", 0),
        ("budget_us", -1),
        ("budget_us", True),
        ("budget_us", float("nan")),
        ("budget_quantile", 99),
        ("budget_quantile", 0.0),
        ("budget_quantile", "p99"),
        ("detail", 1),
        ("sample_every", 0),
        ("sample_every", 1.5),
        ("sample_every", True),
        ("sample_every", 1 << 31),
        ("expect_us", 5),
        ("expect_us", (5,)),
        ("expect_us", (5, 5)),
        ("expect_us", (-1, 5)),
        ("expect_us", (1, float("nan"))),
        ("expect_us", ("1", 5)),
    ],
)
def test_arguments_of_another_kind_are_refused(argument, value):
    with pytest.raises(DefinitionError, match=f"{argument} must be"):
        qp.op(**{argument: value})


def test_an_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="colour"):
        qp.op("x", colour="red")


def test_what_op_says_of_itself():
    assert repr(qp.op("x", priority=2)) == "op('x', category=None, priority=2, budget_us=None)"
    assert repr(qp.op(detail=True, expect_us=[1, 5])).endswith(", detail=True, expect_us=(1.0, 5.0))")


def test_a_definition_survives_json():
    definition = Trading.HEARTBEAT.definition._replace(expect_us=(1.5, 2.0), sample_every=7, detail=True)
    plain = json.loads(json.dumps(definition.plain()))
    assert Definition.from_plain(plain) == definition
    # A later version may know more, an earlier one knew less.
    plain["new"] = plain["category"]["new"] = 1
    del plain["detail"]
    assert Definition.from_plain(plain) == definition._replace(detail=False)


def test_str_and_repr():
    assert str(Trading.HEARTBEAT) == f"{Trading.HEARTBEAT}" == "Trading.HEARTBEAT"
    assert repr(Trading.HEARTBEAT) == "<Trading.HEARTBEAT>"
    assert repr(Trading.ORDER_SUBMISSION) == "<Trading.ORDER_SUBMISSION: Submitting orders>"


def test_members_travel_by_name():
    for member in Trading:
        assert copy.copy(member) is member
        assert copy.deepcopy({"key": [member]})["key"][0] is member
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(member, protocol)) is member
    assert Trading["HEARTBEAT"] is Trading.HEARTBEAT
    assert {Trading.HEARTBEAT: 1}[Trading.HEARTBEAT] == 1


# ---- strings where operations belong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("Trading.ORDER_SUBMISION", "Trading.ORDER_SUBMISSION"),
        ("trading.order_submission", "Trading.ORDER_SUBMISSION"),
        ("HEARTBEAT", "Trading.HEARTBEAT"),
        ("Trading.PRICE_FEED", "Trading.PRICE_FEED_PARSING"),
    ],
)
def test_a_string_is_answered_with_the_nearest_member(wrong, nearest):
    with pytest.raises(TypeError, match=rf"{wrong}.*did you mean {nearest}\?"):
        checked(wrong)


def test_what_is_no_operation_is_refused():
    assert checked(Trading.HEARTBEAT) is Trading.HEARTBEAT
    with pytest.raises(TypeError, match="not the string") as caught:
        checked("§§§§§§§§")
    assert "did you mean" not in str(caught.value)
    for value in (5, None, Trading, qp.op()):
        with pytest.raises(TypeError, match="member of an Operation enum"):
            checked(value)


def test_a_capture_answers_likewise(recorder):
    with Trading.ORDER_SUBMISSION:
        pass
    recorder.flush()
    capture = qp.open(recorder.path)
    for value in ("Trading.ORDER_SUBMISION", ["Trading.ORDER_SUBMISION"]):
        with pytest.raises(TypeError, match=r"did you mean Trading\.ORDER_SUBMISSION"):
            capture.samples(value)


# ---- names through a whole recording ---------------------------------------------------------------------------------


def test_unicode_everywhere(recorder):
    category = qp.Category("Категория \"x\"\n'y'", 'В "кавычках"\n\t🚀', "hsl(10 50% 50%)")
    description = "emoji 🐍, quotes \" ' `, a line\nbreak, \\ and <b>&amp;</b> \x00"
    world = qp.Operation(
        "Мир",
        {
            "Привет": qp.op(description, category=category),
            "数据": qp.op("数据处理", category="数据 / 🗄️"),
            "ÑANDÚ": qp.op(category=""),
        },
    )

    class Ошибка(Exception):  # noqa: N818 - the name is what is tested
        pass

    for member in world:
        with contextlib.suppress(Ошибка), member:
            raise Ошибка
    found = samples(recorder)
    assert list(found["operation"]) == ["Мир.Привет", "Мир.数据", "Мир.ÑANDÚ"]
    assert list(found["category"]) == [category.name, "数据 / 🗄️", ""]
    assert set(found["error"]) == {"Ошибка"}
    capture = qp.open(recorder.path)
    assert capture.categories[category.name] == category
    assert set(capture.stats().index) == set(zip(found["category"], found["operation"], strict=True))
    assert len(capture.samples(world["数据"])) == 1
    definition = next(d for d in capture._source.definitions() if d["name"] == "Мир.Привет")
    assert definition["description"] == description


SURROGATES = """
import sys
import quantum_pulse as qp

class Files(qp.Operation):
    READ = qp.op("caf\\udce9", category="caf\\udce9")
    OTHER = qp.op()

with qp.record(sys.argv[1]) as recorder:
    with Files.READ, Files.OTHER:
        pass
"""


def test_text_that_is_not_unicode_does_not_end_the_recording(tmp_path):
    """A name from the file system may hold surrogates, which UTF-8 cannot; no sample must suffer from that."""
    # In a process of its own: such a definition stays known, and would go into all recordings after it.
    command = [sys.executable, "-W", "ignore", "-c", SURROGATES, str(tmp_path / "capture")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    found = qp.open(tmp_path / "capture").samples()
    assert list(found["operation"]) == ["Files.READ", "Files.OTHER"]


def test_a_class_defined_again_unchanged_keeps_its_number():
    def define():
        class Again(qp.Operation):
            STEP = qp.op("Same", category="One", priority=2)

        return Again.STEP

    first, second = define(), define()
    assert first is not second
    assert first.probe_id == second.probe_id


def test_a_class_defined_again_during_a_recording(recorder):
    def define(category, description):
        return qp.Operation("Cell", {"STEP": qp.op(description, category=category)}, module=__name__).STEP

    first = define("Old", "as it was")
    with first:
        pass
    with define("Old", "as it was"):  # unchanged
        pass
    with define("New", "as it is"):
        pass
    with first:  # whoever still holds the old member
        pass
    found = samples(recorder)
    assert list(found["operation"]) == ["Cell.STEP"] * 4
    assert list(found["category"]) == ["Old", "Old", "New", "Old"]
    stats = qp.open(recorder.path).stats()
    assert stats["count"].to_dict() == {("Old", "Cell.STEP"): 3, ("New", "Cell.STEP"): 1}


def test_two_classes_of_one_name_in_two_modules(recorder):
    one = qp.Operation("SameName", {"STEP": qp.op("one")}, module="package.one")
    two = qp.Operation("SameName", {"STEP": qp.op("two")}, module="package.two")
    with one.STEP:
        pass
    for _ in range(2):
        with two.STEP:
            pass
    names = list(samples(recorder)["operation"])
    assert names == ["SameName.STEP", "package.two.SameName.STEP", "package.two.SameName.STEP"]
    capture = qp.open(recorder.path)
    assert (len(capture.samples(one)), len(capture.samples(two))) == (1, 2)


def test_a_thousand_members(recorder):
    many = qp.Operation("Many", {f"MEMBER_{number}": qp.op(str(number)) for number in range(1000)})
    for member in many:
        with member:
            pass
    for member in reversed(many):
        member(int)()
    expected = [str(member) for member in many]
    assert list(samples(recorder)["operation"]) == expected + expected[::-1]
    assert qp.open(recorder.path).stats()["count"].tolist() == [2] * 1000


def test_numbers_resolve_to_definitions():
    for member in Trading:
        assert registry[member.probe_id] == member.definition
    assert registry.all()[Trading.HEARTBEAT.probe_id].name == "Trading.HEARTBEAT"


# ---- decorators ------------------------------------------------------------------------------------------------------


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
    with managed() as value, Trading.HEARTBEAT:
        assert value == "value"
    assert Plain.A(functools.partial(int, base=2))("11") == 3
    found = samples(recorder)
    assert list(found["operation"]) == ["Plain.A", "Plain.A", "Plain.B", "Plain.A", "Trading.HEARTBEAT", "Plain.A"]
    spans, parents = found["span"].tolist(), found["parent"].tolist()
    assert parents == [0, 0, 0, spans[2], spans[3], 0]


def test_decorated_generators_nest_as_they_run(recorder):
    @Plain.A
    def rows():
        for number in range(3):
            with Plain.B:
                pass
            yield number

    for _ in rows():
        with Trading.HEARTBEAT:
            pass
    found = samples(recorder)
    outer = found.loc[found["operation"] == "Plain.A"].iloc[0]
    parents = {name: set(group["parent"]) for name, group in found.groupby("operation", observed=True)}
    assert parents == {"Plain.A": {0}, "Plain.B": {outer["span"]}, "Trading.HEARTBEAT": {0}}


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


def test_definitions_are_made_in_any_module():
    name = "a_module_that_does_not_exist"
    assert name not in sys.modules
    assert qp.Operation("Elsewhere", {"X": qp.op()}, module=name).X.definition.module == name


@pytest.mark.parametrize(
    "options",
    [
        {"budget_us": float("inf")},
        {"budget_us": 10**400},
        {"budget_us": 5, "budget_quantile": 1e-17},
        {"budget_us": 5, "budget_quantile": 1 - 1e-15},
    ],
)
def test_budgets_that_no_operation_can_have(options):
    with pytest.raises(qp.QuantumPulseError, match="budget"):
        qp.op(**options)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": 5}, "name must be a string, not 5"),
        ({"description": None}, "description must be a string, not None"),
        ({"colour": 5}, "colour must be a string, not 5"),
        ({"priority": "1"}, "priority must be an integer, 1 for what comes first, not '1'"),
    ],
)
def test_a_category_that_is_none(fields, said):
    with pytest.raises(qp.QuantumPulseError, match=said):
        qp.op(category=qp.Category(**{"name": "Work", **fields}))


def test_a_range_beyond_all_floats_has_no_upper_end():
    assert qp.op(expect_us=(1, 10**400)).expect_us == (1.0, float("inf"))
