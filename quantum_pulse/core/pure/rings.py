"""A recording: the mapped file, the segments that threads own in it, and what was counted."""

from __future__ import annotations

import collections
import contextlib
import mmap
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from quantum_pulse import schema
from quantum_pulse.core import contract
from quantum_pulse.core.pure.accounts import Count, Ended
from quantum_pulse.core.pure.segments import Mapped, Segment
from quantum_pulse.core.pure.slots import SEGMENTS_PER_SLOT_SEGMENT, Slots

if TYPE_CHECKING:
    from quantum_pulse.core.pure.spans import Open

now = time.perf_counter_ns
_type_name: Callable[[type], str] = type.__dict__["__name__"].__get__


class Thread:
    """What a thread owns in a recording."""

    __slots__ = ("__weakref__", "counts", "id", "never_waits", "segment", "session")

    def __init__(self, session: Session) -> None:
        self.id = threading.get_native_id()
        self.segment: Segment | None = None
        self.counts: dict[int, Count] = {}
        self.never_waits = False
        self.session = session  # last: what an interrupt leaves without it never counted
        session.threads[id(self)] = weakref.ref(self)

    def __del__(self) -> None:
        # The thread has ended, or records into another recording now. This may run anywhere, so no lock is taken.
        if not hasattr(self, "session"):
            return
        if self.segment is not None:
            self.segment.finish()
        self.session.just_ended.append((self.id, self.counts))
        self.session.threads.pop(id(self), None)


