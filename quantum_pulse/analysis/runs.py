"""A few runs of one thing, against the runs before: what a glance may conclude from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

#: With fewer earlier runs nothing is said of how usual a run is.
FEWEST: Final = 5
#: A smaller change matters to nobody.
MIN_EFFECT: Final = 0.05
#: Share of runs called slower, or faster, though nothing has changed.
ALPHA: Final = 0.05


@dataclass(frozen=True)
class Judgement:
    """`change` is that of the median, as a share; NaN without earlier runs. `p_value`: one-sided, NaN when too few."""

    verdict: Literal["first", "too_few", "usual", "slower", "faster"]
    earlier: int
    change: float
    p_value: float


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, and the ends of its 95 % interval from the order statistics (Conover 1999, section 3.2), without any
    assumption on the distribution. Of fewer than 6 values the interval is their range, which covers less."""
    ordered = sorted(values)
    size = len(ordered)
    if not size:
        raise ValueError("median_interval needs at least one value")
    middle = (ordered[(size - 1) // 2] + ordered[size // 2]) / 2
    # The largest k with P(Binomial(size, 1/2) < k) <= 2.5 %.
    tail, k = 0.0, 0
    while k < size // 2 and tail + math.comb(size, k) / 2**size <= 0.025:
        tail += math.comb(size, k) / 2**size
        k += 1
    k = max(k, 1)
    return middle, ordered[k - 1], ordered[size - k]


def judge(now: Sequence[float], earlier: Sequence[float]) -> Judgement:
    """Are these runs slower or faster than those before?

    One run is compared by its rank: were it like the others, it would be among the k largest of n + 1 with probability
    k / (n + 1). Several runs by the sum of their ranks (Mann & Whitney 1947, with the normal approximation). Runs are
    taken for independent, which those of a notebook hardly are when a machine heats up or a cache fills: what is found
    here is worth a look, `Capture.compare` with several captures is what proves it. Raises ValueError without `now`.
    """
    if not now:
        raise ValueError("judge needs at least one run")
    if not earlier:
        return Judgement("first", 0, math.nan, math.nan)
    usual = median_interval(earlier)[0]
    change = median_interval(now)[0] / usual - 1 if usual else math.nan
    if len(earlier) < FEWEST:
        return Judgement("too_few", len(earlier), change, math.nan)
    slower = _tail(now, earlier)
    faster = _tail([-value for value in now], [-value for value in earlier])
    p_value = min(slower, faster)
    if 2 * p_value <= ALPHA and abs(change) >= MIN_EFFECT:
        return Judgement("slower" if slower < faster else "faster", len(earlier), change, p_value)
    return Judgement("usual", len(earlier), change, p_value)


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
