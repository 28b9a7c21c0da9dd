"""Detect change points in a series of results; derived in `docs/statistics.md`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from quantum_pulse.analysis.series import normal_scores
from quantum_pulse.arguments import between

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Values that a level needs on each side of a step: fewer are outliers.
SHORTEST: Final = 5
#: Simulated series behind a p-value; the smallest p-value is one in so many.
SIMULATIONS: Final = 4000
#: Share of the error probability that the search of a whole interval gets; the searches of its halves share the rest.
WHOLE: Final = 0.7
#: Noise that is considered: autocorrelation of first order, its share of the variance, the rest being white, and how
#: likely that is before anything is seen, in proportion. Slow wandering under white noise is the hardest to recognise.
NOISES: Final = (
    (0.0, 0.0, 200),
    (0.5, 1.0, 40),
    (0.5, 0.5, 20),
    (0.7, 1.0, 13),
    (0.7, 0.5, 7),
    *((persistence, share, 1) for persistence in (0.85, 0.93, 0.97) for share in (0.35, 0.5, 0.7, 1.0)),
)
#: Noise of less than this share of the likelihood is left out.
UNLIKELY: Final = 1e-6
#: Longer lags, whose mean autocorrelation distinguishes what wanders from what merely follows the value before.
LAGS: Final = range(2, 9)
#: Cosines that the noise's long-run variance is estimated from as well, at most, and values that each needs.
COSINES: Final = 12
VALUES_A_COSINE: Final = 8
#: Lengths at which it is simulated: these, each 25 % longer than the last; the statistic hardly changes in between.
LONGEST_SIMULATED: Final = 1000


@dataclass(frozen=True)
class ChangePoint:
    """One step in a series of results, as `change_points` finds it.

    Attributes
    ----------
    index : int
        Position of the first value after the step.
    before : float
        Median from the previous step, or the start of the series, to this step.
    after : float
        Median from this step to the next one, or to the end of the series.
    p_value : float
        Probability of so large a step if the interval that was searched holds nothing but
        persistent noise. It accounts for all positions in the interval.

    Examples
    --------
    >>> from quantum_pulse import analysis
    >>> step, = analysis.change_points([10, 11, 10, 11, 10, 11, 20, 21, 20, 21, 20, 21])
    >>> step.index, step.before, step.after
    (6, 10.5, 20.5)
    """

    index: int
    before: float
    after: float
    p_value: float


def change_points(values: Sequence[float] | npt.ArrayLike, *, alpha: float = 0.02) -> list[ChangePoint]:
    """Find the steps in a series of results.

    Parameters
    ----------
    values : array-like of float, shape (n,)
        Results of successive runs, in any unit. NaN is left out.
    alpha : float, default 0.02
        Probability of any report on a series that only fluctuates, even if it is skewed, has
        outliers or is moderately autocorrelated, with or without white noise on top. It must be
        above 0 and below 0.5.

    Returns
    -------
    list of ChangePoint
        The steps in order of position; empty if there are none. A step has at least 5 values on
        each side.

    Raises
    ------
    ValueError
        If `values` is not one-dimensional or not finite, or `alpha` is out of range.

    See Also
    --------
    History.change_points : Find the steps of the operations in a history.

    Notes
    -----
    The statistic is the largest CUSUM of ranks (Pettitt 1979) as normal scores (van der Waerden
    1952), over the long-run standard deviation of the noise around the best step. Its null
    distribution is simulated, a parametric bootstrap, for several kinds of noise that are partly
    persistent and partly white. Each is weighted by its likelihood given the autocorrelations
    around the step (Meng 1994). Binary segmentation (Vostrikova 1981) searches halves of an
    interval as well (Kovács et al. 2023); each interval is tested at the share of `alpha` that
    it has of the series.

    References
    ----------
    - A. N. Pettitt (1979). A non-parametric approach to the change-point problem. Applied
      Statistics 28.
    - B. L. van der Waerden (1952). Order tests for the two-sample problem and their power.
      Indagationes Mathematicae 14.
    - X.-L. Meng (1994). Posterior predictive p-values. Annals of Statistics 22.
    - L. Ju. Vostrikova (1981). Detecting disorder in multidimensional random processes. Soviet
      Mathematics Doklady 24.
    - S. Kovács, P. Bühlmann, H. Li & A. Munk (2023). Seeded binary segmentation. Biometrika 110.

    Examples
    --------
    >>> from quantum_pulse import analysis
    >>> p99_us = [100, 103, 98, 101, 99, 102, 97, 130, 128, 133, 131, 127, 132, 129]
    >>> for step in analysis.change_points(p99_us):
    ...     print(f"run {step.index}: {step.before:g} -> {step.after:g}")
    run 7: 100 -> 130
    """
    import numpy as np

    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"values must be one-dimensional, not of shape {series.shape}")
    if np.any(np.isinf(series)):
        raise ValueError("values must be finite (NaN is left out)")
    alpha = between(alpha, "alpha", 0, 0.5)
    places = np.flatnonzero(~np.isnan(series))
    known = series[places]
    found: dict[int, float] = {}
    intervals = [(0, known.size)]
    while intervals:
        start, end = intervals.pop()
        if end - start < 2 * SHORTEST or np.ptp(known[start:end]) == 0:
            continue
        split, p_value = _search(known[start:end])
        if p_value <= alpha * (end - start) / known.size:
            found[start + split] = p_value
            intervals += [(start, start + split), (start + split, end)]
    edges = [0, *sorted(found), known.size]
    levels = [float(np.median(known[a:b])) for a, b in pairwise(edges) if b > a]
    return [
        ChangePoint(int(places[edge]), levels[number], levels[number + 1], found[edge])
        for number, edge in enumerate(edges[1:-1])
    ]


def _search(values: npt.NDArray[np.float64]) -> tuple[int, float]:
    """The place of the likeliest step in the whole or in one of three overlapping halves, and its p-value.

    A step up and one down hide each other from a CUSUM over both; half the length sees one of them (Kovács, Bühlmann,
    Li & Munk 2023, with two layers). The p-values are divided by weights of sum 1, as Bonferroni's.
    """
    import numpy as np

    count = values.size
    intervals = [(0, count, WHOLE)]
    if count >= 8 * SHORTEST:
        intervals += [(start, start + count // 2, (1 - WHOLE) / 3) for start in (0, count // 4, count - count // 2)]
    found = []
    for start, end, weight in intervals:
        if np.ptp(values[start:end]) > 0:
            split, p_value = step(values[start:end])
            found.append((min(p_value / weight, 1.0), start + split))
    p_value, split = min(found, key=lambda pair: pair[0])
    return split, p_value


def step(values: npt.NDArray[np.float64]) -> tuple[int, float]:
    """The place of the likeliest step in values that are not all equal, and its p-value."""
    import numpy as np

    statistics, splits, correlations = largest_cusum(normal_scores(values)[None, :])
    nulls = [_null(_length(values.size), persistence, share) for persistence, share, _ in NOISES]
    likely = np.array([math.log(odds) for *_, odds in NOISES])
    likely += [null.log_density(correlations[0]) for null in nulls]
    likely = np.exp(likely - likely.max())
    likely /= likely.sum()
    p_value = sum(
        share * null.tail(float(statistics[0]))
        for share, null in zip(likely.tolist(), nulls, strict=True)
        if share >= UNLIKELY
    )
    return _placed(values, int(splits[0])), min(p_value, 1.0)


def _placed(values: npt.NDArray[np.float64], split: int) -> int:
    """The place near `split` that fits best two levels by absolute distance: ranks blur where a large step is."""
    import numpy as np

    before, after = float(np.median(values[:split])), float(np.median(values[split:]))
    first, last = max(split - SHORTEST, SHORTEST), min(split + SHORTEST, values.size - SHORTEST)
    near = values[first:last]
    gains = np.concatenate(([0.0], np.cumsum(np.abs(near - before) - np.abs(near - after))))
    places = np.flatnonzero(gains <= gains.min())
    return first + int(min(places, key=lambda place: abs(first + int(place) - split)))


def largest_cusum(
    scores: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """For each row of scores (shape (m, n)): the largest CUSUM, its place, and autocorrelations of the noise around the
    step (shape (m, 2)): that of first order, and the mean over LAGS.

    The CUSUM at k is the difference of the means before and after k, over its standard error for independent values,
    times what dependence does to that. The long-run variance of the noise is the larger of two estimates, each of which
    sees what the other misses: that of a first-order autoregression, and the mean square of the projections on the
    slowest cosines (Lazarus, Lewis, Stock & Watson 2018).
    """
    import numpy as np

    count = scores.shape[1]
    centred = scores - scores.mean(axis=1, keepdims=True)
    lengths = np.arange(SHORTEST, count - SHORTEST + 1)
    sums = np.cumsum(centred, axis=1)[:, SHORTEST - 1 : count - SHORTEST]
    cusums = np.abs(sums) / np.sqrt(lengths * (count - lengths) / count)
    best = np.argmax(cusums, axis=1)
    rows = np.arange(scores.shape[0])
    splits = lengths[best]
    total = sums[rows, best]
    after = np.arange(count) >= splits[:, None]
    noise = centred - np.where(after, (-total / (count - splits))[:, None], (total / splits)[:, None])
    power = np.sum(noise**2, axis=1)
    first, *longer = (
        np.sum(noise[:, lag:] * noise[:, :-lag], axis=1) / np.maximum(power, 1e-300) for lag in (1, *LAGS)
    )
    follows = np.clip(first, 0, 0.97)
    variances = power * (1 + follows) / (1 - follows)
    if (waves := _cosines(count)) is not None:
        variances = np.maximum(variances, np.mean((noise @ waves) ** 2, axis=1) * count)
    deviations = np.sqrt(np.maximum(variances / (count - 2), 1e-12))
    return cusums[rows, best] / deviations, splits, np.stack((first, np.mean(longer, axis=0)), axis=1)


@lru_cache(maxsize=64)
def _cosines(count: int) -> npt.NDArray[np.float64] | None:
    """The slowest cosines, each a column of length 1; None for too few values."""
    import numpy as np

    waves = np.arange(1, min(COSINES, count // VALUES_A_COSINE) + 1)
    if not waves.size:
        return None
    places = (np.arange(count) + 0.5) / count
    cosines: npt.NDArray[np.float64] = np.cos(np.pi * np.outer(places, waves)) * np.sqrt(2 / count)
    return cosines


def _length(count: int) -> int:
    """The length among those simulated that is nearest below `count`."""
    length = 2 * SHORTEST
    while (longer := length + max(1, length // 4)) <= min(count, LONGEST_SIMULATED):
        length = longer
    return length


class _Null(NamedTuple):
    """What `largest_cusum` finds in noise without a step: statistics, ascending, and the distribution of the
    autocorrelations, taken for normal."""

    statistics: npt.NDArray[np.float64]
    means: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    log_scale: float

    def tail(self, statistic: float) -> float:
        """The probability of at least so large a statistic."""
        below = int(self.statistics.searchsorted(statistic))
        return (1 + self.statistics.size - below) / (self.statistics.size + 1)

    def log_density(self, correlations: npt.NDArray[np.float64]) -> float:
        """But for a constant."""
        distance = correlations - self.means
        return self.log_scale - float(distance @ self.precision @ distance) / 2


@lru_cache(maxsize=512)
def _null(count: int, persistence: float, share: float) -> _Null:
    """Simulated of series of `count` values of one of NOISES."""
    import numpy as np

    # Its own generator with a fixed seed: the same values always give the same answer.
    rng = np.random.default_rng(count)
    noise = rng.standard_normal((count, SIMULATIONS))
    if share > 0:
        scale = np.sqrt(1 - persistence**2)
        for place in range(1, count):
            noise[place] = persistence * noise[place - 1] + scale * noise[place]
    if 0 < share < 1:
        noise = np.sqrt(share) * noise + np.sqrt(1 - share) * rng.standard_normal((count, SIMULATIONS))
    statistics, _, correlations = largest_cusum(_row_scores(noise.T))
    precision: npt.NDArray[np.float64] = np.linalg.inv(np.cov(correlations.T)).astype(np.float64)
    return _Null(np.sort(statistics), correlations.mean(axis=0), precision, float(np.linalg.slogdet(precision)[1]) / 2)


def _row_scores(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Normal scores of each row, none of which has equal values."""
    import numpy as np

    scores = normal_scores(np.arange(values.shape[1], dtype=np.float64))
    result = np.empty(values.shape)
    np.put_along_axis(result, np.argsort(values, axis=1), scores[None, :], axis=1)
    return result
