"""What a core records beside a sample: attributes, declared errors, CPU time."""

import asyncio
import contextlib
import contextvars
import enum
import threading
import time
from typing import Literal

import pytest

from quantum_pulse import attributes, operations, schema
from quantum_pulse.agent import attributes as columns
from quantum_pulse.core import contract
from quantum_pulse.operations import Category, Definition
from quantum_pulse.rings import contents
from quantum_pulse.rings.batch import CPU, VALUES
from tests.core.rig import ONE_SEGMENT, in_thread

ROUTES = {"route": str, "status": int}


def refuse(number, name, value):
    raise TypeError(f"{number} {name} {value!r}")


@pytest.fixture
def declare(rig):
    """Give a probe attributes."""

    def declared(number, given, *, cpu_time=False):
        probe = rig.probe(number)
        probe.probe_attributes = attributes.for_core(given)
        probe.probe_cpu_time = cpu_time
        declared.given[number] = given
        return probe

    declared.given = {}
    rig.core.set_refusal(refuse)
    yield declared
    rig.core.set_refusal(operations._refuse_attribute)


def drained(rig, given):
    """Samples since the last call, in the order of entering: dictionaries of all columns, with `attributes`."""
    batch, _ = rig.agent.drain(1 << 30).split_collections()
    rig.agent.release()
    return rows_of(batch, given, rig.agent.texts())


def rows_of(batch, given, texts):
    own = batch.columns
    most = max([*given, *own["operation"].tolist()], default=0) + 1
    definitions = [
        Definition(str(number), "", "", Category("?"), attributes=attributes.declared(given.get(number)))
        for number in range(most)
    ]
    maps, _ = columns.column(own, own["operation"].astype("int64"), definitions, texts)
    names = [name for name in own if name not in VALUES]
    rows = [
        dict(zip(names, values, strict=True)) for values in zip(*(own[name].tolist() for name in names), strict=True)
    ]
    for row, found in zip(rows, maps.to_pylist(), strict=True):
        row["attributes"] = None if found is None else dict(found)
        row["error"] = texts[row["error"]] if row["error"] < len(texts) else schema.OTHER
        cpu = row.pop(CPU, schema.NO_VALUE)
        row["cpu"] = None if cpu == schema.NO_VALUE else cpu
    return sorted(rows, key=lambda row: row["span"])


# ---- values ----------------------------------------------------------------------------------------------------------


class Side(enum.Enum):
    BUY = 1
    SELL = 2


def test_values_of_all_types(rig, declare):
    given = {
        "text": str,
        "whole": int,
        "real": float,
        "flag": bool,
        "side": Side,
        "verb": Literal["GET", "POST"],
        "maybe": str | None,
    }
    probe = declare(1, given)
    with probe(text="/a", whole=-7, real=0.5, flag=True, side=Side.SELL, verb="GET", maybe="x"):
        pass
    with probe(text="", whole=0, real=-0.0, flag=False, maybe=None):
        pass
    with probe(whole=2**63 - 1):
        pass
    with probe():
        pass
    with probe:
        pass
    assert [row["attributes"] for row in drained(rig, declare.given)] == [
        {"text": "/a", "whole": "-7", "real": "0.5", "flag": "true", "side": "SELL", "verb": "GET", "maybe": "x"},
        {"text": "", "whole": "0", "real": "0.0", "flag": "false"},
        {"whole": str(2**63 - 1)},
        None,
        None,
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"rout": "/a"},
        {"text": 1},
        {"text": None},
        {"text": b"a"},
        {"whole": "1"},
        {"whole": True},
        {"whole": 1.0},
        {"whole": 1 << 63},
        {"whole": -(1 << 63)},
        {"real": "1"},
        {"real": False},
        {"flag": 1},
        {"side": "BUY"},
        {"verb": "PUT"},
        {"verb": ["GET"]},
    ],
)
def test_what_is_not_declared_is_refused(rig, declare, wrong):
    probe = declare(
        1, {"text": str, "whole": int, "real": float, "flag": bool, "side": Side, "verb": Literal["GET", "POST"]}
    )
    ((name, value),) = wrong.items()
    with pytest.raises(TypeError) as found:
        probe(**wrong)
    assert str(found.value) == f"1 {name} {value!r}"
    with probe(text="/a"), pytest.raises(TypeError):
        rig.core.annotate(whole=1, **(wrong if name != "whole" else {"flag": 0}))
    (row,) = drained(rig, declare.given)
    assert row["attributes"] == {"text": "/a"}, "of what is refused nothing is kept"


