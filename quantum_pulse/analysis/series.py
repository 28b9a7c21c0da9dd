"""What the analyses of a time series share: normal scores, autocorrelation, autoregression. Float arrays throughout."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@lru_cache(maxsize=256)
def _scores(count: int) -> npt.NDArray[np.float64]:
    from statistics import NormalDist

    import numpy as np

    normal = NormalDist()
    return np.array([normal.inv_cdf((rank - 0.5) / count) for rank in range(1, count + 1)])


def normal_scores(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Each value's rank as a quantile of the normal distribution (van der Waerden 1952); equal values share theirs.

    NaN stays NaN and counts for nothing. Shape (n,).
    """
    import numpy as np

    result = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    if known.size:
        _, inverse, counts = np.unique(values[known], return_inverse=True, return_counts=True)
        starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
        result[known] = (np.add.reduceat(_scores(known.size), starts) / counts)[inverse]
    return result


def ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks from 0, equal values share the mean of theirs. Shape (n,), without NaN."""
    import numpy as np

    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    shared: npt.NDArray[np.float64] = (ends - (counts + 1) / 2)[inverse]
    return shared


def autocovariances(values: npt.NDArray[np.float64], lags: int) -> npt.NDArray[np.float64]:
    """Autocovariances at lags 0 to `lags` of values of mean 0, divided by n at each lag; NaN counts as missing."""
    import numpy as np

    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    count = max(int(known.sum()), 1)
    size = values.size
    found = []
    for lag in range(lags + 1):
        pairs = int(np.count_nonzero(known[lag:] & known[: size - lag]))
        total = float(filled[lag:] @ filled[: size - lag])
        # As if each missing product were the mean of the others, tapered as the usual estimate is.
        found.append(total / pairs * (1 - lag / size) if pairs else 0.0)
    return np.array(found) if count else np.zeros(lags + 1)


def autoregression(values: npt.NDArray[np.float64], most: int) -> npt.NDArray[np.float64]:
    """Coefficients of an autoregression of values of mean 0; the order, up to `most`, by AIC (Akaike 1974).

    Burg's method (1967), which has little bias near a unit root, where no value is missing; else Yule and Walker's.
    """
    import numpy as np

    known = int(np.count_nonzero(~np.isnan(values)))
    if known < values.size:
        reflections = None
        covariances = autocovariances(values, most)
        variance = float(covariances[0])
    else:
        reflections = values.copy(), values.copy()
        covariances = np.empty(0)
        variance = float(values @ values) / values.size
    coefficients = best = np.empty(0)
    lowest = known * np.log(variance) if variance > 0 else -np.inf
    for order in range(1, most + 1):
        if variance <= 0:
            break
        if reflections is not None:
            forward, backward = reflections[0][1:], reflections[1][:-1]
            power = float(forward @ forward + backward @ backward)
            reflection = 2 * float(forward @ backward) / power if power > 0 else 0.0
            reflections = forward - reflection * backward, backward - reflection * forward
        else:
            reflection = float(covariances[order] - coefficients @ covariances[order - 1 : 0 : -1]) / variance
            reflection = min(max(reflection, -0.99), 0.99)
        coefficients = np.concatenate((coefficients - reflection * coefficients[::-1], [reflection]))
        variance *= 1 - reflection**2
        criterion = known * np.log(max(variance, 1e-300)) + 2 * order
        if criterion < lowest:
            lowest, best = criterion, coefficients
    return best


def filtered(values: npt.NDArray[np.float64], coefficients: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What the autoregression does not foretell of each value; the first ones, and those after a gap, are NaN."""
    import numpy as np

    rest = values.copy()
    order = coefficients.size
    rest[:order] = np.nan
    for lag, coefficient in enumerate(coefficients.tolist(), start=1):
        rest[order:] -= coefficient * values[order - lag : values.size - lag]
    return rest
