"""What stands in the rings of a process: of one that was killed, or of one that goes on. Reading only.

The layout is `schema`'s. Nothing in a ring is trusted: it may have been cut, zeroed or overwritten since.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse import files, schema
from quantum_pulse.core.contract import Batch
from quantum_pulse.operations import Category, Definition

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Names(NamedTuple):
    """What the journal beside a ring says; see `Contents`. An operation of which nothing is known is None."""

    operations: list[Definition | None]
    errors: list[str]
    anchor_ns: int | None
    written: dict[str, int]
    damage: list[str]


class Contents(NamedTuple):
    """Rows that stand in a ring and in no part yet, as far as the ring itself knows.

    `entered` and `lost` count blocks of the whole recording. `operations` and `errors` resolve the numbers in `batch`.
    `anchor_ns` turns `start` into Unix time; None when it is not known. `written` is how many rows of each table stood
    in parts when that was last noted. `damage` says in words what could not be read;
    `damaged_rows` how many rows that cost, as far as it can be told.
    """

    process: int
    anchor_ns: int | None
    written: dict[str, int]
    entered: int
    lost: int
    batch: Batch
    operations: list[Definition]
    errors: list[str]
    damage: list[str]
    damaged_rows: int


def is_alive(ring: Path) -> bool:
    """Whether the process that records into `ring` is still there: it holds a lock on the journal of names."""
    path = ring.with_suffix(schema.NAMES_SUFFIX)
    try:
        files.check(path)
        journal = open(path, "rb")  # noqa: SIM115 - in the next line
    except OSError:
        return _is_mapped(ring)
    with journal:
        try:
            fcntl.flock(journal, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            # A file system without locks. The number may be another process's by now; then nothing is touched.
            return Path(f"/proc/{process_of(ring)}").exists()
    return False


def _is_mapped(ring: Path) -> bool:
    """Whether the process that the ring's name tells has it in its memory."""
    try:
        return str(ring.resolve()) in Path(f"/proc/{process_of(ring)}/maps").read_text(errors="replace")
    except FileNotFoundError:
        return False
    except OSError:
        return True  # somebody else's process of that number


def is_unused(ring: Path) -> bool:
    """Whether the recording of `ring` entered no block and wrote nothing. Raises OSError, ValueError."""
    files.check(ring)
    with open(ring, "rb", buffering=0) as file:
        start = file.read(schema.SEGMENT_HEADER_BYTES)
    if not start.startswith(schema.RING_MAGIC) or len(start) < schema.SEGMENT_HEADER_BYTES:
        raise ValueError(f"{ring.name} is no ring")
    header = {name: struct.unpack_from(code, start, offset)[0] for name, code, offset in schema.RING_FIELDS}
    return bool(header["first_span"] == header["last_span"]) and not read_names(ring).written


def process_of(ring: Path) -> int:
    """The process that a ring's name tells, 0 where it was renamed."""
    number = ring.stem.partition("-")[0]
    return int(number) if number.isdecimal() and len(number) < 10 else 0


def read(ring: Path) -> Contents:
    """The contents of the file `ring`. Raises OSError when it cannot be read, ValueError when it is no ring."""
    # Not mapped: a page of a file that was cut, or of a hole on a full file system, would end this process by SIGBUS.
    files.check(ring)
    with open(ring, "rb", buffering=0) as file:
        return _read(file.fileno(), ring)


def _read(file: int, ring: Path) -> Contents:
    import numpy as np

    names = read_names(ring)
    operations, errors, damage = names.operations, names.errors, names.damage
    size = os.fstat(file).st_size
    if size < schema.RING_HEADER_BYTES:
        raise ValueError(f"{ring.name} is cut off after {size} bytes")
    start = os.pread(file, schema.SEGMENT_HEADER_BYTES, 0)
    if not start.startswith(schema.RING_MAGIC):
        raise ValueError(f"{ring.name} does not begin with {schema.RING_MAGIC.decode()}")
    header = {name: struct.unpack_from(code, start, offset)[0] for name, code, offset in schema.RING_FIELDS}
    process, entered, lost = header["process"], header["last_span"] - header["first_span"], header["lost"]
    if process != process_of(ring) or header["first_span"] < 0 or not 0 <= lost <= entered:
        damage.append("its header makes no sense")
        process, entered, lost = process_of(ring), 0, 0
    count, rest = divmod(size - schema.RING_HEADER_BYTES, schema.SEGMENT_BYTES)
    if rest:
        damage.append("its last segment is cut off")
    taken = [rows for number in range(count) if (rows := _rows(file, number, damage)) is not None]
    columns = {
        name: np.concatenate([rows[name] for rows in taken]) if taken else np.zeros(0, _dtype(name))
        for name in (*(name for name, _ in schema.RING_COLUMNS), "thread")
    }
    good = _plausible(columns, {number for number, one in enumerate(operations) if one is not None}, len(errors))
    bad = int(len(good) - good.sum())
    if bad:
        damage.append(f"{bad} rows make no sense")
        columns = {name: values[good] for name, values in columns.items()}
    unknown = Definition("?", "", "", Category("?"))
    return Contents(
        process=process,
        anchor_ns=names.anchor_ns,
        written=names.written,
        entered=entered,
        lost=lost,
        batch=_batch(columns),
        operations=[unknown if one is None else one for one in operations],
        errors=errors,
        damage=damage,
        damaged_rows=bad,
    )


