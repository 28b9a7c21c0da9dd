"""Estimate how dependence between samples reduces their information; derived in `docs/statistics.md`."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Cosines that a long-run variance is estimated from, at most: few see what depends over up to 1/16 of a run, many
#: are precise. The larger estimate counts, with the degrees of freedom of the few.
FEW_COSINES: Final = 16
MANY_COSINES: Final = 48
#: Where the slowest half of the few gives so many times more, dependence reaches further than all of them see: then the
#: half counts, with its own degrees of freedom.
SLOWER: Final = 1.2
#: Bins into which a run is summed before that. Many more than cosines, so that summing changes nothing.
BINS: Final = 512


def variance_inflation(values: npt.NDArray[Any], *, far: bool = True) -> tuple[float, int]:
    """Long-run variance of a series of booleans, or of numbers, over its variance, at least 1; and degrees of freedom.

    The equal-weighted cosine estimator, the mean square of the series' projections on the slowest cosines, as many as
    is optimal for short dependence (Lazarus, Lewis, Stock & Watson 2018) within the bounds above. Never below 1: that
    it is for samples that avoid each other is not taken on trust. Without `far`, dependence over more than 1/16 of a
    run is not looked for.
    """
    import numpy as np

    many = max(2, min(MANY_COSINES, int(0.4 * values.size ** (2 / 3))))
    few = min(many, FEW_COSINES)
    width = -(-values.size // BINS)
    bins = values.size // width
    if values.dtype == np.bool_:
        share = float(np.count_nonzero(values)) / values.size
        variance = share * (1 - share)
    else:
        variance = float(values.var())
    if bins <= many or variance <= 0:
        return 1.0, few
    sums = (
        values[: bins * width]
        .reshape(bins, width)
        .sum(axis=1, dtype=np.int32 if values.dtype == np.bool_ else np.float64)
    )
    powers = (_cosines(bins, many) @ (sums - sums.mean())) ** 2 / width / variance
    inflation = max(1.0, float(powers[:few].mean()), float(powers.mean()))
    half = few // 2
    if far and half > 1 and (slowest := float(powers[:half].mean())) > SLOWER * inflation:
        return slowest, half
    return inflation, few


@lru_cache(maxsize=64)
def _cosines(bins: int, count: int) -> npt.NDArray[np.float64]:
    """Rows are the slowest orthonormal cosines (of type II) but the constant, shape (count, bins)."""
    import numpy as np

    places = (np.arange(bins) + 0.5) / bins
    waves: npt.NDArray[np.float64] = np.sqrt(2 / bins) * np.cos(np.pi * np.arange(1, count + 1)[:, None] * places)
    return waves
