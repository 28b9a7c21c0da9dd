"""Read the samples of a recording in the order in which they were entered, block by block.

A part holds what ended before it was written, sorted by span. So its spans follow those of the part before, but for a
few stragglers: those that had been open when that one was written. They are read first and put where they belong.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse.ranges import integer_range
from quantum_pulse.reading import attributes, scan
from quantum_pulse.reading.criteria import EVERYTHING, Conditions
from quantum_pulse.reading.groups import Groups
from quantum_pulse.reading.reader import Part, Source

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Small parts are taken together until they have so many rows.
BLOCK_ROWS: Final = 1 << 19
_NEVER: Final = (1 << 63) - 1


class Rows(NamedTuple):
    """Samples in the order of their spans, arrays of one length. Times in ns; `kind` is the number of a group.

    `more` has a column for each further one that was asked for.
    """

    span: npt.NDArray[np.int64]
    parent: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    duration: npt.NDArray[np.int64]
    weight: npt.NDArray[np.int64]
    more: npt.NDArray[np.int64]

    def take(self, chosen: Any) -> Rows:
        """Some of the rows: a slice, a mask, or positions."""
        return Rows(*(column[chosen] for column in self))


class Block(NamedTuple):
    """Rows that follow those of the block before. All rows of later blocks start at `later_ns` or after."""

    rows: Rows
    later_ns: int


class Unit(NamedTuple):
    """A row group. Spans from first to last; all rows start at `start_ns` or after."""

    part: Part
    group: int
    rows: int
    first_span: int
    last_span: int
    start_ns: int


class _Wanted(NamedTuple):
    """Columns beside those of `Rows`, of integers, and of what attributes the last of these says whether rows have."""

    more: tuple[str, ...]
    where: Conditions

    @property
    def width(self) -> int:
        """Columns of `Rows.more`."""
        return len(self.more) + bool(self.where)


def blocks(
    source: Source, parts: list[Part], kinds: Groups, more: tuple[str, ...] = (), where: Conditions = ()
) -> Iterator[Block]:
    """The samples of `parts`, all of one recording, in the order of their spans. Raises scan.UnreadablePartError.

    `more`: further columns of integers. With `where` one more has 1 for samples that meet it, 0 for others.
    """
    import numpy as np

    wanted = _Wanted(more, where)
    runs = _runs(source, parts)
    stragglers, starts = _stragglers(source, runs, kinds, wanted)
    # The least of each entry and all after it.
    later = np.minimum.accumulate([_NEVER, *reversed(starts)])[::-1][1:]
    later_straggler = np.minimum.accumulate([_NEVER, *stragglers.start[::-1].tolist()])[::-1]
    after = 0
    with ThreadPoolExecutor(1, thread_name_prefix="capture-spans") as pool:
        # One ahead, while the one before is worked on.
        waiting = [pool.submit(_run_rows, source, run, kinds, wanted) for run in runs[:1]]
        for number, run in enumerate(runs):
            following = runs[number + 1 : number + 2]
            waiting += [pool.submit(_run_rows, source, run_after, kinds, wanted) for run_after in following]
            rows, last = waiting.pop(0).result(), run[-1].last_span
            first, end = np.searchsorted(stragglers.span, [after, last], side="right").tolist()
            rows = rows.take(slice(int(np.searchsorted(rows.span, after, side="right")), None))
            if end > first:
                rows = _sorted([rows, stragglers.take(slice(first, end))])
            yield Block(rows, min(int(later[number]), int(later_straggler[end])))
            after = last


def _runs(source: Source, parts: list[Part]) -> list[list[Unit]]:
    """Row groups in the order of their last spans, small ones together."""
    ordered = sorted((unit for part in parts for unit in units(source, part)), key=lambda unit: unit.last_span)
    runs: list[list[Unit]] = []
    rows = BLOCK_ROWS
    for unit in ordered:
        if rows + unit.rows > BLOCK_ROWS:
            runs.append([])
            rows = 0
        runs[-1].append(unit)
        rows += unit.rows
    return runs


def units(source: Source, part: Part) -> Iterator[Unit]:
    """The row groups of `part`. Raises scan.UnreadablePartError."""
    import pyarrow.parquet as pq

    with scan.reading(source, part):
        metadata = pq.read_metadata(part.file)
    for group in range(metadata.num_row_groups):
        spans, starts = integer_range(metadata, group, "span"), integer_range(metadata, group, "start")
        if spans is None or starts is None:
            span, start = columns(source, part, group, ["span", "start"])
            spans, starts = (int(span.min()), int(span.max())), (int(start.min()), int(start.max()))
        yield Unit(part, group, metadata.row_group(group).num_rows, *spans, starts[0])


def _stragglers(source: Source, runs: list[list[Unit]], kinds: Groups, wanted: _Wanted) -> tuple[Rows, list[int]]:
    """Rows whose spans are not after those of the run before, in order; and when each run's other rows start."""
    found, starts, after = [_nothing(wanted.width)], [], 0
    for run in runs:
        least = _NEVER
        for unit in run:
            if unit.first_span > after:
                least = min(least, unit.start_ns)
                continue
            span, start = columns(source, unit.part, unit.group, ["span", "start"])
            is_late = span <= after
            least = min(least, int(start[~is_late].min(initial=_NEVER)))
            late = int(is_late.sum())
            # Parts are sorted by span, so that the rest need not be read for them.
            are_first = unit.part.within is EVERYTHING and is_late[:late].all()
            rows = _rows(source, unit, kinds, wanted, late if are_first else None)
            found.append(rows.take(rows.span <= after))
        starts.append(least)
        after = max(after, run[-1].last_span)
    return _sorted(found), starts


