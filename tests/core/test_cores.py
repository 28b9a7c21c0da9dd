"""Both cores against the contract, in this process and without the recorder; then against each other.

Threads, tasks, generators and clocks are real. Each test runs on both cores; where the native one was not built, its
half is skipped.
"""

import asyncio
import contextlib
import contextvars
import functools
import gc
import importlib
import importlib.util
import inspect
import os
import pickle
import struct
import sys
import tempfile
import threading
import time
import types
import weakref
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantum_pulse import schema

MODULES = {"native": "quantum_pulse.core._native", "python": "quantum_pulse.core.pure"}
HAS_NATIVE = importlib.util.find_spec(MODULES["native"]) is not None
ONE_SEGMENT = schema.RING_HEADER_BYTES + schema.SEGMENT_BYTES
ROOMY = schema.RING_HEADER_BYTES + 64 * schema.SEGMENT_BYTES


class Row(NamedTuple):
    """A sample as `drain` hands it out."""

    start: int
    duration: int
    span: int
    parent: int
    task: int
    operation: int
    error: int
    weight: int
    thread: int

    @property
    def end(self):
        return self.start + self.duration


class Rig:
    """A core with a ring file, and what it has told us so far."""

    def __init__(self, name, folder):
        self.core = importlib.import_module(MODULES[name])
        self.folder = Path(folder)
        self.ring = self.folder / "none"
        self.errors = {0: ""}
        self.rows = []
        self._probes = {}
        self._recordings = 0

    def start(self, budget=ROOMY, wake_fd=-1):
        self._recordings += 1
        self.ring = self.folder / f"{self._recordings}.ring"
        self.errors = {0: ""}
        self.rows = []
        self.core.start(str(self.ring), budget, self._on_error_name, wake_fd)
        return self

    def _on_error_name(self, number, name):
        assert number not in self.errors
        self.errors[number] = name

    def probe(self, number):
        """The probe with this number: always the same object."""
        if number not in self._probes:

            class Probe(self.core.Probe):
                pass

            self._probes[number] = Probe()
            self._probes[number].probe_id = number
        return self._probes[number]

    def drain(self, release=True):
        """The rows since the last call."""
        batch = self.core.drain()
        if release:
            self.core.release()
        if batch is None:
            return []
        codes = {**dict(schema.RING_COLUMNS), "thread": "q"}
        assert set(batch.columns) == set(codes)
        columns = [memoryview(batch.columns[name]).cast(codes[name]).tolist() for name in Row._fields]
        assert {len(column) for column in columns} == {batch.rows}
        found = [Row(*values) for values in zip(*columns, strict=True)]
        self.rows += found
        return found

    def error(self, row):
        return self.errors[row.error]

    def totals(self):
        """Sums of the account: started, committed, lost."""
        rows = self.core.account()
        return sum(row.started for row in rows), sum(row.committed for row in rows), sum(row.lost for row in rows)

    def close(self):
        self.core.stop()
        self.core.close()


@pytest.fixture(params=MODULES)
def rig(request, tmp_path):
    """A core that records into a roomy ring."""
    if request.param == "native":
        pytest.importorskip(MODULES["native"])
    rig = Rig(request.param, tmp_path)
    rig.start()
    yield rig
    rig.close()


@pytest.fixture
def restart(rig):
    """Start the core again with another budget, or after the test has closed it."""

    def again(budget=ROOMY, wake_fd=-1):
        rig.close()
        return rig.start(budget, wake_fd)

    return again


def by_operation(rows):
    found = {}
    for row in rows:
        found.setdefault(row.operation, []).append(row)
    return found


def in_thread(function, *args):
    """Run `function` in a thread of its own and hand on its result or exception."""
    result, failures = [], []

    def run():
        try:
            result.append(function(*args))
        except BaseException as error:  # noqa: BLE001 - handed on below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return result[0]


# ---- one thread ------------------------------------------------------------------------------------------------------


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


def test_an_error_in_the_recorder_stays_there(rig):
    """on_error_name writes to a file; when that fails, the host program must not see it."""

    def fail(number, name):
        raise OSError("no space left")

    rig.close()
    rig.ring = rig.folder / "other.ring"
    rig.core.start(str(rig.ring), ROOMY, fail)
    with pytest.raises(KeyError), rig.probe(1):
        raise KeyError
    with rig.probe(1):
        pass
    assert len(rig.drain()) == 2


