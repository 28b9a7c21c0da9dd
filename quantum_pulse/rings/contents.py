"""All that a ring holds: of a process that was killed, or of one that goes on."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from quantum_pulse import files, schema
from quantum_pulse.core.contract import CAUSES, Batch
from quantum_pulse.operations import Category, Definition
from quantum_pulse.rings import segments, slots
from quantum_pulse.rings.names import Names, read_names
from quantum_pulse.rings.owners import process_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Contents(NamedTuple):
    """Rows that stand in a ring and in no part yet, as far as the ring itself knows.

    `entered` and `lost` count blocks of the whole recording. `operations` and `errors` resolve the numbers in `batch`.
    `anchor_ns` turns `start` into Unix time; None when it is not known. `written` is how many rows of each table stood
    in parts when that was last noted. `unfinished` are the blocks that are open, `losses` what was lost in the whole
    recording, both as far as there was room to tell of them. `damage` says in words what could not be read;
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
    unfinished: list[slots.Unfinished]
    losses: list[slots.Lost]
    damage: list[str]
    damaged_rows: int

    def open_blocks(self) -> list[dict[str, Any]]:
        """The blocks that are open, as a process file tells them; `start` is Unix time, None where it is not known."""
        return _plain(self.unfinished, self.operations, self.anchor_ns)

    def without(self, spans: npt.NDArray[np.int64]) -> Contents:
        """These contents but for the rows and open blocks whose span is one of `spans`, which stand in parts."""
        import numpy as np

        ended = ~np.isin(np.frombuffer(self.batch.columns["span"], np.int64), spans)
        still = ~np.isin(np.fromiter((block.span for block in self.unfinished), np.int64), spans)
        unfinished = [block for block, is_open in zip(self.unfinished, still.tolist(), strict=True) if is_open]
        return self._replace(batch=selected(self.batch, ended), unfinished=unfinished)

    def untold(self, told: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Losses that are not among those that were `told` already, in footers, and in their form."""
        counts = Counter[tuple[str, int, str]]()
        for loss in told:
            counts[loss["operation"], loss["thread"], loss["cause"]] += loss["count"]
        found: dict[tuple[str, int, str], dict[str, Any]] = {}
        anchor_ns = self.anchor_ns or 0
        for lost in self.losses:
            key = (self.operations[lost.operation].name, lost.thread, CAUSES[lost.cause])
            known = found.setdefault(
                key, {"count": -counts[key], "start": lost.first + anchor_ns, "end": lost.last + anchor_ns}
            )
            known["count"] += lost.samples
            known["start"], known["end"] = (
                min(known["start"], lost.first + anchor_ns),
                max(known["end"], lost.last + anchor_ns),
            )
        new = [
            {"operation": operation, "thread": thread, "cause": cause, **loss}
            for (operation, thread, cause), loss in found.items()
            if loss["count"] > 0
        ]
        rest = self.lost - counts.total()
        if sum(loss["count"] for loss in new) > rest:
            new = []  # what was told of several threads together cannot be set off against each
        rest -= sum(loss["count"] for loss in new)
        if rest > 0:
            new.append({"count": rest, "cause": f"rings full in process {self.process}"})
        return new


class _Header(NamedTuple):
    """What the ring says of itself; blocks with the numbers `spans` were entered in the whole recording."""

    process: int
    spans: range
    lost: int


def read(ring: Path) -> Contents:
    """The contents of the file `ring`. Raises OSError when it cannot be read, ValueError when it is no ring."""
    # Not mapped: a page of a file that was cut, or of a hole on a full file system, would end this process by SIGBUS.
    files.check(ring)
    with open(ring, "rb", buffering=0) as file:
        return _read(file.fileno(), ring)


def read_open(ring: Path) -> list[dict[str, Any]]:
    """The blocks that are open in `ring`, as `Contents.open_blocks` has them, without reading any samples.

    For a recording that has stopped: in one that goes on, the sample of a block may just have been written. Raises as
    `read` does.
    """
    import numpy as np

    files.check(ring)
    with open(ring, "rb", buffering=0) as file:
        damage: list[str] = []
        count = _count(file.fileno(), ring, damage)
        found = slots.read(file.fileno(), segments.with_slots(file.fileno(), count))
        header = _header(file.fileno(), ring, damage)
    names = read_names(ring)
    unfinished, _ = slots.unfinished(found, found, header.spans, np.zeros(0, np.int64), _known(names))
    return _plain(unfinished, names.operations, names.anchor_ns)


def _read(file: int, ring: Path) -> Contents:
    damage: list[str] = []
    count = _count(file, ring, damage)
    # In this order: what a program that goes on does meanwhile must not look like something that makes no sense. What
    # ended between the two readings of the slots is among the rows, and any name is in the journal before it is used.
    with_slots = segments.with_slots(file, count)
    before = slots.read(file, with_slots)
    header = _header(file, ring, damage)
    columns = segments.rows(file, count, damage)
    after = slots.read(file, with_slots)
    names = read_names(ring)
    known = _known(names)
    unfinished, nonsense = slots.unfinished(before, after, header.spans, columns["span"], known)
    losses, more = slots.losses(before, known, header.lost)
    if nonsense + more:
        damage.append(f"{nonsense + more} slots make no sense")
    good = segments.plausible(columns, known, len(names.errors))
    bad = int(len(good) - good.sum())
    if bad:
        damage.append(f"{bad} rows make no sense")
        columns = {name: values[good] for name, values in columns.items()}
    unknown = Definition("?", "", "", Category("?"))
    return Contents(
        process=header.process,
        anchor_ns=names.anchor_ns,
        written=names.written,
        entered=len(header.spans),
        lost=header.lost,
        batch=_batch(columns),
        operations=[unknown if one is None else one for one in names.operations],
        errors=names.errors,
        unfinished=unfinished,
        losses=losses,
        damage=names.damage + damage,
        damaged_rows=bad,
    )


def _count(file: int, ring: Path, damage: list[str]) -> int:
    """How many whole segments the ring has. Raises ValueError when it has not even a header."""
    size = os.fstat(file).st_size
    if size < schema.RING_HEADER_BYTES:
        raise ValueError(f"{ring.name} is cut off after {size} bytes")
    count, rest = divmod(size - schema.RING_HEADER_BYTES, schema.SEGMENT_BYTES)
    if rest:
        damage.append("its last segment is cut off")
    return count


def _header(file: int, ring: Path, damage: list[str]) -> _Header:
    """Raises ValueError when the file is no ring."""
    start = os.pread(file, schema.SEGMENT_HEADER_BYTES, 0)
    if not start.startswith(schema.RING_MAGIC):
        raise ValueError(f"{ring.name} does not begin with {schema.RING_MAGIC.decode()}")
    found = {name: struct.unpack_from(code, start, offset)[0] for name, code, offset in schema.RING_FIELDS}
    process, first_span, last_span, lost = (found[name] for name in ("process", "first_span", "last_span", "lost"))
    if process != process_of(ring) or first_span < 0 or not 0 <= lost <= last_span - first_span:
        damage.append("its header makes no sense")
        return _Header(process_of(ring), range(0), 0)
    return _Header(process, range(first_span + 1, last_span + 1), lost)


def _known(names: Names) -> set[int]:
    """The operations that have a name."""
    return {number for number, one in enumerate(names.operations) if one is not None}


def _plain(
    unfinished: Iterable[slots.Unfinished], operations: Sequence[Definition | None], anchor_ns: int | None
) -> list[dict[str, Any]]:
    """Open blocks as a process file tells them, in the order in which they were entered."""
    found = []
    for block in sorted(unfinished, key=lambda block: block.span):
        definition = operations[block.operation]
        assert definition is not None  # else it would not be told
        found.append(
            {
                "operation": definition.name,
                "category": definition.category.name,
                "start": block.start + anchor_ns if block.start and anchor_ns is not None else None,
                "thread": block.thread,
                "task": block.task,
                "span": block.span,
                "parent": block.parent,
                "weight": block.weight,
            }
        )
    return found


def selected(batch: Batch, rows: npt.NDArray[np.bool_]) -> Batch:
    """The rows of `batch` for which `rows` is true."""
    import numpy as np

    if rows.all():
        return batch
    return _batch({name: np.frombuffer(data, segments.DTYPES[name])[rows] for name, data in batch.columns.items()})


def _batch(columns: dict[str, npt.NDArray[Any]]) -> Batch:
    return Batch(len(columns["span"]), {name: values.tobytes() for name, values in columns.items()})
