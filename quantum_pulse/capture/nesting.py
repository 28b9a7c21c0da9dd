"""Calls nested as they ran: which path each sample lies on, and how much of it its children do not explain."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse.capture import scan
from quantum_pulse.capture.groups import Groups
from quantum_pulse.capture.reader import Part, Source
from quantum_pulse.capture.selection import EVERYTHING, Moment, Operations, Selection, select

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

#: Between the operations of a path.
SEPARATOR: Final = " > "
COLUMNS: Final = (
    "category", "operation", "depth", "count", "total_us", "self_us", "mean_us", "max_us", "concurrent", "detached"
)  # fmt: skip
#: A sample on no path: none of the operations that were asked for encloses it.
_OUTSIDE: Final = -1


def tree(source: Source, operations: Operations = None, start: Moment = None, end: Moment = None) -> pd.DataFrame:
    """A row for each path of operations; see `Capture.tree`."""
    chosen = select(source, operations, start, end)
    return scan.whole(lambda: _tree(source, chosen))


class _Calls(NamedTuple):
    """Samples of one recording in the order of their spans, arrays of one length. Times in ns.

    `parent` is the position of the enclosing sample, -1 at a root and where it is not in the capture.
    """

    kind: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    duration: npt.NDArray[np.int64]
    parent: npt.NDArray[np.int64]
    weight: npt.NDArray[np.int64]


class _Cover(NamedTuple):
    """For each sample, in ns: how much of its parent it alone explains, how long a sibling ran too, and how long it ran
    outside the parent."""

    explained: npt.NDArray[np.int64]
    concurrent: npt.NDArray[np.int64]
    detached: npt.NDArray[np.int64]


class _Paths:
    """Numbers of paths: of a path's parent (-1 at a root) and a kind of operation."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self._numbers: dict[tuple[int, int], int] = {}
        self._sums: dict[str, Any] = {}

    def number(self, parent: int, kind: int) -> int:
        number = self._numbers.setdefault((parent, kind), len(self.steps))
        if number == len(self.steps):
            self.steps.append((parent, kind))
        return number

    def add(self, name: str, path: npt.NDArray[np.int64], amount: npt.NDArray[Any], largest: bool = False) -> None:
        """Add `amount` to the sum, or the maximum, called `name` of each path."""
        import numpy as np

        known = self._sums.get(name, np.zeros(0))
        grown = np.zeros(len(self.steps))
        grown[: len(known)] = known
        if largest:
            np.maximum.at(grown, path, amount)
        else:
            grown += np.bincount(path, amount, len(grown))
        self._sums[name] = grown

    def sums(self, name: str) -> npt.NDArray[np.float64]:
        """What was added up, an entry a path."""
        import numpy as np

        known: npt.NDArray[np.float64] = self._sums.get(name, np.zeros(0))
        return np.concatenate([known, np.zeros(len(self.steps) - len(known))])


def _tree(source: Source, chosen: Selection) -> pd.DataFrame:
    kinds = Groups(("category", "operation"))
    paths = _Paths()
    recordings: dict[str, list[Part]] = defaultdict(list)
    for part in scan.parts(source, EVERYTHING):
        recordings[part.recording].append(part)
    total = sum(part.rows for parts in recordings.values() for part in parts)
    with scan.progress(total, "tree") as advance:
        for parts in recordings.values():
            calls = _read(source, parts, kinds)
            _add(calls, kinds, chosen, paths)
            advance(len(calls.kind))
    return _frame(kinds, paths)


def _read(source: Source, parts: list[Part], kinds: Groups) -> _Calls:
    import numpy as np
    import pyarrow as pa

    found: dict[str, list[npt.NDArray[np.int64]]] = defaultdict(list)
    for part in parts:
        wanted = dict.fromkeys([*kinds.columns(part), "start", "duration_ns", "span", "parent", "weight"])
        for batch in scan.batches(source, part, None, list(wanted), EVERYTHING):
            found["kind"].append(kinds.of(batch, part))
            found["start"].append(batch["start"].cast(pa.int64()).to_numpy())
            for name in ("duration_ns", "span", "parent", "weight"):
                found[name].append(batch[name].to_numpy())
    columns = {name: np.concatenate(pieces) for name, pieces in found.items()}
    span = columns["span"]
    if not (span[1:] > span[:-1]).all():
        order = np.argsort(span, kind="stable")
        columns = {name: column[order] for name, column in columns.items()}
        span = columns["span"]
    parent = columns["parent"]
    place = np.minimum(np.searchsorted(span, parent), max(len(span) - 1, 0))
    # A block is entered after the one that encloses it, so its number is larger: with that there are no circles.
    known = (span[place] == parent) & (parent < span)
    return _Calls(
        columns["kind"],
        columns["start"],
        columns["duration_ns"],
        np.where(known, place, -1),
        columns["weight"].astype(np.int64),
    )


def _add(calls: _Calls, kinds: Groups, chosen: Selection, paths: _Paths) -> None:
    """Add the samples of a recording to the sums of their paths."""
    import numpy as np

    children, first = _children(calls.parent)
    path = _paths(calls, children, first, kinds, chosen, paths)
    cover = _cover(calls, children)
    inside = path != _OUTSIDE
    if chosen.start_ns is not None:
        inside &= calls.start >= chosen.start_ns
    if chosen.end_ns is not None:
        inside &= calls.start < chosen.end_ns
    own = np.flatnonzero(inside)
    weight = calls.weight[own]
    paths.add("count", path[own], weight)
    paths.add("total", path[own], calls.duration[own] * weight.astype(np.float64))
    paths.add("max", path[own], calls.duration[own], largest=True)
    paths.add("concurrent", path[own], cover.concurrent[own] * weight.astype(np.float64))
    paths.add("detached", path[own], cover.detached[own] * weight.astype(np.float64))
    child = children[inside[calls.parent[children]]]
    # Where only some calls were sampled, one child stands for those under other parents as well.
    stands_for = np.maximum(calls.weight[child], calls.weight[calls.parent[child]])
    paths.add("explained", path[calls.parent[child]], cover.explained[child] * stands_for.astype(np.float64))