def without(batch: Batch, spans: npt.NDArray[np.int64]) -> Batch:
    """`batch` without the rows whose span is one of `spans`."""
    import numpy as np

    return selected(batch, ~np.isin(np.frombuffer(batch.columns["span"], np.int64), spans))


def selected(batch: Batch, rows: npt.NDArray[np.bool_]) -> Batch:
    """The rows of `batch` for which `rows` is true."""
    import numpy as np

    if rows.all():
        return batch
    return _batch({name: np.frombuffer(data, _dtype(name))[rows] for name, data in batch.columns.items()})


def _batch(columns: dict[str, npt.NDArray[Any]]) -> Batch:
    return Batch(len(columns["span"]), {name: values.tobytes() for name, values in columns.items()})


def _dtype(name: str) -> str:
    return {"thread": "int64", **{name: _NUMPY[code] for name, code in schema.RING_COLUMNS}}[name]


_NUMPY = {"q": "int64", "I": "uint32", "i": "int32"}


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
        if before["state"] == 0 or begin == end:
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
    if fields["state"] > 2 or end > schema.SEGMENT_ROWS or begin > end:
        return False
    if fields["state"]:
        # The process may have died, or be at work, between the two.
        return 0 <= (fields["inverse"] ^ schema.WORD) - end <= 1
    if fields["sequence"]:
        return begin == end  # given back, which is done with one that was read to the end
    # Never taken: then no row was ever written either.
    return not any(os.pread(file, _FIRST_ROW, base + schema.SEGMENT_HEADER_BYTES))


#: Bytes of the first row's first column.
_FIRST_ROW: Final = struct.calcsize(schema.RING_COLUMNS[0][1])
#: The header and that of a segment that was never taken.
_UNTOUCHED: Final = bytes(schema.SEGMENT_HEADER_BYTES + _FIRST_ROW)


def _fields(file: int, base: int) -> dict[str, int]:
    header = os.pread(file, schema.SEGMENT_HEADER_BYTES, base)
    if len(header) < schema.SEGMENT_HEADER_BYTES:
        raise ValueError("it was cut off while it was read")
    return {name: int(struct.unpack_from(code, header, at)[0]) for name, code, at in schema.SEGMENT_FIELDS}


def _plausible(columns: dict[str, npt.NDArray[Any]], known: Iterable[int], errors: int) -> npt.NDArray[np.bool_]:
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


def read_names(ring: Path) -> Names:
    """What the journal beside `ring` says, as far as it can be read."""
    journal = ring.with_suffix(schema.NAMES_SUFFIX)
    operations: dict[int, Definition] = {}
    errors: dict[int, str] = {0: ""}
    anchor_ns = None
    written: dict[str, int] = {}
    damage = []
    try:
        files.check(journal)
        lines = journal.read_bytes().splitlines()
    except OSError as error:
        lines, damage = [], [f"its names cannot be read: {files.reason(error)}"]
    for line in lines:
        try:
            checksum, _, text = line.partition(b" ")
            if int(checksum, 16) != zlib.crc32(text):
                raise ValueError
            entry = json.loads(text)
            if "operation" in entry:
                operations[int(entry["operation"])] = Definition.from_plain(entry["definition"])
            elif "clock_anchor_ns" in entry:
                anchor_ns = int(entry["clock_anchor_ns"])
            elif "written" in entry:
                written = {str(table): int(rows) for table, rows in entry["written"].items()}
            else:
                errors[int(entry["error"])] = str(entry["name"])
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            damage.append("a line of its names makes no sense")
    if len(operations) > 1_000_000 or max(operations, default=0) > 10_000_000 or max(errors) > 10_000_000:
        return Names([], [""], anchor_ns, written, ["its names make no sense"])
    return Names(
        [operations.get(number) for number in range(max(operations, default=-1) + 1)],
        [errors.get(number, "?") for number in range(max(errors) + 1)],
        anchor_ns,
        written,
        damage,
    )
