"""Did an operation get slower? Two sets of recordings against each other; derived in `docs/statistics.md`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from quantum_pulse.analysis.significance import benjamini_hochberg, student_quantile, student_tail

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

#: Operation -> durations in ns, in the order in which they were recorded.
Run: TypeAlias = "Mapping[str, npt.ArrayLike]"

COLUMNS: Final = (
    "operation",
    "quantile",
    "baseline_us",
    "current_us",
    "change",
    "ci_low",
    "ci_high",
    "q_value",
    "verdict",
)

#: The worst first: the verdict on the whole is the first of these that some row has.
VERDICTS: Final = ("regressed", "improved", "inconclusive", "too_few", "equivalent", "added", "removed")

#: A quantile is tested when this many samples are expected beyond it, on each side.
FEWEST_BEYOND: Final = 5
#: Cosines that a long-run variance is estimated from, at most: few see what depends over up to 1/16 of a run, many
#: are precise. The larger estimate counts, with the degrees of freedom of the few.
FEW_COSINES: Final = 16
MANY_COSINES: Final = 48
#: Bins into which a run is summed before that. Many more than cosines, so that summing changes nothing.
BINS: Final = 512
#: A clock's tick, in ns: shorter durations than half of it are taken as that when a logarithm is needed.
SHORTEST: Final = 0.5


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare_samples` found."""

    #: A row per operation and quantile: operation, quantile, baseline_us, current_us, change (current / baseline - 1),
    #: ci_low, ci_high (of the change, at 1 - alpha, each row for itself), q_value, verdict. Sorted by operation.
    table: pd.DataFrame
    #: Shares of 1: the smallest change that matters, and the share of false reports accepted.
    min_effect: float
    alpha: float
    #: How many runs each side had.
    baseline_runs: int
    current_runs: int
    #: What differs between the environments of the two sides, in words; see `analysis.environments`.
    differences: tuple[str, ...] = ()

    @property
    def regressions(self) -> pd.DataFrame:
        """Rows of `table` that got slower, the largest change first."""
        return self._having("regressed", ascending=False)

    @property
    def improvements(self) -> pd.DataFrame:
        """Rows of `table` that got faster, the largest change first."""
        return self._having("improved", ascending=True)

    @property
    def verdict(self) -> str:
        """One word for the whole: of the verdicts in the table the first of VERDICTS; "too_few" for an empty table."""
        present = set(self.table["verdict"])
        return next((verdict for verdict in VERDICTS if verdict in present), "too_few")

    @property
    def between_runs(self) -> bool:
        """Whether variation from run to run was seen and allowed for: some side had several runs."""
        return max(self.baseline_runs, self.current_runs) > 1

    @property
    def summary(self) -> str:
        """The verdict in a sentence or two, with what limits it."""
        operations = self.table.groupby("operation", sort=False)["verdict"].agg(set)
        counts = [
            f"{sum(verdict in found for found in operations)} {verdict.replace('_', ' ')}"
            for verdict in VERDICTS
            if any(verdict in found for found in operations)
        ]
        text = f"Of {len(operations)} operations: {', '.join(counts)}." if counts else "Nothing to compare."
        if not self.between_runs:
            text += " One run a side: variation from run to run was not seen, and may be all that this shows."
        if self.differences:
            text += f" Not recorded under the same conditions: {'; '.join(self.differences)}."
        return text

    def _having(self, verdict: str, *, ascending: bool) -> pd.DataFrame:
        rows = self.table[self.table["verdict"] == verdict]
        return rows.sort_values("change", ascending=ascending, kind="stable")


