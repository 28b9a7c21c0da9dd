"""The segments of a ring file: rows that stand in no part yet. Nothing in them is trusted."""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from quantum_pulse import schema
from quantum_pulse.rings.batch import DTYPES, Batch, joined

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Layout:
    """Which segments a ring file has, going by its header and by what is really there."""

    def __init__(self, file: int, limit: int, used: int, *, overwrites: bool) -> None:
        """`limit` and `used` are what the header says, as well as whether the program overwrites."""
        import numpy as np

        size = os.fstat(file).st_size
        self.file = file
        self.overwrites = overwrites
        self.base = schema.segments_at(limit)
        #: Whole segments that may hold anything.
        self.count = max(min(used, limit, (size - self.base) // schema.SEGMENT_BYTES), 0)
        self.is_cut = self.count < min(used, limit)
        table = os.pread(file, 8 * self.count, schema.RING_HEADER_BYTES)
        self._drained = np.frombuffer(table, np.uint64, len(table) // 8).tolist()

    def at(self, number: int) -> int:
        """Offset of a segment."""
        return self.base + number * schema.SEGMENT_BYTES

    def begin(self, number: int, sequence: int) -> int:
        """The first row of a segment that is in no part, as far as the agent has noted it."""
        drained: int = self._drained[number] if number < len(self._drained) else 0
        return drained & schema.WORD if drained >> 32 == sequence & schema.WORD else 0


def with_slots(layout: Layout) -> list[int]:
    """Offsets of the segments that have slots instead of rows."""
    return [layout.at(number) for number in range(layout.count) if _state(layout, number) == schema.HAS_SLOTS]


def rows(layout: Layout, damage: list[str]) -> Batch:
    """All rows that are in no part. What is wrong goes to `damage`."""
    return joined([own for number in range(layout.count) if (own := _rows(layout, number, damage)) is not None])


def plausible(samples: Batch, known: Iterable[int], errors: int) -> npt.NDArray[np.bool_]:
    """Which samples can be what a core wrote. It writes no row that fails this; garbage mostly does."""
    import numpy as np

    columns = samples.columns
    good: npt.NDArray[np.bool_] = np.isin(columns["operation"], np.fromiter(known, np.uint32))
    good &= (columns["error"] < errors) | (columns["error"] == schema.OTHER_ERROR)
    good &= (columns["weight"] >= 1) & (columns["duration"] >= 0)
    good &= (columns["span"] > 0) & (columns["parent"] >= 0) & (columns["task"] >= 0)
    # Times that no clock has shown, and that would run over when the clock's anchor is added.
    good &= (columns["start"] >= 0) & (columns["start"] < 1 << 62)
    _, first = np.unique(columns["span"], return_index=True)
    alone: npt.NDArray[np.bool_] = np.zeros(len(good), np.bool_)
    alone[first] = True
    return good & alone


def _rows(layout: Layout, number: int, damage: list[str]) -> Batch | None:
    """Rows of a segment that are in no part, or None when there are none."""
    import numpy as np

    base = layout.at(number)
    for attempt in range(100):
        before = _fields(layout.file, base)
        begin, end = layout.begin(number, before["sequence"]), before["written"]
        if not _makes_sense(layout, number, before, begin):
            if attempt < 3:  # the program may be about to take the segment, field by field
                time.sleep(0.001)
                continue
            damage.append(f"the header of segment {number} makes no sense")
            return None
        if before["state"] in (schema.FREE, schema.HAS_SLOTS) or begin == end:
            return None
        data = os.pread(layout.file, schema.SEGMENT_BYTES, base)
        columns, at = {}, schema.SEGMENT_HEADER_BYTES
        for name, _ in schema.RING_COLUMNS:
            kind = np.dtype(DTYPES[name])
            columns[name] = np.frombuffer(data, kind, end - begin, at + begin * kind.itemsize)
            at += schema.SEGMENT_ROWS * kind.itemsize
        columns["thread"] = np.full(end - begin, before["thread"], np.int64)
        # A segment that was given back and taken again meanwhile has another number.
        if _fields(layout.file, base)["sequence"] == before["sequence"]:
            return Batch(columns)
    return None


def _makes_sense(layout: Layout, number: int, fields: dict[str, int], begin: int) -> bool:
    """Whether a core leaves the header of a segment so, of which the rows from `begin` on are in no part."""
    end = fields["written"]
    if fields["state"] > schema.HAS_SLOTS or end > schema.SEGMENT_ROWS:
        return False
    if fields["state"] == schema.FREE and fields["sequence"] == 0:
        # About to be taken for the first time, so that no row was ever written; or being overwritten.
        at = layout.at(number) + schema.SEGMENT_HEADER_BYTES
        return layout.overwrites or not any(os.pread(layout.file, _FIRST_ROW, at))
    if fields["state"] == schema.FREE:
        return end in (0, begin)  # about to be taken again, after it was read to the end
    # The process may have died, or be at work, between the two.
    return begin <= end and 0 <= (fields["inverse"] ^ schema.WORD) - end <= 1


def _state(layout: Layout, number: int) -> int:
    data = os.pread(layout.file, 4, layout.at(number))
    return int.from_bytes(data, sys.byteorder) if len(data) == 4 else 0


def _fields(file: int, base: int) -> dict[str, int]:
    header = os.pread(file, schema.SEGMENT_HEADER_BYTES, base)
    if len(header) < schema.SEGMENT_HEADER_BYTES:
        raise ValueError("it was cut off while it was read")
    return {name: int(struct.unpack_from(code, header, at)[0]) for name, code, at in schema.SEGMENT_FIELDS}


#: Bytes of the first row's first column.
_FIRST_ROW: Final = struct.calcsize(schema.RING_COLUMNS[0][1])
