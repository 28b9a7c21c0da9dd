"""Reconstruct the nesting of calls: the path of each sample, and its self time."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse.reading import scan, spans
from quantum_pulse.reading.groups import Groups
from quantum_pulse.reading.reader import Part, Source
from quantum_pulse.reading.selection import EVERYTHING, Moment, Operations, Selection, select
from quantum_pulse.reading.spans import Block, Rows

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

#: Between the operations of a path.
SEPARATOR: Final = " > "
COLUMNS: Final = (
    "category", "operation", "depth", "count", "total_us", "self_us", "mean_us", "max_us", "concurrent", "detached"
)  # fmt: skip
#: Operations of a path from which on repeated ones are folded. No stack of anybody's is as deep without them.
MOST_DEPTH: Final = 64
#: So many generations of calls are taken at once, which is faster as long as they are large.
_MOST_GENERATIONS: Final = 256
#: Spans are looked up in a table unless it were so many times as long as they are many, and not small either.
_SPARSE: Final = 16
_SMALL_TABLE: Final = 1 << 22
#: The share of a path's time of which it need not be known what ran inside.
_MOST_UNSURE: Final = 0.01
#: A sample on no path: none of the operations that were asked for encloses it.
_OUTSIDE: Final = -1


def tree(source: Source, operations: Operations = None, start: Moment = None, end: Moment = None) -> pd.DataFrame:
    """A row for each path of operations; see `Capture.tree`."""
    chosen = select(source, operations, start, end) & source.within
    # The calls around and inside those that are wanted need not be wanted themselves.
    return scan.whole(lambda: _tree(source.whole, chosen))


class _Paths:
    """Numbers of paths: of a path's parent (-1 at a root) and a kind of operation."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self._depths: list[int] = []
        self._numbers: dict[tuple[int, int], int] = {}
        self._sums: dict[str, Any] = {}

    def number(self, parent: int, kind: int) -> int:
        """The path of a call of `kind` on the path `parent`.

        Far down, a call goes to the path of the nearest call of its kind around it: a chain of tasks, each started in
        the block of the one before, is as deep as it is long.
        """
        number = self._numbers.get((parent, kind))
        if number is None:
            depth = self._depths[parent] + 1 if parent >= 0 else 0
            number = self._above(parent, kind) if depth >= MOST_DEPTH else None
            if number is None:
                number = len(self.steps)
                self.steps.append((parent, kind))
                self._depths.append(depth)
            self._numbers[parent, kind] = number
        return number

    def _above(self, path: int, kind: int) -> int | None:
        """The nearest path around, `path` included, of the same kind."""
        while path >= 0 and self.steps[path][1] != kind:
            path = self.steps[path][0]
        return path if path >= 0 else None

    def add(self, name: str, path: npt.NDArray[np.int64], amount: npt.NDArray[Any], largest: bool = False) -> None:
        """Add `amount` to the sum, or the maximum, called `name` of each path."""
        import numpy as np

        known = self._sums.get(name, np.zeros(0))
        grown = np.zeros(len(self.steps))
        grown[: len(known)] = known
        if largest:
            # Of one type, or it takes ten times as long.
            np.maximum.at(grown, path, amount.astype(np.float64))
        else:
            grown += np.bincount(path, amount, len(grown))
        self._sums[name] = grown

    def sums(self, name: str) -> npt.NDArray[np.float64]:
        """What was added up, an entry a path."""
        import numpy as np

        known: npt.NDArray[np.float64] = self._sums.get(name, np.zeros(0))
        return np.concatenate([known, np.zeros(len(self.steps) - len(known))])


def _tree(source: Source, chosen: Selection) -> pd.DataFrame:
    kinds = Groups(("category", "operation"), source.categories_of())
    paths = _Paths()
    recordings: dict[str, list[Part]] = defaultdict(list)
    for part in scan.parts(source, EVERYTHING):
        recordings[part.origin].append(part)
    total = sum(part.rows for parts in recordings.values() for part in parts)
    with scan.progress(total, "tree") as advance:
        for origin, parts in recordings.items():
            recording = _Recording(kinds, chosen, paths, _gaps(source, origin, parts, kinds))
            for block in spans.blocks(source, parts, kinds, where=chosen.where):
                recording.add(block)
                advance(len(block.rows.span))
    return _frame(kinds, paths)