def compare_samples(
    baseline: Run | Sequence[Run],
    current: Run | Sequence[Run],
    *,
    quantiles: Sequence[float] = (0.5, 0.95, 0.99),
    min_effect: float = 0.05,
    alpha: float = 0.05,
) -> Comparison:
    """Compare durations of operations, quantile by quantile.

    `baseline`, `current`: a mapping of operation to its durations in ns, in the order recorded (the order shows how
    samples depend on each other), or a sequence of such mappings, one per run. An operation may be missing in some.

    A row is "regressed" or "improved" when the ratio of quantiles is beyond 1 + `min_effect` (or its inverse), and not
    merely beyond 1, with the share of false reports over all rows at most `alpha`; "equivalent" when it is shown to be
    within, "inconclusive" otherwise, "too_few" when fewer than FEWEST_BEYOND samples are to be expected beyond the
    quantile on a side. "added" and "removed" are operations of one side only.

    Method: the share of samples beyond a common threshold is compared between the sides (Mood 1950; as an interval of
    the quantile, Woodruff 1952), with the long-run variance of exceeding (as for quantiles of dependent data Sun &
    Lahiri 2006) from low-frequency cosines and Student's t (Lazarus, Lewis, Stock & Watson 2018). With several runs
    the ratio must stand out of the variation between runs as well. Benjamini & Hochberg 1995 over the table.

    Raises TypeError for what is not a mapping or a sequence of them, and ValueError for durations that are negative,
    not finite or not one-dimensional and for arguments out of range.
    """
    import pandas as pd

    levels = _checked(quantiles, min_effect, alpha)
    sides = [_runs(baseline, "baseline"), _runs(current, "current")]
    names = sorted({name for side in sides for run in side for name in run})
    rows: list[_Row] = []
    for name in names:
        before, after = (_Side.of([run[name] for run in side if name in run]) for side in sides)
        rows += [_row(name, level, before, after, min_effect, alpha) for level in levels]
    q_values = benjamini_hochberg([row.p_change for row in rows])
    # A false "equivalent" hides a regression: corrected in the same way, as a family of its own.
    q_equivalent = benjamini_hochberg([row.p_equivalent for row in rows])
    table = pd.DataFrame(
        [
            (*row.cells, q, row.verdict or verdict(row.slower, q, equivalent, alpha))
            for row, q, equivalent in zip(rows, q_values.tolist(), q_equivalent.tolist(), strict=True)
        ],
        columns=list(COLUMNS),
    )
    table = table.astype(dict.fromkeys(COLUMNS[1:-1], "float64"))
    return Comparison(table, min_effect, alpha, len(sides[0]), len(sides[1]))


def _checked(quantiles: Sequence[float], min_effect: float, alpha: float) -> list[float]:
    levels = sorted({float(level) for level in quantiles})
    if not levels or not all(0 < level < 1 for level in levels):
        raise ValueError(f"quantiles must be between 0 and 1, at least one, not {quantiles!r}")
    if not 0 <= min_effect < math.inf:
        raise ValueError(f"min_effect must be a share, 0 or more, not {min_effect!r}")
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha must be between 0 and 0.5, not {alpha!r}")
    return levels


def _runs(runs: Run | Sequence[Run], what: str) -> list[dict[str, npt.NDArray[Any]]]:
    """Each run with its durations as arrays; operations without samples are left out."""
    import numpy as np

    if isinstance(runs, Mapping):
        runs = [runs]
    if isinstance(runs, str | bytes) or not isinstance(runs, Sequence):
        raise TypeError(f"{what} must be a mapping of operation to durations, or a sequence of them, not {runs!r}")
    if not runs:
        raise ValueError(f"{what} has no runs")
    found = []
    for run in runs:
        if not isinstance(run, Mapping):
            raise TypeError(f"each run of {what} must be a mapping of operation to durations, not {run!r}")
        arrays = {str(name): np.asarray(durations) for name, durations in run.items()}
        for name, durations in arrays.items():
            if durations.ndim != 1 or (durations.size and durations.dtype.kind not in "iuf"):
                raise ValueError(f"durations of {name} in {what} must be a sequence of numbers")
            if durations.size and not (durations.min() >= 0 and durations.max() < math.inf):
                raise ValueError(f"durations of {name} in {what} must be finite and not negative")
        found.append({name: durations for name, durations in arrays.items() if durations.size})
    return found


