"""What is open, and what was lost, by operation and thread, in the mapped file: it outlives the process."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from quantum_pulse import schema
from quantum_pulse.core.pure.segments import CLOSED

if TYPE_CHECKING:
    from quantum_pulse.core.pure.spans import Open

#: At most one segment in so many is used for slots.
SEGMENTS_PER_SLOT_SEGMENT: Final = 8

_OPEN: Final = struct.Struct("=" + "".join(code for _, code, _ in schema.OPEN_SLOT_FIELDS))
_LOST: Final = struct.Struct("=" + "".join(code for _, code, _ in schema.LOST_SLOT_FIELDS))
_START_OFFSET: Final = next(offset for name, _, offset in schema.OPEN_SLOT_FIELDS if name == "start")
#: Of lost samples; when the first began and the last ended is in the words after it.
_SAMPLES_OFFSET: Final = next(offset for name, _, offset in schema.LOST_SLOT_FIELDS if name == "samples")


class Slots:
    """Slots of a mapping, each named by its offset. None: there was no room."""

    def __init__(self, memory: mmap.mmap, more: Callable[[], int | None]) -> None:
        """`more` gives the offset of a further segment to put slots into, which is all zeros."""
        # Made once: threads that record at the same time may use a view together, but not make views of one mapping.
        self._bytes = memoryview(memory)
        self._words, self._halves = self._bytes.cast("q"), self._bytes.cast("I")
        self._more = more
        self._free: list[int] = [*range(schema.FIRST_SLOTS_OFFSET, schema.FIRST_SLOTS_END, schema.SLOT_BYTES)]

    def close(self) -> None:
        self._bytes = self._words = self._halves = CLOSED

    def take(self) -> int | None:
        """A slot, to be filled and shown."""
        try:
            return self._free.pop()
        except IndexError:
            pass
        return self._free.pop() if self.reserve() else None

    def reserve(self) -> bool:
        """Put slots into a further segment, while that does not take too many from the samples."""
        base = self._more()
        if base is None:
            return False
        self._free += range(base + schema.SLOTS_OFFSET, base + schema.SEGMENT_BYTES, schema.SLOT_BYTES)
        return True

    def show(self, slot: int | None, entry: Open) -> None:
        """It describes an open block from now on."""
        if slot is not None:
            values = (entry.probe_id, entry.thread, entry.span, 0, entry.parent, entry.task, entry.weight)
            self._bytes[slot : slot + _OPEN.size] = _OPEN.pack(schema.SLOT_FREE, *values)
            self._halves[slot // 4] = schema.SLOT_OPEN  # last: whoever reads finds all of it

    def begin(self, slot: int | None, start: int) -> None:
        """The clock was read."""
        if slot is not None:
            self._words[(slot + _START_OFFSET) // 8] = start

    def rename(self, slot: int | None, probe_id: int, thread: int) -> None:
        """The block that it tells of is one of another probe and thread."""
        if slot is not None:
            self._halves[slot // 4 + 1] = probe_id
            self._words[slot // 8 + 1] = thread

    def hide(self, slot: int | None) -> None:
        """Nobody reads it any more; it is not free yet."""
        if slot is not None:
            self._halves[slot // 4] = schema.SLOT_FREE

    def free(self, slot: int | None) -> None:
        if slot is not None:
            self.hide(slot)
            self._free.append(slot)

    def add_lost(
        self, slot: int | None, probe_id: int, thread: int, cause: int, samples: int, first_ns: int, last_ns: int
    ) -> int | None:
        """Lost samples, in addition to those in `slot`, if there is one. Returns their slot."""
        if slot is None:
            slot = self.take()
            if slot is None:
                return None
        else:
            at = (slot + _SAMPLES_OFFSET) // 8
            samples += self._words[at]
            first_ns, last_ns = min(self._words[at + 1], first_ns), max(self._words[at + 2], last_ns)
        values = (probe_id, thread, samples, first_ns, last_ns, cause)
        self._bytes[slot : slot + _LOST.size] = _LOST.pack(schema.SLOT_LOST, *values)
        return slot
