"""Quantiles of groups from their histograms: approximate at once, or exact after one more pass over the samples.

The histogram says which bucket holds a quantile, and which of the calls in it. So the exact pass keeps only what falls
into such a bucket, a few samples in a hundred, as durations and how often each occurs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse import histogram
from quantum_pulse.reading import scan
from quantum_pulse.reading.calls import Calls, Rows
from quantum_pulse.reading.reader import Part, Source
from quantum_pulse.reading.selection import Selection
from quantum_pulse.reading.totals import Totals

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Different durations that a pass may have to keep: 128 MB. More wanted buckets are read in several passes.
LARGEST_PASS: Final = 1 << 23
#: Entries of a table from cell to wanted bucket; with more groups the cells are searched.
_LARGEST_TABLE: Final = 1 << 24


class ChangedError(Exception):
    """The samples are not those that the histograms counted."""


class _Places(NamedTuple):
    """Where quantiles lie. `cells` are the wanted ones, ascending, of which each holds `calls`.

    For each group that has calls and each quantile (shape (groups, quantiles)): the position in `cells` and the rank in
    it of the two calls that it lies between, and how far from the first to the second.
    """

    cells: npt.NDArray[np.int64]
    calls: npt.NDArray[np.int64]
    cell: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    rank: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    fraction: npt.NDArray[np.float64]


def approximate(totals: Totals, quantiles: Sequence[float]) -> npt.NDArray[np.float64]:
    """Quantiles in ns of the groups that have calls, shape (groups, quantiles), within half a bucket: 0.8 %."""
    import numpy as np

    places = _places(totals, quantiles)
    edges = histogram.lower_edges()
    bucket = places.cells % histogram.BUCKETS
    # As `histogram.middle`; floats, because the last edge is 2**63.
    middle = (edges[bucket] + edges[bucket + 1] - 1) / 2
    filled = totals.filled()
    low, high = totals.low[filled, None], totals.high[filled, None]
    ends = [np.clip(middle[cell], low, high) for cell in places.cell]
    return _between(ends[0], ends[1], places.fraction)


def exact(
    source: Source, calls: Calls, selection: Selection, totals: Totals, quantiles: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Quantiles in ns of the groups that have calls, shape (groups, quantiles), interpolated linearly as numpy does.

    Raises scan.UnreadablePartError, and ChangedError when the totals are those of other samples.
    """
    import numpy as np

    places = _places(totals, quantiles)
    found = [np.zeros(places.fraction.shape, np.int64) for _ in range(2)]
    for first, last in _passes(places):
        finder = _Finder(places.cells[first:last], len(totals.count))

        def work(batch: Any, part: Part, finder: _Finder = finder) -> None:
            finder.add(calls.of(batch, part))

        if finder.is_needed:
            scan.each(source, scan.parts(source, selection), calls.columns, selection, work, "quantiles")
        for values, cell, rank in zip(found, places.cell, places.rank, strict=True):
            own = (cell >= first) & (cell < last)
            values[own] = finder.values(cell[own] - first, rank[own], places.calls[first:last])
    return _between(found[0], found[1], places.fraction)


def _places(totals: Totals, quantiles: Sequence[float]) -> _Places:
    import numpy as np

    cells, calls = totals.histogram()
    reached = np.cumsum(calls)
    count = totals.count[totals.filled()]
    # Cells are in the order of the groups, so the calls before those of a group are the calls of the groups before it.
    before = (np.cumsum(count) - count)[:, None]
    place = (count[:, None] - 1) * np.asarray(quantiles, np.float64)[None, :]
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, count[:, None] - 1)
    indices = [np.searchsorted(reached, before + rank, side="right") for rank in (below, above)]
    ranks = [before + rank - (reached - calls)[index] for rank, index in zip((below, above), indices, strict=True)]
    wanted = np.unique(np.concatenate([index.ravel() for index in indices]))
    positions = [np.searchsorted(wanted, index) for index in indices]
    return _Places(
        cells[wanted],
        calls[wanted],
        (positions[0], positions[1]),
        (ranks[0], ranks[1]),
        place - below,
    )