def verdict(slower: bool, q: float, q_equivalent: float, alpha: float) -> str:
    """One word for a row that was tested: its q-values of having changed and of being the same."""
    if q <= alpha:
        return "regressed" if slower else "improved"
    return "equivalent" if q_equivalent <= alpha else "inconclusive"


@dataclass(frozen=True)
class _Row:
    """A row of the table before the correction over all rows. `verdict` is empty where that decides."""

    cells: tuple[str, float, float, float, float, float, float]
    p_change: float = math.nan
    p_equivalent: float = math.nan
    slower: bool = False
    verdict: str = ""


@dataclass(frozen=True)
class _Side:
    """Durations of one operation on one side."""

    runs: list[npt.NDArray[Any]]
    values: npt.NDArray[Any]  # of all runs, sorted

    @classmethod
    def of(cls, runs: list[npt.NDArray[Any]]) -> _Side:
        import numpy as np

        return cls(runs, np.sort(np.concatenate(runs)) if runs else np.empty(0))

    @property
    def count(self) -> int:
        return int(self.values.size)

    def quantile(self, level: float) -> float:
        return interpolated(self.values, level) if self.count else math.nan

    def above(self, level: float) -> float:
        """The order statistic just above `level`."""
        return float(self.values[min(int(level * self.count), self.count - 1)])

    def below(self, level: float) -> float:
        """The order statistic just below `level`."""
        return float(self.values[max(math.ceil(level * self.count) - 1, 0)])


def interpolated(ordered: npt.NDArray[Any], level: float) -> float:
    """Quantile of a sorted array, interpolated linearly as numpy does, without looking at all of it."""
    place = level * (ordered.size - 1)
    left = int(place)
    right = min(left + 1, ordered.size - 1)
    return float(ordered[left]) + (place - left) * (float(ordered[right]) - float(ordered[left]))


def _row(name: str, level: float, before: _Side, after: _Side, min_effect: float, alpha: float) -> _Row:
    low, high = before.quantile(level), after.quantile(level)
    unknown = (name, level, low / 1000, high / 1000, math.nan, math.nan, math.nan)
    if not before.count or not after.count:
        return _Row(unknown, verdict="removed" if before.count else "added")
    ratio = _ratio(high, low)
    if min(before.count, after.count) * min(level, 1 - level) < FEWEST_BEYOND - 1e-9:
        return _Row((*unknown[:4], ratio - 1, math.nan, math.nan), verdict="too_few")
    views: list[_Within | _Between] = [_Within.of(before, after, level)]
    if len(before.runs) + len(after.runs) > 2:
        views.append(_Between.of(before, after, level))
    # Each view sees something that the other may not: the less certain one counts.
    margin = 1 + min_effect
    slower = max(view.p_greater(margin) for view in views)
    faster = max(view.p_less(1 / margin) for view in views)
    equivalent = max(max(view.p_less(margin), view.p_greater(1 / margin)) for view in views)
    bounds = [view.interval(alpha) for view in views]
    interval = (min(bound[0] for bound in bounds) - 1, max(bound[1] for bound in bounds) - 1)
    cells = (*unknown[:4], ratio - 1, *interval)
    return _Row(cells, min(1.0, 2 * min(slower, faster)), equivalent, slower < faster)


def _ratio(high: float, low: float) -> float:
    return max(high, SHORTEST) / max(low, SHORTEST)


