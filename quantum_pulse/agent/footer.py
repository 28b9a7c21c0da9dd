"""What a part says about its samples: for each operation a summary that can be added to that of other parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quantum_pulse import histogram
from quantum_pulse.operations import Definition

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def summaries(
    definitions: list[Definition],
    operations: npt.NDArray[np.integer[Any]],
    durations: npt.NDArray[np.int64],
    weights: npt.NDArray[np.int32],
    failed: npt.NDArray[np.bool_],
) -> list[dict[str, Any]]:
    """One summary for each operation that occurs in `operations`: numbers into `definitions`, a row a sample.

    `count` and `errors` are calls, `samples` rows; times are in ns; `m2_ns2` is the sum over the calls of the squared
    distance to their mean; `buckets` is the histogram as `histogram.pack` writes it.
    """
    import numpy as np

    # numpy sorts 16-bit integers by radix, several times as fast as wider ones.
    narrow = operations.astype(np.uint16) if len(definitions) <= 1 << 16 else operations
    sizes = np.bincount(operations, minlength=len(definitions))
    present = np.flatnonzero(sizes)
    if len(present) > 1:
        order = np.argsort(narrow, kind="stable")
        durations, weights, failed = durations[order], weights[order], failed[order]
    ends = np.cumsum(sizes)
    found = []
    for number in present.tolist():
        rows = slice(int(ends[number] - sizes[number]), int(ends[number]))
        own, calls = durations[rows], weights[rows].astype(np.int64)
        count, total = int(calls.sum()), _total(own, calls)
        # Around the mean: a sum of squares would cancel where the spread is small beside the mean.
        squares = np.square(own - total / count)
        found.append(
            {
                "operation": definitions[number].name,
                "category": definitions[number].category.name,
                "count": count,
                "errors": int(calls[failed[rows]].sum()),
                "samples": len(own),
                "sum_ns": total,
                "min_ns": int(own.min()),
                "max_ns": int(own.max()),
                "m2_ns2": float(squares @ calls.astype(np.float64)),
                "buckets": histogram.pack(*histogram.count(own, calls)),
            }
        )
    return found


def _total(durations: npt.NDArray[np.int64], calls: npt.NDArray[np.int64]) -> int:
    """Sum over the calls, exact: hours times many calls are more than an int64 holds."""
    if int(durations.max()) * int(calls.sum()) < 1 << 63:
        return int(durations @ calls)
    return sum(duration * weight for duration, weight in zip(durations.tolist(), calls.tolist(), strict=True))
