"""Test whether an operation keeps its budget: one quantile against a limit; derived in `docs/statistics.md`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.analysis.dependence import variance_inflation
from quantum_pulse.analysis.ratios import SHORTEST, Between, interpolated, root_of_deviance
from quantum_pulse.analysis.significance import benjamini_hochberg, binomial_tail, level_after_selection, student_tail
from quantum_pulse.arguments import between

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.evidence import Budget, Run

COLUMNS: Final = ("quantile", "value_us", "ci_low_us", "ci_high_us", "q_value", "verdict")
#: Beyond this size the binomial is so well approximated that its tails are not summed.
LARGEST_EXACT: Final = 100_000


def check_budgets(
    budgets: Mapping[str, Budget], runs: Iterable[tuple[str, Sequence[Run]]], alpha: float = 0.05
) -> pd.DataFrame:
    """Test which operations keep their budgets.

    Parameters
    ----------
    budgets : mapping of str to Budget
        For each operation its budget: ``limit_us``, in microseconds, and ``quantile``, the share
        of its calls that must keep it.
    runs : iterable of (str, sequence of runs)
        Each operation with its runs. A run is a pair of arrays: the durations in nanoseconds, in the
        order in which they were recorded, and the number of calls that each represents.
    alpha : float, default 0.05
        The false discovery rate that is accepted. It must be above 0 and below 0.5.

    Returns
    -------
    pandas.DataFrame
        One row per operation of `runs`, index ``operation``. The columns are

        - ``quantile``: that of the budget;
        - ``value_us``: this quantile of all calls;
        - ``ci_low_us``, ``ci_high_us``: its interval, corrected for the number of budgets like the
          verdict, so that it excludes the limit exactly if the budget is kept or missed; infinite if
          the calls set no bound;
        - ``q_value``: of being off the budget, on either side;
        - ``verdict``: "kept", "missed", "inconclusive", or "too_few" if so few calls could not show
          that the budget is kept even if none exceeded it.

    Raises
    ------
    ValueError
        If `alpha` is out of range.

    See Also
    --------
    Capture.budgets : The same for a capture.

    Notes
    -----
    The share of calls above the limit is tested against ``1 - quantile``, by the exact binomial
    and by the root of its likelihood ratio with Student's t; the larger p-value counts. The number of
    calls is reduced for their dependence (as in `compare_samples`) and for their weights (Kish
    1965). With several runs, the logarithms of their quantiles must lie beyond the limit as well, by
    Student's t. The interval is by Woodruff (1952), q-values are by Benjamini & Hochberg (1995), and
    the level of the intervals is by Benjamini & Yekutieli (2005).

    References
    ----------
    - L. Kish (1965). Survey Sampling. Wiley.
    - R. S. Woodruff (1952). Confidence intervals for medians and other position measures. Journal
      of the American Statistical Association 47.
    - Y. Benjamini & Y. Hochberg (1995). Controlling the false discovery rate. Journal of the Royal
      Statistical Society B 57.
    - Y. Benjamini & D. Yekutieli (2005). False discovery rate-adjusted multiple confidence intervals
      for selected parameters. Journal of the American Statistical Association 100.

    Examples
    --------
    >>> import numpy as np
    >>> from quantum_pulse import analysis
    >>> from quantum_pulse.reading.budgets import Budget
    >>> durations = np.random.default_rng(1).integers(20_000, 60_000, 5000)
    >>> run = durations, np.ones(5000, np.int32)
    >>> budgets = {"Shop.PARSE": Budget(limit_us=100, quantile=0.99)}
    >>> analysis.check_budgets(budgets, [("Shop.PARSE", [run])])["verdict"].to_dict()
    {'Shop.PARSE': 'kept'}
    """
    import pandas as pd

    alpha = between(alpha, "alpha", 0, 0.5)
    found = {name: _Checked.of(budgets[name], own, alpha) for name, own in runs}
    q_values = benjamini_hochberg([min(1.0, 2 * min(one.p_missed, one.p_kept)) for one in found.values()])
    level = level_after_selection(q_values, alpha)
    rows = []
    for (name, one), q in zip(found.items(), q_values.tolist(), strict=True):
        verdict = "inconclusive" if one.enough else "too_few"
        if q <= alpha:
            verdict = "missed" if one.p_missed < one.p_kept else "kept"
        low, high = one.interval(level)
        rows.append((budgets[name].quantile, one.value / 1000, low / 1000, high / 1000, q, verdict))
    frame = pd.DataFrame(rows, columns=list(COLUMNS), index=pd.Index(list(found), dtype="object", name="operation"))
    return frame.astype(dict.fromkeys(COLUMNS[:-1], "float64"))


@dataclass(frozen=True)
class _Checked:
    """One operation; times in ns, one-sided p-values, and whether so many calls can show that a budget is kept."""

    value: float
    #: Its interval, by the tests that gave the p-values, at an error rate.
    interval: Callable[[float], tuple[float, float]]
    p_missed: float
    p_kept: float
    enough: bool

    @classmethod
    def of(cls, budget: Budget, runs: Sequence[Run], alpha: float) -> _Checked:
        import numpy as np

        durations, weights = (np.concatenate(parts) for parts in zip(*runs, strict=True))
        each = int(weights[0])
        plain = bool(weights.min() == weights.max())
        # Sorting is most of the work, and several times as much where the weights have to be taken along.
        order = None if plain else np.argsort(durations, kind="stable")
        ordered = np.sort(durations) if order is None else durations[order]
        reached = None if order is None else np.cumsum(weights[order], dtype=np.float64)
        calls = float(each * durations.size) if reached is None else float(reached[-1])

        def at(level: float) -> float:
            """The duration that so large a share of the calls do not exceed."""
            wanted = level * calls * (1 - 1e-12)
            place = math.ceil(wanted / each) - 1 if reached is None else int(np.searchsorted(reached, wanted))
            return float(ordered[min(max(place, 0), ordered.size - 1)])

        value = interpolated(ordered, budget.quantile) if plain else at(budget.quantile)
        limit = budget.limit_us * 1000
        worth = calls**2 / float(np.sum(weights.astype(np.float64) ** 2))
        over = float(weights[durations > limit].sum()) / calls
        # How much the calls depend on each other may differ at the budget and at the quantile: the less certain counts.
        share = min((_Share.of(runs, at_ns, worth, 1 - budget.quantile) for at_ns in (limit, value)), key=_Share.worst)
        p_missed, p_kept = share.p_more(over), share.p_less(over)
        between = None
        if len(runs) > 1:
            logs = np.log([max(float(np.quantile(own, budget.quantile)), SHORTEST) for own, _ in runs])
            error = float(logs.std(ddof=1)) / math.sqrt(len(runs))
            between = Between(float(logs.mean()), error, len(runs) - 1)
            p_missed, p_kept = max(p_missed, between.p_greater(limit)), max(p_kept, between.p_less(limit))

        def interval(level: float) -> tuple[float, float]:
            low = _last(lambda place: share.p_more(1 - place) > level / 2, budget.quantile, 0.0)
            high = _last(lambda place: share.p_less(1 - place) > level / 2, budget.quantile, 1.0)
            ends = (0.0 if low is None else at(low), math.inf if high is None else at(high))
            around = ends if between is None else between.interval(level)
            return min(ends[0], around[0]), max(ends[1], around[1])

        enough = 2 * _Share(1 - budget.quantile, worth, math.inf).p_less(0.0) <= alpha
        return cls(value, interval, p_missed, p_kept, enough)


@dataclass(frozen=True)
class _Share:
    """Tests of "a share `expected` of the calls is beyond", with as many calls as those recorded are worth."""

    expected: float
    size: float
    freedom: float

    @classmethod
    def of(cls, runs: Sequence[Run], threshold: float, worth: float, expected: float) -> _Share:
        total = sum(durations.size for durations, _ in runs)
        inflation = freedom = 0.0
        for durations, _ in runs:
            own, degrees = variance_inflation(durations > threshold)
            freedom += degrees
            inflation += durations.size / total * own
        return cls(expected, worth / inflation, freedom)

    def worst(self) -> tuple[float, float]:
        """What sorts the less certain test first."""
        return self.size, self.freedom

    def p_more(self, share: float) -> float:
        """One-sided p-value against "at most `expected`", where `share` of the calls are beyond."""
        if share <= self.expected:
            return 1.0
        exact = binomial_tail(share * self.size, self.size, self.expected) if self.size <= LARGEST_EXACT else 0.0
        return max(exact, self._tail(share))

    def p_less(self, share: float) -> float:
        """One-sided p-value against "at least `expected`"."""
        if share >= self.expected:
            return 1.0
        exact = 0.0
        if self.size <= LARGEST_EXACT:
            exact = binomial_tail((1 - share) * self.size, self.size, 1 - self.expected)
        return max(exact, self._tail(share))

    def _tail(self, share: float) -> float:
        return student_tail(root_of_deviance([(self.size, share)], self.expected), self.freedom)


def _last(holds: Any, start: float, end: float) -> float | None:
    """The first level on the way from `start` to `end` at which `holds` does not; None where it holds to the end."""
    if holds(end):
        return None
    for _ in range(50):
        middle = (start + end) / 2
        start, end = (middle, end) if holds(middle) else (start, middle)
    return end
