"""Everything that a ring holds, whether its process runs or was killed."""

from __future__ import annotations

import os
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from quantum_pulse import files, schema
from quantum_pulse.core.contract import CAUSES, OVERWRITE
from quantum_pulse.operations import Category, Definition, plain_definition
from quantum_pulse.rings import segments, slots
from quantum_pulse.rings.batch import Batch
from quantum_pulse.rings.names import Names, read_names
from quantum_pulse.rings.owners import process_of
from quantum_pulse.rings.texts import Area, numbered

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Contents(NamedTuple):
    """Rows of a ring that are in no part yet, as far as the ring itself knows.

    `batch` has samples, `collections` garbage collections. `entered` and `lost` count blocks of the whole recording.
    `operations` and `texts` resolve the numbers in `batch`. `anchor_ns` converts `start` to Unix time; None if it is
    unknown. `span_offset` is what parts add to spans. `unfinished` are the open blocks, and `losses` the losses of the
    whole recording, both as far as there was room to note them. `names` is the journal beside the ring. `damage`
    describes what could not be read, and `damaged_rows` is how many rows that cost, as far as is known. `failure` is
    why nothing could be written last; empty if nothing was wrong.
    """

    process: int
    anchor_ns: int | None
    entered: int
    lost: int
    drained: int
    span_offset: int
    batch: Batch
    collections: Batch
    operations: list[Definition]
    texts: list[str]
    unfinished: list[slots.Unfinished]
    losses: list[slots.Lost]
    names: Names
    damage: list[str]
    damaged_rows: int
    failure: str = ""

    def open_blocks(self, unix_of: Callable[[int], int] | None = None) -> list[dict[str, Any]]:
        """Open blocks, as a process file lists them; `start` is Unix time, or None if it is unknown.

        `unix_of` turns a reading of the core's clock into Unix time; by default the anchor does.
        """
        if unix_of is None and self.anchor_ns is not None:
            unix_of = self.anchor_ns.__add__
        return _plain(self.unfinished, self.operations, self.process, unix_of)

    def unused(self) -> list[dict[str, Any]]:
        """Definitions of operations that did not run, as footers have them; all of them if the program did not say."""
        ran = {account["operation"] for account in self.names.end.get("accounts") or () if account["started"]}
        return [plain_definition(one) for one in self.names.operations if one is not None and one.name not in ran]

    def shifted(self) -> Contents:
        """Return these contents with spans as parts have them, because several processes may share a recording."""
        if not self.span_offset:
            return self
        import numpy as np

        columns = dict(self.batch.columns)
        parent = columns["parent"]
        columns["span"] = columns["span"] + self.span_offset
        columns["parent"] = np.where(parent > 0, parent + self.span_offset, parent)
        unfinished = [
            one._replace(span=one.span + self.span_offset, parent=one.parent + self.span_offset if one.parent else 0)
            for one in self.unfinished
        ]
        return self._replace(batch=Batch(columns), unfinished=unfinished, span_offset=0)

    def without(self, spans: npt.NDArray[np.int64]) -> Contents:
        """Return these contents without the rows and open blocks whose span is in `spans`: those are in parts."""
        import numpy as np

        ended = ~np.isin(self.batch.columns["span"], spans)
        still = ~np.isin(np.fromiter((block.span for block in self.unfinished), np.int64), spans)
        unfinished = [block for block, is_open in zip(self.unfinished, still.tolist(), strict=True) if is_open]
        return self._replace(batch=self.batch.where(ended), unfinished=unfinished)

    def unreported(self, reported: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Losses that no footer has `reported` yet, in the form of footers."""
        counts = Counter[tuple[str, int, str]]()
        for loss in reported:
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
            new = []  # a report of several threads together cannot be split between them
        rest -= sum(loss["count"] for loss in new)
        if rest > 0:
            new.append({"count": rest, "cause": f"rings full in process {self.process}"})
        return new


class _Header(NamedTuple):
    """Read the ring; `entered` blocks, with numbers in `spans`, were entered in the whole recording."""

    process: int
    spans: range
    entered: int
    lost: int
    drained: int
    span_offset: int
    anchor_ns: int


def read(ring: Path) -> Contents:
    """Read the ring file `ring`. Raises OSError if it cannot be read, and ValueError if it is not a ring file."""
    # Read, not mapped: a page of a truncated file, or of a hole on a full file system, would raise SIGBUS.
    files.check(ring)
    with open(ring, "rb", buffering=0) as file:
        return _read(file.fileno(), ring)


def _read(file: int, ring: Path) -> Contents:
    damage: list[str] = []
    layout = _layout(file, ring, damage)
    # The order matters: whatever a running program does meanwhile must not look like damage. Blocks that end between
    # the two readings of the slots are among the rows, and each name is written before its first use.
    with_slots = segments.with_slots(layout)
    before = slots.read(file, with_slots)
    header = _header(file, ring, damage)
    batch, collections = segments.rows(layout, damage).split_collections()
    after = slots.read(file, with_slots)
    texts = numbered([_first_texts(file, ring), *segments.with_texts(layout)])
    failure = os.pread(file, _fields(file, ring)["failure_bytes"], schema.RING_FAILURE_OFFSET)
    names = read_names(ring)
    known = _known(names)
    unfinished, nonsense = slots.unfinished(before, after, header.spans, batch.columns["span"], known)
    losses, more = slots.losses(before, known, header.lost)
    if nonsense + more:
        damage.append(f"{nonsense + more} slots make no sense")
    anchor_ns = header.anchor_ns or names.anchor_ns
    good = segments.plausible(batch, names.operations, names.rates, len(texts), anchor_ns or 0)
    bad = int(len(good) - good.sum())
    collected = segments.plausible_collections(collections, anchor_ns or 0)
    if not collected.all():
        damage.append(f"{int(len(collected) - collected.sum())} garbage collections make no sense")
    if bad:
        damage.append(f"{bad} rows make no sense")
    unknown = Definition("?", "", "", Category("?"))
    return Contents(
        process=header.process,
        anchor_ns=anchor_ns,
        entered=header.entered,
        lost=header.lost,
        drained=header.drained,
        span_offset=header.span_offset,
        batch=batch.where(good),
        collections=collections.where(collected),
        operations=[unknown if one is None else one for one in names.operations],
        texts=texts,
        unfinished=unfinished,
        losses=losses,
        names=names,
        damage=names.damage + damage,
        damaged_rows=bad,
        failure=failure[: schema.RING_FAILURE_BYTES].decode(errors="replace"),
    )


def _layout(file: int, ring: Path, damage: list[str]) -> segments.Layout:
    """Find the segments. Raises ValueError if it is not a ring file."""
    size = os.fstat(file).st_size
    if size < schema.RING_HEADER_BYTES:
        raise ValueError(f"{ring.name} is cut off after {size} bytes")
    found = _fields(file, ring)
    layout = segments.Layout(file, found["limit"], found["used"], overwrites=found["on_full"] == OVERWRITE)
    if layout.is_cut:
        damage.append("its last segments are cut off")
    return layout


def _fields(file: int, ring: Path) -> dict[str, int]:
    """Read the fields of the header. Raises ValueError if it is not a ring file."""
    start = os.pread(file, schema.TRIPS_OFFSET, 0)
    if not start.startswith(schema.RING_MAGIC):
        raise ValueError(f"{ring.name} does not begin with {schema.RING_MAGIC.decode()}")
    return _unpacked(start)


def _unpacked(start: bytes) -> dict[str, int]:
    return {name: int(struct.unpack_from(code, start, offset)[0]) for name, code, offset in schema.RING_FIELDS}


def entered(file: int) -> int:
    """Count the blocks that were entered in the recording whose ring is open as `file`."""
    # The order matters: threads take numbers before they use and count them.
    words = os.pread(file, schema.COUNTERS * schema.COUNTER_BYTES, schema.COUNTERS_OFFSET)
    found = _unpacked(os.pread(file, schema.TRIPS_OFFSET, 0))
    if not found["counters"]:
        return found["last_span"] - found["first_span"]
    end = min(found["counters"] * schema.COUNTER_BYTES, len(words))
    return sum(int.from_bytes(words[at : at + 8], sys.byteorder) for at in range(0, end, schema.COUNTER_BYTES))


def _header(file: int, ring: Path, damage: list[str]) -> _Header:
    """Raise ValueError if the file is not a ring file."""
    before = _fields(file, ring)  # first, because whatever is in parts or lost was entered before
    drained, lost, count = before["drained_rows"], before["lost"], entered(file)
    found = _fields(file, ring)
    process, first_span, last_span = (found[name] for name in ("process", "first_span", "last_span"))
    is_right = process == process_of(ring) and 0 <= first_span <= last_span < schema.MOST_NS
    is_right &= 0 <= lost <= count <= last_span - first_span and 0 <= drained <= count - lost
    is_right &= 0 <= found["span_offset"] < schema.MOST_NS and abs(found["anchor_ns"]) < schema.MOST_NS
    if not is_right:
        damage.append("its header makes no sense")
        return _Header(process_of(ring), range(0), 0, 0, 0, 0, 0)
    spans = range(first_span + 1, last_span + 1)
    return _Header(process, spans, count, lost, drained, found["span_offset"], found["anchor_ns"])


def _first_texts(file: int, ring: Path) -> Area:
    """The texts in the header."""
    length = min(_fields(file, ring)["texts_bytes"], schema.TEXTS_BYTES)
    return Area(0, os.pread(file, length, schema.TEXTS_OFFSET))


def _known(names: Names) -> set[int]:
    """The operations that have a name."""
    return {number for number, one in enumerate(names.operations) if one is not None}


def _plain(
    unfinished: Iterable[slots.Unfinished],
    operations: Sequence[Definition],
    process: int,
    unix_of: Callable[[int], int] | None,
) -> list[dict[str, Any]]:
    """Open blocks as a process file lists them, in the order in which they were entered."""
    return [
        {
            "operation": operations[block.operation].name,
            "category": operations[block.operation].category.name,
            "start": unix_of(block.start) if block.start and unix_of is not None else None,
            "thread": block.thread,
            "task": block.task,
            "span": block.span,
            "parent": block.parent,
            "weight": block.weight,
            "process": process,
        }
        for block in sorted(unfinished, key=lambda block: block.span)
    ]
