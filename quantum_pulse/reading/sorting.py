"""Calculate statistics of few samples by sorting them in memory, in one pass."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.reading import scan, totals
from quantum_pulse.reading.calls import Calls, Rows
from quantum_pulse.reading.reader import Part, Source
from quantum_pulse.reading.selection import Selection
from quantum_pulse.reading.totals import Described

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: So many samples are few: about 200 MB while they are sorted.
FEW_ROWS: Final = 3 << 20
#: Samples of a group on average from which on groups are sorted one by one.
EACH: Final = 500
#: numpy sorts numbers of 16 bits by their digits, in a time that does not depend on their order.
_MOST_GROUPS: Final = 1 << 16


def describe(source: Source, calls: Calls, selection: Selection, quantiles: Sequence[float]) -> Described:
    """What `Described` says of the samples in `selection`, exact. Raises scan.UnreadablePartError."""
    import numpy as np

    lock = threading.Lock()
    pieces: list[Rows] = []

    def work(batch: Any, part: Part) -> None:
        rows = calls.of(batch, part)
        with lock:
            pieces.append(rows)

    scan.each(source, scan.parts(source, selection), calls.columns, selection, work, "statistics")
    if not pieces:
        return totals.Totals().described(np.zeros((0, len(quantiles))))
    rows = _joined(pieces)
    pieces.clear()
    return _described(rows, quantiles)


def _joined(pieces: list[Rows]) -> Rows:
    import numpy as np

    def column(place: int, filling: int, kind: Any) -> Any:
        if all(piece[place] is None for piece in pieces):
            return None
        return np.concatenate(
            [np.full(len(piece.groups), filling, kind) if piece[place] is None else piece[place] for piece in pieces]
        )

    groups, durations = (np.concatenate([piece[place] for piece in pieces]) for place in (0, 1))
    return Rows(groups, durations, column(2, 1, np.int64), column(3, 0, np.bool_))


def _described(rows: Rows, quantiles: Sequence[float]) -> Described:
    import numpy as np

    groups = int(rows.groups.max()) + 1
    errors = np.zeros(groups, np.int64)
    if rows.failed is not None:
        calls = None if rows.weights is None else rows.weights[rows.failed]
        errors = np.bincount(rows.groups[rows.failed], calls, groups).astype(np.int64)
    group, durations, weights = _sorted(rows)
    first = np.flatnonzero(np.diff(group, prepend=-1))
    last = np.append(first[1:], len(group)) - 1
    numbers = group[first]
    samples = last - first + 1
    reached = np.arange(1, len(group) + 1) if weights is None else np.cumsum(weights)
    before = reached[first] - (1 if weights is None else weights[first])
    count = reached[last] - before
    total = _sums(durations, weights, first)
    distance = durations - np.repeat((total / count).astype(np.float64), samples)
    np.square(distance, out=distance)
    if weights is not None:
        distance *= weights
    place = (count[:, None] - 1) * np.asarray(quantiles, np.float64)[None, :]
    below = np.floor(place).astype(np.int64)
    ends = []
    for rank in (below, np.minimum(below + 1, count[:, None] - 1)):
        wanted = before[:, None] + rank
        ends.append(durations[wanted if weights is None else np.searchsorted(reached, wanted, side="right")])
    return Described(
        numbers,
        count,
        errors[numbers],
        total,
        durations[first],
        durations[last],
        np.add.reduceat(distance, first),
        ends[0] + (ends[1] - ends[0]) * (place - below),
    )


def _sorted(
    rows: Rows,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64] | None]:
    """Groups, durations and weights by group and then by duration."""
    import numpy as np

    bits = int(rows.durations.max()).bit_length()
    groups = int(rows.groups.max()) + 1
    if rows.weights is None and groups <= min(_MOST_GROUPS, len(rows.groups) // EACH):
        # Several short sorts of small numbers, which stay in the cache, take less than half of the time of a long one.
        order = np.argsort(rows.groups.astype(np.uint16), kind="stable")
        durations = rows.durations.astype(np.uint32 if bits <= 32 else np.int64)[order]
        calls = np.bincount(rows.groups, minlength=groups)
        ends = np.cumsum(calls)
        for first, end in zip((ends - calls).tolist(), ends.tolist(), strict=True):
            durations[first:end].sort()
        return np.repeat(np.arange(groups), calls), durations.astype(np.int64), None
    if rows.weights is None and groups <= 1 << (63 - bits):
        # As one number, which numpy sorts many times as fast as it finds the order of two.
        key = (rows.groups << bits) | rows.durations
        key.sort()
        return key >> bits, key & ((1 << bits) - 1), None
    order = np.lexsort((rows.durations, rows.groups))
    weights = None if rows.weights is None else rows.weights[order].astype(np.int64)
    return rows.groups[order], rows.durations[order], weights


def _sums(
    durations: npt.NDArray[np.int64], weights: npt.NDArray[np.int64] | None, first: npt.NDArray[np.int64]
) -> npt.NDArray[np.object_]:
    """Sums of the intervals that begin at `first`, exact, as Python integers."""
    import numpy as np

    calls = len(durations) if weights is None else int(weights.sum())
    if int(durations.max()) * calls < 1 << 63:
        products = durations if weights is None else durations * weights
        return np.add.reduceat(products, first).astype(object)
    products = durations.astype(object) if weights is None else durations.astype(object) * weights
    return np.add.reduceat(products, first)
