"""Captures against each other: `analysis.compare_samples` on what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from quantum_pulse import analysis
from quantum_pulse.analysis import decomposition
from quantum_pulse.analysis import environments as conditions
from quantum_pulse.diagnosis import open_calls
from quantum_pulse.evidence import Calls
from quantum_pulse.reading import environments, requests, runs, selection, self_time, statistics
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import EVERYTHING, Operations, Selection

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from quantum_pulse.analysis.comparison import RunVariation


@runtime_checkable
class RunHistory(Protocol):
    """What knows how much runs of the same program differ: a `History`."""

    def variation(self, *, skip_warmup: bool = True) -> Mapping[tuple[str, float], RunVariation]:
        """Return how much operations vary from run to run, by operation and quantile."""


def compare(
    before: Sequence[Source],
    after: Sequence[Source],
    operations: Operations = None,
    *,
    quantiles: Sequence[float] = (0.5, 0.95, 0.99),
    min_effect: float = 0.05,
    alpha: float = 0.05,
    skip_warmup: bool = True,
    history: RunHistory | None = None,
) -> analysis.Comparison:
    """The captures `after` against those `before`; see `Capture.compare`."""
    if not before:
        raise ValueError("baseline is empty; give a capture to compare with")
    for side in (before, after):
        _expect_different(side)
    if not isinstance(history, RunHistory | None):
        raise TypeError(f"history must be a History, as qp.History(path) gives it, not {history!r}")
    sides = Sides(before, after, selection.some(before[0], operations))
    found = analysis.compare_samples(
        *sides.runs(),
        quantiles=quantiles,
        min_effect=min_effect,
        alpha=alpha,
        skip_warmup=skip_warmup,
        variation=None if history is None else history.variation(skip_warmup=skip_warmup),
    )
    differences = conditions.differences(*sides.environments())
    return replace(
        found,
        differences=tuple(differences),
        unfinished=open_calls.of_side(after),
        evidence=sides,
        same_recording=_recordings(before) == _recordings(after) and _all_equal(found.table),
    )


@dataclass(frozen=True)
class Sides:
    """The captures on the two sides of a comparison: its `Evidence`."""

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

    def nested(self) -> tuple[list[dict[str, Calls]], list[dict[str, Calls]]]:
        """Return, for each run of each side, the calls of each operation and what encloses them."""
        before, after = ([run for one in side for run in self_time.runs(one)] for side in (self.before, self.after))
        return before, after

    def requests(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return, for each side, the calls that nothing encloses, one row per operation."""
        before, after = (requests.summary(side) for side in (self.before, self.after))
        return before, after


def _recordings(side: Sequence[Source]) -> set[str]:
    """Names of its recordings, which copies share."""
    return {name for one in side for _, own in one.by_capture() for name in (*own.recordings, *own.open)}


def _all_equal(table: pd.DataFrame) -> bool:
    """Whether no figure differs between the sides, of some at least."""
    return len(table) > 0 and bool((table["baseline_us"] == table["current_us"]).all())


def _expect_different(side: Sequence[Source]) -> None:
    """Raise ValueError where a call is in `side` twice: a capture may be there again at another time only."""
    seen: dict[Path, list[Selection]] = {}
    for one in side:
        for _, source in one.by_capture():
            known = seen.setdefault(source.path.resolve(), [])
            if any(source.within.shares(other) for other in known):
                again = " at the same time" if any(one != EVERYTHING for one in (source.within, *known)) else ""
                raise ValueError(f"{source.path} is given twice{again} on one side; each run counts once")
            known.append(source.within)
