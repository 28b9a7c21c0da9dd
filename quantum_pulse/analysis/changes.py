"""Detect change points in a series of results; derived in `docs/statistics.md`."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from quantum_pulse.analysis import nulls, seeded, wandering
from quantum_pulse.analysis.seeded import SHORTEST
from quantum_pulse.arguments import between

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from quantum_pulse.analysis.wandering import Explained

    Floats = npt.NDArray[np.float64]

#: Share of the error probability that the search of the whole series gets; those of its parts share the rest.
WHOLE: Final = 0.75
#: What the odds of noise that wanders are multiplied by.
SENSITIVITIES: Final = {"low": 5.0, "medium": 1.0, "high": 0.2}
#: What a trend costs in the likelihood, times the logarithm of the number of values: more than a step, as most changes
#: of a program are at once.
TREND_COST: Final = 2.0
#: Places that are taken together where a step is small.
NEAR: Final = 7


@dataclass(frozen=True)
class ChangePoint:
    """A step in a series.

    Attributes
    ----------
    index : int
        Position of the first value after the step.
    before : float
        Median from the previous step, or the start of the series, to this step.
    after : float
        Median from this step to the next one, or to the end of the series.
    p_value : float
        Probability of so clear a step anywhere in the series if it holds nothing but noise. It
        accounts for all positions and lengths that were searched.

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


@dataclass(frozen=True)
class Drift:
    """A steady change over a whole series.

    Attributes
    ----------
    start, end : float
        Where the line begins and ends, in the unit of the values. Steps are not part of it.
    p_value : float
        Probability of so steep a line if the series holds nothing but noise.

    Examples
    --------
    >>> from quantum_pulse import analysis
    >>> found = analysis.drift([100 + 0.5 * run + run % 2 for run in range(60)])
    >>> round(found.end - found.start)
    30
    """

    start: float
    end: float
    p_value: float


class _Searched(NamedTuple):
    """A series in which steps were sought."""

    #: Without outliers.
    quiet: Floats
    series: seeded.Prepared
    #: The best steps of each length of intervals, ascending.
    found: list[seeded.Steps]
    #: Places that may be steps, the clearest first.
    splits: list[int]
    noise: Explained


def change_points(
    values: Sequence[float] | npt.ArrayLike, *, alpha: float = 0.02, sensitivity: str = "medium"
) -> list[ChangePoint]:
    """Find the steps in a series of results.

    Parameters
    ----------
    values : array-like of float, shape (n,)
        Results of successive runs, in any unit. NaN is left out.
    alpha : float, default 0.02
        Probability of any report on a series that only fluctuates from run to run, even if it is
        skewed, has outliers or is moderately autocorrelated. It must be above 0 and below 0.5.
    sensitivity : {"low", "medium", "high"}, default "medium"
        What to make of a series that either has small steps or wanders slowly, as results of a busy
        machine do: "low" takes it for wandering, "high" for steps. Clear steps are found at any
        sensitivity.

    Returns
    -------
    list of ChangePoint
        The steps in order of position; empty if there are none. A step has at least 5 values on
        each side; what lasts for less is an outlier. A steady change is not a step but a `drift`.

    Raises
    ------
    ValueError
        If `values` is not one-dimensional or not finite, `alpha` is out of range, or
        `sensitivity` is another word.

    See Also
    --------
    drift : Find a steady change in a series of results.
    History.change_points : Find the steps of the operations in a history.

    Notes
    -----
    Steps are sought in seeded intervals of all lengths (Kovács et al. 2023), and of intervals
    that show one the narrowest are chosen (Baranowski et al. 2019). How large a step chance makes
    is simulated for each length, for several kinds of noise that are partly persistent and partly
    white. Each kind is weighted by its likelihood with as many steps as explain the series best
    (Whittle 1953; Meng 1994).

    References
    ----------
    - S. Kovács, P. Bühlmann, H. Li & A. Munk (2023). Seeded binary segmentation. Biometrika 110.
    - R. Baranowski, Y. Chen & P. Fryzlewicz (2019). Narrowest-over-threshold detection of
      multiple change points. Journal of the Royal Statistical Society B 81.
    - P. Whittle (1953). Estimation and information in stationary time series. Arkiv för Matematik 2.
    - X.-L. Meng (1994). Posterior predictive p-values. Annals of Statistics 22.

    Examples
    --------
    >>> from quantum_pulse import analysis
    >>> p99_us = [100, 103, 98, 101, 99, 102, 97, 130, 128, 133, 131, 127, 132, 129]
    >>> for step in analysis.change_points(p99_us):
    ...     print(f"run {step.index}: {step.before:g} -> {step.after:g}")
    run 7: 100 -> 130
    """
    return steps_and_drift(values, alpha=alpha, sensitivity=sensitivity)[0]


