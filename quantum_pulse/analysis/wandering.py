"""Kinds of noise that results of runs have, and how likely each is; derived in `docs/statistics.md`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


class Noise(NamedTuple):
    """A first-order autoregression under white noise."""

    #: Autocorrelation of first order of what persists, its share of the variance, and odds before anything is seen.
    persistence: float
    share: float
    odds: float


#: What wanders slowly under white noise is the hardest to tell from steps.
NOISES: Final = (
    Noise(0.0, 0.0, 1000),
    Noise(0.5, 1.0, 20),
    Noise(0.5, 0.5, 10),
    Noise(0.7, 1.0, 7),
    Noise(0.7, 0.5, 3),
    *(
        Noise(persistence, share, odds)
        for persistence, odds in ((0.85, 0.2), (0.93, 0.4), (0.97, 0.7))
        for share in (0.5, 0.7, 1.0)
    ),
)
#: Noise beyond this is of the kinds that wander, whose odds the sensitivity changes.
WANDERING: Final = 0.8
#: What a step costs in the likelihood, times the logarithm of the number of values: its place, and its height.
STEP_COST: Final = 1.8
#: More values than this make no kind of noise more certain, as none is exactly right (a coarsened posterior: Miller &
#: Dunson 2019).
MOST_CERTAIN: Final = 200


@lru_cache(maxsize=32)
def _spectra(count: int) -> tuple[Floats, Floats]:
    """Of each of NOISES at the frequencies of the cosines but the constant: one over the spectrum, and the sum of its
    logarithms."""
    import numpy as np

    cosines = np.cos(np.pi * np.arange(1, count) / count)
    persistence, share = (np.array([getattr(noise, name) for noise in NOISES])[:, None] for name in Noise._fields[:2])
    spectra = share * (1 - persistence**2) / (1 - 2 * persistence * cosines + persistence**2) + 1 - share
    return 1 / spectra, np.log(spectra).sum(axis=1)


def log_likelihoods(residuals: Floats, least: float) -> Floats:
    """Of each of NOISES, whatever its variance, for each row of residuals: shape (rows, kinds).

    Whittle's (1953), on cosines of type II rather than waves, as a series does not end where it begins.
    """
    import numpy as np

    count = residuals.shape[1]
    inverse, logarithms = _spectra(count)
    mirrored = np.concatenate((residuals, residuals[:, ::-1]), axis=1)
    powers = np.abs(np.fft.rfft(mirrored, axis=1)[:, 1:count]) ** 2 / (2 * count) + least
    likelihoods: Floats = -(logarithms + (count - 1) * np.log(powers @ inverse.T)) / 2
    return likelihoods


def without_levels(values: Floats, splits: Sequence[int]) -> Floats:
    """Values minus the mean between neighbouring splits."""
    import numpy as np

    edges = np.array([0, *sorted(splits)])
    sizes = np.diff(edges, append=values.size)
    rest: Floats = values - np.repeat(np.add.reduceat(values, edges) / sizes, sizes)
    return rest


class Explained(NamedTuple):
    """How well levels and noise explain a series."""

    #: How likely each of NOISES is; the sum is 1.
    weights: Floats
    #: Logarithm of the largest likelihood, costs of steps included, and how many steps that takes.
    score: float
    steps: int


def explained(values: Floats, splits: Sequence[int], least: float, caution: float = 1.0) -> Explained:
    """Of `values` with none, one, two, ... of `splits`, the clearest first. `caution` multiplies the odds of noise that
    wanders."""
    import numpy as np

    count = values.size
    numbers = sorted({0, *range(min(len(splits), 8) + 1), *(round(8 * 1.5**i) for i in range(20)), len(splits)})
    numbers = [number for number in numbers if number <= len(splits)]
    residuals = np.stack([without_levels(values, splits[:number]) for number in numbers])
    scores = log_likelihoods(residuals, least) - STEP_COST * math.log(count) * np.array(numbers)[:, None]
    best = scores.max(axis=0) * min(1.0, MOST_CERTAIN / count)
    odds = [noise.odds * (caution if noise.persistence > WANDERING else 1) for noise in NOISES]
    best += np.log(odds)
    weights = np.exp(best - best.max())
    kind = int(np.argmax(best))
    steps = numbers[int(np.argmax(scores[:, kind]))]
    return Explained(weights / weights.sum(), float(scores[:, kind].max()), steps)


def simulated(rng: np.random.Generator, noise: Noise, rows: int, count: int) -> Floats:
    """Series of variance 1 of a kind of noise, shape (rows, count)."""
    import numpy as np

    values = rng.standard_normal((count, rows))
    if noise.share > 0:
        scale = math.sqrt(1 - noise.persistence**2)
        for place in range(1, count):
            values[place] = noise.persistence * values[place - 1] + scale * values[place]
    if 0 < noise.share < 1:
        values = math.sqrt(noise.share) * values + math.sqrt(1 - noise.share) * rng.standard_normal((count, rows))
    return np.ascontiguousarray(values.T)