@dataclass(frozen=True)
class _Within:
    """Uncertainty of the ratio of two quantiles from the dependence of samples within runs.

    Is the quantile of `after` more than `factor` times that of `before`? Then some threshold has a larger share of
    `before * factor` below it than of `after`, though both together have `level` below it. Levels that are `distance`
    apart and whose mean, weighted by effective size, is `level`, are as unlikely as the signed root of the likelihood
    ratio of two shares says; the quantiles at those levels are the interval's ends. No density is estimated, so gaps,
    ties and heavy tails do no harm.
    """

    before: _Side
    after: _Side
    level: float
    effective_before: float
    effective_after: float
    freedom: float

    @classmethod
    def of(cls, before: _Side, after: _Side, level: float) -> _Within:
        inflations, freedoms = zip(*(_dependence(side, level) for side in (before, after)), strict=True)
        sizes = [side.count / inflation for side, inflation in zip((before, after), inflations, strict=True)]
        # Satterthwaite 1946, for the sum of the two variances; and no more than there are observations, in effect.
        parts = [1 / size for size in sizes]
        freedom = sum(parts) ** 2 / sum(part**2 / degrees for part, degrees in zip(parts, freedoms, strict=True))
        return cls(before, after, level, sizes[0], sizes[1], max(1.0, min(freedom, sum(sizes) - 2)))

    def p_greater(self, factor: float) -> float:
        """One-sided p-value against "the ratio is at most `factor`"."""
        distance = self._widest(
            self._reach(self.effective_after, self.effective_before),
            lambda d: self._low(d) > factor,
        )
        return student_tail(self._root(self.effective_after, self.effective_before, distance), self.freedom)

    def p_less(self, factor: float) -> float:
        """One-sided p-value against "the ratio is at least `factor`"."""
        distance = self._widest(
            self._reach(self.effective_before, self.effective_after),
            lambda d: self._high(d) < factor,
        )
        return student_tail(self._root(self.effective_before, self.effective_after, distance), self.freedom)

    def interval(self, alpha: float) -> tuple[float, float]:
        """Confidence interval of the ratio; (0, inf) where the data set no bound."""
        root = student_quantile(alpha / 2, self.freedom)
        ends = []
        for upper, lower in (
            (self.effective_after, self.effective_before),
            (self.effective_before, self.effective_after),
        ):
            reach = self._reach(upper, lower)
            ends.append(
                self._widest(reach, lambda d, upper=upper, lower=lower: self._root(upper, lower, d) < root)
                if self._root(upper, lower, reach) > root
                else math.inf
            )
        low = 0.0 if math.isinf(ends[0]) else self._low(ends[0])
        high = math.inf if math.isinf(ends[1]) else self._high(ends[1])
        return low, high

    def _low(self, distance: float) -> float:
        total = self.effective_before + self.effective_after
        return _ratio(
            self.after.below(self.level - self.effective_before / total * distance),
            self.before.above(self.level + self.effective_after / total * distance),
        )

    def _high(self, distance: float) -> float:
        total = self.effective_before + self.effective_after
        return _ratio(
            self.after.above(self.level + self.effective_before / total * distance),
            self.before.below(self.level - self.effective_after / total * distance),
        )

    def _reach(self, upper: float, lower: float) -> float:
        """The largest distance, at which one of the two levels is 0 or 1."""
        total = upper + lower
        return min(self.level * total / lower, (1 - self.level) * total / upper)

    def _root(self, upper: float, lower: float, distance: float) -> float:
        """Signed root of the likelihood ratio; `upper` is the effective size of the side of the larger durations."""
        total = upper + lower
        deviance = upper * _divergence(self.level - lower / total * distance, self.level)
        deviance += lower * _divergence(self.level + upper / total * distance, self.level)
        return math.sqrt(2 * max(deviance, 0.0))

    @staticmethod
    def _widest(reach: float, holds: Any) -> float:
        """The largest distance at which `holds`, which turns from true to false once; 0 when it never does."""
        if holds(reach):
            return reach
        low, high = 0.0, reach
        while high - low > 1e-4 * high:
            middle = (low + high) / 2
            low, high = (middle, high) if holds(middle) else (low, middle)
            if high < 1e-12:
                return 0.0
        return low


def _divergence(share: float, level: float) -> float:
    """Kullback-Leibler divergence of two Bernoulli distributions, in nats."""
    share = min(max(share, 0.0), 1.0)
    heads = share * math.log(share / level) if share > 0 else 0.0
    tails = (1 - share) * math.log((1 - share) / (1 - level)) if share < 1 else 0.0
    return heads + tails