def _between(below: Any, above: Any, fraction: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    between: npt.NDArray[np.float64] = below + (above - below) * fraction
    return between


def _passes(places: _Places) -> Iterator[tuple[int, int]]:
    """Ranges of wanted cells, each of which a pass can keep."""
    import numpy as np

    first, kept = 0, 0
    for position, most in enumerate(np.minimum(places.calls, _widths(places.cells)).tolist()):
        if kept + most > LARGEST_PASS and position > first:
            yield first, position
            first, kept = position, 0
        kept += most
    if first < len(places.cells):
        yield first, len(places.cells)


def _widths(cells: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many different durations there are in each cell."""
    edges = histogram.lower_edges()
    bucket = cells % histogram.BUCKETS
    widths: npt.NDArray[np.int64] = (edges[bucket + 1] - edges[bucket]).astype("int64")
    return widths


class _Finder:
    """Keeps which durations occur in some cells, and how often. Safe to use from several threads."""

    def __init__(self, cells: npt.NDArray[np.int64], groups: int) -> None:
        import numpy as np

        self._cells = cells
        edges = histogram.lower_edges()[cells % histogram.BUCKETS]
        self._lower = edges.astype(np.int64)
        self._width = _widths(cells)
        #: Whether any cell holds more than one duration, so that samples must be read.
        self.is_needed = bool((self._width > 1).any())
        self._slot_of: npt.NDArray[np.int64] | None = None
        if groups * histogram.BUCKETS <= _LARGEST_TABLE:
            self._is_wanted = np.zeros(groups * histogram.BUCKETS + 1, np.bool_)
            self._is_wanted[cells] = True
            self._slot_of = np.zeros(len(self._is_wanted), np.int64)
            self._slot_of[cells] = np.arange(len(cells))
        self._lock = threading.Lock()
        #: Slot, duration above the cell's lower edge, and calls, sorted by the first two once merged.
        self._kept: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
        self._entries = 0

    def add(self, rows: Rows) -> None:
        """Take in the samples that lie in the cells."""
        import numpy as np

        cells = histogram.buckets_of(rows.durations)
        cells += rows.groups * histogram.BUCKETS
        if self._slot_of is not None:
            # What is beyond the table, in a group that had no calls, is clipped to its last entry: in no cell.
            chosen = np.flatnonzero(self._is_wanted.take(cells, mode="clip"))
            slot = self._slot_of[cells[chosen]]
        else:
            slot = np.minimum(np.searchsorted(self._cells, cells), len(self._cells) - 1)
            chosen = np.flatnonzero(self._cells[slot] == cells)
            slot = slot[chosen]
        if not len(chosen):
            return
        calls = np.ones(len(chosen), np.int64) if rows.weights is None else rows.weights[chosen].astype(np.int64)
        merged = _merged(slot, rows.durations[chosen] - self._lower[slot], calls)
        with self._lock:
            self._kept.append(merged)
            self._entries += len(merged[0])
            if self._entries > LARGEST_PASS:
                self._merge()

    def values(
        self, slots: npt.NDArray[np.int64], ranks: npt.NDArray[np.int64], calls: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """The duration of the call numbered `rank` in each slot. Raises ChangedError where `calls` are not there."""
        import numpy as np

        single = self._width[slots] == 1
        found = self._lower[slots]
        if single.all():
            return found
        self._merge()
        if not self._kept:
            raise ChangedError
        slot, above, kept = self._kept[0]
        reached = np.cumsum(kept)
        first = np.searchsorted(slot, np.arange(len(self._cells) + 1))
        before = np.concatenate([[0], reached])[first]
        if not np.array_equal(np.diff(before), calls):
            raise ChangedError
        entry = np.searchsorted(reached, before[slots] + ranks, side="right")
        return found + above[entry]

    def _merge(self) -> None:
        import numpy as np

        if len(self._kept) > 1:
            columns = [np.concatenate(column) for column in zip(*self._kept, strict=True)]
            self._kept = [_merged(columns[0], columns[1], columns[2])]
        self._entries = 0


def _merged(
    slot: npt.NDArray[np.int64], above: npt.NDArray[np.int64], calls: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sorted by slot and then `above`, the calls of equal ones added."""
    import numpy as np

    largest = int(above.max()) + 1
    if int(slot.max()) < (1 << 62) // largest:
        key = slot * largest + above
        order = np.argsort(key)
    else:
        order = np.lexsort((above, slot))
    slot, above, calls = slot[order], above[order], calls[order]
    is_new = np.ones(len(slot), np.bool_)
    is_new[1:] = (slot[1:] != slot[:-1]) | (above[1:] != above[:-1])
    first = np.flatnonzero(is_new)
    return slot[first], above[first], np.add.reduceat(calls, first)