# ---- rings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 700, 1256, 4000, 10_000])
def test_many_segments(rig, every):
    probe = rig.probe(2)
    for number in range(10_000):
        with probe:
            pass
        if number % every == every - 1:
            rig.drain()
    rig.drain()
    assert len(rig.rows) == 10_000
    spans = [row.span for row in rig.rows]
    assert spans == list(range(spans[0], spans[0] + 10_000)), "each once, oldest first"
    assert all(before.end <= row.start for before, row in zip(rig.rows, rig.rows[1:], strict=False))
    assert rig.totals() == (10_000, 10_000, 0)
    assert rig.core.drain() is None


@pytest.mark.parametrize(("segments", "woken_at"), [(1, 1), (8, 4), (9, 4)])
def test_whoever_drains_is_woken(rig, restart, segments, woken_at):
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)

    def fill(count):
        for _ in range(count * schema.SEGMENT_ROWS):
            with rig.probe(1):
                pass

    def is_woken():
        try:
            return len(os.read(reading, 100)) > 0
        except BlockingIOError:
            return False

    try:
        restart(schema.RING_HEADER_BYTES + segments * schema.SEGMENT_BYTES, writing)
        fill(woken_at - 1)
        assert not is_woken()
        fill(1)
        assert is_woken()
        fill(1)
        assert not is_woken(), "once is enough"
        rig.drain()
        assert not is_woken()
        fill(woken_at)
        assert is_woken(), "and again once it has drained"
    finally:
        rig.close()
        os.close(reading)
        os.close(writing)


def test_a_full_ring_loses_the_newest_and_counts_them(rig, restart):
    segments = 3
    restart(schema.RING_HEADER_BYTES + segments * schema.SEGMENT_BYTES)
    room = segments * schema.SEGMENT_ROWS
    brackets = []
    with rig.probe(1), rig.probe(1), rig.probe(2):
        for _ in range(room + 500):
            before = rig.core.now()
            with rig.probe(3):
                pass
            brackets.append((before, rig.core.now()))
        started, committed, lost = rig.totals()
        assert (started, committed, lost) == (room + 503, room, 500)
        assert started == committed + 3 + lost
        (loss,) = rig.core.losses()
        assert (loss.operation, loss.thread, loss.samples) == (3, threading.get_native_id(), 500)
        assert brackets[room][0] <= loss.first_ns <= brackets[room][1]
        assert brackets[-1][0] <= loss.last_ns <= brackets[-1][1]
        assert rig.core.losses() == [], "each loss is told once"
        kept = rig.drain()
        assert len(kept) == room
        assert all(before <= row.start <= after for row, (before, after) in zip(kept, brackets, strict=False))
        for _ in range(10):
            with rig.probe(3):
                pass
        assert len(rig.drain()) == 10, "space that was given back is used again"
    assert [row.operation for row in rig.drain()] == [2, 1, 1]
    assert rig.totals() == (room + 513, room + 13, 500)
    assert rig.core.losses() == []


def test_losses_by_operation_and_thread(rig, restart):
    restart(ONE_SEGMENT)

    def work(operation, count):
        for _ in range(count):
            with rig.probe(operation):
                pass
        return threading.get_native_id()

    mine = work(1, schema.SEGMENT_ROWS + 5)
    work(2, 7)
    # Alive at once, so that no thread gets the number of one that ended.
    held = threading.Barrier(3)

    def and_wait(*args):
        thread = work(*args)
        held.wait()
        return thread

    with_threads = [threading.Thread(target=and_wait, args=(1, count)) for count in (11, 13)]
    for thread in with_threads:
        thread.start()
    held.wait()
    for thread in with_threads:
        thread.join()
    losses = rig.core.losses()
    found = Counter({(loss.operation, loss.thread): loss.samples for loss in losses})
    assert len(found) == len(losses) == 4
    assert found[1, mine] == 5
    assert found[2, mine] == 7
    others = sorted(samples for (operation, thread), samples in found.items() if thread != mine and operation == 1)
    assert others == [11, 13]
    assert all(loss.first_ns <= loss.last_ns for loss in losses)
    account = {(row.operation, row.thread): (row.started, row.committed, row.lost) for row in rig.core.account()}
    assert account[1, mine] == (schema.SEGMENT_ROWS + 5, schema.SEGMENT_ROWS, 5)
    assert account[2, mine] == (7, 0, 7)


