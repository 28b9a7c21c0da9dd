"""Estimate the uncertainty of a ratio of quantiles, within runs and between them; see `docs/statistics.md`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.analysis.dependence import variance_inflation
from quantum_pulse.analysis.significance import student_quantile, student_tail

if TYPE_CHECKING:
    import numpy.typing as npt

#: A clock's tick, in ns: shorter durations than half of it are taken as that when a logarithm is needed.
SHORTEST: Final = 0.5


@dataclass(frozen=True)
class Side:
    """Durations of one operation on one side."""

    runs: list[npt.NDArray[Any]]
    values: npt.NDArray[Any]  # of all runs, sorted

    @classmethod
    def of(cls, runs: list[npt.NDArray[Any]]) -> Side:
        """Sort the durations of some runs."""
        import numpy as np

        return cls(runs, np.sort(np.concatenate(runs)) if runs else np.empty(0))

    @property
    def count(self) -> int:
        """How many durations there are."""
        return int(self.values.size)

    def quantile(self, level: float) -> float:
        """Return a quantile, interpolated linearly; NaN without durations."""
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


def ratio_of(high: float, low: float) -> float:
    """Return the ratio of two durations; one of 0 counts as the shortest that a clock shows."""
    return max(high, SHORTEST) / max(low, SHORTEST)


@dataclass(frozen=True)
class Within:
    """Uncertainty of the ratio of two quantiles from the dependence of samples within runs.

    Is the quantile of `after` more than `factor` times that of `before`? Then some threshold has a larger share of
    `before * factor` below it than of `after`, though both together have `level` below it. Levels that are `distance`
    apart and whose mean, weighted by effective size, is `level`, are as unlikely as the signed root of the likelihood
    ratio of two shares says; the quantiles at those levels are the interval's ends. No density is estimated, so gaps,
    ties and heavy tails do no harm.
    """

    before: Side
    after: Side
    level: float
    effective_before: float
    effective_after: float
    freedom: float

    @classmethod
    def of(cls, before: Side, after: Side, level: float) -> Within:
        """Estimate it from the samples of both sides."""
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
        return ratio_of(
            self.after.below(self.level - self.effective_before / total * distance),
            self.before.above(self.level + self.effective_after / total * distance),
        )

    def _high(self, distance: float) -> float:
        total = self.effective_before + self.effective_after
        return ratio_of(
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
        shares = [(upper, self.level - lower / total * distance), (lower, self.level + upper / total * distance)]
        return root_of_deviance(shares, self.level)

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


def root_of_deviance(samples: Sequence[tuple[float, float]], level: float) -> float:
    """Root of the likelihood ratio of "all shares are `level`", for samples of these sizes and shares."""
    return math.sqrt(2 * max(sum(size * _divergence(share, level) for size, share in samples), 0.0))


def _divergence(share: float, level: float) -> float:
    """Kullback-Leibler divergence of two Bernoulli distributions, in nats."""
    share = min(max(share, 0.0), 1.0)
    heads = share * math.log(share / level) if share > 0 else 0.0
    tails = (1 - share) * math.log((1 - share) / (1 - level)) if share < 1 else 0.0
    return heads + tails


def _dependence(side: Side, level: float) -> tuple[float, float]:
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
        own, degrees = max(map(variance_inflation, beyond))
        freedom += degrees
        inflation += run.size / side.count * own
    return inflation, freedom


@dataclass(frozen=True)
class Between:
    """Uncertainty of the ratio of two quantiles from how the quantile varies from run to run: Student's t of its log.

    The variance of a run is pooled over both sides, so that a single run can be compared with several.
    """

    log_ratio: float
    error: float
    freedom: float

    @classmethod
    def of(cls, before: Side, after: Side, level: float, variance: float = 0.0, freedom: float = 0.0) -> Between:
        """Estimate it from the quantiles of the runs of both sides, and from the variance of earlier runs."""
        import numpy as np

        squares, share = variance * freedom, 0.0
        for side in (before, after):
            logs = np.log([max(interpolated(np.sort(run), level), SHORTEST) for run in side.runs])
            weights = np.array([run.size for run in side.runs]) / side.count
            concentration = float(np.sum(weights**2))
            squares += float(np.sum(weights * (logs - np.sum(weights * logs)) ** 2)) / concentration
            freedom += 1 / concentration - 1
            share += concentration
        log_ratio = math.log(ratio_of(after.quantile(level), before.quantile(level)))
        return cls(log_ratio, math.sqrt(squares / freedom * share), freedom)

    def p_greater(self, factor: float) -> float:
        """Return the one-sided p-value against "the ratio is at most `factor`"."""
        return self._tail(self.log_ratio - math.log(factor))

    def p_less(self, factor: float) -> float:
        """Return the one-sided p-value against "the ratio is at least `factor`"."""
        return self._tail(math.log(factor) - self.log_ratio)

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the ends of the ratio's interval at 1 - `alpha`."""
        width = student_quantile(alpha / 2, self.freedom) * self.error
        return math.exp(self.log_ratio - width), math.exp(self.log_ratio + width)

    def _tail(self, difference: float) -> float:
        if difference <= 0:
            return 1.0
        return student_tail(difference / self.error if self.error > 0 else math.inf, self.freedom)
