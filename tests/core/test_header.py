"""What the program and the agent tell each other in the header of a ring: names of errors, collections, requests."""

import gc
import os
import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from quantum_pulse import schema
from quantum_pulse.core import contract
from quantum_pulse.rings import contents
from quantum_pulse.rings.ring import Ring
from tests.core.rig import ONE_SEGMENT, by_operation, in_thread
from tests.core.test_modes import budget, repeat, summed


def fail(rig, name):
    """A sample with an error of that type. Returns the type."""
    kind = type(name, (Exception,), {})
    with pytest.raises(kind), rig.probe(1):
        raise kind
    return kind


# ---- names of errors -------------------------------------------------------------------------------------------------


def test_more_types_of_errors_than_there_is_room_for(rig, restart):
    restart(ONE_SEGMENT)  # of which none is used for names
    names = [f"{'Long' * 20}Error{number}" for number in range(400)]
    for name in names:
        fail(rig, name)
    rows = rig.drain()
    errors = rig.agent.texts()
    fitting = len(errors) - 1
    assert 100 < fitting < 400
    assert errors == ["", *names[:fitting]]
    assert [row.error for row in rows] == [*range(1, fitting + 1), *[schema.OTHER_TEXT] * (400 - fitting)]
    for name in (names[0], names[fitting - 1], names[-1]):
        fail(rig, name)
    assert [row.error for row in rig.drain()] == [1, fitting, schema.OTHER_TEXT], "and so it stays"
    assert rig.agent["texts_bytes"] <= schema.TEXTS_BYTES
    left = schema.TEXTS_BYTES - rig.agent["texts_bytes"]
    if left >= 5:
        fail(rig, "E" * (left - 4))
        assert rig.drain()[0].error == fitting + 1, "a shorter one still fits, to the last byte"
        assert rig.agent["texts_bytes"] == schema.TEXTS_BYTES
    fail(rig, "")
    assert rig.drain()[0].error == schema.OTHER_TEXT
    with rig.probe(1):
        pass
    assert rig.drain()[0].error == 0


@pytest.mark.parametrize("length", [schema.TEXTS_BYTES - 4, schema.TEXTS_BYTES - 3, 1_000_000])
def test_a_name_as_long_as_the_room(rig, restart, length):
    restart(ONE_SEGMENT)
    fail(rig, "E" * length)
    fail(rig, "KeyError")
    first, second = rig.drain()
    if length == schema.TEXTS_BYTES - 4:
        assert (first.error, second.error) == (1, schema.OTHER_TEXT)
        assert rig.agent.texts() == ["", "E" * length]
    else:
        assert (first.error, second.error) == (schema.OTHER_TEXT, 1)
        assert rig.agent.texts() == ["", "KeyError"]


def test_odd_names(rig):
    names = ["", "ä", "错误", "🧨" * 100, "a\nb", 'quo"te\\', "x" * 10_000, " ", "\x1b[31m", "\u202e"]
    for name in names:
        fail(rig, name)
    rows = rig.drain()
    assert [rig.errors[row.error] for row in rows] == names
    assert [row.error for row in rows] == list(range(1, len(names) + 1))


def test_names_that_are_no_text(rig):
    """Python gives no type such a name; a metaclass may say that it has one, and is not asked."""

    class Meta(type):
        @property
        def __name__(cls):
            return "\ud800"

    class OddError(Exception, metaclass=Meta):
        pass

    assert OddError.__name__ == "\ud800"
    with pytest.raises(OddError), rig.probe(1):
        raise OddError
    (row,) = rig.drain()
    assert rig.errors[row.error] == "OddError"
    with pytest.raises(UnicodeEncodeError):
        type("\ud800", (Exception,), {})


def test_types_of_one_name_have_one_number(rig):
    for turn in range(10_000):
        fail(rig, "SameError")
        if turn % 1000 == 0:
            rig.drain()
    rig.drain()
    assert {row.error for row in rig.rows} == {1}
    assert rig.agent.texts() == ["", "SameError"]


def test_names_are_there_before_the_rows_that_need_them(rig):
    going = threading.Event()

    def work():
        for number in range(700):
            fail(rig, f"Error{number}")
        going.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not going.is_set():
        rows = rig.drain()
        names = rig.agent.texts()
        assert all(row.error < len(names) for row in rows)
    thread.join()
    rig.drain()
    assert [rig.errors[row.error] for row in rig.rows] == [f"Error{number}" for number in range(700)]


# ---- garbage collections ---------------------------------------------------------------------------------------------