def test_drained_rows_keep_their_space_until_release(rig, restart):
    """The writer may die between the two; then the ring is all there is."""
    restart(ONE_SEGMENT)
    for _ in range(schema.SEGMENT_ROWS):
        with rig.probe(1):
            pass
    assert len(rig.drain(release=False)) == schema.SEGMENT_ROWS
    with rig.probe(1):
        pass
    assert rig.totals() == (schema.SEGMENT_ROWS + 1, schema.SEGMENT_ROWS, 1)
    rig.core.release()
    with rig.probe(1):
        pass
    assert len(rig.drain()) == 1


def test_a_small_ring_is_used_again_and_again(rig, restart):
    restart(schema.RING_HEADER_BYTES + 2 * schema.SEGMENT_BYTES)
    size = rig.ring.stat().st_size
    for number in range(20_000):
        with rig.probe(1):
            pass
        if number % 1000 == 999:
            rig.drain()
    assert rig.totals() == (20_000, 20_000, 0)
    assert len({row.span for row in rig.rows}) == 20_000
    assert rig.ring.stat().st_size == size == schema.RING_HEADER_BYTES + 2 * schema.SEGMENT_BYTES


def test_the_account_tells_operations_apart(rig):
    for operation, count in ((1, 3), (40, 5), (1000, 7)):
        for _ in range(count):
            with rig.probe(operation):
                pass
    with rig.probe(40):
        account = {row.operation: row[2:] for row in rig.core.account()}
    assert account == {1: (3, 3, 0), 40: (6, 5, 0), 1000: (7, 7, 0)}
    assert {row.thread for row in rig.core.account()} == {threading.get_native_id()}


def read_ring(path):
    """All complete rows of a ring file, by nothing but the description in `schema`, oldest segment first."""
    data = path.read_bytes()
    assert data[: len(schema.RING_MAGIC)] == schema.RING_MAGIC
    found = []
    for base in range(schema.RING_HEADER_BYTES, len(data), schema.SEGMENT_BYTES):
        fields = {name: struct.unpack_from(f"={code}", data, base + at)[0] for name, code, at in schema.SEGMENT_FIELDS}
        if fields["state"] == 0:
            continue
        columns, offset = {"thread": [fields["thread"]] * fields["written"]}, base + schema.SEGMENT_HEADER_BYTES
        for name, code in schema.RING_COLUMNS:
            columns[name] = struct.unpack_from(f"={fields['written']}{code}", data, offset)
            offset += schema.SEGMENT_ROWS * struct.calcsize(f"={code}")
        assert offset <= base + schema.SEGMENT_BYTES
        rows = [Row(*values) for values in zip(*(columns[name] for name in Row._fields), strict=True)]
        found.append((fields["sequence"], fields["state"], fields["consumed"], rows))
    assert len({sequence for sequence, *_ in found}) == len(found)
    return sorted(found, key=lambda segment: segment[0])


def test_the_ring_file_is_as_the_schema_describes_it(rig):
    def work(operation):
        for _ in range(2000):
            with pytest.raises(KeyError), rig.probe(operation), rig.probe(9):
                raise KeyError

    work(1)
    in_thread(work, 2)
    # The mapping is shared, so that the file holds each row as soon as it is finished.
    segments = read_ring(rig.ring)
    drained = rig.drain(release=False)
    assert [row for *_, rows in segments for row in rows] == drained
    assert len(drained) == 8000
    mine = [(state, len(rows)) for _, state, _, rows in segments if rows[0].thread == threading.get_native_id()]
    assert mine == [*[(2, schema.SEGMENT_ROWS)] * 3, (1, 4000 - 3 * schema.SEGMENT_ROWS)]
    assert {consumed for _, _, consumed, _ in segments} == {0}
    rig.core.release()
    with rig.probe(5):
        pass
    left = [rows[consumed:] for _, _, consumed, rows in read_ring(rig.ring)]
    assert [row.operation for rows in left for row in rows] == [5], "what stands in a part is marked as such"


def test_the_layout_in_c_is_that_of_the_schema():
    native = pytest.importorskip(MODULES["native"])
    for name in ("RING_HEADER_BYTES", "SEGMENT_BYTES", "SEGMENT_ROWS"):
        assert getattr(native, name) == getattr(schema, name)


