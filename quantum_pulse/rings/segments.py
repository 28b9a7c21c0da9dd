"""The segments of a ring file: rows that stand in no part yet. Nothing in them is trusted."""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import schema

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_NUMPY: Final = {"q": "int64", "I": "uint32", "i": "int32"}
#: Column of rows that were read -> numpy's name of its type: those of the ring, and the thread of their segment.
DTYPES: Final = {**{name: _NUMPY[code] for name, code in schema.RING_COLUMNS}, "thread": "int64"}


def with_slots(file: int, count: int) -> list[int]:
    """Which of the first `count` segments have slots instead of rows."""
    return [number for number in range(count) if _state(file, number) == _HAS_SLOTS]


def rows(file: int, count: int, damage: list[str]) -> dict[str, npt.NDArray[Any]]:
    """The columns of all rows in the first `count` segments that stand in no part. What is wrong goes to `damage`."""
    import numpy as np

    taken = [own for number in range(count) if (own := _rows(file, number, damage)) is not None]
    return {
        name: np.concatenate([own[name] for own in taken]) if taken else np.zeros(0, kind)
        for name, kind in DTYPES.items()
    }


def plausible(columns: dict[str, npt.NDArray[Any]], known: Iterable[int], errors: int) -> npt.NDArray[np.bool_]:
    """Which rows can be what a core wrote. It writes no row that fails this; garbage mostly does."""
    import numpy as np

    good: npt.NDArray[np.bool_] = np.isin(columns["operation"], np.fromiter(known, np.uint32))
    good &= (columns["error"] < errors) & (columns["weight"] >= 1) & (columns["duration"] >= 0)
    good &= (columns["span"] > 0) & (columns["parent"] >= 0) & (columns["task"] >= 0)
    # Times that no clock has shown, and that would run over when the clock's anchor is added.
    good &= (columns["start"] >= 0) & (columns["start"] < 1 << 62)
    _, first = np.unique(columns["span"], return_index=True)
    alone: npt.NDArray[np.bool_] = np.zeros(len(good), np.bool_)
    alone[first] = True
    return good & alone


def _rows(file: int, number: int, damage: list[str]) -> dict[str, npt.NDArray[Any]] | None:
    """Rows of a segment that stand in no part, or None when there are none."""
    import numpy as np

    base = schema.RING_HEADER_BYTES + number * schema.SEGMENT_BYTES
    # Most were never taken, and thousands of headers take their time.
    if os.pread(file, len(_UNTOUCHED), base) == _UNTOUCHED:
        return None
    for attempt in range(100):
        before = _fields(file, base)
        begin, end = before["consumed"], before["written"]
        if not _makes_sense(before, file, base):
            if attempt < 3:  # the program may be about to take the segment, field by field
                time.sleep(0.001)
                continue
            damage.append(f"the header of segment {number} makes no sense")
            return None
        if before["state"] in (0, _HAS_SLOTS) or begin == end:
            return None
        data = os.pread(file, schema.SEGMENT_BYTES, base)
        columns, at = {}, schema.SEGMENT_HEADER_BYTES
        for name, code in schema.RING_COLUMNS:
            kind = np.dtype(_NUMPY[code])
            columns[name] = np.frombuffer(data, kind, end - begin, at + begin * kind.itemsize)
            at += schema.SEGMENT_ROWS * kind.itemsize
        columns["thread"] = np.full(end - begin, before["thread"], np.int64)
        # A segment that was given back and taken again meanwhile has another number.
        if _fields(file, base)["sequence"] == before["sequence"]:
            return columns
    return None


def _makes_sense(fields: dict[str, int], file: int, base: int) -> bool:
    """Whether a core leaves the header of the segment at `base` so."""
    begin, end = fields["consumed"], fields["written"]
    if fields["state"] > _HAS_SLOTS or end > schema.SEGMENT_ROWS or begin > end:
        return False
    if fields["state"]:
        # The process may have died, or be at work, between the two.
        return 0 <= (fields["inverse"] ^ schema.WORD) - end <= 1
    if fields["sequence"]:
        return begin == end  # given back, which is done with one that was read to the end
    # Never taken: then no row was ever written either.
    return not any(os.pread(file, _FIRST_ROW, base + schema.SEGMENT_HEADER_BYTES))


def _state(file: int, number: int) -> int:
    at = schema.RING_HEADER_BYTES + number * schema.SEGMENT_BYTES
    data = os.pread(file, 4, at)
    return int.from_bytes(data, sys.byteorder) if len(data) == 4 else 0


#: State of a segment that has slots instead of rows.
_HAS_SLOTS: Final = 3
#: Bytes of the first row's first column.
_FIRST_ROW: Final = struct.calcsize(schema.RING_COLUMNS[0][1])
#: The header and that of a segment that was never taken.
_UNTOUCHED: Final = bytes(schema.SEGMENT_HEADER_BYTES + _FIRST_ROW)


def _fields(file: int, base: int) -> dict[str, int]:
    header = os.pread(file, schema.SEGMENT_HEADER_BYTES, base)
    if len(header) < schema.SEGMENT_HEADER_BYTES:
        raise ValueError("it was cut off while it was read")
    return {name: int(struct.unpack_from(code, header, at)[0]) for name, code, at in schema.SEGMENT_FIELDS}
