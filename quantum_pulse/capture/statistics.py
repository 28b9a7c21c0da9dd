"""Exact statistics of durations per operation or category."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.capture.reader import Source
from quantum_pulse.capture.tables import read

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

QUANTILES: Final = {"p50_us": 0.5, "p90_us": 0.9, "p95_us": 0.95, "p99_us": 0.99, "p999_us": 0.999}
COLUMNS: Final = ("count", "errors", "total_us", "mean_us", "std_us", "min_us", *QUANTILES, "max_us")

#: Value of `by` -> columns of the samples that are the index.
GROUPS: Final = {"operation": ("category", "operation"), "category": ("category",)}


def stats(source: Source, by: str = "operation") -> pd.DataFrame:
    """A row per operation (or category), sorted by the index, with COLUMNS; times in microseconds.

    A sample of weight w counts as w calls of its duration. Quantiles interpolate linearly between the two nearest
    calls, as numpy and pandas do. `std_us` is the sample standard deviation, NaN for a single call. Raises ValueError
    for another `by`.
    """
    import pandas as pd

    if by not in GROUPS:
        raise ValueError(f"by must be 'operation' or 'category', not {by!r}")
    keys = GROUPS[by]
    table = read(source, "samples", [*keys, "duration_ns", "error", "weight"])
    rows = [(*key, *values) for key, values in _groups(table, keys)]
    frame = pd.DataFrame(rows, columns=[*keys, *COLUMNS]).set_index(list(keys)).sort_index()
    return frame.astype({name: "int64" if name in ("count", "errors") else "float64" for name in COLUMNS})


def budgets(source: Source) -> pd.DataFrame:
    """A row per operation that has a budget, the one that breaks it most often first; see `Capture.budgets`."""
    import pandas as pd

    limits = {definition["name"]: definition["budget_us"] for definition in source.definitions()}
    limits = {name: float(limit) for name, limit in limits.items() if limit is not None}
    table = read(source, "samples", ["operation", "duration_ns", "weight"], names=sorted(limits))
    samples: pd.DataFrame = table.to_pandas()
    samples["operation"] = samples["operation"].astype(str)
    is_over = samples["duration_ns"] > samples["operation"].map(limits).astype(float) * 1000
    samples["over"] = samples["weight"].where(is_over, 0)
    frame = samples.groupby("operation").agg(count=("weight", "sum"), over=("over", "sum")).astype("int64")
    frame.insert(0, "budget_us", pd.Series(limits, dtype="float64").reindex(frame.index))
    frame["share"] = frame["over"] / frame["count"]
    return frame.sort_values(["share", "over"], ascending=False, kind="stable")


def _groups(table: Any, keys: tuple[str, ...]) -> list[tuple[tuple[str, ...], list[float]]]:
    import numpy as np

    if table.num_rows == 0:
        return []
    durations = table["duration_ns"].to_numpy()
    weights = table["weight"].to_numpy()
    failed = table["error"].is_valid().to_numpy()
    codes = np.zeros(table.num_rows, dtype=np.int64)
    names: list[list[str]] = []
    for key in keys:
        column = table[key].combine_chunks()
        names.append(column.dictionary.to_pylist())
        codes = codes * len(names[-1]) + column.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    present, first = np.unique(codes[order], return_index=True)
    found = []
    for code, rows in zip(present.tolist(), np.split(order, first[1:]), strict=True):
        key_parts: list[str] = []
        for choices in reversed(names):
            code, position = divmod(code, len(choices))
            key_parts.insert(0, choices[position])
        found.append((tuple(key_parts), describe(durations[rows], weights[rows], failed[rows])))
    return found


def describe(
    durations: npt.NDArray[np.int64], weights: npt.NDArray[np.integer[Any]], failed: npt.NDArray[np.bool_]
) -> list[float]:
    """Values of COLUMNS of one group of at least one row: durations in ns, weights in calls, all of one length."""
    import numpy as np

    order = np.argsort(durations)
    durations, weights, failed = durations[order], weights[order].astype(np.int64), failed[order]
    count = int(weights.sum())
    total = int((durations * weights).sum())
    mean = total / count
    # Around the mean, not from the sum of squares: that one cancels when the spread is small beside the mean.
    squares = float((weights * np.square(durations - mean)).sum())
    std = (squares / (count - 1)) ** 0.5 if count > 1 else float("nan")
    last = np.cumsum(weights)
    quantiles = [_quantile(durations, last, count, q) / 1000 for q in QUANTILES.values()]
    ends = int(durations[0]) / 1000, int(durations[-1]) / 1000
    errors = int(weights[failed].sum())
    return [count, errors, total / 1000, mean / 1000, std / 1000, ends[0], *quantiles, ends[1]]


def _quantile(durations: npt.NDArray[np.int64], last: npt.NDArray[np.int64], count: int, q: float) -> float:
    """Linear interpolation over the calls: row i stands for those numbered up to `last[i]`, exclusive."""
    import numpy as np

    place = (count - 1) * q
    low = int(place)
    below, above = durations[np.searchsorted(last, [low, min(low + 1, count - 1)], side="right")].tolist()
    return float(below + (above - below) * (place - low))
