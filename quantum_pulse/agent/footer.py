"""What a part says of its recording and about its samples: for each operation a summary that can be added to others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quantum_pulse import histogram, schema
from quantum_pulse.operations import Definition

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def common(process: int, core: str | None, clock_anchor_ns: int) -> dict[str, Any]:
    """What the footers of all parts of a recording have in common."""
    return {
        "format": schema.FORMAT_VERSION,
        "process": process,
        "core": core,
        "clock_anchor_ns": clock_anchor_ns,
        "losses": [],
    }


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

    sizes = np.bincount(operations, minlength=len(definitions))
    present = np.flatnonzero(sizes)
    if len(present) > 1:
        # numpy sorts 16-bit integers by radix, several times as fast as wider ones.
        narrow = operations.astype(np.uint16) if len(definitions) <= 1 << 16 else operations
        order = np.argsort(narrow, kind="stable")
        durations, weights, failed = durations[order], weights[order], failed[order]
    ends = np.cumsum(sizes)
    found = []
    for number in present.tolist():
        rows = slice(int(ends[number] - sizes[number]), int(ends[number]))
        own, calls, errors = durations[rows], weights[rows], failed[rows]
        count, total = int(calls.sum(dtype=np.int64)), _total(own, calls)
        found.append(
            {
                "operation": definitions[number].name,
                "category": definitions[number].category.name,
                "count": count,
                "errors": int(calls[errors].sum(dtype=np.int64)) if errors.any() else 0,
                "samples": len(own),
                "sum_ns": total,
                "min_ns": int(own.min()),
                "max_ns": int(own.max()),
                "m2_ns2": _squares(own, calls, total / count),
                "buckets": histogram.pack(*histogram.count(own, calls)),
            }
        )
    return found


def _squares(durations: npt.NDArray[np.int64], calls: npt.NDArray[np.int32], mean: float) -> float:
    """Sum over the calls of the squared distance to their mean: a sum of squares would cancel where the spread is small
    beside the mean."""
    import numpy as np

    total = 0.0
    for rows in histogram.pieces(len(durations)):
        squares = durations[rows] - mean
        squares *= squares
        total += float(squares @ calls[rows].astype(np.float64))
    return total


def _total(durations: npt.NDArray[np.int64], calls: npt.NDArray[np.int32]) -> int:
    """Sum over the calls, exact: hours times many calls are more than an int64 holds."""
    import numpy as np

    if int(durations.max()) * int(calls.sum(dtype=np.int64)) < 1 << 63:
        return sum(int(durations[rows] @ calls[rows]) for rows in histogram.pieces(len(durations)))
    return sum(duration * weight for duration, weight in zip(durations.tolist(), calls.tolist(), strict=True))
