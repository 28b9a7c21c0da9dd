"""The agent's side of a ring: copy finished rows, and free their space once they are in parts.

Each word has one writer. The agent writes its part of the header, and the tables `drained` and `claimed`.
`docs/format.md` describes the protocol.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from quantum_pulse import schema
from quantum_pulse.core.contract import OVERWRITE
from quantum_pulse.rings.batch import DTYPES, Batch, nothing
from quantum_pulse.rings.texts import SEGMENT_BYTES as MOST_TEXTS_BYTES
from quantum_pulse.rings.texts import Area, numbered

_HEADER: Final = {name: (struct.Struct(f"={code}"), offset) for name, code, offset in schema.RING_FIELDS}
_SEGMENT: Final = {name: (f"u{struct.calcsize(code)}", offset) for name, code, offset in schema.SEGMENT_FIELDS}
_TRIP: Final = struct.Struct("=IIqq")
#: How often and how long a new agent waits for a program that is about to look at a claim.
_TRIES: Final = 1000
_PAUSE_S: Final = 0.0001


class Trip(NamedTuple):
    """A watched sample that is worth saving."""

    operation: int
    error: int
    span: int
    duration_ns: int


class _Rows(NamedTuple):
    """Rows of a segment that a thread took with the number `sequence`."""

    segment: int
    sequence: int
    begin: int
    end: int


def _close(memory: mmap.mmap) -> None:
    # Without the interpreter lock a view that another thread has made may go a moment after its last use: then the
    # mapping goes with it.
    with contextlib.suppress(BufferError):
        memory.close()


class Ring:
    """A mapped ring file, which a process may be writing to."""

    def __init__(self, path: Path, fence: Callable[[], object]) -> None:
        """`fence` is the core's. Raises OSError, and ValueError when it is not a ring file."""
        self.path = path
        self._fence = fence
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode) or status.st_size < schema.RING_HEADER_BYTES:
                raise ValueError(f"{path.name} is cut off")
            self._memory = mmap.mmap(file, status.st_size)
        except BaseException:
            os.close(file)
            raise
        self.file = file
        if self._memory[: len(schema.RING_MAGIC)] != schema.RING_MAGIC:
            self._unmap()
            raise ValueError(f"{path.name} does not begin with {schema.RING_MAGIC.decode()}")
        self.limit = self["limit"]
        self._base = schema.segments_at(self.limit)
        if self._base + schema.SEGMENT_BYTES > status.st_size:  # there is no whole segment
            self._unmap()
            raise ValueError(f"{path.name} is cut off")
        self.keeps = self["on_full"] == OVERWRITE
        self._look_at_segments()
        self._copied: list[_Rows] = []
        # Segments that an agent has claimed that died. Its claims stay until this one has been through them: what that
        # agent has in a part is not marked yet, and must not be overwritten and counted as lost.
        self._inherited: set[int] = set(np.flatnonzero(self._claimed).tolist())
        self["released"] += 1  # the other agent may have marked segments without reporting it

    def __getitem__(self, field: str) -> int:
        code, offset = _HEADER[field]
        return int(code.unpack_from(self._memory, offset)[0])

    def __setitem__(self, field: str, value: int) -> None:
        # `pack_into` may write byte by byte.
        code, offset = _HEADER[field]
        with memoryview(self._memory) as whole, whole[offset : offset + code.size].cast(code.format[1:]) as word:  # type: ignore[call-overload]
            word[0] = value

    def drain(self, most: int, since_ns: int = 0) -> Batch:
        """Copy finished rows that are in no part, oldest segments first; no more segments are begun after `most` rows.

        They are copied again by the next call unless `release` comes first. Segments whose rows all ended before
        `since_ns` on the core's clock stay as they are.
        """
        self._withdraw_claims()
        found, is_sure = self._look()
        for _ in range(_TRIES):
            if is_sure:
                break
            time.sleep(_PAUSE_S)
            found, is_sure = self._look()
        if is_sure:
            for number in self._inherited.difference(rows.segment for rows in found):
                self._claimed[number] = 0
                self._inherited.discard(number)
        count = 0
        for rows in found:
            if count >= most:
                break
            if since_ns and rows.segment not in self._inherited and self._last_end(rows) < since_ns:
                continue
            if self.keeps and not self._claim(rows.segment, rows.sequence):
                continue
            self._copied.append(rows)
            count += rows.end - rows.begin
        return self._copy(self._copied) if count else nothing()

    def release(self) -> None:
        """Free the space of the rows of the last `drain`, which are in parts."""
        for number, sequence, _, end in self._copied:
            self._drained[number] = (sequence << 32 & 0xFFFFFFFF00000000) | end
        self._fence()
        if self._copied:
            self["released"] += 1
        self._inherited.difference_update(rows.segment for rows in self._copied)
        self._withdraw_claims()

    @property
    def follows_claims(self) -> bool:
        """Whether there are still segments that a dead agent had claimed."""
        return bool(self._inherited)

    def pending_rows(self) -> int:
        """Count the finished rows that are in no part."""
        used = self._used()
        state = self._fields["state"][:used]
        written = self._fields["written"][:used].astype(np.int64)
        filled = (state == schema.OWNED) | (state == schema.FULL)
        return int(np.where(filled, np.maximum(written - self._begins(self._fields["sequence"][:used]), 0), 0).sum())

    def is_crowded(self) -> bool:
        """Whether a quarter of the segments holds finished rows that are in no part, however few the rows."""
        return 4 * len(self._pending()) >= self.limit

    def trips(self) -> list[Trip]:
        """Watched samples that were recorded since the last call."""
        found, taken = self["trips"], self["taken_trips"]
        self._fence()
        first = max(taken, found - schema.TRIPS)
        at = [schema.TRIPS_OFFSET + number % schema.TRIPS * schema.TRIP_BYTES for number in range(first, found)]
        trips = [Trip(*_TRIP.unpack_from(self._memory, offset)) for offset in at]
        self["taken_trips"] = found
        return trips

    def texts(self) -> list[str]:
        """Names of errors and values of attributes by their numbers; 0 means none."""
        end = min(self["texts_bytes"], schema.TEXTS_BYTES)
        used = self._used()
        with_texts = np.flatnonzero(self._fields["state"][:used] == schema.HAS_TEXTS)
        self._fence()  # a segment of texts stays one
        before, written = self._fields["thread"][with_texts], self._fields["written"][with_texts]
        self._fence()
        areas = [Area(0, self._memory[schema.TEXTS_OFFSET : schema.TEXTS_OFFSET + end])]
        for number, first, length in zip(with_texts.tolist(), before.tolist(), written.tolist(), strict=True):
            begin = self._base + number * schema.SEGMENT_BYTES + schema.SEGMENT_HEADER_BYTES
            areas.append(Area(first, self._memory[begin : begin + min(length, MOST_TEXTS_BYTES)]))
        return numbered(areas)

    def report_failure(self, text: str) -> None:
        """Report why nothing can be written at the moment; an empty text once that has passed."""
        data = text.encode("utf-8", "replace")[: schema.RING_FAILURE_BYTES]
        self["failure_bytes"] = 0
        begin = schema.RING_FAILURE_OFFSET
        self._memory[begin : begin + len(data)] = data
        self._fence()
        self["failure_bytes"] = len(data)

    def reserve_ahead(self, room: int) -> None:
        """Allocate memory before the program needs it: twice what it uses, and at most `room` bytes more.

        On a disk, the program itself adds segments to the file.
        """
        used, reserved = min(self["used"], self.limit), self["reserved"]
        if 2 * used <= reserved or reserved >= self.limit or self._mapped < self.limit:
            return
        wanted = min(used, self.limit - reserved, max(room, 0) // schema.SEGMENT_BYTES)
        at = self._base + reserved * schema.SEGMENT_BYTES
        try:
            if wanted <= 0:
                raise OSError
            os.posix_fallocate(self.file, at, wanted * schema.SEGMENT_BYTES)
        except OSError:
            self["no_room"] = 1
            return
        self["reserved"] = reserved + wanted
        self["no_room"] = 0

    def close(self) -> None:
        """Close the file."""
        self._drained = self._claimed = np.zeros(0, np.uint64)
        self._fields.clear()
        self._columns.clear()
        self._unmap()

    def _look_at_segments(self) -> None:
        #: Segments in the file, which grows on a disk as the program reserves more.
        self._mapped = min((len(self._memory) - self._base) // schema.SEGMENT_BYTES, self.limit)
        tables = np.frombuffer(self._memory, np.uint64, 2 * self.limit, schema.RING_HEADER_BYTES)
        self._drained, self._claimed = tables[: self.limit], tables[self.limit :]
        self._fields = {name: self._column(kind, offset) for name, (kind, offset) in _SEGMENT.items()}
        self._columns, offset = {}, schema.SEGMENT_HEADER_BYTES
        for name, _ in schema.RING_COLUMNS:
            self._columns[name] = self._column(DTYPES[name], offset, schema.SEGMENT_ROWS)
            offset += schema.SEGMENT_ROWS * self._columns[name].itemsize

    def _used(self) -> int:
        """The number of segments that may hold rows."""
        used = min(self["used"], self.limit)
        if used > self._mapped:
            self._drained = self._claimed = np.zeros(0, np.uint64)
            self._fields.clear()
            self._columns.clear()
            memory, self._memory = self._memory, mmap.mmap(self.file, os.fstat(self.file).st_size)
            _close(memory)
            self._look_at_segments()
        return min(used, self._mapped)

    def _unmap(self) -> None:
        try:
            _close(self._memory)
        finally:
            os.close(self.file)

    def _column(self, kind: str, offset: int, rows: int | None = None) -> Any:
        """A view across all segments at `offset`: a field of the header, or a column of `rows` rows."""
        item = np.dtype(kind).itemsize
        shape, strides = ((), ()) if rows is None else ((rows,), (item,))
        return np.ndarray(
            (self._mapped, *shape), kind, self._memory, self._base + offset, (schema.SEGMENT_BYTES, *strides)
        )

    def _begins(self, sequence: Any) -> Any:
        """The first row that is in no part, for each of the first segments, which have these sequence numbers."""
        drained = self._drained[: len(sequence)]
        is_same = drained >> np.uint64(32) == sequence & np.uint64(0xFFFFFFFF)
        return np.where(is_same, drained & np.uint64(0xFFFFFFFF), np.uint64(0)).astype(np.int64)

    def _pending(self) -> list[_Rows]:
        """Finished rows that are in no part, in the order of their segments' sequence numbers."""
        return self._look()[0]

    def _look(self) -> tuple[list[_Rows], bool]:
        """The same, and whether it is certain: the program may be about to find a claim of another agent."""
        used = self._used()
        state = self._fields["state"][:used].copy()
        sequence = self._fields["sequence"][:used].copy()
        begins = self._begins(sequence)
        self._fence()
        written = self._fields["written"][:used].astype(np.int64)
        self._fence()
        # A segment that was taken again meanwhile holds other rows, which are left to the next call.
        is_same = self._fields["sequence"][:used] == sequence
        is_settled = is_same & (sequence > 0)
        filled = (state == schema.OWNED) | (state == schema.FULL)
        numbers = np.flatnonzero(is_settled & filled & (written > begins) & (written <= schema.SEGMENT_ROWS))
        numbers = numbers[np.argsort(sequence[numbers], kind="stable")]
        fields = (numbers, sequence[numbers], begins[numbers], written[numbers])
        found = list(map(_Rows, *(field.tolist() for field in fields)))
        is_sure = not any(filled[number] and not is_settled[number] for number in self._inherited if number < used)
        return found, is_sure

    def _claim(self, number: int, sequence: int) -> bool:
        """Keep the program from overwriting a segment: it sees the claim, or the agent sees a new sequence number."""
        self._claimed[number] = sequence
        self._fence()
        found = int(self._fields["sequence"][number])
        if number in self._inherited:
            for _ in range(_TRIES):  # the program is about to find the earlier claim
                if found:
                    break
                time.sleep(_PAUSE_S)
                found = int(self._fields["sequence"][number])
            if not found:
                return False
        if found == sequence:
            return True
        self._claimed[number] = 0
        return False

    def _last_end(self, rows: _Rows) -> int:
        """When the last of the rows ended. Rows that the program overwrites meanwhile cannot be claimed either."""
        start, duration = (self._columns[name][rows.segment, rows.begin : rows.end] for name in ("start", "duration"))
        return int((start + duration).max())

    def _withdraw_claims(self) -> None:
        if self.keeps:
            for rows in self._copied:
                if rows.segment not in self._inherited:
                    self._claimed[rows.segment] = 0
        self._copied.clear()

    def _copy(self, wanted: list[_Rows]) -> Batch:
        places, at = [], 0
        for number, _, begin, end in wanted:
            places.append((slice(at, at + end - begin), number, slice(begin, end)))
            at += end - begin
        columns = {name: np.empty(at, kind) for name, kind in DTYPES.items()}
        for name, column in self._columns.items():
            copy = columns[name]
            for place, number, rows in places:
                copy[place] = column[number, rows]
        for place, number, _ in places:
            columns["thread"][place] = self._fields["thread"][number]
        return Batch(columns)