class Session:
    """One recording: the mapping, the segments and the account."""

    def __init__(
        self,
        path: str,
        budget: int,
        on_error_name: Callable[[int, str], None],
        wake_fd: int,
        on_full: int,
        production: bool,
        first_span: int,
    ) -> None:
        self.is_recording = True
        self.on_full = on_full
        self.production = production
        self.is_hopeless = False  # waiting was in vain
        self.released_ns = now()  # when room was made last
        # A collection may begin in any critical section, and what it runs may record: in the same thread.
        self.lock = threading.RLock()
        self.limit = max(1, (budget - schema.RING_HEADER_BYTES) // schema.SEGMENT_BYTES)
        size = schema.RING_HEADER_BYTES + self.limit * schema.SEGMENT_BYTES
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(self.fd, size)
            os.posix_fallocate(self.fd, 0, schema.RING_HEADER_BYTES + schema.SEGMENT_BYTES)
            self.memory = mmap.mmap(self.fd, size)
        except BaseException:
            os.close(self.fd)
            Path(path).unlink()
            raise
        self.header = Mapped(self.memory)
        self.header.add_fields(0, schema.RING_FIELDS)
        self.header.fields["process"][0] = os.getpid()
        self.header.fields["first_span"][0] = self.header.fields["last_span"][0] = first_span
        self.memory[: len(schema.RING_MAGIC)] = schema.RING_MAGIC
        self.on_error_name = on_error_name
        self.error_numbers: dict[str, int] = {}  # by name of the type
        self.last_error = 0
        self.segments: list[Segment] = []
        self.unused = list(range(self.limit - 1, -1, -1))  # where no segment was yet, the first one last
        self.free: list[Segment] = []
        self.busy: list[Segment] = []  # in the order taken
        self.drained: list[tuple[Segment, int]] = []
        self.slots = Slots(self.memory, self.take_for_slots)
        self.slot_segments = 0
        self.overwritten: dict[tuple[int, int], int | None] = {}  # by probe and thread: slot
        self.sequence = 0
        if on_full == contract.OVERWRITE:
            self.slots.reserve()  # all segments will be full of samples, and none given back
        self.wake_fd = wake_fd
        self.wake_at = max(1, min(self.limit // 2, schema.WAKE_SEGMENTS))
        if on_full == contract.OVERWRITE:
            self.wake_at = self.limit + 1  # they are to be full
        self.is_awake = False  # whoever drains; until it has released
        self.by_frame: dict[FrameType, list[Open]] = {}
        self.threads: dict[int, weakref.ref[Thread]] = {}
        self.just_ended: collections.deque[tuple[int, dict[int, Count]]] = collections.deque()
        self.ended = Ended()
        self.kept: dict[int, Context] = {}  # by thread
        self.watched: dict[int, tuple[int, bool]] = {}  # by probe: limit in ns, whether errors count
        self.trips: list[tuple[int, int, int, int]] = []

    def take(self, thread: int) -> Segment | None:
        """A segment to fill, or None when the budget or the disk is used up."""
        with self.lock:
            # Once more where a collection in between took what had become free.
            while not self.free:
                if not self.extend() and not (self.on_full == contract.OVERWRITE and self.overwrite()):
                    return None
            segment = self.free.pop()
            self.sequence += 1
            segment.written = segment.drained = 0
            segment.full = False
            segment.thread = thread
            segment.begin(self.sequence, thread)
            segment.fields["state"][0] = 1
            self.busy.append(segment)
            self.wake()
            return segment

    def take_for_slots(self) -> int | None:
        """Where a segment begins that holds slots from now on, or None when that would take too many."""
        with self.lock:
            if (self.slot_segments + 1) * SEGMENTS_PER_SLOT_SEGMENT > self.limit or not (self.free or self.extend()):
                return None
            segment = self.free.pop()
            self.slot_segments += 1
            self.sequence += 1
            segment.begin(self.sequence, 0)
            begin = segment.base + schema.SLOTS_OFFSET
            self.memory[begin : segment.base + schema.SEGMENT_BYTES] = bytes(schema.SEGMENT_BYTES - schema.SLOTS_OFFSET)
            segment.fields["state"][0] = 3
            return segment.base

    def extend(self) -> bool:
        """A segment that was never used becomes free."""
        if not self.unused:
            return False
        index = self.unused.pop()
        offset = schema.RING_HEADER_BYTES + index * schema.SEGMENT_BYTES
        try:
            os.posix_fallocate(self.fd, offset, schema.SEGMENT_BYTES)
        except OSError:
            self.unused.append(index)
            return False
        segment = Segment(self.memory, index)
        self.segments.append(segment)
        self.free.append(segment)
        return True

    def overwrite(self) -> bool:
        """The oldest full segment that is not being written to disk becomes free."""
        for segment in self.busy.copy():
            consumed = segment.fields["consumed"][0]
            if not segment.full or segment.drained != consumed:
                continue
            try:
                self.busy.remove(segment)
            except ValueError:  # taken by what a collection in between recorded
                continue
            # Whoever reads the file, also in this moment, must not find what is lost now.
            segment.fields["state"][0] = 0
            self.sequence += 1
            segment.fields["sequence"][0] = self.sequence
            self.header.fields["lost"][0] += segment.written - consumed
            found: dict[int, list[int]] = {}
            for row in range(consumed, segment.written):
                start = segment.columns["start"][row]
                end = start + segment.columns["duration"][row]
                known = found.setdefault(segment.columns["operation"][row], [0, start, end])
                known[:] = known[0] + 1, min(known[1], start), max(known[2], end)
            for probe_id, (samples, first, last) in found.items():
                self.ended.add(probe_id, segment.thread, 0, -samples, samples)
                self.ended.add_loss(probe_id, segment.thread, contract.OVERWRITTEN, samples, first, last)
                key = (probe_id, segment.thread)
                self.overwritten[key] = self.slots.add_lost(
                    self.overwritten.get(key), *key, contract.OVERWRITTEN, samples, first, last
                )
            self.free.append(segment)
            return True
        return False

    def take_patiently(self, thread: Thread) -> Segment | None:
        """A segment as `take` gives it, after a pause where rings fill up, and a wait where that was asked for."""
        if thread.segment is not None:  # once a segment: not for each sample that is lost when there is none
            self.brake(thread)
        segment = self.take(thread.id)
        give_up = now() + contract.LONGEST_WAIT_NS
        while segment is None and self.on_full == contract.WAIT and not thread.never_waits and not self.is_hopeless:
            if not self.is_recording:
                break
            if now() > give_up:
                self.is_hopeless = True
            time.sleep(0.0002)
            segment = self.take(thread.id)
        return segment

    def living(self) -> list[Thread]:
        return [thread for reference in self.threads.copy().values() if (thread := reference()) is not None]

    def brake(self, thread: Thread) -> None:
        room = len(self.free) + len(self.unused)
        if self.on_full == contract.OVERWRITE or thread.never_waits or self.limit < contract.BRAKE_SEGMENTS:
            return
        if now() - self.released_ns > contract.LONGEST_BRAKING_NS:
            return
        half = self.limit // 2
        if room < half:
            time.sleep((1 - room / half) ** 2 * contract.BRAKE_NS / 1e9)

    def settle(self) -> None:
        """Take the counts of threads that have ended over."""
        while self.just_ended:
            self.ended.add_counts(*self.just_ended.popleft())

    def wake(self) -> None:
        if self.wake_fd >= 0 and not self.is_awake and len(self.busy) >= self.wake_at:
            self.is_awake = True
            with contextlib.suppress(OSError):
                os.write(self.wake_fd, b"\0")

    def commit(self, thread: Thread, entry: Open, end: int, error: int) -> None:
        count = thread.counts.get(entry.probe_id) or thread.counts.setdefault(entry.probe_id, Count())
        segment = thread.segment
        if segment is None or segment.written == schema.SEGMENT_ROWS:
            if segment is not None:
                segment.finish()
            before = segment
            segment = self.take_patiently(thread)
            if thread.segment is not before and thread.segment is not None:
                thread.segment.finish()  # of what a collection recorded meanwhile
            thread.segment = segment
            if segment is None:
                self.lose(thread, count, entry, end)
                return
        row = segment.written
        columns = segment.columns
        columns["start"][row] = entry.start
        columns["duration"][row] = end - entry.start
        columns["span"][row] = entry.span
        columns["parent"][row] = entry.parent
        columns["task"][row] = entry.task
        columns["operation"][row] = entry.probe_id
        columns["error"][row] = error
        columns["weight"][row] = entry.weight
        count.committed += 1
        segment.written = row + 1
        # Last, so that whoever reads the file of a killed process finds whole rows only.
        segment.fields["inverse"][0] = schema.WORD ^ (row + 1)
        segment.fields["written"][0] = row + 1
        if entry.probe_id in self.watched:
            self.look_at(entry, end - entry.start, error)

    def move_start(self, thread: Thread, entry: Open) -> None:
        """A block that another thread had entered was left in this one, and belongs to it from now on."""
        count = thread.counts.get(entry.probe_id) or thread.counts.setdefault(entry.probe_id, Count())
        with self.lock:
            self.ended.add(entry.probe_id, entry.thread, -1, 0, 0)
        count.started += 1

    def lose(self, thread: Thread, count: Count, entry: Open, end: int) -> None:
        """There is no room for a sample."""
        # First of all it is open no longer: whoever dies in here has one sample that is not told of, and none twice.
        self.slots.hide(entry.slot)
        if count.lost == count.reported:
            count.first_loss = entry.start
        count.last_loss = end
        count.lost += 1
        self.header.fields["lost"][0] += 1
        count.lost_slot = self.slots.add_lost(
            count.lost_slot, entry.probe_id, thread.id, contract.NO_ROOM, 1, entry.start, end
        )

    def look_at(self, entry: Open, duration: int, error: int) -> None:
        limit, on_error = self.watched[entry.probe_id]
        if (0 < limit < duration) or (on_error and error):
            if len(self.trips) < 16:
                self.trips.append((entry.probe_id, entry.span, duration, error))
            if len(self.trips) == 1 and self.wake_fd >= 0:
                with contextlib.suppress(OSError):
                    os.write(self.wake_fd, b"\0")

    def error_number(self, kind: type[BaseException]) -> int:
        # By name, and asked of `type`: a metaclass may have ideas of its own about hashes and names.
        name = _type_name(kind)
        number = self.error_numbers.get(name)
        if number is None:
            # Others find it only once the recorder knows it. Two threads may number one name twice: no harm.
            self.last_error = number = self.last_error + 1
            try:
                self.on_error_name(number, name)
            except Exception:  # noqa: BLE001 - never the host's trouble
                return 0
            self.error_numbers[name] = number
        return number