class _Recording:
    """Adds the samples of a recording, block after block, to the sums of their paths.

    What is additive over time is added up slice after slice of time: up to when the rows of later blocks start, all
    that ran is known. Only rows that end after that are kept.
    """

    def __init__(self, kinds: Groups, chosen: Selection, paths: _Paths, gaps: _Gaps) -> None:
        self._gaps = gaps
        self._kinds = kinds
        self._chosen = chosen
        self._paths = paths
        self._known = _PathOfSpan()
        self._open: tuple[Rows, npt.NDArray[np.int64]] | None = None
        self._since_ns = -(1 << 62)

    def add(self, block: Block) -> None:
        """Add the rows that follow those of the block before."""
        import numpy as np

        rows = block.rows
        path = self._paths_of(rows)
        self._add_calls(rows, path)
        if self._open is not None:
            before, path_before = self._open
            rows = Rows(*(np.concatenate(pair) for pair in zip(before, rows, strict=True)))
            path = np.concatenate([path_before, path])
        self._add_cover(rows, path, block.later_ns)
        lasting = np.flatnonzero(rows.start + rows.duration > block.later_ns)
        self._open = rows.take(lasting), path[lasting]
        self._since_ns = block.later_ns

    def _paths_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        """The path of each row, generation after generation."""
        import numpy as np

        parent = _positions(rows.span, rows.parent)
        children, first = _children(parent)
        # The numbers of kinds, twice: of calls that do not begin a path, and of those that may.
        kinds = len(self._kinds.keys)
        is_asked_for = np.array([False] * kinds + [self._is_asked_for(name) for _, name in self._kinds.keys], np.bool_)
        kind = rows.kind + kinds * (rows.more[:, -1] if self._chosen.where else 1)
        path = np.full(len(parent), _OUTSIDE)
        generation = np.flatnonzero(parent < 0)
        above = self._known.of(rows.parent[generation])
        for _ in range(_MOST_GENERATIONS):
            if not len(generation):
                break
            code = (above + 1) * len(is_asked_for) + kind[generation]
            present, where = _numbered(code)
            numbers = [
                self._paths.number(parent - 1, own % kinds) if parent > 0 or is_asked_for[own] else _OUTSIDE
                for parent, own in (divmod(one, len(is_asked_for)) for one in present.tolist())
            ]
            path[generation] = np.array(numbers, np.int64)[where]
            many = first[generation + 1] - first[generation]
            above = np.repeat(path[generation], many)
            offset = np.repeat(first[generation] - (np.cumsum(many) - many), many)
            generation = children[offset + np.arange(len(above))]
        if len(generation):
            self._add_deep(path, parent, kind, is_asked_for, generation)
        self._known.add(rows.span, path)
        return path

    def _add_deep(
        self,
        path: npt.NDArray[np.int64],
        parent: npt.NDArray[np.int64],
        kind: npt.NDArray[np.int64],
        is_asked_for: npt.NDArray[np.bool_],
        generation: npt.NDArray[np.int64],
    ) -> None:
        """Fill in the paths of a generation and all below it, one by one: a parent has its path before its children."""
        import numpy as np

        is_below = np.zeros(len(path), np.bool_)
        is_below[generation] = True
        below, above, kinds, asked = is_below.tolist(), parent.tolist(), kind.tolist(), is_asked_for.tolist()
        first = int(generation.min())
        found = path.tolist()
        for row in range(first, len(found)):
            if below[row] or (above[row] >= 0 and below[above[row]]):
                below[row] = True
                around = found[above[row]]
                is_inside = around >= 0 or asked[kinds[row]]
                found[row] = self._paths.number(around, kinds[row] % len(self._kinds.keys)) if is_inside else _OUTSIDE
        path[:] = found

    def _is_asked_for(self, name: str) -> bool:
        return self._chosen.names is None or name in self._chosen.names

    def _is_inside(self, rows: Rows, path: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which rows count: those on a path, in the time that was asked for."""
        inside: npt.NDArray[np.bool_] = path != _OUTSIDE
        if self._chosen.start_ns is not None:
            inside &= rows.start >= self._chosen.start_ns
        if self._chosen.end_ns is not None:
            inside &= rows.start < self._chosen.end_ns
        return inside

    def _add_calls(self, rows: Rows, path: npt.NDArray[np.int64]) -> None:
        import numpy as np

        inside = self._is_inside(rows, path)
        if not inside.all():
            rows, path = rows.take(inside), path[inside]
        weight = rows.weight.astype(np.float64)
        self._paths.add("count", path, weight)
        self._paths.add("total", path, rows.duration * weight)
        self._paths.add("max", path, rows.duration, largest=True)
        if len(self._gaps.span):
            self._paths.add("unsure", path, np.where(self._gaps.during(rows), rows.duration * weight, 0.0))
        has_parent = self._known.has(rows.parent)
        self._paths.add("nested", path[has_parent], rows.duration[has_parent] * weight[has_parent])

    def _add_cover(self, rows: Rows, path: npt.NDArray[np.int64], until_ns: int) -> None:
        """Add how the children of each parent cover it from `_since_ns` to `until_ns`.

        Each parent is a section of one long line, parent after parent, and a child the piece of it in which it ran.
        Then the pieces of all parents are swept at once: none reaches into the section of the next parent.
        """
        import numpy as np

        parent = _positions(rows.span, rows.parent)
        children, _ = _children(parent)
        parent = parent[children]
        begin = np.maximum(rows.start[parent], self._since_ns)
        length = np.maximum(np.minimum(rows.start[parent] + rows.duration[parent], until_ns) - begin, 0)
        start = rows.start[children] - begin
        low = np.clip(start, 0, length)
        high = np.clip(start + rows.duration[children], 0, length)
        some = high > low
        if not some.all():
            children, parent, length, low, high = (one[some] for one in (children, parent, length, low, high))
        if not len(children):
            return
        is_first = np.diff(parent, prepend=-1) != 0
        offset = np.cumsum(np.where(is_first, length, 0)) - length
        low, high = low + offset, high + offset
        # Numbers of blocks are given out in the order of entering, but for threads that enter at the same time.
        if (low[1:] < low[:-1]).any():
            order = np.argsort(low, kind="stable")
            children, parent, low, high = children[order], parent[order], low[order], high[order]
        reached = np.concatenate([[0], np.maximum.accumulate(high)[:-1]])
        inside = self._is_inside(rows, path)
        own, weight = path[children], rows.weight[children]
        counts = inside[children]
        self._paths.add("inside", own[counts], ((high - low) * weight)[counts])
        if (low < reached).any():
            self._paths.add("concurrent", own[counts], (_shared(low, high) * weight)[counts])
        explained = np.maximum(high - np.maximum(low, reached), 0)
        # Where only some calls were sampled, one child represents those under other parents as well.
        stands_for = np.maximum(weight, rows.weight[parent])
        counts = inside[parent]
        self._paths.add("explained", path[parent][counts], (explained * stands_for)[counts])


class _Gaps(NamedTuple):
    """Where samples are missing in a recording: after which `span`, ascending, and when that one started.

    Each block that is entered has the next number, so a number that is missing was entered after the one before it.
    """

    span: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]

    def during(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Whether samples that are missing may have been entered while each of `rows` ran."""
        import numpy as np

        place = np.searchsorted(self.span, rows.span)
        first = self.start.take(np.minimum(place, len(self.span) - 1))
        found: npt.NDArray[np.bool_] = (place < len(self.span)) & (first < rows.start + rows.duration)
        return found


def _gaps(source: Source, origin: str, parts: list[Part], kinds: Groups) -> _Gaps:
    """The gaps in a recording; none are looked for where nothing is known to be missing."""
    import numpy as np

    nothing = _Gaps(np.zeros(0, np.int64), np.zeros(0, np.int64))
    if not source.losses() and source.overwritten_until_ns() is None:
        return nothing
    not_ended = np.sort(np.array(source.open_spans(origin), np.int64))
    found = [nothing]
    last: tuple[int, int] | None = None
    for block in spans.blocks(source, parts, kinds):
        span, start = block.rows.span, block.rows.start
        if last is not None:
            span, start = np.append(last[0], span), np.append(last[1], start)
        if not len(span):
            continue
        known = np.searchsorted(not_ended, span[1:]) - np.searchsorted(not_ended, span[:-1])
        missing = np.flatnonzero(np.diff(span) - 1 > known)
        found.append(_Gaps(span[missing], start[missing]))
        last = int(span[-1]), int(start[-1])
    return _Gaps(*map(np.concatenate, zip(*found, strict=True)))


class _PathOfSpan:
    """The path of each span so far: four bytes a span, or twelve where spans leave long gaps."""

    def __init__(self) -> None:
        import numpy as np

        self._first = 0
        self._known = 0
        # 0 represents a span that is not known.
        self._codes = np.zeros(0, np.int32)
        # What no such table holds: spans and their codes, piece after piece, each after the one before.
        self._sparse: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]] = []
        self._ends: list[int] = []

    def add(self, span: npt.NDArray[np.int64], path: npt.NDArray[np.int64]) -> None:
        """Take in the paths of some spans, ascending and after those before."""
        import numpy as np

        if not len(span):
            return
        if not self._known:
            self._first = int(span[0])
        self._known += len(span)
        length = int(span[-1]) + 1 - self._first
        codes = (path + 2).astype(np.int32)
        if self._sparse or length > max(_SPARSE * self._known, _SMALL_TABLE):
            self._sparse.append((span, codes))
            self._ends.append(int(span[-1]))
            return
        if length > len(self._codes):
            grown = np.zeros(max(length, 2 * len(self._codes)), np.int32)
            grown[: len(self._codes)] = self._codes
            self._codes = grown
        self._codes[span - self._first] = codes

    def of(self, span: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The path of each, _OUTSIDE where it is not known."""
        import numpy as np

        return np.maximum(self._code(span).astype(np.int64) - 2, _OUTSIDE)

    def has(self, span: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether each is known."""
        known: npt.NDArray[np.bool_] = self._code(span) != 0
        return known

    def _code(self, span: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        import numpy as np

        found = np.zeros(len(span), np.int32)
        if len(self._codes):
            place = span - self._first
            within = (place >= 0) & (place < len(self._codes))
            found = np.where(within, self._codes.take(place, mode="clip"), np.int32(0))
        if self._sparse:
            piece = np.searchsorted(self._ends, span)
            for number in np.unique(piece[piece < len(self._sparse)]).tolist():
                own, codes = self._sparse[number]
                rows = np.flatnonzero(piece == number)
                place = np.searchsorted(own, span[rows])
                is_known = own[place] == span[rows]
                found[rows[is_known]] = codes[place[is_known]]
        return found


def _positions(span: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The place of each of `wanted` in `span`, which ascends; -1 if it is missing, or not before itself."""
    import numpy as np

    if not len(span):
        return np.zeros(0, np.int64)
    first, width = int(span[0]), int(span[-1] - span[0]) + 1
    if width <= 4 * len(span):
        place_of = np.full(width + 1, -1, np.int64)
        place_of[span - first] = np.arange(len(span))
        place = place_of[np.clip(wanted - first, -1, width)] if width else wanted
    else:
        place = np.minimum(np.searchsorted(span, wanted), len(span) - 1)
        place = np.where(span[place] == wanted, place, -1)
    # A block is entered after the one that encloses it, so its number is larger: with that there are no circles.
    return np.where((wanted < span) & (wanted >= first), place, -1)


def _children(parent: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Positions of the samples that have a parent, by parent; and where those of each parent begin."""
    import numpy as np

    nested = np.flatnonzero(parent >= 0)
    # Sorting one number is faster than a stable sort of positions.
    key = (parent[nested] << 32) | nested
    if (key[1:] < key[:-1]).any():
        key.sort()
    first = np.zeros(len(parent) + 1, np.int64)
    np.cumsum(np.bincount(parent[nested], minlength=len(parent)), out=first[1:])
    return key & 0xFFFFFFFF, first


def _numbered(codes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The different codes, ascending, and the position of each among them."""
    import numpy as np

    largest = int(codes.max()) + 1
    if largest > max(4 * len(codes), 1 << 12):
        return np.unique(codes, return_inverse=True)
    present = np.flatnonzero(np.bincount(codes, minlength=largest))
    places = np.zeros(largest, np.int64)
    places[present] = np.arange(len(present))
    return present, places[codes]


def _shared(low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How much of each piece [low, high) of a line lies in others too."""
    import numpy as np

    edges = np.concatenate([low, high])
    order = np.argsort(edges, kind="stable")
    deep = np.cumsum(np.where(order < len(low), 1, -1)) > 1
    edges = edges[order]
    shared = np.concatenate([[0], np.cumsum(np.where(deep[:-1], np.diff(edges), 0))])
    found: npt.NDArray[np.int64] = shared[np.searchsorted(edges, high)] - shared[np.searchsorted(edges, low)]
    return found


def _frame(kinds: Groups, paths: _Paths) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    count, total, longest = (paths.sums(name) for name in ("count", "total", "max"))
    own = np.maximum(total - paths.sums("explained"), 0)
    own[paths.sums("unsure") > _MOST_UNSURE * total] = np.nan
    detached = np.maximum(paths.sums("nested") - paths.sums("inside"), 0)
    shares = [amount / np.maximum(total, 1) for amount in (paths.sums("concurrent"), detached)]
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
