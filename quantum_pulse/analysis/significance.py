"""Compute tail probabilities and corrections for multiple tests."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def student_tail(value: float, freedom: float) -> float:
    """P(T > value) of Student's t with `freedom` degrees of freedom (inf: the normal distribution), value >= 0."""
    if math.isinf(freedom):
        return 0.5 * math.erfc(value / math.sqrt(2))
    if math.isinf(value):
        return 0.0
    return 0.5 * _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + value * value))


@lru_cache(maxsize=4096)
def student_quantile(tail: float, freedom: float) -> float:
    """The value that Student's t exceeds with probability `tail`, 0 < tail < 0.5."""
    low, high = 0.0, 1.0
    while student_tail(high, freedom) > tail:
        low, high = high, high * 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if student_tail(middle, freedom) > tail else (low, middle)
    return high


def binomial_tail(count: float, size: float, share: float) -> float:
    """P(X >= count) of a binomial of `size` trials with probability `share`, for sizes up to 100,000.

    By the incomplete beta function, which has values between whole numbers too.
    """
    return 1.0 if count <= 0 else _incomplete_beta(count, max(size - count, 0.0) + 1, share)


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function by its continued fraction (Abramowitz & Stegun 1964, 26.5.8)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # beyond this the fraction converges slowly, but that of the complement fast
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x) - math.log(a)
    )
    # Lentz's evaluation: c and d are ratios of successive numerators and denominators; kept away from zero.
    tiny = 1e-300
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1), tiny)
    fraction = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _not_zero(1 + term * d, tiny)
            c = _not_zero(1 + term / c, tiny)
            fraction *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * fraction


def _not_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny


def pearson_tail(value: float, skewness: float) -> float:
    """P(X > value) of a variable of mean 0, variance 1 and `skewness` > 0, by Pearson's type III: a shifted gamma."""
    shape = 4 / skewness**2
    return _upper_gamma(shape, shape + value * math.sqrt(shape))


def _upper_gamma(a: float, x: float) -> float:
    """Regularised upper incomplete gamma function: series, or continued fraction (Abramowitz & Stegun 1964, 6.5)."""
    if x <= 0:
        return 1.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        count = a
        while term > total * 1e-15:
            count += 1
            term *= x / count
            total += term
        return max(0.0, 1 - front * total)
    # Lentz's evaluation, as of the beta function.
    tiny = 1e-300
    b = x + 1 - a
    c, d = 1 / tiny, 1 / b
    fraction = d
    for n in range(1, 1000):
        step = -n * (n - a)
        b += 2
        d = 1 / _not_zero(step * d + b, tiny)
        c = _not_zero(b + step / c, tiny)
        fraction *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * fraction


def benjamini_hochberg(p_values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """q-values (Benjamini & Hochberg 1995), shape of `p_values`; NaN (not tested) stays NaN and counts for nothing.

    Reporting what has q <= alpha keeps the false discovery rate at alpha, for tests that are independent or
    positively dependent (Benjamini & Yekutieli 2001); with nothing to find, the probability of any report.
    """
    import numpy as np

    p = np.asarray(p_values, dtype=np.float64)
    q = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    falling = tested[np.argsort(-p[tested], kind="stable")]
    ranks = np.arange(tested.size, 0, -1)
    q[falling] = np.minimum.accumulate(np.minimum(p[falling] * tested.size / ranks, 1))
    return q


def level_after_selection(q_values: npt.ArrayLike, alpha: float) -> float:
    """The error rate of intervals that agree with q-values: `alpha` times the share of tests with q <= alpha.

    A test has q <= alpha exactly where the interval at this level excludes what it tests, and of the intervals of what
    was reported, the share that misses is at most `alpha` (Benjamini & Yekutieli 2005). With nothing reported, the
    level is that of a single report.
    """
    import numpy as np

    q = np.asarray(q_values, dtype=np.float64)
    tested = int(np.count_nonzero(~np.isnan(q)))
    return alpha * max(int(np.count_nonzero(q <= alpha)), 1) / max(tested, 1)
