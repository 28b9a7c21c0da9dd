"""A recording: the mapped file, the segments that threads own in it, and what was counted."""

from __future__ import annotations

import array
import collections
import contextlib
import mmap
import os
import struct
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextvars import Context
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple, Self

from quantum_pulse import mounts, schema
from quantum_pulse.core import contract
from quantum_pulse.core.pure import attributes
from quantum_pulse.core.pure.accounts import Count, Ended
from quantum_pulse.core.pure.segments import CLOSED, Header, Segment
from quantum_pulse.core.pure.slots import SEGMENTS_PER_SLOT_SEGMENT, Slots

if TYPE_CHECKING:
    from quantum_pulse.core.pure.spans import Open

now = time.perf_counter_ns
_type_name: Callable[[type], str] = type.__dict__["__name__"].__get__
_TRIP = struct.Struct("=IIqq")
_SEGMENT_TEXTS = schema.SEGMENT_BYTES - schema.SEGMENT_HEADER_BYTES
#: At most one segment in so many is used for texts.
SEGMENTS_PER_TEXT_SEGMENT = 8

#: After there was no memory, nobody asks for so long, in ns.
NO_ROOM_NS = 100_000_000
#: An agent that has not looked for so long may be gone, and how often that is reported, in ns.
STALL_NS = 1_000_000_000
STALL_AGAIN_NS = 250_000_000

_fence = threading.Lock()


def fence() -> None:
    """See the contract. Taking and releasing a lock twice orders what comes before and after on any processor."""
    for _ in range(2):
        with _fence:
            pass


def write_row(
    segment: Segment,
    start: int,
    duration: int,
    span: int,
    parent: int,
    task: int,
    operation: int,
    error: int,
    weight: int,
) -> bool:
    """Add a row to `segment`. Returns whether there was room.

    No loop and no call in here: between two bytecodes of that kind a signal handler may run, and record as well.
    """
    row = segment.written
    if row == schema.SEGMENT_ROWS:
        return False
    columns, fields = segment.columns, segment.fields
    columns["start"][row] = start
    columns["duration"][row] = duration
    columns["span"][row] = span
    columns["parent"][row] = parent
    columns["task"][row] = task
    columns["operation"][row] = operation
    columns["error"][row] = error
    columns["weight"][row] = weight
    segment.written = row + 1
    # Last, so that the agent, and whoever reads the file of a killed process, find whole rows only.
    fields["inverse"][0] = schema.WORD ^ (row + 1)
    fields["written"][0] = row + 1
    return True


class Rows(NamedTuple):
    """Rows that become visible together, by column: a sample, and its details."""

    start: array.array[int]
    duration: array.array[int]
    span: array.array[int]
    parent: array.array[int]
    task: array.array[int]
    operation: array.array[int]
    error: array.array[int]
    weight: array.array[int]

    @classmethod
    def of(cls, rows: Iterable[tuple[int, ...]]) -> Self:
        """Rows of one value each for the columns of a ring."""
        columns = zip(*rows, strict=True)
        return cls(*(array.array(code, own) for (_, code), own in zip(schema.RING_COLUMNS, columns, strict=True)))


def write_rows(segment: Segment, rows: Rows) -> bool:
    """As `write_row`, of several rows at once."""
    start, duration, span, parent, task, operation, error, weight = rows
    columns, fields, count = segment.columns, segment.fields, len(start)
    row = segment.written
    end = row + count
    if end > schema.SEGMENT_ROWS:
        return False
    columns["start"][row:end] = start
    columns["duration"][row:end] = duration
    columns["span"][row:end] = span
    columns["parent"][row:end] = parent
    columns["task"][row:end] = task
    columns["operation"][row:end] = operation
    columns["error"][row:end] = error
    columns["weight"][row:end] = weight
    segment.written = end
    # Last, so that the agent, and whoever reads the file of a killed process, find whole rows only.
    fields["inverse"][0] = schema.WORD ^ end
    fields["written"][0] = end
    return True


class Thread:
    """What a thread owns in a recording."""

    __slots__ = ("__weakref__", "counts", "id", "lock", "segment", "session")

    def __init__(self, session: Session) -> None:
        self.id = threading.get_native_id()
        self.lock = threading.RLock()  # while it counts or writes: it may be interrupted, and record then as well
        self.segment: Segment | None = None
        self.counts: dict[int, Count] = {}
        self.session = session  # last: what an interrupt leaves without it never counted
        session.threads[id(self)] = weakref.ref(self)

    def __del__(self) -> None:
        # The thread has ended, or records into another recording now. This may run anywhere, so no lock is taken.
        if not hasattr(self, "session"):
            return
        if self.segment is not None:
            self.session.finish(self.segment)
        self.session.just_ended.append((self.id, self.counts))
        self.session.threads.pop(id(self), None)