def test_a_ring_file_that_is_there_already_stays(rig):
    rig.close()
    rig.ring = rig.folder / "taken.ring"
    rig.ring.write_bytes(b"of another process")
    with pytest.raises(FileExistsError):
        rig.core.start(str(rig.ring), ROOMY, lambda *_: None)
    assert rig.ring.read_bytes() == b"of another process"
    rig.start()


def test_a_ring_that_the_disk_cannot_hold_is_refused_and_removed(rig):
    rig.close()
    path = rig.folder / "huge.ring"
    with pytest.raises(OSError):
        rig.core.start(str(path), 2**62, lambda *_: None)
    assert not path.exists()
    rig.start()
    with rig.probe(1):
        pass
    assert len(rig.drain()) == 1


# ---- the life of a recording -----------------------------------------------------------------------------------------


def test_a_second_start_is_refused(rig):
    with pytest.raises(RuntimeError):
        rig.core.start(str(rig.folder / "second.ring"), ROOMY, lambda *_: None)
    assert not (rig.folder / "second.ring").exists()


def test_what_needs_a_recording_says_so(rig):
    rig.close()
    for name in ("drain", "release", "losses", "account"):
        with pytest.raises(RuntimeError):
            getattr(rig.core, name)()
    rig.core.stop()
    rig.core.close()


def test_off_records_nothing(rig):
    rig.close()
    function = rig.core.timed(rig.probe(1), lambda: 5)
    with pytest.raises(KeyError), rig.probe(1):
        raise KeyError
    assert function() == 5
    rig.start()
    assert rig.drain() == []
    assert rig.totals() == (0, 0, 0)


def test_what_is_finished_at_stop_can_still_be_drained(rig):
    with rig.probe(1):
        pass
    rig.core.stop()
    with rig.probe(1):
        pass
    assert len(rig.drain()) == 1
    assert rig.totals() == (1, 1, 0)


def test_a_span_left_open_at_stop_is_counted_as_open(rig):
    with rig.probe(1):
        with rig.probe(2):
            pass
        rig.core.stop()
    assert [row.operation for row in rig.drain()] == [2]
    assert {row.operation: row[2:] for row in rig.core.account()} == {1: (1, 0, 0), 2: (1, 1, 0)}


def test_an_exit_without_an_enter_is_no_sample(rig):
    rig.close()
    with rig.probe(1):
        rig.start()
        with rig.probe(2):
            pass
    with rig.probe(3):
        pass
    assert [(row.operation, row.parent) for row in rig.drain()] == [(2, 0), (3, 0)]
    assert rig.totals() == (2, 2, 0)


def test_a_span_over_two_recordings_is_in_neither(rig, restart):
    with rig.probe(1):
        with rig.probe(1), rig.probe(2):
            restart()
            with rig.probe(3):
                pass
        with rig.probe(1):
            pass
    with rig.probe(3):
        pass
    assert [(row.operation, row.parent) for row in rig.drain()] == [(3, 0), (1, 0), (3, 0)]
    assert rig.totals() == (3, 3, 0)


def test_a_call_over_two_recordings_is_in_neither(rig, restart):
    def again():
        restart()
        with rig.probe(2):
            pass

    rig.core.timed(rig.probe(1), again)()
    assert [(row.operation, row.parent) for row in rig.drain()] == [(2, 0)]


def test_threads_and_tasks_that_live_through_two_recordings(rig, restart):
    step, done = threading.Semaphore(0), threading.Semaphore(0)

    def thread():
        with rig.probe(1):
            step.acquire()
            with rig.probe(2):
                pass
            done.release()

    async def main():
        async def child(gate):
            with rig.probe(3):
                await gate.wait()
                with rig.probe(4):
                    pass

        gate = asyncio.Event()
        with rig.probe(5):
            task = asyncio.create_task(child(gate))
            await asyncio.sleep(0)
            restart()
            gate.set()
            await task
        with rig.probe(6):
            pass

    worker = threading.Thread(target=thread)
    worker.start()
    asyncio.run(main())
    step.release()
    done.acquire()
    worker.join()
    assert sorted((row.operation, row.parent) for row in rig.drain()) == [(2, 0), (4, 0), (6, 0)]
    assert rig.totals() == (3, 3, 0)


def test_spans_are_unique_over_recordings(rig, restart):
    for _ in range(10):
        with rig.probe(1):
            pass
    first = rig.drain()
    restart()
    for _ in range(10):
        with rig.probe(1):
            pass
    assert {row.span for row in first}.isdisjoint(row.span for row in rig.drain())