@pytest.fixture
def collections(rig):
    """Collections are recorded, those that are asked for alone."""
    gc.collect()
    gc.disable()
    gc.callbacks.append(rig.core.note_collection)
    yield
    gc.callbacks.remove(rig.core.note_collection)
    gc.enable()


def litter(count):
    for _ in range(count):
        cycle = []
        cycle.append(cycle)


def test_collections_are_rows(rig, collections):
    litter(10)
    with rig.probe(1):
        before = rig.core.now()
        freed = gc.collect(1)
        after = rig.core.now()
    gc.collect(0)
    gc.collect(2)
    assert [row.operation for row in rig.drain()] == [1]
    one, *others = rig.collections
    assert (one.operation, one.error, one.parent, one.weight) == (schema.COLLECTION, 1, freed, 1)
    assert freed >= 10
    assert (one.span, one.task, one.thread) == (0, 0, threading.get_native_id())
    assert before <= one.start <= one.end <= after
    assert [row.error for row in others] == [0, 2]
    assert rig.agent["gc_collections"] == 3
    assert rig.agent["gc_pause_ns"] == sum(row.duration for row in rig.collections)
    assert {row.operation for row in rig.core.account()} == {1}
    assert rig.totals() == (1, 1, 0)
    assert rig.core.losses() == []
    assert contents.entered(rig.agent.file) == 1


def test_collections_in_any_thread(rig, collections):
    other = in_thread(lambda: [gc.collect(0), threading.get_native_id()][1])
    gc.collect(0)
    rig.drain()
    assert sorted(row.thread for row in rig.collections) == sorted([other, threading.get_native_id()])


def test_a_collection_that_finds_no_room_is_in_no_account(rig, restart, collections):
    restart(ONE_SEGMENT)
    gc.collect(0)
    repeat(rig.probe(1), schema.SEGMENT_ROWS)
    gc.collect(0)
    assert rig.agent["gc_collections"] == 1
    assert rig.totals() == (schema.SEGMENT_ROWS, schema.SEGMENT_ROWS - 1, 1)
    assert rig.agent["lost"] == 1
    assert len(rig.drain()) == schema.SEGMENT_ROWS - 1
    gc.collect(0)
    rig.drain()
    assert rig.agent["gc_collections"] == len(rig.collections) == 2


def test_collections_that_are_overwritten_are_in_no_account(rig, restart, collections):
    restart(budget(4), on_full=contract.OVERWRITE)
    for _ in range(20):
        gc.collect(0)
        repeat(rig.probe(1), 500)
    rig.drain()
    assert rig.agent["gc_collections"] == 20
    assert 0 < len(rig.collections) < 20
    found = summed(rig)
    assert found[1, "started"] == 10_000
    assert found[1, "committed"] == len(rig.rows)
    assert found[1, "lost"] == 10_000 - len(rig.rows) == rig.agent["lost"]
    assert {loss.operation for loss in rig.core.losses()} == {1}


def test_a_collection_belongs_to_a_recording_as_a_whole(rig, restart):
    rig.core.note_collection("stop", {"generation": 0, "collected": 1, "uncollectable": 0})
    rig.core.note_collection("start", {"generation": 0, "collected": 0, "uncollectable": 0})
    restart()
    rig.core.note_collection("stop", {"generation": 0, "collected": 1, "uncollectable": 0})
    rig.core.note_collection("start", {"generation": 1, "collected": 0, "uncollectable": 0})
    rig.core.note_collection("stop", {"generation": 1, "collected": 7, "uncollectable": 0})
    rig.core.stop()
    rig.core.note_collection("start", {"generation": 2, "collected": 0, "uncollectable": 0})
    rig.core.note_collection("stop", {"generation": 2, "collected": 7, "uncollectable": 0})
    rig.drain()
    assert [(row.error, row.parent) for row in rig.collections] == [(1, 7)]
    assert rig.agent["gc_collections"] == 1
    rig.close()
    rig.core.note_collection("start", {"generation": 2, "collected": 0, "uncollectable": 0})
    rig.core.note_collection("stop", {"generation": 2, "collected": 7, "uncollectable": 0})


# ---- requests --------------------------------------------------------------------------------------------------------


