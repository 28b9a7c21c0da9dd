"""How large a step chance makes in noise without any: tables, simulated once; derived in `docs/statistics.md`."""

from __future__ import annotations

import math
from functools import cache, lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Final, NamedTuple

from quantum_pulse.analysis.seeded import GROWTH, SHORTEST

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

#: The tables: for each number of values, an array of shape (searches, kinds of noise, TAILS + 1). Searches: the lengths
#: of intervals, ascending, the whole, and the trend. Values: the quantiles of the largest statistic that TAILS exceed,
#: and the mean excess over the last of them. `tests/analysis/null_tables.py` writes them.
FILE: Final = "nulls.npz"
TAILS: Final = (0.5, 0.2, 0.1, 0.05, 0.02)
#: Numbers of values that were simulated.
SIMULATED: Final = tuple(round(2 * SHORTEST * GROWTH**step) for step in range(14))


@cache
def _tables() -> dict[int, Floats]:
    import numpy as np

    with resources.as_file(resources.files(__package__) / FILE) as path, np.load(path) as stored:
        return {int(name): stored[name].astype(np.float64) for name in stored.files}


class Null(NamedTuple):
    """The distribution of the largest statistic of a search, for each kind of noise."""

    #: Quantiles that TAILS exceed, and mean excess over the last, of shape (kinds, TAILS + 1).
    quantiles: Floats
    #: How many times as many places are searched as were in the simulation.
    places: float

    def tails(self, statistics: Floats) -> Floats:
        """Probabilities of at least so large a statistic somewhere: shape (kinds, statistics).

        Beyond the last quantile they fall exponentially, which is slower than those of normal values do.
        """
        import numpy as np

        logarithms = np.log([1.0, *TAILS])
        result = np.empty((len(self.quantiles), statistics.size))
        for kind, (*quantiles, excess) in enumerate(self.quantiles.tolist()):
            result[kind] = np.interp(statistics, [0.0, *quantiles], logarithms)
            result[kind] -= np.maximum(statistics - quantiles[-1], 0) / excess
        probabilities: Floats = np.minimum(np.exp(result) * self.places, 1.0)
        return probabilities

    def exceeded(self, probability: float) -> float:
        """A statistic that white noise, which makes the smallest, exceeds with this probability."""
        import numpy as np

        *quantiles, excess = self.quantiles[0].tolist()
        logarithm = math.log(probability / self.places)
        if logarithm < math.log(TAILS[-1]):
            return float(quantiles[-1] + (math.log(TAILS[-1]) - logarithm) * excess)
        return float(np.interp(-logarithm, -np.log([1.0, *TAILS]), [0.0, *quantiles]))


@lru_cache(maxsize=1024)
def null(count: int, length: int) -> Null:
    """Of the largest step in seeded intervals of a length in so many values; the whole where that is `count`."""
    from quantum_pulse.analysis.seeded import lengths

    known = _nearest(count)
    table = _tables()[known]
    if length == count:
        return Null(table[-2], _octaves(count) / _octaves(known) if count > known else 1.0)
    searched = lengths(known)[:-1]
    nearest = min(length, searched[-1])
    longer = _octaves(length) / _octaves(nearest) if length > nearest else 1.0
    return Null(table[searched.index(nearest)], max(count / length / (known / nearest), 1.0) * longer)


@lru_cache(maxsize=256)
def trend_null(count: int) -> Null:
    """Of the trend of so many values."""
    return Null(_tables()[_nearest(count)][-1], 1.0)


def _nearest(count: int) -> int:
    return min(SIMULATED, key=lambda known: abs(math.log(known / count)))


def _octaves(length: int) -> float:
    """The places in an interval that are searched grow in effect with the logarithm of their number."""
    return math.log2(length / SHORTEST)
