"""Which operation a call was waiting for, at each moment: the critical path through the calls inside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Nested(NamedTuple):
    """Calls and what encloses them, an entry a call: rows in `parent`, -1 where a call is an outermost one."""

    start: npt.NDArray[np.int64]
    duration: npt.NDArray[np.int64]
    parent: npt.NDArray[np.int64]
    #: A number for each operation.
    operation: npt.NDArray[np.int64]


def times(nested: Nested, roots: npt.NDArray[np.int64], operations: int) -> npt.NDArray[np.float64]:
    """Divide the duration of each call in `roots` among the operations on its critical path.

    The path goes backwards from the end of a call: through the child that ended last, from where that began through
    the child that ended last before, and so on; what no child covers is the call's own (Zhang et al. 2022, CRISP:
    Critical Path Analysis of Large-Scale Microservice Architectures, USENIX ATC, section 3). Returns a row per root and
    a column per operation, in ns; each row adds up to the duration.
    """
    import numpy as np

    order = np.lexsort((-(nested.start + nested.duration), nested.parent))
    sorted_parent = nested.parent[order]
    first = np.searchsorted(sorted_parent, np.arange(len(nested.start)))
    last = np.searchsorted(sorted_parent, np.arange(len(nested.start)), "right")
    start, end = nested.start.tolist(), (nested.start + nested.duration).tolist()
    children, kind = order.tolist(), nested.operation.tolist()
    begins, ends = first.tolist(), last.tolist()
    found = np.zeros((len(roots), operations))
    for place, root in enumerate(roots.tolist()):
        row = found[place]
        waiting = [(root, start[root], end[root])]
        while waiting:
            call, low, now = waiting.pop()
            for child in children[begins[call] : ends[call]]:
                until, since = min(end[child], now), max(start[child], low)
                if until <= since:
                    continue
                row[kind[call]] += now - until
                waiting.append((child, since, until))
                now = since
            row[kind[call]] += now - low
    return found


def inside(nested: Nested, roots: npt.NDArray[np.int64], operations: int) -> npt.NDArray[np.int64]:
    """How many calls of each operation ran inside each call in `roots`, on the critical path or not."""
    import numpy as np

    root_of = np.full(len(nested.start), -1)
    root_of[roots] = np.arange(len(roots))
    is_root = root_of >= 0
    # A call starts after what encloses it, so that one pass in the order of starts reaches all of them; of equal
    # starts the longer encloses the other.
    for row in np.lexsort((-nested.duration, nested.start)).tolist():
        above = nested.parent[row]
        if above >= 0 and root_of[row] < 0:
            root_of[row] = root_of[above]
    known = (root_of >= 0) & ~is_root
    counts = np.zeros((len(roots), operations), np.int64)
    np.add.at(counts, (root_of[known], nested.operation[known]), 1)
    return counts
