"""Find the first samples of an operation that are still warming up; derived and calibrated in `docs/statistics.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.analysis.dependence import variance_inflation
from quantum_pulse.analysis.ratios import SHORTEST
from quantum_pulse.analysis.series import normal_scores
from quantum_pulse.analysis.significance import student_quantile

if TYPE_CHECKING:
    import numpy.typing as npt

#: Share of stationary series of which the start is set aside all the same, at most.
ALPHA: Final = 0.001
#: A longer start is not a warm-up: then the run has changed on the way, and all of it counts.
LONGEST: Final = 0.25
#: Intervals that a run is summed into at most, each at least a sample.
STRETCHES: Final = 4096
#: Intervals between two places where a start may end (White 1997).
BATCH: Final = 5
#: A short start is beyond all intervals of its length later in the run, by this factor at least.
BEYOND: Final = 1.3
#: The lengths in which it is noticed, and the fewest later intervals to compare it with.
SHORT: Final = (2, 4, 8, 16)
FEWEST_LATER: Final = 8
#: The longest that a short start is sought for.
MOST_SHORT: Final = 64
#: Variance of normal scores below which they are all equal; else it is about 1.
NOTHING: Final = 1e-9


def settling(durations: npt.NDArray[Any], *, alpha: float = ALPHA) -> int:
    """How many of the first `durations`, in the order recorded, belong to a start that is unlike the rest; often 0.

    First a test: for starts of 1, 2, 4, ... intervals up to LONGEST of the run, the mean of their normal scores (van
    der Waerden 1952) against that of the rest, with the rest's long-run variance and Student's t, as many tests as
    starts (Bonferroni). That holds at `alpha` for any distribution, but scores of a few values are bounded, however
    slow these are: `_far_beyond` sees those. Then where the start ends: MSER-5 (White 1997), the place from which on
    the mean is known best; where that is late in the run, as of a run that wanders, the place of the best single step.
    The start may be slower than the rest or faster, as where queues are empty at first.
    """
    import numpy as np

    width = -(-durations.size // STRETCHES)
    count = durations.size // width if width else 0
    longest = int(LONGEST * count)
    if longest < 1:
        return 0
    logs = np.log(np.maximum(durations[: count * width], SHORTEST))
    levels = logs.reshape(count, width).mean(axis=1)
    scores = normal_scores(levels)
    rest = scores[longest:]
    variance = float(rest.var())
    if variance < NOTHING:
        return 0
    # What depends over longer intervals is seen by MSER: then the run does not settle soon.
    inflation, freedom = variance_inflation(rest, far=False)
    variance *= inflation
    lengths = 2 ** np.arange(int(np.log2(longest)) + 1)
    means = np.cumsum(scores[:longest])[lengths - 1] / lengths
    errors = np.sqrt(variance * (1 / lengths + 1 / rest.size))
    found = np.abs((means - rest.mean()) / errors).max() > student_quantile(alpha / 2 / lengths.size, freedom)
    short = _far_beyond(levels, longest, alpha)
    if not found and not short:
        return 0
    end = mser(scores) * width
    if 0 < end <= LONGEST * durations.size:
        return end
    # A run that changed on the way settles only where its start is unlike everything that follows.
    return _step(levels[: min(longest, MOST_SHORT)], levels[longest:]) * width if short else 0


def _far_beyond(levels: npt.NDArray[Any], longest: int, alpha: float) -> int:
    """The shortest of SHORT whose first values are beyond all later ones of as many; 0 for none.

    Means of intervals of that length in the rest show how much they vary, dependence included. The start must be
    further from their mean than any of them by BEYOND, which rare slow samples and bursts are not, and by Student's t.
    """
    import numpy as np

    rest = levels[longest:]
    for length in SHORT:
        later = rest[: rest.size // length * length].reshape(-1, length).mean(axis=1)
        if length > longest or later.size < FEWEST_LATER:
            break
        distances = np.abs(later - later.mean())
        distance = abs(float(levels[:length].mean()) - float(later.mean()))
        error = float(later.std(ddof=1)) * float(np.sqrt(1 + 1 / later.size))
        least = student_quantile(alpha / 2 / len(SHORT), later.size - 1) * error
        if distance > max(BEYOND * float(distances.max()), least):
            return length
    return 0


def _step(start: npt.NDArray[Any], rest: npt.NDArray[Any]) -> int:
    """How many values of the start are on the other side of the best single step from the rest."""
    import numpy as np

    sizes = np.arange(1, start.size + 1)
    return int(np.argmax(np.abs(np.cumsum(start - rest.mean())) / np.sqrt(sizes))) + 1


def mser(scores: npt.NDArray[Any]) -> int:
    """Where the mean of what follows has the smallest standard error, by its own variance (White 1997); up to half.

    In batches of BATCH; what is left over at the end is not looked at.
    """
    import numpy as np

    batches = scores[: scores.size // BATCH * BATCH].reshape(-1, BATCH).mean(axis=1)
    if not batches.size:
        return 0
    # From the end on: how many, their sum and their sum of squares.
    sizes = np.arange(1, batches.size + 1)
    sums, squares = np.cumsum(batches[::-1]), np.cumsum(batches[::-1] ** 2)
    errors = ((squares - sums**2 / sizes) / sizes**2)[::-1]
    return int(np.argmin(errors[: batches.size // 2 + 1])) * BATCH
