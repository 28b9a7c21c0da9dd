"""Compare a time interval with its surroundings; derived in `docs/statistics.md`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

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
LENGTHS: Final = 3
WINDOWS: Final = 30
#: No window is shorter; in ns, as those of timelines.
SHORTEST_NS: Final = 1000
#: Nobody knows to the second when an incident began. So three tests count as one: with all windows, and without those
#: closer to an edge, inside of it and outside, than these parts of the interval.
EDGES: Final = (0.0, 0.1, 0.2)
#: Noise that is considered: autocorrelation of first order, and its share of the variance, the rest being white.
PERSISTENCES: Final = (0.3, 0.6, 0.8, 0.9, 0.95, 0.98, 0.995, 0.999)
SHARES: Final = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
NOISES: Final = ((0.0, 0.0), *((persistence, share) for persistence in PERSISTENCES for share in SHARES))
#: Noise that moves levels much is as probable beforehand as this power of the variance that it gives them: a false
#: alarm costs more than a miss, and a hundred windows hardly show slow noise.
CAUTION: Final = 2.0
#: Noise of less than this share of the likelihood is left out.
UNLIKELY: Final = 1e-6
#: Of a robust fit: deviations beyond which a value counts for no more, and the share of values that may be equal.
OUTLYING: Final = 4.0
TIED: Final = 0.25


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
        from quantum_pulse.view import contrasts

        return contrasts.summary(self)

    def __repr__(self) -> str:
        from quantum_pulse.view import contrasts

        return visible(contrasts.as_text(self))

    def _repr_html_(self) -> str:
        from quantum_pulse.view import contrasts

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
        - ``shift``, ``ci_low``, ``ci_high``: the difference of the levels in robust standard
          deviations, of logarithms if all values are positive, with its interval;
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
    Two levels are fitted by generalised least squares to logarithms in robust deviations, with
    outliers drawn in; to normal scores (van der Waerden 1952) where many values are equal. Noise is
    partly persistent and partly white. The p-value is the mean over several such noises, each
    weighted by its likelihood given what the levels leave (Patterson & Thompson 1971; Meng 1994)
    and by its prior probability, which is larger for noise that moves levels more. The tails are
    Student's t, or Pearson's type III for rare events. As edges are rarely known exactly, the
    smallest of three such p-values counts, times three: of all windows, and without those within a
    tenth and a fifth of the interval of an edge. q-values are by Benjamini & Hochberg (1995).

    References
    ----------
    - B. L. van der Waerden (1952). Order tests for the two-sample problem and their power.
      Indagationes Mathematicae 14.
    - H. D. Patterson & R. Thompson (1971). Recovery of inter-block information when block sizes are
      unequal. Biometrika 58.
    - X.-L. Meng (1994). Posterior predictive p-values. Annals of Statistics 22.
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
    tested = list({mask.tobytes(): mask for mask in (_far_from_edges(within, part) for part in EDGES)}.values())
    rows = [
        _row(values[name].to_numpy(dtype=np.float64, na_value=np.nan), within, tested, alpha) for name in values.columns
    ]
    frame = pd.DataFrame(rows, index=values.columns, columns=[name for name in COLUMNS if name != "q_value"])
    frame = frame.astype("float64")
    frame.insert(COLUMNS.index("q_value"), "q_value", benjamini_hochberg(frame["p_value"].to_numpy(np.float64)))
    return frame


def _far_from_edges(inside: npt.NDArray[np.bool_], part: float) -> npt.NDArray[np.bool_]:
    """Windows that are on the same side where each edge is moved by this part of the interval."""
    import numpy as np

    far = np.ones(inside.shape, dtype=bool)
    edges = np.flatnonzero(np.diff(inside.astype(np.int8), prepend=0, append=0))
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        reach = min(round(part * (end - begin)), max((end - begin - FEWEST_INSIDE) // 2, 0))
        for edge in (begin, end):
            if 0 < edge < inside.size:
                far[max(edge - reach, 0) : edge + reach] = False
    return far


def _row(
    values: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_], tested: list[npt.NDArray[np.bool_]], alpha: float
) -> tuple[float, ...]:
    import numpy as np

    known = ~np.isnan(values)
    own, others = values[known & inside], values[known & ~inside]
    if not own.size or not others.size:
        return (math.nan,) * 7
    here, there = float(np.median(own)), float(np.median(others))
    if here == there:
        here, there = float(np.mean(own)), float(np.mean(others))
    change = here / there - 1 if there else math.nan if here == there else math.inf
    found = []
    for mask in tested:
        counted = known & mask
        within = inside[counted]
        enough = np.count_nonzero(within) >= FEWEST_INSIDE and np.count_nonzero(~within) >= FEWEST_AROUND
        if enough and np.ptp(values[counted]) > 0:
            found.append(_shift(values[counted], np.flatnonzero(counted), within, alpha / len(tested)))
    if not found:
        return (here, there, change, *(math.nan,) * 4)
    *shift, p_value = min(found, key=lambda one: one[-1])
    return here, there, change, *shift, min(p_value * len(tested), 1.0)


def _shift(
    values: npt.NDArray[np.float64], places: npt.NDArray[np.intp], inside: npt.NDArray[np.bool_], alpha: float
) -> tuple[float, float, float, float]:
    """The shift of the level inside, the ends of its interval, and its p-value."""
    import numpy as np

    fit = _fit(tuple(places.tolist()), tuple(inside.tolist()))
    scores = _robust_scores(values, inside)
    powers, shifts = fit.powers(scores), fit.weights @ scores
    # Of values that are mostly one and the same, as of rare events, only the others tell of the noise.
    usual = int(np.unique(values, return_counts=True)[1].max())
    freedom = max(min(places.size, 2 * (places.size - usual)) - 2, 1)
    # So few values do not show how persistent the noise is: each possible noise counts by its likelihood.
    logs = fit.likelihoods - freedom / 2 * np.log(powers)
    likely = np.exp(logs - logs.max())
    likely /= likely.sum()
    shift = float(likely @ shifts)
    errors = np.sqrt(powers / (places.size - 2) * fit.variances)
    rest = scores - np.where(inside, scores[inside].mean(), scores[~inside].mean())
    skew = _skewness(rest) * _skewness(inside.astype(np.float64)) * math.copysign(1, shift) / math.sqrt(places.size)
    p_value = width = 0.0
    for share, own, error in zip(likely.tolist(), shifts.tolist(), errors.tolist(), strict=True):
        if share < UNLIKELY:
            continue
        tail = student_tail(abs(own) / error, freedom)
        # In the middle of the distribution it makes no difference.
        if skew > LEAST_SKEW and tail < 0.1:
            tail = max(tail, pearson_tail(abs(own) / error, skew))
        p_value += share * min(2 * tail, 1.0)
        width += share * student_quantile(alpha / 2, freedom) * error
    return shift, shift - width, shift + width, p_value


def _robust_scores(values: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Values in robust deviations from the medians of both sides, outliers drawn in, with the medians' difference.

    Ranks would make five times as long look like twice as long. But where many values are equal, as of rare events,
    there is nothing else, and these are normal scores (van der Waerden 1952).
    """
    import numpy as np

    if values.min() >= 0:
        values = np.log(values) if values.min() > 0 else np.sqrt(values)
    medians = [float(np.median(values[side])) for side in (inside, ~inside)]
    rest = values - np.where(inside, *medians)
    deviation = 1.4826 * float(np.median(np.abs(rest)))
    if np.mean(rest == 0) > TIED or deviation <= 1e-9 * float(np.abs(values).max()):
        return normal_scores(values)
    drawn_in: npt.NDArray[np.float64] = np.clip(rest / deviation, -OUTLYING, OUTLYING)
    return drawn_in + inside * (medians[0] - medians[1]) / deviation


