"""Normal scores, autocorrelation and autoregression of time series, on float arrays."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Self

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


class Spectra(NamedTuple):
    """A series of mean 0, its squares, and what of it is known, each as Fourier coefficients; see `of`."""

    values: npt.NDArray[np.complex128]
    squares: npt.NDArray[np.complex128]
    known: npt.NDArray[np.complex128]
    #: Third moment over the 3/2nd power of the second.
    skewness: float

    @classmethod
    def of(cls, values: npt.NDArray[np.float64]) -> Self:
        """Of values, shape (n,), NaN for what is missing; padded so that no lag wraps around."""
        import numpy as np

        known = ~np.isnan(values)
        count = max(int(np.count_nonzero(known)), 1)
        filled = np.where(known, values, 0.0)
        filled = np.where(known, filled - filled.sum() / count, 0.0)
        power = float(filled @ filled) / count
        skewness = float(np.sum(filled**3)) / count / power**1.5 if power > 0 else 0.0
        padded = 1 << (2 * max(values.size, 1) - 1).bit_length()
        own, squares, places = (np.fft.rfft(each, padded) for each in (filled, filled**2, known.astype(np.float64)))
        return cls(own, squares, places, skewness)


def _lagged(y: npt.NDArray[np.complex128], x: npt.NDArray[np.complex128], most: int) -> npt.NDArray[np.float64]:
    """Sums of products of y with x `lag` steps earlier, for lags from -`most` to `most`."""
    import numpy as np

    sums = np.fft.irfft(y * np.conj(x))
    result: npt.NDArray[np.float64] = np.concatenate((sums[sums.size - most :], sums[: most + 1]))
    return result


def lagged_correlations(
    y: Spectra, x: Spectra, most: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Pearson's correlation of y with x `lag` steps earlier, for lags from -`most` to `most`; of how many pairs; and
    the variance of the products of pairs against what independence makes it.

    Both of one size, which `most` is below. NaN where one of the two does not vary.
    """
    import numpy as np

    sizes = np.rint(_lagged(y.known, x.known, most))
    pairs = np.maximum(sizes, 1)
    sum_y, sum_x = _lagged(y.values, x.known, most), _lagged(y.known, x.values, most)
    both = _lagged(y.values, x.values, most) - sum_y * sum_x / pairs
    own_y = _lagged(y.squares, x.known, most) - sum_y**2 / pairs
    own_x = _lagged(y.known, x.squares, most) - sum_x**2 / pairs
    # What is left of a constant by rounding is no variation.
    varies = (own_y > 1e-9 * max(float(own_y.max()), 0)) & (own_x > 1e-9 * max(float(own_x.max()), 0))
    power = np.where(varies, own_y * own_x, np.nan)
    products = _lagged(y.squares, x.squares, most) - _lagged(y.values, x.values, most) ** 2 / pairs
    return np.clip(both / np.sqrt(power), -1, 1), sizes, products * pairs / power


def autocovariances(values: npt.NDArray[np.float64], lags: int) -> npt.NDArray[np.float64]:
    """Autocovariances at lags 0 to `lags` of values of mean 0, divided by n at each lag; NaN counts as missing."""
    import numpy as np

    known = ~np.isnan(values)
    padded = 1 << (2 * max(values.size, 1) - 1).bit_length()
    spectra = (np.fft.rfft(each, padded) for each in (np.where(known, values, 0.0), known.astype(np.float64)))
    totals, pairs = (np.fft.irfft(np.abs(spectrum) ** 2)[: lags + 1] for spectrum in spectra)
    # As if each missing product were the mean of the others, tapered as the usual estimate is.
    covariances: npt.NDArray[np.float64] = np.where(pairs > 0.5, totals, 0.0) / np.maximum(np.rint(pairs), 1)
    return covariances * (1 - np.arange(lags + 1) / max(values.size, 1))


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
