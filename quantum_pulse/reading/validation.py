"""Find implausible durations, and outliers of each operation.

What is plausible is said by `op(expect_us=...)`. Outliers are found on a logarithmic scale, where latencies are
nearly symmetric, with a spread for each side of the median, as the two sides differ in what skew is left: the semi-
interquartile ranges of Kimber (1990), "Exploratory data analysis for possibly censored data from skewed distributions",
Applied Statistics 39. The cut is 3.5 standard deviations, as Iglewicz and Hoaglin (1993), "How to detect and handle
outliers", advise for their modified z-score. A quarter of the calls on either side may go wild: quartiles do not move.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import arrow
from quantum_pulse.reading import scan, statistics
from quantum_pulse.reading.groups import Groups
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import Moment, Operations, Selection, Where, select

if TYPE_CHECKING:
    import pandas as pd

#: Standard deviations from the median, of the logarithms, at which an outlier begins.
CUT: Final = 3.5
#: Distance from the median of a normal distribution to its quartiles, in standard deviations.
QUARTILE: Final = 0.6744897501960817
#: Spreads below this count as this: where nearly all durations are equal, the next tick of the clock is no outlier.
#: An outlier is then 1.42 times the median or more.
LEAST_SPREAD: Final = 0.1
#: With fewer calls there are no outliers: the quartiles say too little.
LEAST_COUNT: Final = 20

COLUMNS: Final = (
    "count", "expect_low_us", "expect_high_us", "below", "above", "share",
    "fence_low_us", "fence_high_us", "outliers", "outlier_share",
)  # fmt: skip


def validate(
    source: Source,
    operations: Operations = None,
    start: Moment = None,
    end: Moment = None,
    *,
    where: Where = None,
    expected_only: bool = False,
) -> pd.DataFrame:
    """A row per operation, the one that is least as expected first; see `Capture.validate`.

    `expected_only`: only operations that say what is expected; then nothing is read where none does.
    """
    ranges = expected(source)
    chosen = select(source, operations, start, end, where)
    if expected_only:
        names = set(ranges) if chosen.names is None else set(ranges).intersection(chosen.names)
        chosen = chosen._replace(names=tuple(sorted(names)))
        if not names:
            return _frame({}, ranges, {})
    return scan.whole(lambda: _validated(source, ranges, chosen))


def expected(source: Source) -> dict[str, tuple[float, float]]:
    """The shortest and the longest plausible duration in µs, by operation, where one is declared."""
    limits = {str(d["name"]): d.get("expect_us") for d in source.definitions()}
    return {name: (float(pair[0]), float(pair[1])) for name, pair in limits.items() if pair is not None}


def _validated(source: Source, ranges: Mapping[str, tuple[float, float]], chosen: Selection) -> pd.DataFrame:
    quartiles = {"p25_us": 0.25, "p50_us": 0.5, "p75_us": 0.75}
    found = statistics.summarise(source, Groups(("operation",), source.categories_of()), chosen, quartiles)
    fences = {
        str(name): fence(row["p25_us"], row["p50_us"], row["p75_us"])
        if row["count"] >= LEAST_COUNT
        else (float("nan"), float("nan"))
        for name, row in found.iterrows()
    }
    return _frame(_outside(source, ranges, fences, chosen), ranges, fences)


def fence(p25: float, p50: float, p75: float) -> tuple[float, float]:
    """The shortest and the longest duration that are no outliers, from the quartiles, in their unit."""
    # The clock cannot distinguish a short duration from none; a nanosecond keeps the logarithm finite.
    low, middle, high = (math.log(max(value, 0.001)) for value in (p25, p50, p75))
    below, above = (max(one / QUARTILE, LEAST_SPREAD) for one in (middle - low, high - middle))
    return math.exp(middle - CUT * below), math.exp(middle + CUT * above)


def _outside(
    source: Source,
    ranges: Mapping[str, tuple[float, float]],
    fences: Mapping[str, tuple[float, float]],
    chosen: Selection,
) -> dict[str, list[int]]:
    """By operation: calls, those below and above what is expected, and those outside of the fences."""
    import numpy as np

    lock = threading.Lock()
    found: dict[str, list[int]] = {}
    everything = (-np.inf, np.inf)

    def work(batch: Any, _: Any) -> None:
        names = [str(name) for name in batch["operation"].dictionary.to_pylist()]
        codes = arrow.values(batch["operation"].indices)
        weights, durations = arrow.values(batch["weight"]), arrow.values(batch["duration_ns"])
        # Comparisons with NaN are false, which is what no fence means.
        limits = np.array([(*ranges.get(n, everything), *fences.get(n, everything)) for n in names]).reshape(-1, 4)
        low, high, fence_low, fence_high = (limits * 1000).T[:, codes]
        below, above = durations < low, durations > high
        masks = (slice(None), below, above, (durations < fence_low) | (durations > fence_high))
        counts = [np.bincount(codes[mask], weights[mask], len(names)).astype(np.int64).tolist() for mask in masks]
        with lock:
            for name, *own in zip(names, *counts, strict=True):
                if own[0]:
                    found[name] = [a + b for a, b in zip(found.get(name, [0] * len(own)), own, strict=True)]

    columns = ["operation", "duration_ns", "weight"]
    scan.each(source, scan.parts(source, chosen), lambda _: columns, chosen, work, "validating")
    return found


def _frame(
    found: Mapping[str, list[int]],
    ranges: Mapping[str, tuple[float, float]],
    fences: Mapping[str, tuple[float, float]],
) -> pd.DataFrame:
    import pandas as pd

    nothing = (float("nan"), float("nan"))
    rows = [
        (
            calls,
            *ranges.get(name, nothing),
            below,
            above,
            (below + above) / calls,
            *fences.get(name, nothing),
            outliers,
            outliers / calls,
        )
        for name, (calls, below, above, outliers) in sorted(found.items())
    ]
    index = pd.Index(sorted(found), dtype="object", name="operation")
    whole = {"count": "int64", "below": "int64", "above": "int64", "outliers": "int64"}
    frame = pd.DataFrame(rows, columns=list(COLUMNS), index=index)
    frame = frame.astype({name: whole.get(name, "float64") for name in COLUMNS})
    return frame.sort_values(["share", "outlier_share"], ascending=False, kind="stable")