def _skewness(values: npt.NDArray[np.float64]) -> float:
    import numpy as np

    centred = values - values.mean()
    spread = float(np.mean(centred**2))
    return float(np.mean(centred**3)) / spread**1.5 if spread > 0 else 0.0


class _Fit(NamedTuple):
    """Of two levels to values at some places, by generalised least squares, an entry for each of NOISES."""

    #: The difference of the levels is the sum of values times these, shape (noises, values).
    weights: npt.NDArray[np.float64]
    #: Its variance where the noise has variance 1.
    variances: npt.NDArray[np.float64]
    #: The logarithm of the probability beforehand, and of the part of the likelihood that all values share.
    likelihoods: npt.NDArray[np.float64]
    #: What makes the rest white: for each of PERSISTENCES the directions in which its noise is independent, with
    #: their variances, and the levels in these, for each of NOISES.
    directions: list[npt.NDArray[np.float64]]
    spreads: npt.NDArray[np.float64]
    levels: npt.NDArray[np.float64]

    def powers(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The sum of squares of the white rest, for each of NOISES."""
        import numpy as np

        turned = [own @ scores for own in self.directions]
        each = np.stack([scores, *(own for own in turned for _ in SHARES)])
        whitened = each / np.sqrt(self.spreads)
        fitted = np.einsum("kln,kn->kl", self.levels, whitened)
        powers = np.sum(whitened**2, axis=1) - np.sum(fitted**2, axis=1)
        # Two levels that explain all, as of two values that never mix, leave the least that a rank can differ by.
        least: npt.NDArray[np.float64] = np.maximum(powers, 1 / scores.size)
        return least


@lru_cache(maxsize=64)
def _fit(places: tuple[int, ...], inside: tuple[bool, ...]) -> _Fit:
    import numpy as np

    place, within = np.array(places), np.array(inside)
    plain = np.where(within, 1 / within.sum(), -1 / (~within).sum())
    design = np.stack((within, ~within)).astype(np.float64)
    distances = np.abs(place[:, None] - place[None, :])
    directions = []
    rows = [_one_noise(design, plain, np.eye(place.size), np.ones(place.size))]
    for persistence in PERSISTENCES:
        spreads, vectors = np.linalg.eigh(persistence**distances)
        directions.append(vectors.T)
        rows += [_one_noise(design, plain, vectors.T, share * np.maximum(spreads, 0) + 1 - share) for share in SHARES]
    weights, variances, likelihoods, spreads, levels = (np.array(column) for column in zip(*rows, strict=True))
    return _Fit(weights, variances, likelihoods, directions, spreads, levels)


def _one_noise(
    design: npt.NDArray[np.float64],
    plain: npt.NDArray[np.float64],
    directions: npt.NDArray[np.float64],
    spreads: npt.NDArray[np.float64],
) -> tuple[Any, ...]:
    """Of a noise that is independent in some directions: weights, variance, likelihood, spreads and levels of `_Fit`.

    The likelihood is that of the rest alone (Patterson & Thompson 1971), as the levels take their share of the noise.
    """
    import numpy as np

    spreads = np.maximum(spreads, 1e-9)
    white = (design @ directions.T) / np.sqrt(spreads)
    information = white @ white.T
    inverse = np.linalg.inv(information)
    difference = np.array([1.0, -1.0])
    weights = (difference @ inverse @ white / np.sqrt(spreads)) @ directions
    likelihood = -(np.sum(np.log(spreads)) + np.linalg.slogdet(information)[1]) / 2
    # How far this moves the difference of the means, compared with what it leaves around them; 1 for white noise.
    moved = float(np.sum((directions @ plain) ** 2 * spreads)) / float(plain @ plain)
    unit = design / np.sqrt(design.sum(axis=1))[:, None]
    left = float(spreads.sum()) - float(np.sum((unit @ directions.T) ** 2 * spreads))
    likelihood += CAUTION * math.log(moved / (left / (spreads.size - 2)))
    levels = np.linalg.inv(np.linalg.cholesky(information)) @ white
    return weights, float(difference @ inverse @ difference), likelihood, spreads, levels


def surroundings(begin: int, end: int, first: int, last: int) -> tuple[int, int]:
    """From when to when the time around [begin, end) reaches, in what lasts from `first` to `last`; any unit.

    LENGTHS times its length on either side; what one side is short of, as at an edge, the other has more of.
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
