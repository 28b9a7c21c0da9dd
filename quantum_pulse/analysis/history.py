"""Compare one run with earlier runs, whose statistics show the variation between runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Final

from quantum_pulse.analysis.comparison import RunVariation, check_shares, interval_levels, verdict
from quantum_pulse.analysis.ratios import ratio_of
from quantum_pulse.analysis.significance import benjamini_hochberg, student_quantile, student_tail
from quantum_pulse.analysis.warmup import settling

if TYPE_CHECKING:
    from quantum_pulse.evidence import Run

#: Fewer runs say nothing of how much runs vary.
FEWEST_RUNS: Final = 3
#: Of logarithms: runs that happen to be all alike are not all alike for ever.
LEAST_DEVIATION: Final = 1e-3

Checked = tuple[str, float, float, float, float, float, float, float, str]


def check(
    series: Mapping[tuple[str, float], tuple[Sequence[float], float]], *, min_effect: float = 0.05, alpha: float = 0.05
) -> list[Checked]:
    """Rows of `Comparison.table` for figures of past runs and one of a new run, by operation and quantile, in µs.

    The new run's logarithm minus the mean of the past ones, over their standard deviation times sqrt(1 + 1/n), is
    Student's t with n - 1 degrees of freedom when nothing has changed (the prediction interval of a normal sample).
    Raises ValueError for arguments out of range.
    """
    check_shares(min_effect, alpha)
    rows: list[tuple[str, float, float, float, float]] = []
    spreads: list[tuple[float, float, int]] = []  # of the logarithm of the ratio: its value, error, degrees of freedom
    tails: list[tuple[float, float, bool, str]] = []  # p of a change, p of being equivalent, slower, verdict
    for (name, level), (past, now) in series.items():
        known = [value for value in past if value > 0]
        before = math.exp(fmean(map(math.log, known))) if known else math.nan
        change = now / before - 1 if known and now > 0 else math.nan
        if not known or not now > 0 or len(known) < FEWEST_RUNS:
            verdict_ = "added" if not known else "removed" if not now > 0 else "too_few"
            rows.append((name, level, before, now, change))
            spreads.append((math.nan, math.nan, 1))
            tails.append((math.nan, math.nan, False, verdict_))
            continue
        logs = [math.log(value) for value in known]
        error = max(stdev(logs), LEAST_DEVIATION) * math.sqrt(1 + 1 / len(logs))
        freedom = len(logs) - 1
        shift, margin = math.log1p(change), math.log1p(min_effect)

        def tail(distance: float, error: float = error, freedom: int = freedom) -> float:
            beyond = student_tail(abs(distance) / error, freedom)
            return beyond if distance > 0 else 1 - beyond

        slower, faster = tail(shift - margin), tail(-shift - margin)
        equivalent = max(tail(margin - shift), tail(margin + shift))
        rows.append((name, level, before, now, change))
        spreads.append((shift, error, freedom))
        tails.append((min(1.0, 2 * min(slower, faster)), equivalent, slower < faster, ""))
    q_values = benjamini_hochberg([one[0] for one in tails]).tolist()
    q_equivalent = benjamini_hochberg([one[1] for one in tails]).tolist()
    level_of = interval_levels(q_values, q_equivalent, alpha)
    found = []
    for row, spread, (_, _, is_slower, known_), q, other in zip(
        rows, spreads, tails, q_values, q_equivalent, strict=True
    ):
        word = known_ or verdict(is_slower, q, other, alpha)
        shift, error, freedom = spread
        reach = student_quantile(level_of(word) / 2, freedom) * error
        found.append((*row, math.expm1(shift - reach), math.expm1(shift + reach), q, word))
    return found


def variation(figures: Mapping[tuple[str, float], Sequence[float]]) -> dict[tuple[str, float], RunVariation]:
    """Return how much figures of past runs vary, by operation and quantile, in µs; of FEWEST_RUNS at least."""
    found = {}
    for key, past in figures.items():
        logs = [math.log(value) for value in past if value > 0]
        if len(logs) >= FEWEST_RUNS:
            found[key] = RunVariation(max(stdev(logs), LEAST_DEVIATION) ** 2, len(logs) - 1)
    return found


def settled(runs: Sequence[Run], levels: Mapping[str, float]) -> dict[str, float] | None:
    """What is left of an operation's samples without those at the start that are still settling; None where none are.

    `set_aside`, of so many `samples`; `change`, the ratio of the median of what was set aside to that of the rest,
    minus 1; and the quantiles `levels` of the rest, in µs, each sample counting as many calls as it represents.
    """
    import numpy as np

    firsts = [settling(durations) for durations, _ in runs]
    if not any(firsts):
        return None
    early = np.concatenate([durations[:first] for first, (durations, _) in zip(firsts, runs, strict=True)])
    durations, weights = (
        np.concatenate([column[first:] for first, column in zip(firsts, columns, strict=True)])
        for columns in zip(*runs, strict=True)
    )
    order = np.argsort(durations, kind="stable")
    ordered, reached = durations[order], np.cumsum(weights[order], dtype=np.int64)
    found = {}
    for name, level in levels.items():
        place = (int(reached[-1]) - 1) * level
        low, high = (
            float(ordered[int(np.searchsorted(reached, rank, side="right"))])
            for rank in (math.floor(place), min(math.floor(place) + 1, int(reached[-1]) - 1))
        )
        found[name] = (low + (high - low) * (place - math.floor(place))) / 1000
    return {
        "set_aside": int(early.size),
        "samples": int(early.size + durations.size),
        "change": ratio_of(float(np.median(early)), float(np.median(durations))) - 1,
        **found,
    }
