"""What is open, and what was lost, by operation and thread, in the mapped file: it outlives the process."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from quantum_pulse import schema

if TYPE_CHECKING:
    from quantum_pulse.core.pure.spans import Open

_OPEN: Final = struct.Struct("=" + "".join(code for _, code, _ in schema.OPEN_SLOT_FIELDS))
_LOST: Final = struct.Struct("=" + "".join(code for _, code, _ in schema.LOST_SLOT_FIELDS))
_KIND: Final = struct.Struct("=I")
_START_OFFSET: Final = next(offset for name, _, offset in schema.OPEN_SLOT_FIELDS if name == "start")
_START: Final = struct.Struct("=q")

#: At most one segment in so many is used for slots.
SEGMENTS_PER_SLOT_SEGMENT: Final = 8


class Slots:
    """Slots of a mapping, each named by its offset. None: there was no room."""

    def __init__(self, memory: mmap.mmap, more: Callable[[], int | None]) -> None:
        """`more` gives the offset of a further segment to put slots into, which is all zeros."""
        self._memory = memory
        self._more = more
        self._free: list[int] = [*range(schema.FIRST_SLOTS_OFFSET, schema.FIRST_SLOTS_END, schema.SLOT_BYTES)]

    def _free_one(self) -> int | None:
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

    def take(self, entry: Open) -> int | None:
        """A slot for a block that is entered, to be shown."""
        slot = self._free_one()
        if slot is not None:
            values = (entry.probe_id, entry.thread, entry.span, 0, entry.parent, entry.task, entry.weight)
            _OPEN.pack_into(self._memory, slot, schema.SLOT_FREE, *values)
        return slot

    def show(self, slot: int | None) -> None:
        """It tells of an open block from now on."""
        if slot is not None:
            _KIND.pack_into(self._memory, slot, schema.SLOT_OPEN)

    def begin(self, slot: int | None, start: int) -> None:
        """The clock was read."""
        if slot is not None:
            _START.pack_into(self._memory, slot + _START_OFFSET, start)

    def hide(self, slot: int | None) -> None:
        """Nobody reads it any more; it is not free yet."""
        if slot is not None:
            _KIND.pack_into(self._memory, slot, schema.SLOT_FREE)

    def free(self, slot: int | None) -> None:
        if slot is not None:
            self.hide(slot)
            self._free.append(slot)

    def add_lost(
        self, slot: int | None, probe_id: int, thread: int, cause: int, samples: int, first_ns: int, last_ns: int
    ) -> int | None:
        """Lost samples, in addition to those in `slot`, if there is one. Returns their slot."""
        if slot is None:
            slot = self._free_one()
            if slot is None:
                return None
            known, first, last = 0, first_ns, last_ns
        else:
            *_, known, first, last, cause = _LOST.unpack_from(self._memory, slot)
        values = (probe_id, thread, known + samples, min(first, first_ns), max(last, last_ns), cause)
        _LOST.pack_into(self._memory, slot, schema.SLOT_LOST, *values)
        return slot