def test_requests_and_answers(rig, restart):
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        restart(wake_fd=writing)
        assert rig.core.progress() == (0, False, 0, rig.agent["seen_ns"], 0, "")
        assert [rig.core.ask(), rig.core.ask()] == [1, 2]
        assert os.read(reading, 10) == b"\0\0"
        assert (rig.agent["asked"], rig.agent["stopped"]) == (2, 0)
        rig.agent["answered"] = 2
        rig.agent["drained_rows"] = 1 << 40
        rig.agent["seen_ns"] = 123
        rig.agent.report_failure("No space left on device")
        assert rig.core.progress() == (2, False, 1 << 40, 123, 0, "No space left on device")
        rig.agent.report_failure("")
        assert rig.core.ask(True) == 3
        assert (rig.agent["asked"], rig.agent["stopped"]) == (3, 1)
        rig.agent["answered"] = 3
        rig.agent["finished"] = 1
        assert rig.core.progress() == contract.Progress(3, True, 1 << 40, 123, 0, "")
        assert isinstance(rig.core.progress(), contract.Progress)
    finally:
        rig.close()
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("text", ["ä" * 200, "x" * 1000, "\ud800", "🧨" * 100])
def test_failures_in_any_words(rig, text):
    rig.agent.report_failure(text)
    found = rig.core.progress().failure
    shown = text.encode("utf-8", "replace").decode()
    assert len(found.encode()) <= schema.RING_FAILURE_BYTES + 2
    assert found.rstrip("\ufffd") == shown[: len(found.rstrip("\ufffd"))]
    assert len(found) >= min(len(shown), schema.RING_FAILURE_BYTES // 4)


def test_a_request_gives_back_what_threads_have_left(rig, restart):
    """So that a flush sees all of it in the account, whichever thread has recorded it."""
    for _ in range(5):
        in_thread(repeat, rig.probe(1), 3)
    rig.core.ask()
    assert len(rig.drain()) == 15
    assert rig.totals() == (15, 15, 0)


# ---- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bytes", "text"])
def test_a_path_that_is_not_utf_8(rig, kind):
    name = os.fsencode(rig.folder) + b"/\xff\xfe \xc3.ring"
    path = name if kind == "bytes" else os.fsdecode(name)
    rig.close()
    rig.core.start(path, ONE_SEGMENT)
    rig.ring = Path(os.fsdecode(name))
    rig.agent = Ring(rig.ring, rig.core.fence)
    os.close(os.open(name, os.O_RDONLY))
    repeat(rig.probe(1), 3)
    assert len(rig.drain()) == 3


@pytest.mark.parametrize("kind", ["bytes", "text"])
def test_a_path_that_cannot_be(rig, kind):
    rig.close()
    name = os.fsencode(rig.folder) + b"/none/\xff.ring"
    with pytest.raises(FileNotFoundError):
        rig.core.start(name if kind == "bytes" else os.fsdecode(name), ONE_SEGMENT)
    name = os.fsencode(rig.folder) + b"/nul\0.ring"
    with pytest.raises(ValueError):
        rig.core.start(name if kind == "bytes" else os.fsdecode(name), ONE_SEGMENT)
    (rig.folder / "link.ring").symlink_to("elsewhere")
    with pytest.raises(OSError):
        rig.core.start(str(rig.folder / "link.ring"), ONE_SEGMENT)
    assert not (rig.folder / "elsewhere").exists()
    rig.start()
    repeat(rig.probe(1), 3)
    assert len(rig.drain()) == 3


# ---- calls of the recorder when the agent is late --------------------------------------------------------------------


SECOND = 1_000_000_000


def late(rig, by_ns=2 * SECOND):
    """The agent has not looked for so long."""
    rig.agent["seen_ns"] = rig.core.now() - by_ns


def test_a_stall_is_reported_now_and_then(rig, restart):
    calls = []
    restart(ONE_SEGMENT, on_stall=lambda: calls.append(rig.core.now()))
    late(rig)
    repeat(rig.probe(1), schema.SEGMENT_ROWS)
    assert calls == [], "there was room"
    late(rig, SECOND // 2)
    repeat(rig.probe(1), 1000)
    assert calls == [], "the agent has looked lately"
    late(rig)
    repeat(rig.probe(1), 1)
    assert len(calls) == 1
    end = calls[0] + 600_000_000
    while rig.core.now() < end:
        repeat(rig.probe(1), 10)
        time.sleep(0.001)
    assert 2 <= len(calls) <= 3
    assert min(after - before for before, after in pairwise(calls)) > 200_000_000, (
        "a quarter of a second, as it is read"
    )
    rig.agent["seen_ns"] = rig.core.now()
    count = len(calls)
    end = rig.core.now() + 300_000_000
    while rig.core.now() < end:
        repeat(rig.probe(1), 10)
        time.sleep(0.001)
    assert len(calls) == count, "it has looked again"
    assert rig.totals()[2] == rig.agent["lost"] > 1000


def test_a_stall_of_a_flight_recorder_is_none(rig, restart):
    calls = []
    restart(budget(2), on_full=contract.OVERWRITE, on_stall=lambda: calls.append(1))
    late(rig)
    repeat(rig.probe(1), 10 * schema.SEGMENT_ROWS)
    assert calls == []


@pytest.mark.parametrize("kind", [KeyError, Exception, MemoryError])
def test_what_is_raised_there_stays_there(rig, restart, kind):
    calls = []

    def on_stall():
        calls.append(1)
        raise kind("of the recorder")

    restart(ONE_SEGMENT, on_stall=on_stall)
    repeat(rig.probe(1), schema.SEGMENT_ROWS)
    late(rig)
    with pytest.raises(ZeroDivisionError) as caught, rig.probe(1):
        _ = 1 / 0
    assert caught.value.__context__ is None
    assert len(calls) == 1
    restart(ONE_SEGMENT, on_stall=on_stall)
    repeat(rig.probe(1), schema.SEGMENT_ROWS)
    late(rig)
    assert rig.core.timed(rig.probe(1), len)("four") == 4
    assert len(calls) == 2
    assert rig.totals()[2] == 1


@pytest.mark.parametrize("on_full", [contract.DROP, contract.WAIT])
@pytest.mark.parametrize("how", ["block", "generator", "add", "timed", "thread"])
def test_it_may_record_itself(rig, restart, how, on_full):
    """Also probes that its thread has not met: what the core knows of those that it has may move."""
    calls = []

    def on_stall():
        calls.append(1)
        rig.drain()
        for number in (2, 500, 60_000):
            with rig.probe(number), rig.probe(number + 1), pytest.raises(KeyError), rig.probe(number + 2):
                raise KeyError
            in_thread(repeat, rig.probe(number + 3), 2)

    def generator():
        with rig.probe(1):
            yield

    def one():
        if how == "block":
            repeat(rig.probe(1), 1)
        elif how == "generator":
            list(generator())
        elif how == "add":
            rig.core.add(rig.probe(1), 1, 1, None)
        elif how == "timed":
            rig.core.timed(rig.probe(1), len)([])
        else:
            in_thread(repeat, rig.probe(1), 1)

    restart(budget(16), on_stall=on_stall, on_full=on_full)
    with rig.probe(7), rig.probe(8):
        for _ in range(3):
            while not calls:
                late(rig)
                one()
            calls.clear()
            rig.agent["seen_ns"] = rig.core.now()
            time.sleep(0.25)  # until then it is not called again
    rig.drain()
    totals = {}
    for row in rig.core.account():
        totals[row.operation] = [*map(sum, zip(totals.get(row.operation, (0, 0, 0)), row[2:], strict=True))]
    kept = Counter(row.operation for row in rig.rows)
    assert len({row.span for row in rig.rows}) == len(rig.rows)
    for operation, (started, committed, lost) in totals.items():
        assert started == committed + lost, operation
        assert committed == kept[operation]
    assert totals[2][0] == totals[500][0] == totals[60_001][0] == 3
    assert totals[60_003][0] == 6
    assert totals[1][2] <= (3 if on_full == contract.DROP else 0)
    assert sum(lost for *_, lost in totals.values()) == rig.agent["lost"]
    assert by_operation(rig.rows)[7][0].parent == 0


@pytest.mark.parametrize("how", ["block", "generator", "add"])
@pytest.mark.parametrize("what", ["stop", "close", "again"])
def test_it_may_end_the_recording(rig, how, what):
    def on_stall():
        rig.close() if what != "stop" else rig.core.stop()
        if what == "again":
            rig.start()

    def generator():
        with rig.probe(1):
            yield

    rig.close()
    rig.may_tell_less = True
    rig.start(ONE_SEGMENT, on_stall=on_stall)
    repeat(rig.probe(1), schema.SEGMENT_ROWS)
    late(rig)
    with rig.probe(9):
        if how == "block":
            repeat(rig.probe(1), 2)
        elif how == "generator":
            list(generator())
        else:
            rig.core.add(rig.probe(1), 1, 1, None)
    if what == "stop":
        assert len(rig.drain()) == schema.SEGMENT_ROWS
    rig.close()
    rig.start()
    repeat(rig.probe(1), 3)
    assert len(rig.drain()) == 3
