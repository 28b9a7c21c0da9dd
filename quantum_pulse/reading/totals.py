"""Aggregate calls, errors, sums, extremes, spread and histograms of durations per group.

The spread is the sum of squared distances to the mean, merged pair by pair after Chan, Golub and LeVeque (1979),
"Updating formulae and a pairwise algorithm for computing sample variances": the sum of squares would cancel when the
spread is small beside the mean.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse import histogram
from quantum_pulse.reading import scan
from quantum_pulse.reading.calls import Calls, Rows
from quantum_pulse.reading.groups import Groups
from quantum_pulse.reading.reader import Part, Source
from quantum_pulse.reading.selection import Selection

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: What a summary in a footer must say to replace its samples.
FIELDS: Final = ("operation", "category", "count", "errors", "samples", "sum_ns", "min_ns", "max_ns", "m2_ns2")
#: Entries of histograms that are kept apart before they are merged: 32 MB.
_LARGEST_PENDING: Final = 1 << 21


class Summary(NamedTuple):
    """Arrays of one length, an entry a group; `groups` are different numbers. Times in ns, `total` Python integers."""

    groups: npt.NDArray[np.int64]
    calls: npt.NDArray[np.int64]
    errors: npt.NDArray[np.int64]
    total: npt.NDArray[np.object_]
    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]
    m2: npt.NDArray[np.float64]


class Described(NamedTuple):
    """What statistics say before it is a frame: a Summary of groups that have calls, and a column for each quantile."""

    groups: npt.NDArray[np.int64]
    calls: npt.NDArray[np.int64]
    errors: npt.NDArray[np.int64]
    total: npt.NDArray[np.object_]
    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]
    m2: npt.NDArray[np.float64]
    quantiles: npt.NDArray[np.float64]


class Totals:
    """Summaries added up. Safe to use from several threads."""

    def __init__(self) -> None:
        import numpy as np

        self.count = np.zeros(0, np.int64)
        self.errors = np.zeros(0, np.int64)
        self.total = np.zeros(0, object)
        self.low = np.zeros(0, np.int64)
        self.high = np.zeros(0, np.int64)
        self.m2 = np.zeros(0, np.float64)
        self._pending: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
        self._pending_entries = 0
        self._lock = threading.Lock()

    def add(self, summary: Summary, cells: npt.NDArray[np.int64], calls: npt.NDArray[np.int64]) -> None:
        """Add a summary and its histogram: `calls` of each cell, which is group * histogram.BUCKETS + bucket."""
        import numpy as np

        if not len(summary.groups):
            return
        with self._lock:
            self._grow(int(summary.groups.max()) + 1)
            own = summary.groups
            before, new = self.count[own], summary.calls
            whole = before + new
            means = [
                np.divide(total, calls, out=np.zeros(len(own)), where=calls > 0)
                for total, calls in ((self.total[own].astype(float), before), (summary.total.astype(float), new))
            ]
            gap = np.where(before > 0, means[1] - means[0], 0.0)
            self.m2[own] += summary.m2 + gap * gap * (before / whole) * new
            self.count[own] = whole
            self.errors[own] += summary.errors
            self.total[own] += summary.total
            self.low[own] = np.minimum(self.low[own], summary.low)
            self.high[own] = np.maximum(self.high[own], summary.high)
            self._pending.append((cells, calls))
            self._pending_entries += len(cells)
            if self._pending_entries > _LARGEST_PENDING:
                self._merge()

    def filled(self) -> npt.NDArray[np.int64]:
        """Numbers of the groups that have calls."""
        import numpy as np

        return np.flatnonzero(self.count)

    def described(self, quantiles: npt.NDArray[np.float64]) -> Described:
        """With the quantiles of the groups that have calls, in ns, a row each."""
        own = self.filled()
        count, errors, total = self.count[own], self.errors[own], self.total[own]
        return Described(own, count, errors, total, self.low[own], self.high[own], self.m2[own], quantiles)

    def histogram(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Cells in ascending order and the calls in each; empty ones left out."""
        import numpy as np

        with self._lock:
            self._merge()
            return self._pending[0] if self._pending else (np.zeros(0, np.int64), np.zeros(0, np.int64))

    def _merge(self) -> None:
        import numpy as np

        if len(self._pending) > 1:
            cells = np.concatenate([cells for cells, _ in self._pending])
            calls = np.concatenate([calls for _, calls in self._pending])
            size = int(cells.max()) + 1 if len(cells) else 0
            if size <= 4 * len(cells) and int(calls.sum()) < 1 << 53:
                # Counting is faster than sorting; as floats, which are exact up to there.
                counted = np.bincount(cells, calls, size)
                filled = np.flatnonzero(counted)
                self._pending = [(filled, counted[filled].astype(np.int64))]
            else:
                order = np.argsort(cells, kind="stable")
                cells, calls = cells[order], calls[order]
                first = np.flatnonzero(np.diff(cells, prepend=-1))
                self._pending = [(cells[first], np.add.reduceat(calls, first))]
        self._pending_entries = 0

    def _grow(self, groups: int) -> None:
        import numpy as np

        more = groups - len(self.count)
        if more > 0:
            # By a half at least, so that a million groups are not copied a million times.
            more = max(more, len(self.count) // 2)
            largest = np.iinfo(np.int64).max
            for name, filling in (("count", 0), ("errors", 0), ("total", 0), ("low", largest), ("high", -1), ("m2", 0)):
                own = getattr(self, name)
                setattr(self, name, np.concatenate([own, np.full(more, filling, own.dtype)]))


def gather(source: Source, calls: Calls, selection: Selection, *, trust_footers: bool = True) -> Totals:
    """Totals of the samples in `selection` by group: from footers where these suffice, else from the samples.

    Raises scan.UnreadablePartError.
    """
    totals = Totals()
    rest = []
    levels = {"category", "operation", "capture"}
    is_in_footers = trust_footers and not calls.intervals_ns and levels.issuperset(calls.groups.levels)
    for part in scan.parts(source, selection):
        if not (is_in_footers and _add_footer(totals, part, calls.groups, selection)):
            rest.append(part)

    def work(batch: Any, part: Part) -> None:
        totals.add(*summarise(calls.of(batch, part)))

    if rest:
        scan.each(source, rest, calls.columns, selection, work, "counting")
    return totals


def _add_footer(totals: Totals, part: Part, groups: Groups, selection: Selection) -> bool:
    """Add what the footer of `part` says of its samples in `selection`; whether that sufficed."""
    selection &= part.within
    if selection.where or scan.names_in(part) is None or not selection.covers(part.first_ns, part.last_ns):
        return False
    return add_summaries(totals, part, groups, selection)


def add_summaries(totals: Totals, part: Part, groups: Groups, selection: Selection) -> bool:
    """Add the summaries in the footer of `part` of all operations in `selection`; whether they make sense."""
    import numpy as np

    chosen = [
        summary
        for summary in part.footer["histograms"]
        if selection.names is None or summary["operation"] in selection.names
    ]
    try:
        which, buckets, calls = histogram.unpack_all([summary["buckets"] for summary in chosen])
        columns = {name: [summary[name] for summary in chosen] for name in FIELDS}
        counts = np.array(columns["count"], np.int64)
        if not np.array_equal(np.bincount(which, calls, len(chosen)), counts):
            return False
        numbers = [groups.number(_key(groups, part, summary)) for summary in chosen]
        arrays = (counts, *(np.array(columns[name], np.int64) for name in ("errors", "min_ns", "max_ns")))
        spread = np.array(columns["m2_ns2"], np.float64)
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
    # By category several operations fall into one group, and a summary has each group once.
    left = list(range(len(chosen)))
    while left:
        turn = list({numbers[place]: place for place in left}.values())
        left = sorted(set(left).difference(turn))
        own = np.array(turn, np.int64)
        count, errors, low, high = (values[own] for values in arrays)
        total = np.array([int(columns["sum_ns"][place]) for place in turn], object)
        mask = np.isin(which, own) if len(turn) < len(chosen) else slice(None)
        cells = np.array(numbers, np.int64)[which[mask]] * histogram.BUCKETS + buckets[mask]
        summary = Summary(np.array(numbers, np.int64)[own], count, errors, total, low, high, spread[own])
        totals.add(summary, cells, calls[mask])
    return True


def _key(groups: Groups, part: Part, summary: dict[str, Any]) -> tuple[Any, ...]:
    values = {
        "operation": summary["operation"],
        "category": groups.category(summary["operation"], summary["category"]),
        "capture": part.capture,
    }
    return tuple(values[level] for level in groups.levels)


def summarise(rows: Rows) -> tuple[Summary, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Summary and histogram (cells, calls) of samples."""
    import numpy as np

    groups, durations, weights, failed = rows
    present, local = _compact(groups)
    size = len(present)
    calls = None if weights is None else weights.astype(np.int64)
    count = _sums(local, calls, size)
    errors = np.zeros(size, np.int64)
    if failed is not None and failed.any():
        errors = _sums(local[failed], None if calls is None else calls[failed], size)
    low = np.full(size, np.iinfo(np.int64).max)
    high = np.full(size, -1, np.int64)
    np.minimum.at(low, local, durations)
    np.maximum.at(high, local, durations)
    total = _totals(local, durations, calls, size, int(count.sum()))
    distance = durations - (total / count).astype(np.float64)[local]
    np.square(distance, out=distance)
    m2 = np.bincount(local, distance if calls is None else distance * calls, size).astype(np.float64)
    buckets = histogram.buckets_of(durations)
    lowest = int(buckets.min())
    width = int(buckets.max()) - lowest + 1
    if size * width <= max(4 * len(local), 1 << 12):
        dense = _sums(local * width + (buckets - lowest), calls, size * width)
        filled = np.flatnonzero(dense)
        cells, held = present[filled // width] * histogram.BUCKETS + filled % width + lowest, dense[filled]
    else:
        cells, where = np.unique(groups * histogram.BUCKETS + buckets, return_inverse=True)
        held = _sums(where, calls, len(cells))
    return Summary(present, count, errors, total, low, high, m2), cells, held


def _totals(
    local: npt.NDArray[np.int64],
    durations: npt.NDArray[np.int64],
    calls: npt.NDArray[np.int64] | None,
    size: int,
    all_calls: int,
) -> npt.NDArray[np.object_]:
    """Sums of the durations by `local`, exact, as Python integers."""
    import numpy as np

    total = np.zeros(size, object)
    if all_calls >= 1 << 21:
        np.add.at(total, local, durations.astype(object) * (1 if calls is None else calls))
        return total
    # Bincount adds as floats, exact up to 2**53: so half of the bits at a time.
    for shift, half in ((0, durations & 0xFFFFFFFF), (32, durations >> 32)):
        sums = np.bincount(local, half if calls is None else half * calls, size)
        total += sums.astype(np.int64).astype(object) << shift
    return total


def _sums(numbers: npt.NDArray[np.int64], calls: npt.NDArray[np.int64] | None, size: int) -> npt.NDArray[np.int64]:
    """Calls of each number; the floats in between are exact, as a batch has far less than 2**53 calls."""
    import numpy as np

    return np.bincount(numbers, calls, size).astype(np.int64)


def _compact(groups: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The different numbers in `groups`, ascending, and the position of each entry among them."""
    import numpy as np

    largest = int(groups.max()) + 1
    if largest > 2 * len(groups):
        present, local = np.unique(groups, return_inverse=True)
        return present, local
    present = np.flatnonzero(np.bincount(groups, minlength=largest))
    places = np.zeros(largest, np.int64)
    places[present] = np.arange(len(present))
    return present, places[groups]