def test_what_is_refused_outside_of_a_recording_too(rig, declare):
    probe = declare(1, ROUTES)
    rig.core.stop()
    with pytest.raises(TypeError):
        probe(status="200")
    with probe(route="/a"):
        rig.core.annotate(whatever=1)  # nothing is known of the block


def test_as_many_attributes_as_there_may_be(rig, declare):
    names = [f"a{number}" for number in range(schema.MOST_ATTRIBUTES)]
    probe = declare(1, dict.fromkeys(names, int))
    for chosen in (names, names[:1], names[-1:], names[3:5], names[::5]):
        with probe(**{name: int(name[1:]) for name in chosen}):
            pass
        (row,) = drained(rig, declare.given)
        assert row["attributes"] == {name: name[1:] for name in chosen}
    with pytest.raises(TypeError):
        declare(2, dict.fromkeys(names, int)).probe_attributes = attributes.for_core(ROUTES) * 13


def test_one_object_for_many_blocks(rig, declare):
    probe = declare(1, ROUTES)
    own = probe(route="/a")
    with own:
        rig.core.annotate(status=1)
        with own:
            rig.core.annotate(status=2)
    threads = [threading.Thread(target=lambda: [own.__enter__(), own.__exit__(None, None, None)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with contextlib.ExitStack() as stack:
        assert stack.enter_context(own) is probe
    found = [row["attributes"] for row in drained(rig, declare.given)]
    assert found == [{"route": "/a", "status": "1"}, {"route": "/a", "status": "2"}] + [{"route": "/a"}] * 5


def test_a_timed_function(rig, declare):
    probe = declare(1, ROUTES)
    timed = rig.core.timed(probe(route="/f"), lambda: rig.core.annotate(status=3))
    timed()
    rig.core.timed(probe, timed)()
    assert [row["attributes"] for row in drained(rig, declare.given)] == [
        {"route": "/f", "status": "3"},
        None,
        {"route": "/f", "status": "3"},
    ]


def test_long_texts_are_cut(rig, declare):
    probe = declare(1, ROUTES)
    with probe(route="ä" * 1000):
        pass
    with probe(route="\udc80"):
        pass
    first, second = drained(rig, declare.given)
    assert first["attributes"] == {"route": "ä" * schema.MOST_TEXT}
    assert second["attributes"] == {"route": "\\udc80"}


def test_a_sample_that_was_measured_elsewhere(rig, declare):
    probe = declare(1, ROUTES)
    rig.core.add(probe(route="/t"), 10, 20, None)
    rig.core.add(probe, 10, 20, "http 502", 15)
    rig.core.add(probe, 10, 20, KeyError)
    found = [(row["attributes"], row["error"], row["cpu"]) for row in drained(rig, declare.given)]
    assert found == [({"route": "/t"}, "", None), (None, "http 502", 15), (None, "KeyError", None)]


# ---- texts -----------------------------------------------------------------------------------------------------------


def test_beyond_so_many_values_all_are_one(rig, restart, declare):
    restart(most_values=10)
    one, other = declare(1, {"a": str, "b": str}), declare(2, {"a": str})
    for number in [*range(15), *range(15)]:
        with one(a=f"v{number}", b="same"), other(a="same"):
            pass
    rows = [row for row in drained(rig, declare.given) if row["operation"] == 1]
    expected = [f"v{number}" if number < 10 else schema.OTHER for number in range(15)] * 2
    assert [row["attributes"] for row in rows] == [{"a": value, "b": "same"} for value in expected]


def test_texts_have_segments_of_their_own(rig, restart, declare):
    restart(most_values=100_000)
    probe = declare(1, {"a": str})
    values = [f"{number:05}" + "x" * 95 for number in range(3000)]
    for value in values:
        with probe(a=value):
            pass
    assert len(rig.agent.texts()) == len(values) + 1
    read = contents.read(rig.ring)  # by whoever has the file alone
    assert read.texts == rig.agent.texts()
    assert not any("segment" in damage for damage in read.damage)
    assert [row["attributes"]["a"] for row in drained(rig, declare.given)] == values


def test_texts_take_no_more_than_their_part_of_the_rings(rig, restart, declare):
    restart(schema.RING_HEADER_BYTES + 8 * schema.SEGMENT_BYTES, most_values=100_000, on_full=contract.OVERWRITE)
    rig.may_tell_less = True
    probe = declare(1, {"a": str})
    for number in range(6000):
        with probe(a=f"{number:05}" + "x" * 95):
            pass
    kept = len(rig.agent.texts()) - 1
    assert (
        (schema.TEXTS_BYTES + schema.SEGMENT_BYTES) // 110 < kept < (schema.TEXTS_BYTES + schema.SEGMENT_BYTES) // 100
    )
    with probe(a="00000" + "x" * 95):
        pass
    *_, last = drained(rig, declare.given)
    assert last["attributes"] == {"a": "00000" + "x" * 95}


def test_texts_of_one_recording_are_not_those_of_the_next(rig, restart, declare):
    probe = declare(1, {"a": str})
    own = probe(a="first")
    for number in range(3):
        with own, probe(a=f"only {number}"):
            pass
        found = [row["attributes"]["a"] for row in drained(rig, declare.given)]
        assert found == ["first", f"only {number}"]
        assert rig.agent.texts() == ["", "first", f"only {number}"]
        restart()


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_details_are_in_the_segment_of_their_sample(rig, declare):
    probe = declare(1, {**ROUTES, "a": int, "b": int})
    plain = rig.probe(2)
    expected = []
    for number in range(3 * schema.SEGMENT_ROWS):
        if number % 5:
            with plain:
                pass
            expected.append(None)
        else:
            with probe(route="/a", b=number):
                pass
            expected.append({"route": "/a", "b": str(number)})
    used = rig.agent._used()
    operations = rig.agent._columns["operation"][:used]
    assert (operations[:, 0] != schema.DETAILS).all(), "none begins with details"
    assert [row["attributes"] for row in drained(rig, declare.given)] == expected


def test_what_is_overwritten_goes_with_its_details(rig, restart, declare):
    restart(schema.RING_HEADER_BYTES + 4 * schema.SEGMENT_BYTES, on_full=contract.OVERWRITE)
    probe = declare(1, ROUTES)
    count = 10 * schema.SEGMENT_ROWS
    for number in range(count):
        with probe(status=number):
            pass
    rows = drained(rig, declare.given)
    assert [row["attributes"]["status"] for row in rows] == [str(n) for n in range(count - len(rows), count)]
    started, committed, lost = rig.totals()
    assert (started, committed, lost) == (count, len(rows), count - len(rows))
    assert lost == rig.agent["lost"] > 0


def test_full_rings_lose_samples_and_not_details_alone(rig, restart, declare):
    restart(ONE_SEGMENT)
    probe = declare(1, ROUTES)
    for number in range(schema.SEGMENT_ROWS):
        with probe(status=number):
            pass
    rows = drained(rig, declare.given)
    assert [row["attributes"]["status"] for row in rows] == [str(n) for n in range(schema.SEGMENT_ROWS // 2)]
    assert rig.totals() == (schema.SEGMENT_ROWS, len(rows), schema.SEGMENT_ROWS - len(rows))


def test_details_without_their_sample_are_left_out(rig, declare):
    probe = declare(1, ROUTES)
    for number in range(4):
        with probe(status=number):
            pass
    rig.agent._columns["span"][0, 3] += 1  # those of the second sample name another one
    rig.agent._columns["operation"][0, 4] = schema.DETAILS  # the third sample is damaged
    found = [row["attributes"] for row in drained(rig, declare.given)]
    assert found == [{"status": "0"}, None, {"status": "3"}]


# ---- annotating ------------------------------------------------------------------------------------------------------


def test_the_innermost_block_is_annotated(rig, declare):
    outer, inner = declare(1, ROUTES), declare(2, {"rows": int})
    with outer(route="/a"):
        with inner:
            rig.core.annotate(rows=1)
            rig.core.annotate(rows=2)
            with pytest.raises(TypeError, match="2 status 200"):
                rig.core.annotate(status=200)
        rig.core.annotate(status=200, route="/b")
    rig.core.annotate(status=1)  # nothing is open
    found = [row["attributes"] for row in drained(rig, declare.given)]
    assert found == [{"route": "/b", "status": "200"}, {"rows": "2"}]


def test_a_block_that_is_an_object_is_annotated_wherever_it_is_held(rig, declare):
    request, other = declare(1, ROUTES), declare(2, {"rows": int})
    block = rig.core.Block(other)
    block.annotate(rows=7)
    block.become(request)  # which has other attributes
    with other, pytest.raises(TypeError, match="1 rows 1"):
        block.annotate(rows=1)
    with other:
        contextvars.copy_context().run(lambda: block.annotate(status=200, route="/a"))
        in_thread(lambda: block.annotate(status=503, error="http 503"))
    with pytest.raises(TypeError):
        block.annotate("http 502")
    block.end()
    block.annotate(status=1)  # it is over
    rows = drained(rig, declare.given)
    assert [row["attributes"] for row in rows] == [{"route": "/a", "status": "503"}, None, None]
    assert [row["error"] for row in rows] == ["http 503", "", ""]


def test_a_block_of_an_earlier_recording_takes_no_attributes(rig, declare, restart):
    block = rig.core.Block(declare(1, ROUTES))
    restart()
    block.annotate(status=200, route="/a")
    block.end()
    assert drained(rig, declare.given) == []


def test_an_unrecorded_block_checks_its_attributes(rig, declare):
    probe = declare(1, ROUTES)
    probe.probe_every = 1_000_000
    block = rig.core.Block(probe)
    block.annotate(status=200)
    with pytest.raises(TypeError, match="1 status 'no number'"):
        block.annotate(status="no number")
    block.end()


def test_plain_operations_have_no_attributes(rig, declare):
    with rig.probe(3), pytest.raises(TypeError, match="3 status 200"):
        rig.core.annotate(status=200)
    with pytest.raises(TypeError, match="3 status 200"):
        rig.probe(3)(status=200)


def test_declared_errors(rig, declare):
    plain, probe = rig.probe(3), declare(1, ROUTES)
    with plain:
        rig.core.annotate(error="http 502")
    with contextlib.suppress(KeyError), probe:
        rig.core.annotate(error="declared", status=1)
        raise KeyError
    with plain:
        rig.core.annotate(error=ValueError("x"))
    with plain:
        rig.core.annotate(error="http 502")
        rig.core.annotate(error=None)
    with plain:
        for wrong in ("", 502, b"x"):
            with pytest.raises(TypeError, match="what failed"):
                rig.core.annotate(error=wrong)
    found = [row["error"] for row in drained(rig, declare.given)]
    assert found == ["http 502", "declared", "ValueError", "", ""]
    with pytest.raises(TypeError):
        rig.core.annotate("http 502")


def test_an_error_that_is_declared_is_watched_for(rig, declare):
    rig.core.watch(3, 0, True)
    with rig.probe(3):
        rig.core.annotate(error="http 502")
    (trip,) = rig.agent.trips()
    assert trip.operation == 3


def test_threads_and_tasks_annotate_their_own_blocks(rig, declare):
    probe = declare(1, ROUTES)

    async def request(number):
        with probe(route=f"/{number}"):
            await asyncio.sleep(0.001 * (number % 3))
            rig.core.annotate(status=number)
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*map(request, range(10)))

    with probe(route="/outside"):
        asyncio.run(main())
        in_thread(rig.core.annotate)
        rig.core.annotate(status=99)
    found = [row["attributes"] for row in drained(rig, declare.given)]
    assert found == [{"route": "/outside", "status": "99"}] + [
        {"route": f"/{number}", "status": str(number)} for number in range(10)
    ]


def test_a_suspended_generator_is_not_annotated(rig, declare):
    probe = declare(1, ROUTES)

    def generator():
        with probe(route="/inside"):
            rig.core.annotate(status=1)
            yield

    with probe(route="/outside"):
        for _ in generator():
            rig.core.annotate(status=2)
    found = [row["attributes"] for row in drained(rig, declare.given)]
    assert found == [{"route": "/outside", "status": "2"}, {"route": "/inside", "status": "1"}]


def test_blocks_that_sampling_leaves_out(rig, declare):
    probe = declare(1, ROUTES, cpu_time=True)
    probe.probe_every = 4
    for number in range(400):
        with probe(route="/a"):
            rig.core.annotate(status=number)
            with pytest.raises(TypeError):
                rig.core.annotate(statu=number)
    rows = drained(rig, declare.given)
    assert len(rows) == 100
    assert all(row["attributes"]["route"] == "/a" and row["cpu"] is not None for row in rows)


# ---- CPU time --------------------------------------------------------------------------------------------------------


def spin(ns):
    end = time.thread_time_ns() + ns
    while time.thread_time_ns() < end:
        pass


def test_cpu_time_is_what_the_thread_has_worked(rig, declare):
    probe = declare(1, None, cpu_time=True)
    with probe:
        spin(3_000_000)
        time.sleep(0.02)
    with probe:
        time.sleep(0.02)
    with rig.probe(2):
        pass
    busy, waiting, plain = drained(rig, declare.given)
    assert 3_000_000 <= busy["cpu"] < 15_000_000 < busy["duration"]
    assert 0 <= waiting["cpu"] < 10_000_000
    assert plain["cpu"] is None


def test_cpu_time_of_all_blocks(rig, restart):
    restart(cpu_time=True)
    with rig.probe(1), rig.probe(2):
        spin(1_000_000)
    outer, inner = drained(rig, {})
    assert 1_000_000 <= inner["cpu"] <= inner["duration"]
    assert inner["cpu"] <= outer["cpu"] + 1_000_000
    restart()
    with rig.probe(1):
        pass
    (row,) = drained(rig, {})
    assert row["cpu"] is None


def test_no_cpu_time_where_tasks_take_turns(rig, declare):
    probe, other = declare(1, {"name": str}, cpu_time=True), declare(2, None, cpu_time=True)

    async def waits(name):
        with probe(name=name):
            await asyncio.sleep(0.001)

    async def works():
        with probe(name="does not wait"):
            spin(100_000)

    async def main():
        await asyncio.gather(waits("a"), waits("b"), works())

    with other:
        pass
    asyncio.run(main())
    cpu = {row["attributes"]["name"]: row["cpu"] for row in drained(rig, declare.given) if row["attributes"]}
    assert cpu["a"] is cpu["b"] is None
    assert cpu["does not wait"] >= 100_000


def test_no_cpu_time_of_a_generators_caller(rig, declare):
    probe = declare(1, None, cpu_time=True)

    def generator():
        with probe:
            yield

    for _ in generator():
        spin(100_000)

    @contextlib.contextmanager
    def manager():
        with probe:
            yield

    with manager():
        spin(100_000)
    caller, manager = drained(rig, {})
    assert caller["cpu"] is None
    assert manager["cpu"] >= 100_000, "this is what the block is for"


def test_no_cpu_time_of_a_block_that_changes_threads(rig, declare):
    probe = declare(1, None, cpu_time=True)

    def generator():
        with probe:
            yield

    held = generator()
    next(held)
    in_thread(held.close)
    (row,) = drained(rig, {})
    assert row["cpu"] is None