# ---- threads ---------------------------------------------------------------------------------------------------------


def test_threads(rig, restart):
    restart(schema.RING_HEADER_BYTES + 128 * schema.SEGMENT_BYTES)
    ready = threading.Barrier(8)

    def work(number):
        ready.wait()
        for _ in range(2500):
            with rig.probe(number), rig.probe(20):
                pass
        ready.wait()  # all at once, so that no native id is used twice
        return threading.get_native_id()

    ids = {}
    threads = [threading.Thread(target=lambda n=n: ids.__setitem__(n, work(n))) for n in range(8)]
    with rig.probe(30):
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            rig.drain()
            time.sleep(0.005)
    rig.drain()
    assert len(rig.rows) == 8 * 5000 + 1
    assert len({row.span for row in rig.rows}) == len(rig.rows)
    spans = {row.span: row for row in rig.rows}
    for number in range(8):
        own = [row for row in rig.rows if row.thread == ids[number]]
        assert Counter(row.operation for row in own) == {number: 2500, 20: 2500}
        for row in own:
            if row.operation == number:
                assert row.parent == 0, "parents never reach across threads"
            else:
                assert (spans[row.parent].operation, spans[row.parent].thread) == (number, row.thread)
    account = {(row.operation, row.thread): row[2:] for row in rig.core.account()}
    assert account == {
        (30, threading.get_native_id()): (1, 1, 0),
        **{(number, ids[number]): (2500, 2500, 0) for number in range(8)},
        **{(20, ids[number]): (2500, 2500, 0) for number in range(8)},
    }


def test_two_thousand_short_lived_threads_in_a_bounded_file(rig, restart):
    segments = 150
    restart(schema.RING_HEADER_BYTES + segments * schema.SEGMENT_BYTES)

    def work():
        with rig.probe(1):
            pass

    for number in range(2000):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if number % 100 == 99:
            rig.drain()
    rig.drain()
    assert rig.totals() == (2000, 2000, 0)
    assert len({row.span for row in rig.rows}) == 2000
    assert {row.parent for row in rig.rows} == {0}
    assert rig.ring.stat().st_size == schema.RING_HEADER_BYTES + segments * schema.SEGMENT_BYTES


def test_what_an_ended_thread_left_is_not_lost(rig):
    def work():
        with rig.probe(1):
            pass
        rig.probe(2).__enter__()  # and never left

    in_thread(work)
    gc.collect()
    assert [row.operation for row in rig.drain()] == [1]
    assert rig.drain() == []
    assert {row.operation: row[2:] for row in rig.core.account()} == {1: (1, 1, 0), 2: (1, 0, 0)}


def test_errors_that_are_new_in_many_threads_at_once(rig):
    """A name must never be taken for another, whichever thread comes first."""
    count, each = 8, 60
    ready = threading.Barrier(count)

    def work(number):
        kinds = [type(f"E{number}x{index}", (Exception,), {}) for index in range(each)]
        probe = rig.probe(number)
        ready.wait()
        for kind in kinds:
            try:
                with probe:
                    raise kind
            except kind:
                pass

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    for number, rows in by_operation(rig.drain()).items():
        assert [rig.errors[row.error] for row in rows] == [f"E{number}x{index}" for index in range(each)]


# ---- asyncio ---------------------------------------------------------------------------------------------------------


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


def test_tasks_that_share_a_context(rig):
    """create_task(context=...), as a Runner and unittest do: each sample still has the number of its own task."""

    async def work(operation):
        with rig.probe(operation):
            await asyncio.sleep(0.002)
        with rig.probe(operation):
            await asyncio.sleep(0.002)

    async def main():
        context = contextvars.copy_context()
        await asyncio.gather(
            *(asyncio.get_running_loop().create_task(work(number), context=context) for number in (1, 2))
        )

    asyncio.run(main())
    rows = by_operation(rig.drain())
    tasks = {operation: {row.task for row in rows[operation]} for operation in (1, 2)}
    assert [len(numbers) for numbers in tasks.values()] == [1, 1]
    assert tasks[1] != tasks[2]


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


# ---- generators ------------------------------------------------------------------------------------------------------


def stepping(rig, operation, steps=2):
    with rig.probe(operation):
        for step in range(steps):
            with rig.probe(operation + 1):
                pass
            yield step


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


