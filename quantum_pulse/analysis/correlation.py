"""Correlate latency with metrics: rank correlation of time series; derived in `docs/statistics.md`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.analysis.series import (
    Spectra,
    autocovariances,
    autoregression,
    filtered,
    lagged_correlations,
    normal_scores,
    ranks,
)
from quantum_pulse.analysis.significance import benjamini_hochberg, pearson_tail, student_quantile, student_tail
from quantum_pulse.arguments import between, real

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

COLUMNS: Final = ("metric", "lag_s", "rho", "ci_low", "ci_high", "p_value", "q_value", "n_effective")

#: Lags searched each way by default, in steps of the index.
LAGS: Final = 10
#: The highest order of the autoregression that latency is whitened with.
ORDER: Final = 8
#: Fewer pairs of values than this are not tested.
FEWEST: Final = 20
#: The index may have at most this many steps per row, the others missing.
SPARSEST: Final = 20
#: A skewness below this makes no difference to a tail.
LEAST_SKEW: Final = 0.01


def correlate(
    latency: pd.Series, metrics: pd.DataFrame, *, max_lag_s: float | None = None, alpha: float = 0.05
) -> pd.DataFrame:
    """Correlate latency with metrics, at the lag at which each goes together with it best.

    Parameters
    ----------
    latency : pandas.Series
        Latency over time, in any unit. Its index increases, in equal steps of which some may be
        missing: times, timedeltas, or numbers of seconds. NaN is a gap.
    metrics : pandas.DataFrame
        One column per metric, with an index of the same kind. Rows are matched by it.
    max_lag_s : float, optional
        The largest lag that is searched, in both directions, in seconds. By default 10 steps of
        the index.
    alpha : float, default 0.05
        The intervals have the level ``1 - alpha``. It must be above 0 and below 1.

    Returns
    -------
    pandas.DataFrame
        One row per metric, sorted by q-value. All values but ``metric`` are NaN for a metric that
        is constant or shares fewer than 20 values with latency. The columns are

        - ``metric``: its name;
        - ``lag_s``: the lag in seconds, positive if the metric moves first;
        - ``rho``: Spearman's correlation of the values at that lag;
        - ``ci_low``, ``ci_high``: its interval, from ``n_effective``, not corrected for the choice
          of the lag;
        - ``p_value``: of "no correlation at any lag", as one test;
        - ``q_value``: the p-value corrected for the number of metrics;
        - ``n_effective``: the number of independent pairs that carry as much evidence.

    Raises
    ------
    TypeError
        If an argument has another type, or a column is not numeric.
    ValueError
        If an index does not increase or has no common step, if the two have no time in common, or
        if a number is out of range.

    See Also
    --------
    Capture.correlate : The same for all operations and metrics of a capture.

    Notes
    -----
    Both series become normal scores, lose their trend, and pass through the autoregression that
    whitens latency (Box & Jenkins 1970); one white series suffices (Haugh 1976). Correlations at
    lags outside the search, and the variation of the products of pairs, show by how much chance
    exceeds ``1/n`` nevertheless. Tails are Student's t or, for rare events, Pearson's type III. The
    largest over the lags is one test (Šidák 1967). ``n_effective`` is by Pyper & Peterman (1998), the
    interval by Bonett & Wright (2000), and q-values are by Benjamini & Hochberg (1995).

    References
    ----------
    - G. E. P. Box & G. M. Jenkins (1970). Time Series Analysis. Holden-Day.
    - L. D. Haugh (1976). Checking the independence of two covariance-stationary time series.
      Journal of the American Statistical Association 71.
    - Z. Šidák (1967). Rectangular confidence regions for the means of multivariate normal
      distributions. Journal of the American Statistical Association 62.
    - B. J. Pyper & R. M. Peterman (1998). Comparison of methods to account for autocorrelation
      in correlation analyses. Canadian Journal of Fisheries and Aquatic Sciences 55.
    - D. G. Bonett & T. A. Wright (2000). Sample size requirements for estimating Pearson, Kendall
      and Spearman correlations. Psychometrika 65.
    - Y. Benjamini & Y. Hochberg (1995). Controlling the false discovery rate. Journal of the Royal
      Statistical Society B 57.

    Examples
    --------
    Latency follows the queue with a delay of two seconds:

    >>> import numpy as np
    >>> import pandas as pd
    >>> from quantum_pulse import analysis
    >>> rng = np.random.default_rng(1)
    >>> queue = rng.exponential(size=300)
    >>> latency = pd.Series(np.roll(queue, 2) + 0.2 * rng.exponential(size=300))
    >>> metrics = pd.DataFrame({"queue": queue, "noise": rng.normal(size=300)})
    >>> found = analysis.correlate(latency, metrics)
    >>> found.loc[found["q_value"] < 0.05, ["metric", "lag_s"]].values.tolist()
    [['queue', 2.0]]
    """
    import numpy as np
    import pandas as pd

    if not isinstance(latency, pd.Series) or not isinstance(metrics, pd.DataFrame):
        raise TypeError("correlate takes a Series of latency and a DataFrame of metrics")
    alpha = between(alpha, "alpha", 0, 1)
    if max_lag_s is not None and not 0 <= real(max_lag_s) < math.inf:
        raise ValueError(f"max_lag_s must be a number of seconds, 0 or more, not {max_lag_s!r}")
    for index, what in ((latency.index, "latency"), (metrics.index, "metrics")):
        if not index.is_monotonic_increasing or not index.is_unique:
            raise ValueError(f"the index of {what} must increase")
    shared = latency.index.intersection(metrics.index)
    if shared.size == 0 and metrics.shape[1]:
        raise ValueError("latency and metrics have no time in common")
    places, step = _grid(shared)
    lags = LAGS if max_lag_s is None else int(max_lag_s / step + 1e-9)
    size = int(places[-1]) + 1 if places.size else 0
    lags = min(lags, size // 4)
    y = _gridded(latency.reindex(shared), places, size)
    white = _White(y)
    rows = [
        _row(str(name), white, _gridded(metrics[name].reindex(shared), places, size), lags, step, alpha)
        for name in metrics.columns
    ]
    frame = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "q_value"])
    frame.insert(COLUMNS.index("q_value"), "q_value", benjamini_hochberg(frame["p_value"].to_numpy(np.float64)))
    frame = frame.astype(dict.fromkeys(COLUMNS[1:], "float64"))
    return frame.sort_values(["q_value", "p_value"], kind="stable", ignore_index=True)


def _grid(index: pd.Index[Any]) -> tuple[npt.NDArray[np.int64], float]:
    """Place of each row on a regular grid, and the grid's step in seconds."""
    import numpy as np
    import pandas as pd

    if isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
        since = pd.TimedeltaIndex(index - index[0]) if index.size else pd.TimedeltaIndex([])
        seconds = np.asarray(since.total_seconds(), dtype=np.float64)
    elif pd.api.types.is_numeric_dtype(index):
        seconds = np.asarray(index, dtype=np.float64)
    else:
        raise ValueError(f"the index must be times, timedeltas or seconds, not {index.dtype}")
    if seconds.size < 2:
        return np.zeros(seconds.size, dtype=np.int64), 1.0
    step = float(np.median(np.diff(seconds)))
    places = np.rint((seconds - seconds[0]) / step).astype(np.int64)
    if np.any(np.diff(places) == 0) or places[-1] > SPARSEST * seconds.size:
        raise ValueError("the index has no common step: resample latency and metrics first")
    return places, step


