"""Captures against each other: `analysis.compare_samples` on what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from quantum_pulse import analysis, results
from quantum_pulse.analysis import decomposition
from quantum_pulse.analysis import environments as conditions
from quantum_pulse.reading import environments, runs, selection, self_time, statistics
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import Operations
from quantum_pulse.view import unfinished

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


def compare(
    before: Sequence[Source],
    after: Sequence[Source],
    operations: Operations = None,
    *,
    quantiles: Sequence[float] = (0.5, 0.95, 0.99),
    min_effect: float = 0.05,
    alpha: float = 0.05,
    skip_warmup: bool = True,
) -> results.Comparison:
    """The captures `after` against those `before`; see `Capture.compare`."""
    if not before:
        raise ValueError("baseline is empty; give a capture to compare with")
    for side in (before, after):
        _expect_different(side)
    sides = Sides(before, after, selection.some(before[0], operations))
    found = analysis.compare_samples(
        *sides.runs(), quantiles=quantiles, min_effect=min_effect, alpha=alpha, skip_warmup=skip_warmup
    )
    differences = conditions.differences(*sides.environments())
    found = replace(found, differences=tuple(differences), unfinished=unfinished.of_side(after))
    return results.Comparison.of(found, sides)


@dataclass(frozen=True)
class Sides:
    """The captures on the two sides of a comparison: its `results.Evidence`."""

    before: Sequence[Source]
    after: Sequence[Source]
    operations: Operations

    def runs(self) -> list[list[dict[str, npt.NDArray[np.int64]]]]:
        """For each side, for each run, the durations of each operation in ns."""
        return [
            [run for one in side for run in runs.durations(one, self.operations)] for side in (self.before, self.after)
        ]

    def environments(self) -> list[list[dict[str, Any]]]:
        """For each side the environments of its recordings."""
        return [[found for one in side for found in environments.each(one)] for side in (self.before, self.after)]

    def calls(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return calls, errors and time of a run, averaged over the runs of each side."""
        before, after = (
            decomposition.average(
                [statistics.stats(one, operations=self.operations) for one in side],
                sum(len(one.by_capture()) for one in side),
            )
            for side in (self.before, self.after)
        )
        return before, after

    def nested(self) -> tuple[list[dict[str, self_time.Calls]], list[dict[str, self_time.Calls]]]:
        """Return, for each run of each side, the calls of each operation and what encloses them."""
        before, after = ([run for one in side for run in self_time.runs(one)] for side in (self.before, self.after))
        return before, after


def _expect_different(side: Sequence[Source]) -> None:
    """Raise ValueError where a capture is in `side` twice."""
    seen = set()
    for one in side:
        for _, source in one.by_capture():
            if (path := source.path.resolve()) in seen:
                raise ValueError(f"{source.path} is given twice on one side; each run counts once")
            seen.add(path)