def _dependence(side: _Side, level: float) -> tuple[float, float]:
    """How many times the variance of independent samples the share beyond the quantile has, and degrees of freedom."""
    import numpy as np

    threshold = side.quantile(level)
    inflation = freedom = 0.0
    for run in side.runs:
        beyond = [run > threshold]
        # Where many samples are equal to the quantile, both sides of the step matter.
        ties = int(np.searchsorted(side.values, threshold, "right") - np.searchsorted(side.values, threshold, "left"))
        if ties > 0.01 * side.count:
            beyond.append(run >= threshold)
        # The optimal number for short dependence (Lazarus, Lewis, Stock & Watson 2018), then bounded.
        many = max(2, min(MANY_COSINES, int(0.4 * run.size ** (2 / 3))))
        few = min(many, FEW_COSINES)
        freedom += few
        inflation += run.size / side.count * max(variance_inflation(hits, few, many) for hits in beyond)
    return inflation, freedom


def variance_inflation(hits: npt.NDArray[np.bool_], few: int, many: int) -> float:
    """Long-run variance of a series of booleans over its variance, at least 1.

    The equal-weighted cosine estimator, the mean square of the series' projections on the slowest cosines: the `few`
    or the `many` slowest, whichever gives more.
    Never below 1: that it is for samples that avoid each other is not taken on trust.
    """
    import numpy as np

    width = -(-hits.size // BINS)
    bins = hits.size // width
    share = float(np.count_nonzero(hits)) / hits.size
    if bins <= many or share in (0.0, 1.0):
        return 1.0
    sums = hits[: bins * width].reshape(bins, width).sum(axis=1, dtype=np.int32)
    waves = _cosines(bins, many)
    powers = (waves @ (sums - sums.mean())) ** 2
    return max(1.0, max(float(powers[:few].mean()), float(powers.mean())) / width / (share * (1 - share)))


def _cosines(bins: int, count: int) -> npt.NDArray[np.float64]:
    """Rows are the slowest orthonormal cosines (of type II) but the constant, shape (count, bins)."""
    import numpy as np

    places = (np.arange(bins) + 0.5) / bins
    waves: npt.NDArray[np.float64] = np.sqrt(2 / bins) * np.cos(np.pi * np.arange(1, count + 1)[:, None] * places)
    return waves


@dataclass(frozen=True)
class _Between:
    """Uncertainty of the ratio of two quantiles from how the quantile varies from run to run: Student's t of its log.

    The variance of a run is pooled over both sides, so that a single run can be compared with several.
    """

    log_ratio: float
    error: float
    freedom: float

    @classmethod
    def of(cls, before: _Side, after: _Side, level: float) -> _Between:
        import numpy as np

        squares = freedom = share = 0.0
        for side in (before, after):
            logs = np.log([max(interpolated(np.sort(run), level), SHORTEST) for run in side.runs])
            weights = np.array([run.size for run in side.runs]) / side.count
            concentration = float(np.sum(weights**2))
            squares += float(np.sum(weights * (logs - np.sum(weights * logs)) ** 2)) / concentration
            freedom += 1 / concentration - 1
            share += concentration
        log_ratio = math.log(_ratio(after.quantile(level), before.quantile(level)))
        return cls(log_ratio, math.sqrt(squares / freedom * share), freedom)

    def p_greater(self, factor: float) -> float:
        return self._tail(self.log_ratio - math.log(factor))

    def p_less(self, factor: float) -> float:
        return self._tail(math.log(factor) - self.log_ratio)

    def interval(self, alpha: float) -> tuple[float, float]:
        width = student_quantile(alpha / 2, self.freedom) * self.error
        return math.exp(self.log_ratio - width), math.exp(self.log_ratio + width)

    def _tail(self, difference: float) -> float:
        if difference <= 0:
            return 1.0
        return student_tail(difference / self.error if self.error > 0 else math.inf, self.freedom)