def _gridded(values: pd.Series, places: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.float64]:
    import numpy as np
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(values):
        raise TypeError(f"{values.name!r} is not a column of numbers but of {values.dtype}")
    grid = np.full(size, np.nan)
    grid[places] = values.to_numpy(dtype=np.float64, na_value=np.nan)
    grid[np.isinf(grid)] = np.nan
    return grid


class _White:
    """Latency, and what whitens it."""

    def __init__(self, values: npt.NDArray[np.float64]) -> None:
        import numpy as np

        self.values = values
        self.scores = normal_scores(values)
        self.coefficients = np.empty(0)
        self.spectra: Spectra | None = None
        if np.count_nonzero(~np.isnan(values)) >= FEWEST and np.nanmax(values) > np.nanmin(values):
            level = detrended(values)
            self.coefficients = autoregression(level, _highest_order(level))
            self.spectra = Spectra.of(filtered(level, self.coefficients))


def _highest_order(values: npt.NDArray[np.float64]) -> int:
    """The order up to ORDER that 15 values each bear out, and that leaves half of the values where there are gaps."""
    import numpy as np

    known = ~np.isnan(values)
    enough = np.count_nonzero(known) / 2
    order = 0
    left = known
    while order < min(ORDER, values.size // 15):
        left = left[1:] & known[: left.size - 1]
        if np.count_nonzero(left) < enough:
            break
        order += 1
    return order


def _row(
    name: str, y: _White, x: npt.NDArray[np.float64], lags: int, step: float, alpha: float
) -> tuple[str, float, float, float, float, float, float]:
    import numpy as np

    unknown = (name, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan)
    together = ~(np.isnan(x) | np.isnan(y.values))
    if (
        y.spectra is None
        or np.count_nonzero(together) < FEWEST
        or np.ptp(x[together]) == 0
        or np.ptp(y.values[together]) == 0
    ):
        return unknown
    scores = normal_scores(x)
    best, p_value = _best_lag(y, filtered(detrended(x), y.coefficients), lags)
    if math.isnan(p_value):
        return unknown
    pair = _pairs(y.values, x, best)
    rho = spearman(*pair)
    effective = effective_size(y.scores, scores, pair[0].size)
    return (name, best * step, rho, *interval(rho, effective, alpha), p_value, effective)


def _best_lag(y: _White, x: npt.NDArray[np.float64], lags: int) -> tuple[int, float]:
    """The lag where the whitened series go together best, and the p-value of the search; NaN for too few values.

    Independent series of which one is white have correlations of variance 1/n. Two things make it larger. What the
    filter left of autocorrelation does so at any lag: what is seen at those outside of the search, up to half of the
    series, is what chance does (their sum of squares is that of Bartlett's formula, 1946). Restless times that both
    have in common do so near lag 0: products of pairs then vary more than those of independent values (Dalla,
    Giraitis & Phillips 2022), here on average over the lags, so that coincidences at one of them do not count against
    themselves.
    """
    import numpy as np

    assert y.spectra is not None
    spectra = Spectra.of(x)
    most = max(x.size // 2, lags)
    rho, sizes, unrest = lagged_correlations(y.spectra, spectra, most)
    rho[sizes < FEWEST] = np.nan
    distance = np.abs(np.arange(-most, most + 1))
    tested = np.flatnonzero((distance <= lags) & ~np.isnan(rho))
    if not tested.size:
        return 0, math.nan
    outside = (distance > lags) & ~np.isnan(rho)
    near = (distance <= max(lags, LAGS)) & ~np.isnan(rho)
    excess = max(
        1.0,
        float(np.mean(rho[outside] ** 2 * (sizes[outside] - 1))) if outside.any() else 1.0,
        float(np.mean(unrest[near])),
    )
    # The filter's coefficients and the slope were estimated.
    sizes = np.maximum(sizes / excess - y.coefficients.size - 1, 3.0)
    statistics = np.abs(rho[tested]) * np.sqrt((sizes[tested] - 2) / np.maximum(1 - rho[tested] ** 2, 1e-12))
    # Of equal ones the lag nearest to 0.
    best = int(tested[np.lexsort((distance[tested], -statistics))[0]])
    tail = _tail(float(rho[best]), float(sizes[best]), y.spectra.skewness * spectra.skewness)
    p_value = -math.expm1(tested.size * math.log1p(-tail)) if tail < 1 else 1.0
    return best - most, p_value


def detrended(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Normal scores of values without their trend: two series that merely both grow agree in one thing, not in n.

    First a resistant line goes, through the medians of the first and the last third (Tukey 1977): what grows has the
    scores of all that grows, and that is no line. Then what straight line the scores have.
    """
    import numpy as np

    places = np.flatnonzero(~np.isnan(values))
    known = values[places]
    third = -(-places.size // 3)
    rise = float(np.median(known[-third:]) - np.median(known[:third]))
    run = float(np.median(places[-third:]) - np.median(places[:third]))
    # Where most values are one and the same it has no slope, and they stay equal.
    result = normal_scores(values - rise / run * np.arange(values.size))
    time = np.arange(values.size) - places.mean()
    slope = float(result[places] @ time[places]) / float(time[places] @ time[places])
    straight: npt.NDArray[np.float64] = result - slope * time
    return straight


def _pairs(
    y: npt.NDArray[np.float64], x: npt.NDArray[np.float64], lag: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Values of y with those of x that were `lag` steps earlier."""
    import numpy as np

    if lag >= 0:
        later, earlier = y[lag:], x[: x.size - lag]
    else:
        later, earlier = y[:lag], x[-lag:]
    known = ~(np.isnan(later) | np.isnan(earlier))
    return later[known], earlier[known]


def spearman(y: npt.NDArray[np.float64], x: npt.NDArray[np.float64]) -> float:
    """Spearman's rank correlation; 0 when one of the two is constant."""
    import numpy as np

    y, x = ranks(y), ranks(x)
    y, x = y - y.mean(), x - x.mean()
    scale = math.sqrt(float(y @ y) * float(x @ x))
    return float(np.clip(float(y @ x) / scale, -1, 1)) if scale > 0 else 0.0


def _tail(rho: float, size: float, skewness: float) -> float:
    """Two-sided p-value of a correlation of `size` independent pairs; `skewness` is the product of that of both sides.

    Student's t; but where both have rare events, coincidences are rarer than that and stronger: over all orders of the
    values the correlation is skewed by skewness / sqrt(n) (Pitman 1937). The heavier tail counts.
    """
    rest = 1 - rho * rho
    t = abs(rho) * math.sqrt((size - 2) / rest) if rest > 0 else math.inf
    tail = student_tail(t, size - 2)
    skew = math.copysign(skewness, skewness * rho) / math.sqrt(size)
    if skew > LEAST_SKEW:
        tail = max(tail, pearson_tail(abs(rho) * math.sqrt(size - 1), skew))
    return min(1.0, 2 * tail)


def effective_size(y: npt.NDArray[np.float64], x: npt.NDArray[np.float64], pairs: int) -> float:
    """n_effective of Pyper & Peterman 1998: 1/n + 2/n * sum of r_y(k) r_x(k), over lags up to n/5; of normal scores."""
    import numpy as np

    lags = max(1, y.size // 5)
    both = [autocovariances(values - np.nanmean(values), lags) for values in (y, x)]
    products = np.prod([covariances[1:] / covariances[0] for covariances in both], axis=0)
    return float(np.clip(pairs / max(1 + 2 * float(products.sum()), 1.0), 2, pairs))


def interval(rho: float, size: float, alpha: float) -> tuple[float, float]:
    """Confidence interval of Spearman's correlation: Fisher's z with the variance of Bonett & Wright 2000."""
    if size <= 4:
        return -1.0, 1.0
    if abs(rho) >= 1:
        return rho, rho
    # Whole degrees of freedom, so that the quantile is mostly known.
    width = student_quantile(alpha / 2, math.floor(size) - 2) * math.sqrt((1 + rho * rho / 2) / (size - 3))
    return math.tanh(math.atanh(rho) - width), math.tanh(math.atanh(rho) + width)