def drift(values: Sequence[float] | npt.ArrayLike, *, alpha: float = 0.02, sensitivity: str = "medium") -> Drift | None:
    """Find a steady change over a series of results, which may have steps besides.

    Parameters
    ----------
    values : array-like of float, shape (n,)
        Results of successive runs, in any unit. NaN is left out.
    alpha : float, default 0.02
        Probability of a report on a series that only fluctuates. It must be above 0 and below 0.5.
    sensitivity : {"low", "medium", "high"}, default "medium"
        As for `change_points`.

    Returns
    -------
    Drift or None
        The line, if it explains the series better than steps do; None otherwise.

    Raises
    ------
    ValueError
        As for `change_points`.

    See Also
    --------
    change_points : Find the steps in a series of results.

    Examples
    --------
    >>> from quantum_pulse import analysis
    >>> rss_mb = [200 + 3 * run + (7 * run) % 5 for run in range(40)]
    >>> found = analysis.drift(rss_mb)
    >>> print(f"{found.start:.0f} -> {found.end:.0f}, steps: {analysis.change_points(rss_mb)}")
    202 -> 319, steps: []
    """
    return steps_and_drift(values, alpha=alpha, sensitivity=sensitivity)[1]


def steps_and_drift(
    values: Sequence[float] | npt.ArrayLike, *, alpha: float = 0.02, sensitivity: str = "medium"
) -> tuple[list[ChangePoint], Drift | None]:
    """What `change_points` and `drift` find."""
    import numpy as np

    known, places = _known(values, alpha, sensitivity)
    found, drifts = _analysed(known, alpha, SENSITIVITIES[sensitivity])
    edges = [0, *(split for split, _ in found), known.size]
    levels = [float(np.median(known[a:b])) for a, b in pairwise(edges) if b > a]
    points = [
        ChangePoint(int(places[split]), levels[number], levels[number + 1], p_value)
        for number, (split, p_value) in enumerate(found)
    ]
    return points, drifts