def _run_rows(source: Source, run: list[Unit], kinds: Groups, wanted: _Wanted) -> Rows:
    return _sorted([_rows(source, unit, kinds, wanted) for unit in run])


def _rows(source: Source, unit: Unit, kinds: Groups, wanted: _Wanted, first: int | None = None) -> Rows:
    """The rows of a unit, or the first so many of them, in the order of their spans."""
    import numpy as np
    import pyarrow as pa

    part = unit.part
    names = dict.fromkeys([*kinds.columns(part), "span", "parent", "start", "duration_ns", *wanted.more])
    names |= {"weight": None} if scan.has_weights(part) else {}
    names |= dict.fromkeys(attributes.columns_of(wanted.where))
    found = []
    for batch in scan.batches(source, part, [unit.group], list(names), EVERYTHING, first):
        numbers = [batch[name].cast(pa.int64()).to_numpy() for name in ("span", "parent", "start", "duration_ns")]
        span, parent, start, duration = numbers
        has_weights = "weight" in names
        weight = batch["weight"].to_numpy().astype(np.int64) if has_weights else np.ones(len(span), np.int64)
        others = np.empty((len(span), wanted.width), np.int64)
        for place, name in enumerate(wanted.more):
            others[:, place] = batch[name].to_numpy()
        if wanted.where:
            others[:, -1] = attributes.chosen(batch, wanted.where)
        found.append(Rows(span, parent, kinds.of(batch, part), start, duration, weight, others))
        if first is not None:
            break
    return _sorted(found or [_nothing(wanted.width)])


def columns(source: Source, part: Part, group: int, names: list[str]) -> list[npt.NDArray[np.int64]]:
    """Columns of a row group as integers."""
    import numpy as np
    import pyarrow as pa

    batches = list(scan.batches(source, part, [group], names, EVERYTHING))
    return [np.concatenate([batch[name].cast(pa.int64()).to_numpy() for batch in batches]) for name in names]


def _nothing(more: int) -> Rows:
    import numpy as np

    none = np.zeros(0, np.int64)
    return Rows(none, none, none, none, none, none, np.zeros((0, more), np.int64))


def _sorted(pieces: list[Rows]) -> Rows:
    """All rows of the pieces in the order of their spans."""
    import numpy as np

    rows = pieces[0] if len(pieces) == 1 else Rows(*(np.concatenate(columns) for columns in zip(*pieces, strict=True)))
    if (rows.span[1:] > rows.span[:-1]).all():
        return rows
    return rows.take(np.argsort(rows.span, kind="stable"))
