"""Judge a few runs of an operation against earlier runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from quantum_pulse.analysis.budgets import check_budgets
from quantum_pulse.analysis.compared import directed
from quantum_pulse.analysis.comparison import compare_samples
from quantum_pulse.analysis.ratios import SHORTEST
from quantum_pulse.analysis.significance import student_tail
from quantum_pulse.evidence import Budget
from quantum_pulse.operations import DEFAULT_BUDGET_QUANTILE

if TYPE_CHECKING:
    import pandas as pd

#: With fewer earlier runs nothing is said of how usual a run is.
FEWEST: Final = 5
#: With so many on both sides it is `compare_samples` that judges, which allows for runs that depend on each other.
MANY: Final = 50
#: A smaller change matters to nobody.
MIN_EFFECT: Final = 0.05
#: Share of runs called slower, or faster, though nothing has changed.
ALPHA: Final = 0.05
#: Up to so many values the ranks of the median's interval are counted, beyond that they are those of the normal
#: distribution, which is then off by one rank at most.
_COUNTED: Final = 1000


@dataclass(frozen=True)
class Judgement:
    """Whether runs are slower or faster than earlier ones, as `judge` finds it.

    Attributes
    ----------
    verdict : {"first", "too_few", "usual", "slower", "faster"}
        The verdict: "first" without earlier runs, and "too_few" with fewer than 5.
    earlier : int
        How many earlier runs there are.
    change : float
        The change of the quantile that the verdict is about, as a share; NaN without earlier runs.
    p_value : float
        One-sided from ranks, or a q-value if `compare_samples` judged; NaN with too few runs.
    quantile : float
        What the verdict is about: the median, unless only the tail has changed.

    Examples
    --------
    >>> from quantum_pulse.analysis.runs import judge
    >>> judge([130], earlier=[100, 101, 102, 101, 100, 102]).verdict
    'slower'
    """

    verdict: Literal["first", "too_few", "usual", "slower", "faster"]
    earlier: int
    change: float
    p_value: float
    quantile: float = 0.5


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median and the ends of its 95 % interval.

    The interval is from order statistics (Conover 1999, section 3.2), without any assumption on the distribution. Of
    fewer than 6 values it is their range, which covers less. Raises ValueError without values.
    """
    ordered = sorted(values)
    size = len(ordered)
    if not size:
        raise ValueError("median_interval needs at least one value")
    middle = (ordered[(size - 1) // 2] + ordered[size // 2]) / 2
    k = max(_rank(size), 1)
    return middle, ordered[k - 1], ordered[size - k]


def _rank(size: int) -> int:
    """The largest k with P(Binomial(size, 1/2) < k) <= 2.5 %."""
    if size > _COUNTED:
        return math.floor(size / 2 - 0.979982 * math.sqrt(size))
    tail, k = 0.0, 0
    while k < size // 2 and tail + math.comb(size, k) / 2**size <= 0.025:
        tail += math.comb(size, k) / 2**size
        k += 1
    return k


def judge(now: Sequence[float], earlier: Sequence[float]) -> Judgement:
    """Judge whether runs are slower or faster than those before; both in the order in which they ran.

    One run is compared by its rank: were it like the others, it would be among the k largest of n + 1 with probability
    k / (n + 1). With fewer than 39 earlier runs no rank is small enough, so it must lie outside the prediction interval
    of the logarithms, taken as normal (Hahn & Meeker 1991, 4.2). Several runs are compared by the sum of their ranks
    (Mann & Whitney 1947, with the normal approximation). Both take runs as independent, which those of a notebook
    hardly are while a machine heats up or a cache fills; `Capture.compare` with several captures is what proves a
    change. With MANY on both sides `compare_samples` judges, which accounts for dependence; if it finds the median
    unchanged but not the p95 or p99, the verdict is about that. Raises ValueError without `now`.
    """
    if not now:
        raise ValueError("judge needs at least one run")
    if not earlier:
        return Judgement("first", 0, math.nan, math.nan)
    if min(len(now), len(earlier)) >= MANY:
        return _compared(now, earlier)
    usual = median_interval(earlier)[0]
    change = median_interval(now)[0] / usual - 1 if usual else math.nan
    if len(earlier) < FEWEST:
        return Judgement("too_few", len(earlier), change, math.nan)
    slower, faster = _tail(now, earlier), _tail([-value for value in now], [-value for value in earlier])
    if len(now) == 1 and 2 * min(slower, faster) > ALPHA and 2 / (len(earlier) + 1) > ALPHA:
        # No rank is small enough.
        if now[0] > max(earlier):
            slower = _beyond(now[0], earlier)
        elif now[0] < min(earlier):
            faster = _beyond(now[0], earlier)
    p_value = min(slower, faster)
    if 2 * p_value <= ALPHA and abs(change) >= MIN_EFFECT:
        return Judgement("slower" if slower < faster else "faster", len(earlier), change, p_value)
    return Judgement("usual", len(earlier), change, p_value)


def _compared(now: Sequence[float], earlier: Sequence[float]) -> Judgement:
    table = compare_samples({"": earlier}, {"": now}, min_effect=MIN_EFFECT, alpha=ALPHA).table
    table = directed(table)
    rows = list(zip(table["verdict"], table["change"], table["q_value"], table["quantile"], strict=True))
    # The median comes first; the tail has its say where that has none.
    verdict, change, q_value, quantile = next((row for row in rows if row[0] in ("regressed", "improved")), rows[0])
    word: Literal["slower", "faster", "usual"] = (
        "slower" if verdict == "regressed" else "faster" if verdict == "improved" else "usual"
    )
    return Judgement(word, len(earlier), float(change), float(q_value), float(quantile))


def _beyond(value: float, earlier: Sequence[float]) -> float:
    """P-value of one more run being so far from the earlier ones: Student's t of its logarithm."""
    logs = [math.log(max(one, SHORTEST)) for one in earlier]
    deviation = statistics.stdev(logs) * math.sqrt(1 + 1 / len(logs))
    distance = abs(math.log(max(value, SHORTEST)) - statistics.fmean(logs))
    return student_tail(distance / deviation if deviation else math.inf, len(logs) - 1)


def _tail(now: Sequence[float], earlier: Sequence[float]) -> float:
    """P-value of `now` being larger than `earlier`."""
    n, m = len(now), len(earlier)
    if n == 1:
        return (1 + sum(value >= now[0] for value in earlier)) / (m + 1)
    both = sorted([(value, 1) for value in now] + [(value, 0) for value in earlier])
    ranks, ties, place = 0.0, 0.0, 0
    while place < n + m:
        end = place
        while end < n + m and both[end][0] == both[place][0]:
            end += 1
        tied = end - place
        ranks += sum(which for _, which in both[place:end]) * (place + end + 1) / 2
        ties += tied**3 - tied
        place = end
    u = ranks - n * (n + 1) / 2
    variance = n * m / 12 * ((n + m + 1) - ties / ((n + m) * (n + m - 1)))
    if variance <= 0:
        return 1.0
    return 0.5 * math.erfc((u - n * m / 2 - 0.5) / math.sqrt(2 * variance))


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs of one cell, and those that they are compared with.

    Durations are those of runs that finished, in the order in which they ran.

    Attributes
    ----------
    name : str
        Name of the operation.
    durations_ns : sequence of int
        Durations of the runs, in nanoseconds.
    earlier_ns : sequence of int
        Durations of earlier runs of the operation in this session, in nanoseconds.
    errors : sequence of str
        Types of the exceptions that ended runs.
    failed_ns : sequence of int
        How long these runs took, in nanoseconds.
    budget_us : float or None
        The budget of the operation, in microseconds.
    reason : str
        Why nothing was recorded, if nothing was.
    baseline : str
        Name of the capture that is compared with, if one is.
    baseline_ns : sequence of int
        Durations of its runs, in nanoseconds.
    not_compared : str
        Why the requested baseline is not compared with, if it is not.
    capture_name : str
        Name of the capture that the earlier runs are from, if it is not that of this session.
    inside : pandas.DataFrame or None
        The operations inside the runs, indexed by path: ``depth``, ``operation``, ``count``,
        ``total_us``, ``mean_us`` and ``max_us``.
    budget_quantile : float
        The quantile that the budget is for.
    """

    name: str
    durations_ns: Sequence[int]
    earlier_ns: Sequence[int]
    errors: Sequence[str]
    failed_ns: Sequence[int]
    budget_us: float | None
    reason: str = ""
    baseline: str = ""
    baseline_ns: Sequence[int] = ()
    not_compared: str = ""
    capture_name: str = ""
    inside: pd.DataFrame | None = None
    budget_quantile: float = DEFAULT_BUDGET_QUANTILE

    @property
    def duration_ns(self) -> int | None:
        """The median duration of the runs in nanoseconds; None if none finished."""
        return round(median_interval(self.durations_ns)[0]) if self.durations_ns else None

    @property
    def judgement(self) -> Judgement | None:
        """The verdict against the earlier runs of this session; None if no run finished."""
        return judge(self.durations_ns, self.earlier_ns) if self.durations_ns else None

    @property
    def against_baseline(self) -> Judgement | None:
        """The verdict against the runs of the baseline; None if there is no baseline or no run finished."""
        return judge(self.durations_ns, self.baseline_ns) if self.durations_ns and self.baseline else None

    @property
    def over_budget(self) -> int:
        """How many runs exceeded the budget."""
        return 0 if self.budget_us is None else sum(value > self.budget_us * 1000 for value in self.durations_ns)

    @property
    def budget_verdict(self) -> str:
        """The verdict of `check_budgets` on these runs; "" if there is no budget."""
        import numpy as np

        if self.budget_us is None or not self.durations_ns:
            return ""
        durations = np.array(self.durations_ns, np.int64)
        budgets = {self.name: Budget(self.budget_us, self.budget_quantile)}
        checked = check_budgets(budgets, [(self.name, [(durations, np.ones(durations.size, np.int32))])])
        return str(checked["verdict"].iloc[0])
