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
#: Variance of normal scores below which they are all equal; else it is about 1.
NOTHING: Final = 1e-9


def settling(durations: npt.NDArray[Any], *, alpha: float = ALPHA) -> int:
    """How many of the first `durations`, in the order recorded, belong to a start that is unlike the rest; often 0.

    First a test: for starts of 1, 2, 4, ... intervals up to LONGEST of the run, the mean of their normal scores (van
    der Waerden 1952) against that of the rest, with the rest's long-run variance and Student's t, as many tests as
    starts (Bonferroni). So on a stationary series, of whatever distribution, something is found with probability
    `alpha` at most. Then where the start ends: MSER-5 (White 1997), the place from which on the mean is known best. The
    start may be slower than the rest or faster, as where queues are empty at first.
    """
    import numpy as np

    width = -(-durations.size // STRETCHES)
    count = durations.size // width if width else 0
    longest = int(LONGEST * count)
    if longest < 1:
        return 0
    logs = np.log(np.maximum(durations[: count * width], SHORTEST))
    scores = normal_scores(logs.reshape(count, width).mean(axis=1))
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
    if np.abs((means - rest.mean()) / errors).max() <= student_quantile(alpha / 2 / lengths.size, freedom):
        return 0
    end = mser(scores) * width
    return end if end <= LONGEST * durations.size else 0


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