def _known(
    values: Sequence[float] | npt.ArrayLike, alpha: float, sensitivity: str
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The values that are not NaN, and their places."""
    import numpy as np

    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"values must be one-dimensional, not of shape {series.shape}")
    if np.any(np.isinf(series)):
        raise ValueError("values must be finite (NaN is left out)")
    between(alpha, "alpha", 0, 0.5)
    if sensitivity not in SENSITIVITIES:
        raise ValueError(f"sensitivity must be one of {', '.join(map(repr, SENSITIVITIES))}, not {sensitivity!r}")
    places = np.flatnonzero(~np.isnan(series))
    return series[places], places


def _analysed(values: Floats, alpha: float, caution: float) -> tuple[list[tuple[int, float]], Drift | None]:
    """Steps, each with its p-value, and the drift."""
    import numpy as np

    count = values.size
    if count < 2 * SHORTEST or np.ptp(values) == 0:
        return [], None
    # Equal values were rounded: they hide noise of the width of the steps between values.
    distinct = np.unique(values)
    least = float(np.min(np.diff(distinct))) / math.sqrt(12)
    searched = _searched(values, least, caution)
    drifts = None
    if searched.splits:
        searched, drifts = _with_trend(values, searched, least, alpha, caution)
    chosen = _narrowest(_significant(searched, alpha))
    return _placed(searched, chosen), drifts


def _searched(values: Floats, least: float, caution: float) -> _Searched:
    quiet, series = seeded.prepared(values[None, :], least)
    found = [seeded.steps(series, length) for length in seeded.lengths(values.size)]
    splits = _clearest(found, values.size)
    return _Searched(quiet[0], series, found, splits, wandering.explained(quiet[0], splits, least**2, caution))


def _with_trend(
    values: Floats, searched: _Searched, least: float, alpha: float, caution: float
) -> tuple[_Searched, Drift | None]:
    """The search without the trend and the trend, where a trend explains more of the series than steps do."""
    import numpy as np

    count = values.size
    places: Floats = np.arange(count, dtype=np.float64) - (count - 1) / 2
    best, drifts = searched, None
    score = searched.noise.score
    for splits in ([], searched.splits[: searched.noise.steps]) if searched.noise.steps else ([],):
        within = wandering.without_levels(places, splits)
        power = float(within @ within)
        slope = float(within @ searched.quiet) / power
        straight = _searched(values - slope * places, least, caution)
        cost = TREND_COST * math.log(count)
        if straight.noise.score - cost <= score:
            continue
        rest = wandering.without_levels(straight.quiet, splits)
        variance = max(float(rest @ rest) / (count - 2), float(straight.series.noise[0, -1]) / count, least**2)
        tails = nulls.trend_null(count).tails(np.array([abs(slope) * math.sqrt(power / variance)]))
        p_value = float(straight.noise.weights @ tails[:, 0])
        if p_value <= alpha:
            middle = float(np.median(values - slope * places))
            reach = slope * (count - 1) / 2
            best, score = straight, straight.noise.score - cost
            drifts = Drift(middle - reach, middle + reach, p_value)
    return best, drifts


class _Candidate(NamedTuple):
    """A step that some interval shows."""

    order: float
    start: int
    end: int
    split: int
    p_value: float = 1.0


def _clearest(found: Sequence[seeded.Steps], count: int) -> list[int]:
    """Places that may be steps, the clearest first; each has an interval without a clearer one."""
    import numpy as np

    least = math.sqrt(2 * wandering.STEP_COST * math.log(count))
    candidates = []
    for steps in found:
        statistics = steps.statistics[0]
        if statistics.max() <= least:
            continue
        for number in np.flatnonzero(statistics > least).tolist():
            start = int(steps.starts[number])
            candidates.append(
                _Candidate(-float(statistics[number]), start, start + steps.length, int(steps.splits[0, number]))
            )
    return [one.split for one in _apart(candidates)]


def _apart(candidates: Iterable[_Candidate]) -> list[_Candidate]:
    """Those whose interval has none before them in order."""
    taken: list[int] = []
    chosen = []
    for one in sorted(candidates):
        if bisect_right(taken, one.start) == bisect_left(taken, one.end):
            insort(taken, one.split)
            chosen.append(one)
    return chosen


def _significant(searched: _Searched, alpha: float) -> list[_Candidate]:
    """Steps that noise does not make, with probability `alpha` of any mistake; the narrowest intervals first."""
    import numpy as np

    count = searched.quiet.size
    parts = len(searched.found) - 1
    candidates = []
    for steps in searched.found:
        share = 1.0 if not parts else WHOLE if steps.length == count else (1 - WHOLE) / parts
        null = nulls.null(count, steps.length)
        statistics = steps.statistics[0]
        # Other noise makes larger steps than white noise does.
        large = np.flatnonzero(statistics >= null.exceeded(alpha * share))
        if not large.size:
            continue
        p_values = searched.noise.weights @ null.tails(statistics[large]) / share
        for number, p_value in zip(large.tolist(), p_values.tolist(), strict=True):
            if p_value <= alpha:
                start, statistic = int(steps.starts[number]), float(statistics[number])
                # Of one length, the clearest first.
                order = steps.length - statistic / (1 + statistic)
                split = int(steps.splits[0, number])
                candidates.append(_Candidate(order, start, start + steps.length, split, p_value))
    return candidates


def _narrowest(candidates: list[_Candidate]) -> list[_Candidate]:
    """One candidate for each step (Baranowski, Chen & Fryzlewicz 2019), in order of place."""
    return sorted(_apart(candidates), key=lambda one: one.split)


def _placed(searched: _Searched, chosen: list[_Candidate]) -> list[tuple[int, float]]:
    """Each step where it most likely is between its neighbours."""
    count = searched.quiet.size
    splits = [one.split for one in chosen]
    for _ in range(2):
        for number in range(len(splits)):
            low = splits[number - 1] if number else 0
            high = splits[number + 1] if number + 1 < len(splits) else count
            if high - low >= 2 * SHORTEST:
                splits[number] = _likeliest_place(searched.series, low, high)
    return [(split, one.p_value) for split, one in zip(splits, chosen, strict=True)]


def _likeliest_place(series: seeded.Prepared, low: int, high: int) -> int:
    """The likeliest place of one step in [low, high), among the NEAR neighbours that are likeliest together:
    of a small step, no single place is likely."""
    import numpy as np

    sums = series.sums[0]
    places = np.arange(low + SHORTEST, high - SHORTEST + 1)
    left, right = (sums[places] - sums[low]) / (places - low), (sums[high] - sums[places]) / (high - places)
    gains = (left - right) ** 2 * ((places - low) * (high - places) / (high - low))
    variance = max(float(series.noise[0, high] - series.noise[0, low]) / (high - low), float(series.least[0, 0]))
    likely = np.exp((gains - gains.max()) / (2 * variance))
    together = np.convolve(likely, np.ones(NEAR), "same")[: likely.size] if likely.size >= NEAR else likely
    middle = int(np.argmax(together))
    first = max(middle - NEAR // 2, 0)
    return int(places[first + np.argmax(likely[first : middle + NEAR // 2 + 1])])
