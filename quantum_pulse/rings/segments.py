"""The segments of a ring file, with rows that are in no part yet. None of their content is trusted."""

from __future__ import annotations

import errno
import os
import struct
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from quantum_pulse import schema
from quantum_pulse.operations import Definition
from quantum_pulse.rings import texts
from quantum_pulse.rings.batch import DTYPES, Batch, joined

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Layout:
    """The segments of a ring file, as its header and its size say."""

    def __init__(self, file: int, limit: int, used: int, *, overwrites: bool) -> None:
        """`limit`, `used` and `overwrites` are those of the header."""
        size = os.fstat(file).st_size
        self.file = file
        self.overwrites = overwrites
        self.base = schema.segments_at(limit)
        #: Whole segments that may be in use.
        self.count = max(min(used, limit, (size - self.base) // schema.SEGMENT_BYTES), 0)
        self.is_cut = self.count < min(used, limit)
        #: Those that are not all zeros, ascending. A sparse file has few, however long it is.
        self.numbers = self._filled()
        self._drained = self._table()

    def _filled(self) -> list[int]:
        """The segments that are allocated, in memory or on a disk."""
        found: list[int] = []
        end = self.at(self.count)
        for begin, stop in _data(self.file, self.base, end):
            first = (begin - self.base) // schema.SEGMENT_BYTES
            found += range(
                max(first, found[-1] + 1 if found else 0), (stop - 1 - self.base) // schema.SEGMENT_BYTES + 1
            )
        return found

    def _table(self) -> dict[int, int]:
        """The agent's entries for the segments in `numbers`, without those that are 0."""
        import numpy as np

        begin, end = schema.RING_HEADER_BYTES, schema.RING_HEADER_BYTES + 8 * self.count
        found: dict[int, int] = {}
        for start, stop in _data(self.file, begin, end) if self.numbers else ():
            first = (start - begin) // 8
            words = np.frombuffer(os.pread(self.file, stop - start, begin + 8 * first)[: (stop - start) // 8 * 8], "u8")
            places = np.flatnonzero(words)
            found.update(zip((places + first).tolist(), words[places].tolist(), strict=True))
        return found

    def at(self, number: int) -> int:
        """The offset of a segment."""
        return self.base + number * schema.SEGMENT_BYTES

    def begin(self, number: int, sequence: int) -> int:
        """The first row of a segment that is in no part, according to the agent."""
        drained = self._drained.get(number, 0)
        return drained & schema.WORD if drained >> 32 == sequence & schema.WORD else 0


def _data(file: int, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The data of a file between two offsets, without holes; all of it if the file system knows no holes."""
    while begin < end:
        try:
            start = os.lseek(file, begin, os.SEEK_DATA)
            stop = os.lseek(file, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno != errno.ENXIO:  # otherwise a hole reaches to the end
                yield begin, end
            return
        if start >= end:
            return
        yield max(start, begin), min(stop, end)
        begin = stop


def with_slots(layout: Layout) -> list[int]:
    """Offsets of the segments that hold slots instead of rows."""
    return [layout.at(number) for number in layout.numbers if _state(layout, number) == schema.HAS_SLOTS]


def with_texts(layout: Layout) -> list[texts.Area]:
    """The texts in segments that hold texts instead of rows."""
    found = []
    for number in layout.numbers:
        if _state(layout, number) != schema.HAS_TEXTS:
            continue
        fields = _fields(layout.file, layout.at(number))
        if fields["written"] <= texts.SEGMENT_BYTES and fields["thread"] >= 0:
            data = os.pread(layout.file, fields["written"], layout.at(number) + schema.SEGMENT_HEADER_BYTES)
            found.append(texts.Area(fields["thread"], data))
    return found


def rows(layout: Layout, damage: list[str]) -> Batch:
    """All rows that are in no part. Faults are added to `damage`."""
    return joined([own for number in layout.numbers if (own := _rows(layout, number, damage)) is not None])


def plausible(
    samples: Batch,
    operations: Sequence[Definition | None],
    rates: Collection[tuple[int, int]],
    errors: int,
    anchor_ns: int,
) -> npt.NDArray[np.bool_]:
    """Which samples a core can have written. No row of a core fails this check; garbage usually does.

    `operations` are those of the journal by their numbers, with None for unknown ones, and `rates` the weights that
    their samples may have beside the declared ones; `anchor_ns` converts `start` to Unix time.
    """
    import numpy as np

    columns = samples.columns
    # The declared weight of each row of an operation; 0 if it can have no rows.
    weights = np.array([0 if one is None else one.sample_every for one in operations] or [0], np.int64)
    number = columns["operation"]
    good: npt.NDArray[np.bool_] = number < len(weights)
    right = columns["weight"] == weights[np.minimum(number, len(weights) - 1)]
    for operation, weight in rates:
        right |= (number == operation) & (columns["weight"] == weight)
    good &= right
    good &= columns["weight"] >= 1
    good &= (columns["error"] < errors) | (columns["error"] == schema.OTHER_TEXT)
    good &= (columns["span"] > 0) & (columns["span"] < schema.MOST_NS)
    # A block is entered after the one that encloses it.
    good &= (columns["parent"] >= 0) & (columns["parent"] < columns["span"])
    good &= (columns["task"] >= 0) & (columns["task"] <= schema.MOST_NS)
    good &= _in_time(samples, anchor_ns)
    _, first = np.unique(columns["span"], return_index=True)
    alone: npt.NDArray[np.bool_] = np.zeros(len(good), np.bool_)
    alone[first] = True
    return good & alone


def plausible_collections(collections: Batch, anchor_ns: int) -> npt.NDArray[np.bool_]:
    """As `plausible`, for garbage collections: `error` is the generation, and `parent` the number of freed objects."""
    columns = collections.columns
    good: npt.NDArray[np.bool_] = (columns["error"] <= _OLDEST_GENERATION) & (columns["parent"] >= 0)
    return good & _in_time(collections, anchor_ns)


def _in_time(batch: Batch, anchor_ns: int) -> npt.NDArray[np.bool_]:
    """Which rows have times that a clock can have shown, so that sums do not overflow."""
    start, duration = batch.columns["start"], batch.columns["duration"]
    good: npt.NDArray[np.bool_] = (start >= 0) & (start < schema.MOST_NS)
    good &= (duration >= 0) & (duration < schema.MOST_NS)
    unix = start + anchor_ns
    return good & (unix >= 0) & (unix < schema.MOST_NS)


def _rows(layout: Layout, number: int, damage: list[str]) -> Batch | None:
    """The rows of a segment that are in no part; None if there are none."""
    import numpy as np

    base = layout.at(number)
    for attempt in range(100):
        before = _fields(layout.file, base)
        begin, end = layout.begin(number, before["sequence"]), before["written"]
        if not _makes_sense(layout, number, before, begin):
            if attempt < 3:  # the program may be taking the segment, field by field
                time.sleep(0.001)
                continue
            damage.append(f"the header of segment {number} makes no sense")
            return None
        if before["state"] in (schema.FREE, schema.HAS_SLOTS, schema.HAS_TEXTS) or begin == end:
            return None
        data = os.pread(layout.file, schema.SEGMENT_BYTES, base)
        columns, at = {}, schema.SEGMENT_HEADER_BYTES
        for name, _ in schema.RING_COLUMNS:
            kind = np.dtype(DTYPES[name])
            columns[name] = np.frombuffer(data, kind, end - begin, at + begin * kind.itemsize)
            at += schema.SEGMENT_ROWS * kind.itemsize
        columns["thread"] = np.full(end - begin, before["thread"], np.int64)
        # A segment that was freed and taken again meanwhile has another number.
        if _fields(layout.file, base)["sequence"] == before["sequence"]:
            return Batch(columns)
    return None


def _makes_sense(layout: Layout, number: int, fields: dict[str, int], begin: int) -> bool:
    """Whether a core can have left this header of a segment, whose rows from `begin` on are in no part."""
    end = fields["written"]
    if fields["state"] == schema.HAS_TEXTS:
        return end <= texts.SEGMENT_BYTES
    if fields["state"] > schema.HAS_TEXTS or end > schema.SEGMENT_ROWS:
        return False
    if fields["state"] == schema.FREE and fields["sequence"] == 0:
        # About to be taken for the first time, so no row was ever written; or being overwritten.
        at = layout.at(number) + schema.SEGMENT_HEADER_BYTES
        return layout.overwrites or not any(os.pread(layout.file, _FIRST_ROW, at))
    if fields["state"] == schema.FREE:
        return end in (0, begin)  # about to be taken again, after all of it was read
    # The process may have died between the two, or may be between them now.
    return begin <= end and 0 <= (fields["inverse"] ^ schema.WORD) - end <= _MOST_ROWS_AT_ONCE


def _state(layout: Layout, number: int) -> int:
    data = os.pread(layout.file, 4, layout.at(number))
    return int.from_bytes(data, sys.byteorder) if len(data) == 4 else 0


def _fields(file: int, base: int) -> dict[str, int]:
    header = os.pread(file, schema.SEGMENT_HEADER_BYTES, base)
    if len(header) < schema.SEGMENT_HEADER_BYTES:
        raise ValueError("it was cut off while it was read")
    return {name: int(struct.unpack_from(code, header, at)[0]) for name, code, at in schema.SEGMENT_FIELDS}


#: A sample and its details become visible together.
_MOST_ROWS_AT_ONCE: Final = 1 + -(-schema.MOST_ATTRIBUTES // schema.VALUES_PER_ROW)
#: Size of the first column in the first row.
_FIRST_ROW: Final = struct.calcsize(schema.RING_COLUMNS[0][1])
#: CPython has three generations, and numbers them from 0.
_OLDEST_GENERATION: Final = 2
