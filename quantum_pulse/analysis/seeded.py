"""Seeded intervals of a series and the step that fits each best; derived in `docs/statistics.md`.

All functions work on rows: arrays of shape (rows, n), so that thousands of simulated series are searched at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

#: Values that a level needs on each side of a step: fewer are outliers.
SHORTEST: Final = 5
#: The running median spans twice as many values as an outlier may last, and one: it keeps every level of SHORTEST.
MEDIAN_SPAN: Final = 2 * SHORTEST - 1
#: Variance of the distance of a normal value from the median of the MEDIAN_SPAN values around it, over its variance.
MEDIAN_VARIANCE: Final = 0.944
#: Of normal values, this share is within this many standard deviations.
COMMON: Final = (0.75, 1.15)
#: A value counts for no more than this many standard deviations from the running median.
FARTHEST: Final = 3.0
#: What is farther than so many usual deviations says no more of how much a part of the series varies.
LOUDEST: Final = 3.0
#: Values that the local noise is estimated from, at least.
NEIGHBOURHOOD: Final = 40
#: Lengths of intervals grow by this, and neighbours are this part of their length apart.
GROWTH: Final = 2**0.5
APART: Final = 4
#: Splits of an interval that are tried; the place of a step that is found is sought among all.
MOST_SPLITS: Final = 64
#: Up to so many values it is remembered where steps are sought.
KEPT: Final = 2000
#: Intervals that are longer than this share of the series say nothing that the whole does not.
LONGEST: Final = 0.8


class Prepared(NamedTuple):
    """Series without outliers, and their noise, as cumulative sums from 0: shape (rows, n + 1)."""

    sums: Floats
    squares: Floats
    #: Squares of the noise around the running median, in units of a value's variance.
    noise: Floats
    #: The least variance: that of rounding, which equal values hide; shape (rows, 1).
    least: Floats

    @property
    def size(self) -> int:
        """Number of values of each series."""
        return int(self.sums.shape[1]) - 1


class Steps(NamedTuple):
    """The step that fits best in each of some intervals of one length; statistics and splits of shape (rows, m)."""

    starts: Integers
    length: int
    #: Difference of the means on both sides, in standard errors of independent values.
    statistics: Floats
    #: Places of the first value after the step.
    splits: Integers


def despiked(values: Floats, least: Floats | float = 0.0) -> tuple[Floats, Floats]:
    """Values whose outliers are drawn in, and how far each is from the running median, so limited.

    What lasts for fewer than SHORTEST values is an outlier. `least` is the least standard deviation, shape (rows, 1).
    """
    import numpy as np

    reach = MEDIAN_SPAN // 2
    padded = np.pad(values, ((0, 0), (reach, reach)), mode="reflect")
    medians = np.median(np.lib.stride_tricks.sliding_window_view(padded, MEDIAN_SPAN, axis=1), axis=2)
    noise = values - medians
    sizes = np.abs(noise)
    share, deviations = COMMON
    typical = np.quantile(sizes, share, axis=1, keepdims=True) / deviations
    near = np.minimum(sizes, LOUDEST * typical)
    around = _means_around(cumulated(near), NEIGHBOURHOOD // 2) * np.sqrt(np.pi / 2)
    spread = np.maximum(np.maximum(around, typical), least)
    noise = np.clip(noise, -FARTHEST * spread, FARTHEST * spread)
    return medians + noise, noise


def prepared(values: Floats, least: Floats | float = 0.0) -> tuple[Floats, Prepared]:
    """The values without outliers, and what `steps` needs of them."""
    import numpy as np

    quiet, noise = despiked(values, least)
    centred = quiet - np.median(quiet, axis=1, keepdims=True)
    variance = np.broadcast_to(np.square(least), (values.shape[0], 1)) + 1e-300
    sums, squares = cumulated(centred), cumulated(centred**2)
    return quiet, Prepared(sums, squares, cumulated(noise**2 / MEDIAN_VARIANCE), variance)


@lru_cache(maxsize=256)
def lengths(count: int) -> tuple[int, ...]:
    """Lengths of the intervals that are searched, ascending; the last is the whole."""
    found = []
    length = 2.0 * SHORTEST
    while round(length) < LONGEST * count:
        found.append(round(length))
        length *= GROWTH
    return (*found, count)


class _Grid(NamedTuple):
    """Where a step is sought: intervals of one length, and the splits of each, shape (m, splits)."""

    starts: Integers
    ends: Integers
    splits: Integers
    #: For each split: its share of the interval, and what turns a squared sum into a squared difference of means.
    shares: Floats
    weights: Floats
    #: The neighbourhood that noise is estimated in.
    low: Integers
    high: Integers


def _new_grid(count: int, length: int) -> _Grid:
    import numpy as np

    starts = np.arange(0, count - length + 1, max(length // APART, 1))
    if starts[-1] != count - length:
        starts = np.append(starts, count - length)
    most = length - 2 * SHORTEST + 1
    offsets = SHORTEST + (np.arange(min(most, MOST_SPLITS)) * most // min(most, MOST_SPLITS))
    ends = starts + length
    margin = max(NEIGHBOURHOOD - length, 0) // 2
    return _Grid(
        starts,
        ends,
        starts[:, None] + offsets,
        offsets / length,
        length / (offsets * (length - offsets)),
        np.maximum(starts - margin, 0),
        np.minimum(ends + margin, count),
    )


_kept_grid = lru_cache(maxsize=512)(_new_grid)


def steps(series: Prepared, length: int) -> Steps:
    """The best step in each seeded interval of a length (Kovács, Bühlmann, Li & Munk 2023).

    The statistic is in units of the largest of three estimates of the noise: of the series, of the neighbourhood, and
    around the step itself. The first two are of what changes from value to value, which steps elsewhere do not inflate.
    """
    import numpy as np

    count = series.size
    grid = (_kept_grid if count <= KEPT else _new_grid)(count, length)
    first = series.sums[:, grid.starts]
    totals = series.sums[:, grid.ends] - first
    gains = series.sums[:, grid.splits]
    gains -= first[:, :, None]
    gains -= totals[:, :, None] * grid.shares
    gains *= gains
    gains *= grid.weights
    best = np.argmax(gains, axis=2)
    gain = np.take_along_axis(gains, best[:, :, None], axis=2)[:, :, 0]
    rest = series.squares[:, grid.ends] - series.squares[:, grid.starts] - totals**2 / length - gain
    near = (series.noise[:, grid.high] - series.noise[:, grid.low]) / (grid.high - grid.low)
    least = np.maximum(series.noise[:, -1:] / count, series.least)
    variance = np.maximum(np.maximum(rest / (length - 2), near), least)
    splits = grid.splits[np.arange(best.shape[1]), best]
    return Steps(grid.starts, length, np.sqrt(gain / variance), splits)


def trends(series: Prepared, quiet: Floats) -> tuple[Floats, Floats]:
    """The slope of each series, per value, and its statistic in the units of `Steps.statistics`."""
    import numpy as np

    count = series.size
    places = np.arange(count) - (count - 1) / 2
    power = float(places @ places)
    products = quiet @ places
    rest = series.squares[:, -1] - series.sums[:, -1] ** 2 / count - products**2 / power
    variance = np.maximum(rest / (count - 2), np.maximum(series.noise[:, -1] / count, series.least[:, 0]))
    return products / power, np.abs(products) / np.sqrt(power * variance)


def cumulated(values: Floats) -> Floats:
    """Sums of the first 0, 1, 2, ... values of each row."""
    import numpy as np

    sums = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def _means_around(sums: Floats, reach: int) -> Floats:
    """Of each value and up to `reach` on either side."""
    import numpy as np

    places = np.arange(sums.shape[1] - 1)
    low, high = np.maximum(places - reach, 0), np.minimum(places + reach + 1, places.size)
    means: Floats = (sums[:, high] - sums[:, low]) / (high - low)
    return means