class Session:
    """One recording: the mapping, the segments and the account."""

    def __init__(
        self,
        path: str | bytes,
        budget: int,
        wake_fd: int,
        on_full: int,
        production: bool,
        reserve: int,
        on_stall: Callable[[], object] | None,
        first_span: int,
    ) -> None:
        self.is_recording = True
        self.on_full = on_full
        self.production = production
        self.muted = contract.NOTHING
        self.lost = 0  # samples, as the header says too
        self.hopeless_at = -1  # releases by when waiting was in vain
        # A collection may begin in any critical section, and what it runs may record: in the same thread.
        self.lock = threading.RLock()
        self.tally = threading.RLock()  # of what all threads count together
        self.limit = schema.ring_limit(budget)
        self.reserved = 0
        size = schema.segments_at(self.limit) + self.limit * schema.SEGMENT_BYTES
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_APPEND
        self.fd = os.open(path, flags, 0o600)
        try:
            self.is_on_disk = mounts.kind_of(os.fsdecode(path)) not in mounts.IN_MEMORY
            os.ftruncate(self.fd, size)
            self.memory = mmap.mmap(self.fd, size)
            if self.is_on_disk:
                os.ftruncate(self.fd, 0)  # it grows with what is reserved, and the mapping is there for all of it
                self.write_zeros(schema.segments_at(self.limit))
            else:
                os.posix_fallocate(self.fd, 0, schema.segments_at(self.limit))
            self.reserve(max(reserve, 1))
        except BaseException:
            os.close(self.fd)
            os.unlink(path)
            raise
        self.header = Header(self.memory, self.limit)
        self.header["process"] = os.getpid()
        self.header["limit"] = self.limit
        self.header["on_full"] = on_full
        self.header["first_span"] = self.header["last_span"] = self.last_span = first_span
        self.header["seen_ns"] = self.header["released_ns"] = now()
        self.header["reserved"] = self.reserved
        self.cpu_time = False  # of all blocks
        self.most_values = contract.MOST_VALUES
        # Numbers of texts by probe and attribute; of errors by None.
        self.text_numbers: dict[tuple[int, int] | None, dict[str, int]] = {}
        self.last_text = 0
        self.text_segment: Segment | None = None  # that has the last ones; None: they are in the header
        self.text_segments = 0
        self.texts_used = 0  # bytes there
        self.used = 0
        self.segments: list[Segment] = []  # all of them
        self.free: list[Segment] = []
        self.full: collections.deque[Segment] = collections.deque()  # the one that became full first comes first
        self.slots = Slots(self.memory, self.take_for_slots)
        self.slot_segments = 0
        self.overwritten: dict[tuple[int, int], int | None] = {}  # by probe and thread: slot
        self.sequence = 0
        self.swept_at = 0  # releases by when full segments were looked through last
        self.waked_at = -1  # releases by when the agent was woken last
        self.no_room_until_ns = 0
        self.stalled_ns = 0
        self.on_stall = on_stall
        if on_full == contract.OVERWRITE:
            self.slots.reserve()  # all segments will be full of samples, and none given back
        self.wake_fd = wake_fd
        self.wake_at = max(1, min(self.limit // 2, schema.WAKE_SEGMENTS))
        if on_full == contract.OVERWRITE:
            self.wake_at = self.limit + 1  # they are to be full
        self.by_frame: dict[FrameType, list[Open]] = {}
        self.threads: dict[int, weakref.ref[Thread]] = {}
        self.just_ended: collections.deque[tuple[int, dict[int, Count]]] = collections.deque()
        self.ended = Ended()
        self.kept: dict[int, Context] = {}  # by thread
        self.watched: dict[int, tuple[int, bool]] = {}  # by probe: limit in ns, whether errors count
        self.collection_began_ns = 0
        # Whoever looks at the file takes it for a ring from here on.
        self.memory[: len(schema.RING_MAGIC)] = schema.RING_MAGIC

    def close(self) -> None:
        """Let go of the mapping and the file."""
        with self.lock:
            for segment in self.segments:
                segment.close()
            self.header.close()
            self.slots.close()
            self.memory = CLOSED
            os.close(self.fd)
            self.fd = -1

    def renew_locks(self) -> None:
        """In a forked child: whoever held them is not there."""
        self.lock, self.tally = threading.RLock(), threading.RLock()
        for thread in self.living():
            thread.lock = threading.RLock()

    def reserve(self, count: int) -> None:
        """Memory for at most `count` more segments: without it, a page of the mapping could raise SIGBUS in the host.

        Raises OSError.
        """
        begin = schema.segments_at(self.limit)
        reserved = min(self.reserved + count, self.limit)
        end = begin + reserved * schema.SEGMENT_BYTES
        if self.is_on_disk:
            self.write_zeros(end)
        else:
            os.posix_fallocate(self.fd, begin, end - begin)
        self.reserved = max(self.reserved, reserved)  # a signal handler may have reserved the same meanwhile

    def write_zeros(self, end: int) -> None:
        """Make the file as long as that, on a disk. Raises OSError.

        There, a block that is only reserved needs more room when it is first written to, and a page may be part of a
        larger one that goes on behind the last reserved block. So blocks are written, and the file ends with the last
        one. Each write goes to the end of the file, wherever that is: a signal handler may have moved it.
        """
        while (missing := end - os.fstat(self.fd).st_size) > 0:
            os.write(self.fd, bytes(min(missing, schema.SEGMENT_BYTES)))

    def take(self, thread: int) -> Segment | None:
        """A segment to fill, or None when the budget or the memory is used up."""
        with self.lock:
            # Once more where a collection in between took what had become free.
            while not self.free:
                if not self.make_room() and not (self.on_full == contract.OVERWRITE and self.overwrite()):
                    return None
            segment = self.free.pop()
            self.sequence += 1
            segment.begin(self.sequence, thread, schema.OWNED)
            self.wake_if_filling()
            return segment

    def finish(self, segment: Segment) -> None:
        """Nobody adds to `segment` any more. This may run anywhere, so no lock is taken."""
        if not segment.is_owned:
            return  # by what a collection or a signal handler recorded meanwhile
        segment.is_owned = False
        segment.finish()
        # What is in parts already is free at once: perhaps nothing is released after it, and so nobody would look.
        (self.free if self.is_drained(segment) else self.full).append(segment)

    def is_drained(self, segment: Segment) -> bool:
        """Whether all rows of `segment` are in parts."""
        try:
            drained = self.header.drained[segment.number]
        except ValueError:  # the rings are closed
            return False
        return bool(drained == (segment.sequence << 32 | segment.written) & 0xFFFFFFFFFFFFFFFF)

    def make_room(self) -> bool:
        """Make sure of a free segment without taking any from the samples."""
        return bool(self.free) or self.sweep() or self.extend()

    def sweep(self) -> bool:
        """Free the segments that the agent has given back. Returns whether there are any."""
        released = self.header["released"]
        if released == self.swept_at:
            return False
        self.swept_at = released
        before = len(self.free)
        for _ in range(len(self.full)):
            segment = self.full.popleft()
            (self.free if self.is_drained(segment) else self.full).append(segment)
        return len(self.free) > before

    def take_for_slots(self) -> int | None:
        """Where a segment begins that holds slots from now on, or None when that would take too many."""
        with self.lock:
            if (self.slot_segments + 1) * SEGMENTS_PER_SLOT_SEGMENT > self.limit or not self.make_room():
                return None
            segment = self.free.pop()
            self.slot_segments += 1
            self.sequence += 1
            segment.begin(self.sequence, 0, schema.FREE)
            begin = segment.base + schema.SLOTS_OFFSET
            self.memory[begin : segment.base + schema.SEGMENT_BYTES] = bytes(schema.SEGMENT_BYTES - schema.SLOTS_OFFSET)
            segment.fields["state"][0] = schema.HAS_SLOTS
            return segment.base

    def extend(self) -> bool:
        """Free a segment that was never used."""
        if self.used == self.limit:
            return False
        self.reserved = max(self.reserved, min(self.header["reserved"], self.limit))
        while self.used == self.reserved:
            if self.used == self.limit or self.header["no_room"] or now() < self.no_room_until_ns:
                return False
            try:
                self.reserve(1)
            except OSError:
                self.no_room_until_ns = now() + NO_ROOM_NS
                return False
        # It is taken first: a collection that begins in the following may take one as well.
        number = self.used
        self.used = number + 1
        self.header["used"] = self.used
        segment = Segment(self.memory, number, self.limit)
        self.segments.append(segment)
        self.free.append(segment)
        return True

    def overwrite(self) -> bool:
        """Free the oldest full segment that the agent is not copying."""
        for segment in self.oldest_first():
            # Either we see the agent's claim, or it sees that the sequence has changed.
            segment.fields["sequence"][0] = 0
            fence()
            if self.header.claimed[segment.number] == segment.sequence:
                segment.fields["sequence"][0] = segment.sequence
                continue
            try:
                self.full.remove(segment)
            except ValueError:  # taken by what a collection in between recorded
                segment.fields["sequence"][0] = segment.sequence
                continue
            segment.fields["state"][0] = schema.FREE
            self.lose_rows(segment)
            self.free.append(segment)
            return True
        return False

    def oldest_first(self) -> list[Segment]:
        """The full segments."""
        while True:
            with contextlib.suppress(RuntimeError):  # another thread has added one meanwhile
                return list(self.full)

    def lose_rows(self, segment: Segment) -> None:
        """Count the rows of `segment` that are in no part as lost."""
        drained = self.header.drained[segment.number]
        begin = drained & 0xFFFFFFFF if drained >> 32 == segment.sequence & 0xFFFFFFFF else 0
        found: dict[int, list[int]] = {}
        for row in range(begin, segment.written):
            if segment.columns["operation"][row] in (schema.COLLECTION, schema.DETAILS):
                continue
            start = segment.columns["start"][row]
            end = start + segment.columns["duration"][row]
            known = found.setdefault(segment.columns["operation"][row], [0, start, end])
            known[:] = known[0] + 1, min(known[1], start), max(known[2], end)
        for probe_id, (samples, first, last) in found.items():
            self.count_lost(samples)
            self.ended.add(probe_id, segment.thread, 0, -samples, samples)
            self.ended.add_loss(probe_id, segment.thread, contract.OVERWRITTEN, samples, first, last)
            key = (probe_id, segment.thread)
            self.overwritten[key] = self.slots.add_lost(
                self.overwritten.get(key), *key, contract.OVERWRITTEN, samples, first, last
            )

    def take_patiently(self, thread: Thread) -> Segment | None:
        """A segment as `take` gives it, after a pause where rings fill up, and a wait where that was asked for."""
        if thread.segment is not None:  # once a segment: not for each sample that is lost when there is none
            self.brake()
        segment = self.take(thread.id)
        give_up = now() + contract.LONGEST_WAIT_NS
        while segment is None and self.on_full == contract.WAIT and self.header["released"] != self.hopeless_at:
            if not self.is_recording:
                break
            if now() > give_up:
                self.hopeless_at = self.header["released"]
            self.report_stall()
            time.sleep(0.0002)
            segment = self.take(thread.id)
        if segment is None:
            self.report_stall()
        return segment

    def living(self) -> list[Thread]:
        return [thread for reference in self.threads.copy().values() if (thread := reference()) is not None]

    def brake(self) -> None:
        """Pause where rings fill faster than they are emptied, the longer the fuller they are."""
        half = self.limit // 2
        if self.on_full == contract.OVERWRITE or self.limit < contract.BRAKE_SEGMENTS or self.room() >= half:
            return
        with self.lock:
            self.sweep()
        if self.room() < half and now() - self.header["released_ns"] <= contract.LONGEST_BRAKING_NS:
            threads = max(len(self.living()), contract.BRAKE_THREADS)
            pause_ns = (1 - self.room() / half) ** 2 * contract.BRAKE_NS * threads / contract.BRAKE_THREADS
            time.sleep(min(pause_ns, contract.LONGEST_BRAKE_NS) / 1e9)

    def room(self) -> int:
        """Segments that nobody uses."""
        return len(self.free) + self.limit - self.used

    def report_stall(self) -> None:
        """Full rings and nobody who empties them: let the recorder see to it."""
        moment = now()
        if self.on_stall is None or moment - self.header["seen_ns"] < STALL_NS:
            return
        if moment - self.stalled_ns < STALL_AGAIN_NS:
            return
        self.stalled_ns = moment
        with contextlib.suppress(Exception):  # never the host's trouble
            self.on_stall()

    def settle(self) -> None:
        """Take the counts of threads that have ended over."""
        while self.just_ended:
            self.ended.add_counts(*self.just_ended.popleft())

    def wake(self) -> None:
        """Wake the agent."""
        if self.wake_fd >= 0:
            with contextlib.suppress(OSError):  # a full pipe wakes as well
                os.write(self.wake_fd, b"\0")

    def wake_if_filling(self) -> None:
        """Wake the agent when many segments are in use, once until it has released some."""
        released = self.header["released"]
        if self.wake_fd < 0 or self.used - len(self.free) < self.wake_at or self.waked_at == released:
            return
        self.sweep()
        if self.used - len(self.free) >= self.wake_at:
            self.waked_at = released
            self.wake()

    def next_segment(self, thread: Thread) -> Segment | None:
        """Another segment for `thread` to fill, or None when there is none."""
        before = thread.segment
        if before is not None:
            self.finish(before)
        segment = self.take_patiently(thread)
        if thread.segment is not before and thread.segment is not None:
            self.finish(thread.segment)  # of what a collection or a signal handler recorded meanwhile
        thread.segment = segment
        return segment

    def commit(self, thread: Thread, entry: Open, end: int, error: int, cpu_ns: int | None = None) -> bool:
        """Write a finished sample and its details, or count it as lost. Returns whether its block has ended by that."""
        count = thread.counts.get(entry.probe_id) or thread.counts.setdefault(entry.probe_id, Count())
        duration = end - entry.start
        segment = thread.segment
        sample = (entry.start, duration, entry.span, entry.parent, entry.task, entry.probe_id, error, entry.weight)
        rows: tuple[int, ...] | Rows = sample
        if entry.values or cpu_ns is not None:
            rows = Rows.of([sample, *self.details_of(entry, cpu_ns)])
        while not self.write(thread, segment, rows, count):
            segment = self.next_segment(thread)
            with thread.lock:
                if not self.is_recording:
                    return False  # since it waited for a segment, or before
                if segment is None:
                    self.lose(thread, count, entry, end)
                    return True
        if entry.probe_id in self.watched:
            self.look_at(entry, duration, error)
        return True

    @staticmethod
    def details_of(entry: Open, cpu_ns: int | None) -> list[tuple[int, ...]]:
        """The rows that follow the sample of a block."""
        return [
            (cpu, values[0], entry.span, values[1], values[2], schema.DETAILS, index, 1)
            for index, cpu, values in attributes.rows(entry.values or {}, cpu_ns)
        ]

    def begin(self, thread: Thread, count: Count, entry: Open, *, keeps_slot: bool) -> bool:
        """Number and count a block that is entered, unless the recording has ended. Returns whether it has not.

        `keeps_slot`: it is open from now on, rather than over.
        """
        with thread.lock:
            if not self.is_recording:
                return False
            if keeps_slot:
                entry.slot = self.slots.take()
            last = self.header.fields["last_span"]
            with self.tally:
                # No call in here: an interrupt that comes in between may record as well.
                self.last_span += 1
                entry.span = last[0] = self.last_span
                count.started += 1
            # Last: what an interrupt leaves is counted and has no name, rather than twice.
            self.slots.show(entry.slot, entry)
            return True

    def write(
        self, thread: Thread, segment: Segment | None, rows: tuple[int, ...] | Rows, count: Count | None = None
    ) -> bool:
        """Write rows and count a sample, unless the recording has ended. Returns whether they are written."""
        with thread.lock:
            if not self.is_recording or segment is None:
                return False
            if not (write_rows(segment, rows) if isinstance(rows, Rows) else write_row(segment, *rows)):
                return False
            if count is not None:
                count.committed += 1
            return True

    def end(self) -> None:
        """Nothing follows: each thread has either written what it is about to write, or never will."""
        self.is_recording = False
        for thread in self.living():
            with thread.lock:
                pass

    def note_collection(self, thread: Thread, start: int, end: int, generation: int, collected: int) -> None:
        """Write a garbage collection as a row."""
        segment = thread.segment
        rows = (start, end - start, 0, collected, 0, schema.COLLECTION, generation, 1)
        while not self.write(thread, segment, rows):
            segment = self.next_segment(thread)
            if segment is None or not self.is_recording:
                return
        self.header["gc_pause_ns"] += end - start
        self.header["gc_collections"] += 1

    def move_start(self, thread: Thread, entry: Open) -> None:
        """A block that another thread had entered was left in this one, and belongs to it from now on."""
        count = thread.counts.get(entry.probe_id) or thread.counts.setdefault(entry.probe_id, Count())
        with self.lock:
            self.ended.add(entry.probe_id, entry.thread, -1, 0, 0)
        count.started += 1

    def rename(self, thread: Thread, entry: Open, probe_id: int) -> None:
        """An open block is one of another probe, and belongs to `thread` from now on."""
        count = thread.counts.get(probe_id) or thread.counts.setdefault(probe_id, Count())
        with self.lock:
            self.ended.add(entry.probe_id, entry.thread, -1, 0, 0)
        count.started += 1
        self.slots.rename(entry.slot, probe_id, thread.id)

    def lose(self, thread: Thread, count: Count, entry: Open, end: int) -> None:
        """Count a sample for which there is no room."""
        # First of all it is open no longer: whoever dies in here leaves one sample unreported, and none twice.
        self.slots.hide(entry.slot)
        if not count.lost:
            count.first_loss = entry.start
        count.last_loss = end
        count.lost += 1
        self.count_lost(1)
        count.lost_slot = self.slots.add_lost(
            count.lost_slot, entry.probe_id, thread.id, contract.NO_ROOM, 1, entry.start, end
        )

    def count_lost(self, samples: int) -> None:
        fields = self.header.fields
        with self.tally:
            # No call in here, after which an interrupt might count as well.
            self.lost += samples
            fields["lost"][0] = self.lost

    def look_at(self, entry: Open, duration: int, error: int) -> None:
        """Note a watched sample in the header if it is worth saving."""
        limit, on_error = self.watched[entry.probe_id]
        if not ((0 < limit < duration) or (on_error and error)):
            return
        with self.tally:
            trips, taken = self.header["trips"], self.header["taken_trips"]
            if trips - taken < schema.TRIPS:
                at = schema.TRIPS_OFFSET + trips % schema.TRIPS * schema.TRIP_BYTES
                self.memory[at : at + _TRIP.size] = _TRIP.pack(entry.probe_id, error, entry.span, duration)
                self.header["trips"] = trips + 1
        if trips == taken:
            self.wake()

    def error_number(self, kind: type[BaseException]) -> int:
        """The number of a type of exception, whose name is in the header from then on."""
        # By name, and asked of `type`: a metaclass may have ideas of its own about hashes and names.
        return self.text_number(None, _type_name(kind))

    def text_number(self, kind: tuple[int, int] | None, text: str) -> int:
        """The number of a text, which is in the ring from then on.

        It is schema.OTHER_TEXT where there are too many of its kind, or there is no room.
        """
        numbers = self.text_numbers.get(kind) or self.text_numbers.setdefault(kind, {})
        number = numbers.get(text)
        if number is None:
            with self.lock:
                number = numbers.get(text)
                if number is None:
                    number = schema.OTHER_TEXT
                    if len(numbers) < self.most_values:
                        number = self.add_text(text.encode("utf-8", "backslashreplace"))
                    if number != schema.OTHER_TEXT:
                        numbers[text] = number
        return number

    def add_text(self, text: bytes) -> int:
        """Write a text behind the others. Returns its number, schema.OTHER_TEXT when there is no room."""
        entry = len(text).to_bytes(4, sys.byteorder) + text
        room = schema.TEXTS_BYTES if self.text_segment is None else _SEGMENT_TEXTS
        if len(entry) > _SEGMENT_TEXTS or (self.texts_used + len(entry) > room and not self.reserve_text_segment()):
            return schema.OTHER_TEXT
        segment = self.text_segment
        base = schema.TEXTS_OFFSET if segment is None else segment.base + schema.SEGMENT_HEADER_BYTES
        at = base + self.texts_used
        self.memory[at : at + len(entry)] = entry
        self.texts_used += len(entry)
        # Before the first row that carries the number.
        if segment is None:
            self.header["texts_bytes"] = self.texts_used
        else:
            segment.fields["inverse"][0] = schema.WORD ^ self.texts_used
            segment.fields["written"][0] = self.texts_used
        self.last_text += 1
        return self.last_text

    def reserve_text_segment(self) -> bool:
        """Put texts into a free segment from now on, while that does not take too many from the samples."""
        if (self.text_segments + 1) * SEGMENTS_PER_TEXT_SEGMENT > self.limit:
            return False
        while not self.free:
            if not self.make_room() and not (self.on_full == contract.OVERWRITE and self.overwrite()):
                return False
        segment = self.free.pop()
        self.sequence += 1
        segment.begin(self.sequence, self.last_text, schema.FREE)
        segment.fields["state"][0] = schema.HAS_TEXTS
        self.text_segment, self.texts_used = segment, 0
        self.text_segments += 1
        return True
