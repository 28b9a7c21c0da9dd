"""Compare a time interval with its surroundings; derived in `docs/statistics.md`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from quantum_pulse.analysis.correlation import LEAST_SKEW
from quantum_pulse.analysis.series import normal_scores
from quantum_pulse.analysis.significance import benjamini_hochberg, pearson_tail, student_quantile, student_tail
from quantum_pulse.arguments import between
from quantum_pulse.shown import visible

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

COLUMNS: Final = ("inside", "around", "change", "shift", "ci_low", "ci_high", "p_value", "q_value")

#: How a column is named in a table of operations and metrics: "operation" or "metric", its name, and what of it.
LEVELS: Final = ("what", "name", "measure")
#: Fewer values than this in the interval, or around it, are not compared.
FEWEST_INSIDE: Final = 4
FEWEST_AROUND: Final = 8
#: The time around is so many times as long as the interval on either side, and a window this part of the interval.
LENGTHS: Final = 2
WINDOWS: Final = 20
#: No window is shorter; in ns, as those of timelines.
SHORTEST_NS: Final = 1000
#: Noise that is considered: autocorrelation of first order, and its share of the variance, the rest being white.
NOISES: Final = (
    *((0.8, share) for share in (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)),
    *((persistence, 1.0) for persistence in (0.87, 0.93, 0.97, 0.99)),
)
#: Noise of less than this share of the likelihood is left out.
UNLIKELY: Final = 1e-6


@dataclass(frozen=True, eq=False)
class Contrast:
    """How a time interval differs from its surroundings: the result of `Capture.contrast`, which shows itself.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for the latency and one for the calls of each operation, and one for each metric,
        sorted by q-value. The columns are ``what`` ("operation" or "metric"), ``name``,
        ``measure``, and those of `analysis.contrast`.
    begin, end : pandas.Timestamp
        The interval, UTC.
    around_begin, around_end : pandas.Timestamp
        The time that the interval was compared with, which encloses it, UTC.
    window_s : float
        Length of the windows in which operations were compared, in seconds.
    alpha : float
        The false discovery rate that is accepted.
    chosen_by : tuple of str
        Operations that the interval was chosen by; they are not tested.

    Examples
    --------
    >>> capture = qp.sample("slow_exchange")
    >>> submit = capture.operations.Engine.SUBMIT
    >>> found = capture.contrast(1.05, 1.85, chosen_by=submit)
    >>> found.chosen["name"].unique().tolist()
    ['Engine.SUBMIT']
    >>> print(found.summary)
    800 ms from 18:03:24.770 UTC, compared with the 1.1 s before and the 371 ms after: ...
    """

    table: pd.DataFrame
    begin: pd.Timestamp
    end: pd.Timestamp
    around_begin: pd.Timestamp
    around_end: pd.Timestamp
    window_s: float
    alpha: float
    chosen_by: tuple[str, ...] = ()

    @property
    def found(self) -> pd.DataFrame:
        """The rows of `table` with a q-value of at most `alpha`."""
        return self.table[self.table["q_value"] <= self.alpha]

    @property
    def chosen(self) -> pd.DataFrame:
        """The rows of `table` about the operations that the interval was chosen by."""
        return self.table[(self.table["what"] == "operation") & self.table["name"].isin(self.chosen_by)]

    @property
    def summary(self) -> str:
        """A sentence or two on what was compared, and how much of it differs."""
        from quantum_pulse.analysis.display import contrasts

        return contrasts.summary(self)

    def __repr__(self) -> str:
        from quantum_pulse.analysis.display import contrasts

        return visible(contrasts.as_text(self))

    def _repr_html_(self) -> str:
        from quantum_pulse.analysis.display import contrasts

        return contrasts.as_html(self)


def contrast(values: pd.DataFrame, inside: npt.ArrayLike, *, alpha: float = 0.05) -> pd.DataFrame:
    """Compare windows inside an interval with windows around it, column by column.

    Parameters
    ----------
    values : pandas.DataFrame
        One row per window; the windows are equally long and follow each other. NaN where nothing
        is known, or where a window is neither inside nor around.
    inside : array-like of bool
        For each row, whether the window is inside the interval.
    alpha : float, default 0.05
        The intervals have the level ``1 - alpha``. It must be above 0 and below 1.

    Returns
    -------
    pandas.DataFrame
        One row per column of `values`, in their order. NaN for a column that is constant, or has
        fewer than 4 values inside or 8 around. The columns are

        - ``inside``, ``around``: the medians; the means if the medians are equal, as they are of
          rare events;
        - ``change``: the first over the second, minus 1;
        - ``shift``, ``ci_low``, ``ci_high``: the difference of the means of normal scores, in
          standard deviations, with its interval;
        - ``p_value``, and ``q_value``, which is corrected for the number of columns.

    Raises
    ------
    TypeError
        If `values` is not a DataFrame.
    ValueError
        If `inside` and `values` differ in length, or `alpha` is out of range.

    See Also
    --------
    Capture.contrast : Compare an interval of a capture with its surroundings.

    Notes
    -----
    Two levels are fitted to normal scores (van der Waerden 1952) by least squares. Under noise that
    is partly persistent and partly white, the variance of their difference and the
    autocorrelation that the fit leaves are known exactly. The p-value is the mean over several
    such noises, each weighted by its likelihood given that autocorrelation (Meng 1994). The tails
    are Student's t, with degrees of freedom by Satterthwaite (1946), or Pearson's type III for rare
    events. q-values are by Benjamini & Hochberg (1995).

    References
    ----------
    - B. L. van der Waerden (1952). Order tests for the two-sample problem and their power.
      Indagationes Mathematicae 14.
    - X.-L. Meng (1994). Posterior predictive p-values. Annals of Statistics 22.
    - F. E. Satterthwaite (1946). An approximate distribution of estimates of variance components.
      Biometrics Bulletin 2.
    - Y. Benjamini & Y. Hochberg (1995). Controlling the false discovery rate. Journal of the Royal
      Statistical Society B 57.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from quantum_pulse import analysis
    >>> rng = np.random.default_rng(1)
    >>> inside = np.arange(100) // 20 == 2
    >>> values = pd.DataFrame({"queue": rng.normal(10, 1, 100), "cpu": rng.normal(50, 5, 100)})
    >>> values.loc[inside, "queue"] += 5
    >>> found = analysis.contrast(values, inside)
    >>> (found["q_value"] < 0.05).to_dict()
    {'queue': True, 'cpu': False}
    """
    import numpy as np
    import pandas as pd

    if not isinstance(values, pd.DataFrame):
        raise TypeError(f"values must be a DataFrame with a row for each window, not {values!r}")
    alpha = between(alpha, "alpha", 0, 1)
    within = np.asarray(inside, dtype=bool)
    if within.shape != (len(values),):
        raise ValueError(f"inside must have a value for each of {len(values)} rows, not the shape {within.shape}")
    rows = [_row(values[name].to_numpy(dtype=np.float64, na_value=np.nan), within, alpha) for name in values.columns]
    frame = pd.DataFrame(rows, index=values.columns, columns=[name for name in COLUMNS if name != "q_value"])
    frame = frame.astype("float64")
    frame.insert(COLUMNS.index("q_value"), "q_value", benjamini_hochberg(frame["p_value"].to_numpy(np.float64)))
    return frame


def _row(values: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_], alpha: float) -> tuple[float, ...]:
    import numpy as np

    known = ~np.isnan(values)
    own, others = values[known & inside], values[known & ~inside]
    if not own.size or not others.size:
        return (math.nan,) * 7
    here, there = float(np.median(own)), float(np.median(others))
    if here == there:
        here, there = float(np.mean(own)), float(np.mean(others))
    change = here / there - 1 if there else math.nan if here == there else math.inf
    if own.size < FEWEST_INSIDE or others.size < FEWEST_AROUND or np.ptp(values[known]) == 0:
        return (here, there, change, *(math.nan,) * 4)
    places = np.flatnonzero(known)
    fit = _fit(tuple(places.tolist()), tuple(inside[known].tolist()))
    scores = normal_scores(values[known])
    shift = float(fit.weights @ scores)
    rest = scores - np.where(inside[known], np.mean(scores[inside[known]]), np.mean(scores[~inside[known]]))
    power = float(rest @ rest)
    next_to = np.flatnonzero(np.diff(places) == 1)
    # Two levels that explain all, as of two values that never mix, leave the least that a rank can differ by.
    power = max(power, 1 / places.size)
    correlation = float(rest[next_to] @ rest[next_to + 1]) / power
    # So few values do not show how persistent the noise is: each possible noise counts by its likelihood.
    likely = np.exp(-places.size / 2 * (correlation - fit.correlations) ** 2)
    likely /= likely.sum()
    skew = _skewness(scores) * _skewness(inside[known].astype(np.float64)) * math.copysign(1, shift)
    skew /= math.sqrt(places.size)
    errors = np.sqrt(power * fit.factors)
    p_value = width = 0.0
    for share, error, freedom in zip(likely.tolist(), errors.tolist(), fit.freedoms.tolist(), strict=True):
        if share < UNLIKELY:
            continue
        tail = student_tail(abs(shift) / error, freedom)
        if skew > LEAST_SKEW:
            tail = max(tail, pearson_tail(abs(shift) / error, skew))
        p_value += share * min(2 * tail, 1.0)
        width += share * student_quantile(alpha / 2, freedom) * error
    return here, there, change, shift, shift - width, shift + width, p_value


def _skewness(values: npt.NDArray[np.float64]) -> float:
    import numpy as np

    centred = values - values.mean()
    return float(np.mean(centred**3) / np.mean(centred**2) ** 1.5)


class _Fit(NamedTuple):
    """Of two levels to values at some places. The last three have an entry for each of NOISES."""

    #: The difference of the levels is the sum of values times these.
    weights: npt.NDArray[np.float64]
    #: Of the rest after the fit, as expected: autocorrelation of first order, the variance of the difference of levels
    #: over the sum of squares of the rest, and the degrees of freedom of that sum.
    correlations: npt.NDArray[np.float64]
    factors: npt.NDArray[np.float64]
    freedoms: npt.NDArray[np.float64]


@lru_cache(maxsize=64)
def _fit(places: tuple[int, ...], inside: tuple[bool, ...]) -> _Fit:
    import numpy as np

    place, within = np.array(places), np.array(inside)
    weights = np.where(within, 1 / within.sum(), -1 / (~within).sum())
    levels = np.stack((within / math.sqrt(within.sum()), ~within / math.sqrt((~within).sum())))
    distances = np.abs(place[:, None] - place[None, :])
    found = []
    for persistence, share in NOISES:
        covariances = share * persistence**distances + (1 - share) * (distances == 0)
        # What is left of it when the two levels are taken out on both sides.
        rest = covariances - levels.T @ (levels @ covariances)
        rest -= (rest @ levels.T) @ levels
        power = float(np.trace(rest))
        found.append(
            (
                float(rest[distances == 1].sum()) / 2 / power,
                float(weights @ covariances @ weights) / power,
                power**2 / float(np.sum(rest**2)),
            )
        )
    correlations, factors, freedoms = (np.array(column) for column in zip(*found, strict=True))
    return _Fit(weights, correlations, factors, freedoms)


def surroundings(begin: int, end: int, first: int, last: int) -> tuple[int, int]:
    """From when to when the time around [begin, end) reaches, in what lasts from `first` to `last`; any unit.

    Twice its length on either side; what one side is short of, as at an edge, the other has more of.
    """
    length = end - begin
    before, after = begin - first, last - end
    return (
        begin - min(before, LENGTHS * length + max(LENGTHS * length - after, 0)),
        end + min(after, LENGTHS * length + max(LENGTHS * length - before, 0)),
    )


def window(begin_ns: int, end_ns: int, intervals_ns: pd.Series | None = None) -> int:
    """The length of windows for [begin_ns, end_ns), in ns; of metrics, measured in `intervals_ns`, one of these at
    least."""
    usual = 0 if intervals_ns is None or not len(intervals_ns) else int(intervals_ns.median())
    return max((end_ns - begin_ns) // WINDOWS, usual, SHORTEST_NS)


def windows(low: int, high: int, length: int, begin: int, end: int) -> tuple[list[int], list[bool], list[bool]]:
    """Beginnings of the windows of `length` that lie in [low, high), at whole multiples of it; whether each is in
    [begin, end), and whether it is outside. Those over an edge are neither."""
    starts = list(range(-(-low // length) * length, high - length + 1, length))
    inside = [begin <= start and start + length <= end for start in starts]
    outside = [start + length <= begin or start >= end for start in starts]
    return starts, inside, outside


def read_windows(
    read: Callable[[list[int], int], pd.DataFrame], length: int, begin: int, end: int, first: int, last: int
) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
    """What `contrast` takes, of windows of `length` in and around [begin, end), in what lasts from `first` to `last`.

    `read` gets the beginnings of windows and their length, and returns a row for each.
    """
    import numpy as np

    starts, inside, outside = windows(*surroundings(begin, end, first, last), length, begin, end)
    values = read(starts, length).astype("float64")
    values.loc[~(np.array(inside, dtype=bool) | np.array(outside, dtype=bool))] = math.nan
    return values, np.array(inside, dtype=bool)


def ranked(parts: Sequence[pd.DataFrame], chosen_by: Collection[str]) -> pd.DataFrame:
    """The results of several `contrast` as one table with q-values over all of it, the surest first.

    Their columns were named by LEVELS. Operations in `chosen_by` are not tested: whoever takes a time interval
    because an operation was slow there will find it slow there.
    """
    import numpy as np
    import pandas as pd

    table = pd.concat([part.rename_axis(index=LEVELS).reset_index() for part in parts], ignore_index=True)
    chosen = (table["what"] == "operation") & table["name"].isin(list(chosen_by))
    table.loc[chosen, ["ci_low", "ci_high", "p_value"]] = math.nan
    table["q_value"] = benjamini_hochberg(table["p_value"].to_numpy(np.float64))
    order = table.assign(size=-table["shift"].abs()).sort_values(["q_value", "p_value", "size"], kind="stable").index
    return table.loc[order].reset_index(drop=True)