# ---- finalisers ------------------------------------------------------------------------------------------------------


class Garbage:
    """A cycle whose finaliser runs `action` when the collector comes by."""

    def __init__(self, action):
        self.action = action
        self.me = self

    def __del__(self):
        self.action()


@contextlib.contextmanager
def eager_collector():
    """Collections at every allocation, once enabled; the block enables it itself."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.disable()
    gc.set_threshold(1, 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.enable()


def nested(rig, *operations):
    with contextlib.ExitStack() as stack:
        for operation in operations:
            stack.enter_context(rig.probe(operation))


def test_a_finaliser_that_records_while_a_span_of_a_generator_opens(rig):
    probe, action = rig.probe(1), functools.partial(nested, rig, 2, 3)

    def generator():
        Garbage(action)
        gc.enable()
        with probe:
            gc.disable()
        yield

    nested(rig, 1, 2, 3)
    rig.drain()
    with eager_collector():
        for _ in range(50):
            list(generator())
    gc.collect()
    found = Counter(row.operation for row in rig.drain())
    assert found == {1: 50, 2: 50, 3: 50}
    assert rig.totals() == (153, 153, 0)


@pytest.mark.parametrize("depth", [1, 7, 8, 15, 16])
def test_a_finaliser_that_records_while_a_span_of_a_task_opens(rig, depth):
    """Also when the stack of open spans grows meanwhile."""
    brackets = []
    probe, action = rig.probe(1), functools.partial(nested, rig, *[2] * 20)

    async def main():
        with contextlib.ExitStack() as stack:
            for _ in range(depth - 1):
                stack.enter_context(rig.probe(9))
            for _ in range(50):
                Garbage(action)
                before = rig.core.now()
                gc.enable()
                with probe:
                    gc.disable()
                    after = rig.core.now()
                brackets.append((before, after))

    nested(rig, 1, 2, 9)
    rig.drain()
    rig.rows.clear()
    with eager_collector():
        asyncio.run(main())
    gc.collect()
    rows = by_operation(rig.drain())
    assert len(rows[1]) == 50
    assert len(rows[2]) == 1000
    assert all(before <= row.start <= after for row, (before, after) in zip(rows[1], brackets, strict=True))
    started, committed, lost = rig.totals()
    assert started == committed == len(rig.rows) + 3
    assert lost == 0


# ---- timed functions -------------------------------------------------------------------------------------------------


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


# ---- memory and processes --------------------------------------------------------------------------------------------


def test_spans_keep_no_objects_alive(rig):
    """Tasks, contexts and generators that are gone leave no objects of ours behind."""

    async def task():
        with rig.probe(1):
            await asyncio.sleep(0)
        list(stepping(rig, 2))

    async def tasks():
        await asyncio.gather(*(task() for _ in range(20)))

    def rounds(count):
        for _ in range(count):
            asyncio.run(tasks())
            list(stepping(rig, 2))
            contextvars.copy_context().run(nested, rig, 1, 2)
        rig.drain()
        rig.rows.clear()
        gc.collect()
        return sys.getallocatedblocks()

    rounds(3)
    before = rounds(1)
    after = rounds(100)
    # 2,000 tasks: one block kept for each would show.
    assert after - before < 1000


def test_a_fork_while_recording(rig):
    """The child lets go, as the recorder makes it do, and its probes disturb nobody."""
    with rig.probe(1):
        with rig.probe(2):
            pass
        child = os.fork()
        if child == 0:
            code = 1
            try:
                rig.core.forget()
                with rig.probe(3):
                    rig.core.timed(rig.probe(4), len)([])
                list(stepping(rig, 5))
                in_thread(lambda: nested(rig, 6))
                rig.start()
                nested(rig, 7)
                code = 0 if [row.operation for row in rig.drain()] == [7] else 2
                rig.close()
            finally:
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with rig.probe(1):
        pass
    assert [row.operation for row in rig.drain()] == [2, 1, 1]
    assert rig.totals() == (3, 3, 0)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forks_while_other_threads_record(rig):
    stopping = threading.Event()

    def work():
        while not stopping.wait(0.0002):
            nested(rig, 1, 2)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    rig.core.forget()
                    nested(rig, 3, 4)
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            rig.drain()
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    rig.drain()
    started, committed, lost = rig.totals()
    assert started == committed + lost
    assert committed == len(rig.rows)
    assert {row.operation for row in rig.rows} == {1, 2}


# ---- the two against each other --------------------------------------------------------------------------------------

# A random program is a list of nodes: (kind, operation, inner program). What it should record is written down while it
# runs, from the shape of the program alone: that is the oracle of both cores.


class PlannedError(Exception):
    pass


class Interpreter:
    """Runs a program on a core. `expected`: [operation, index of the parent, error] in the order of entering."""

    def __init__(self, rig):
        self.rig = rig
        self.expected = []

    def run(self, program, parent):
        for kind, operation, inner in program:
            getattr(self, f"_{kind}")(operation, inner, parent)

    @contextlib.contextmanager
    def _noting(self, operation, parent):
        index = len(self.expected)
        self.expected.append([operation, parent, ""])
        try:
            yield index
        except BaseException as error:
            self.expected[index][2] = type(error).__name__
            raise

    def _span(self, operation, inner, parent):
        with self._noting(operation, parent) as index, self.rig.probe(operation):
            self.run(inner, index)

    def _timed(self, operation, inner, parent):
        with self._noting(operation, parent) as index:
            self.rig.core.timed(self.rig.probe(operation), self.run)(inner, index)

    def _fails(self, operation, inner, parent):
        with contextlib.suppress(PlannedError), self._noting(operation, parent) as index, self.rig.probe(operation):
            self.run(inner, index)
            raise PlannedError

    def _manager(self, operation, inner, parent):
        @contextlib.contextmanager
        def managed():
            with self._noting(operation, parent) as index, self.rig.probe(operation):
                yield index

        with managed() as index:
            self.run(inner, index)

    def _generator(self, operation, inner, parent, how="exhaust"):
        """The first half of `inner` runs inside, step by step; the second outside, in between."""
        half = len(inner) // 2

        def generator():
            with self._noting(operation, parent) as index, self.rig.probe(operation):
                for node in inner[:half]:
                    self.run([node], index)
                    yield
                yield

        suspended = generator()
        next(suspended)
        for node in inner[half:]:
            self.run([node], parent)
            next(suspended, None)
        if how == "exhaust":
            for _ in suspended:
                pass
        elif how == "thread":
            in_thread(list, suspended)
        del suspended  # and with it, where it still runs, the generator

    def _dropped(self, operation, inner, parent):
        self._generator(operation, inner, parent, "drop")

    def _moved(self, operation, inner, parent):
        self._generator(operation, inner, parent, "thread")

    def _thread(self, operation, inner, parent):  # noqa: ARG002 - a thread starts with nothing open
        def work():
            with self._noting(operation, None) as index, self.rig.probe(operation):
                self.run(inner, index)

        in_thread(work)

    def _copied(self, operation, inner, parent):
        contextvars.copy_context().run(self._span, operation, inner, parent)

    def _tasks(self, operation, inner, parent):
        async def task(node):
            await asyncio.sleep(0)
            with self._noting(operation, parent) as index, self.rig.probe(operation):
                await asyncio.sleep(0)
                self.run([node], index)
                await asyncio.sleep(0)

        async def main():
            await asyncio.gather(*(task(node) for node in inner))

        if asyncio._get_running_loop() is None:
            asyncio.run(main())


KINDS = ("span", "timed", "fails", "manager", "generator", "dropped", "moved", "thread", "copied", "tasks")
programs = st.recursive(
    st.just([]),
    lambda inner: st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 3), inner), max_size=4),
    max_leaves=12,
)


def recorded(name, program):
    """What the core recorded of `program`, in the order of entering, beside what it should have."""
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(name, folder).start()
        try:
            interpreter = Interpreter(rig)
            interpreter.run(program, None)
            rows = sorted(rig.drain(), key=lambda row: row.span)
            index = {row.span: number for number, row in enumerate(rows)}
            found = [[row.operation, index.get(row.parent), rig.error(row)] for row in rows]
            assert all(row.parent == 0 or row.parent in index for row in rows)
            assert rig.totals() == (len(rows), len(rows), 0)
            return found, interpreter.expected
        finally:
            rig.close()


@given(programs)
@settings(deadline=None, derandomize=True, max_examples=150, database=None)
def test_random_programs_are_recorded_as_they_ran(program):
    """By both cores, which makes them the same; by the Python one alone where there is no other."""
    for name in ("python", "native") if HAS_NATIVE else ("python",):
        found, expected = recorded(name, program)
        assert found == expected, name