def _children(parent: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Positions of the samples that have a parent, by parent; and where those of each parent begin."""
    import numpy as np

    nested = np.flatnonzero(parent >= 0)
    children = nested[np.argsort(parent[nested], kind="stable")]
    first = np.zeros(len(parent) + 1, np.int64)
    np.cumsum(np.bincount(parent[nested], minlength=len(parent)), out=first[1:])
    return children, first


def _paths(
    calls: _Calls,
    children: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    kinds: Groups,
    chosen: Selection,
    paths: _Paths,
) -> npt.NDArray[np.int64]:
    """The path of each sample, generation after generation."""
    import numpy as np

    is_asked_for = np.array([chosen.names is None or name in chosen.names for _, name in kinds.keys], np.bool_)
    path = np.full(len(calls.kind), _OUTSIDE)
    generation = np.flatnonzero(calls.parent < 0)
    above = np.full(len(generation), _OUTSIDE)
    while len(generation):
        kind = calls.kind[generation]
        code = (above + 1) * len(is_asked_for) + kind
        present, where = np.unique(code, return_inverse=True)
        numbers = [
            paths.number(parent - 1, kind) if parent > 0 or is_asked_for[kind] else _OUTSIDE
            for parent, kind in (divmod(one, len(is_asked_for)) for one in present.tolist())
        ]
        path[generation] = np.array(numbers, np.int64)[where]
        many = first[generation + 1] - first[generation]
        above = np.repeat(path[generation], many)
        offset = np.repeat(first[generation] - (np.cumsum(many) - many), many)
        generation = children[offset + np.arange(len(above))]
    return path


def _cover(calls: _Calls, children: npt.NDArray[np.int64]) -> _Cover:
    """How the children of each parent cover it.

    Each parent is a stretch of one long line, parent after parent, and a child the piece of it in which it ran. Then
    the pieces of all parents can be swept at once: none reaches into the stretch of the next parent.
    """
    import numpy as np

    explained, concurrent, detached = (np.zeros(len(calls.kind), np.int64) for _ in range(3))
    parent = calls.parent[children]
    begin = calls.start[children] - calls.start[parent]
    length = calls.duration[parent]
    low = np.clip(begin, 0, length)
    high = np.clip(begin + calls.duration[children], 0, length)
    detached[children] = calls.duration[children] - (high - low)
    is_first = np.diff(parent, prepend=-1) != 0
    stretch = np.cumsum(np.where(is_first, length, 0)) - length
    low, high = low + stretch, high + stretch
    # Numbers of blocks are given out in the order of entering, but for threads that enter at the same time.
    if (low[1:] < low[:-1]).any():
        order = np.argsort(low, kind="stable")
        children, low, high = children[order], low[order], high[order]
    reached = np.concatenate([[0], np.maximum.accumulate(high)[:-1]])
    explained[children] = np.maximum(high - np.maximum(low, reached), 0)
    if (low < reached).any():
        concurrent[children] = _shared(low, high)
    return _Cover(explained, concurrent, detached)


def _shared(low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How much of each piece [low, high) of a line lies in others too."""
    import numpy as np

    edges = np.concatenate([low, high])
    order = np.argsort(edges, kind="stable")
    deep = np.cumsum(np.where(order < len(low), 1, -1)) > 1
    sorted_edges = edges[order]
    shared = np.concatenate([[0], np.cumsum(np.where(deep[:-1], np.diff(sorted_edges), 0))])
    shared_before = shared[np.searchsorted(sorted_edges, high)] - shared[np.searchsorted(sorted_edges, low)]
    result: npt.NDArray[np.int64] = shared_before
    return result


def _frame(kinds: Groups, paths: _Paths) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    count, total, longest = (paths.sums(name) for name in ("count", "total", "max"))
    own = np.maximum(total - paths.sums("explained"), 0)
    shares = [paths.sums(name) / np.maximum(total, 1) for name in ("concurrent", "detached")]
    below: dict[int, list[int]] = defaultdict(list)
    for number, (parent, _) in enumerate(paths.steps):
        below[parent].append(number)
    rows, names = [], []
    # Depth first, what took longest first; not recursive, because the calls may be.
    waiting = [(number, "", 0) for number in sorted(below[_OUTSIDE], key=lambda number: total[number])]
    while waiting:
        number, above, depth = waiting.pop()
        category, operation = kinds.keys[paths.steps[number][1]]
        name = f"{above}{SEPARATOR}{operation}" if above else operation
        waiting += [(child, name, depth + 1) for child in sorted(below[number], key=lambda child: total[child])]
        if count[number]:
            names.append(name)
            times = [total[number], own[number], total[number] / count[number], longest[number]]
            rows.append(
                (
                    category,
                    operation,
                    depth,
                    int(count[number]),
                    *(ns / 1000 for ns in times),
                    *(share[number] for share in shares),
                )
            )
    frame = pd.DataFrame(rows, columns=list(COLUMNS), index=pd.Index(names, dtype="object", name="path"))
    kinds_of = {"depth": "int64", "count": "int64"}
    return frame.astype({name: kinds_of.get(name, "float64") for name in COLUMNS[2:]})
