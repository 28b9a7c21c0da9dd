"""Find the operation that was slow for a while, and when: a child rather than the parent that only contains it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from quantum_pulse.diagnosis.findings import Findings

#: A window counts as slow when the mean there is so many times that of the usual window.
_SLOW: Final = 1.5
#: A moment is only reported when it cost so much of the operation's time, and so much of all time.
_WORTH_SAYING: Final = 0.03
_WORTH_SAYING_OF_ALL: Final = 0.01
#: A child explains its parent when it has so much of the parent's excess.
_EXPLAINS: Final = 0.6


class Moment(NamedTuple):
    """When an operation was slow: windows [first, last], the time lost in them, and means there and usually, in µs."""

    first: int
    last: int
    excess_us: float
    mean_us: float
    usual_us: float


def slow_moment(counts: Sequence[float], totals_us: Sequence[float]) -> Moment | None:
    """The run of neighbouring windows that lost the most time against the usual window, if it is worth reporting.

    Usual is the median of the windows' means, each window counting once, or, if that is less, each call counting once:
    an operation that blocks its callers is called less often while it is slow, and may be slow for most of the time.
    Windows in which the operation did not run neither belong to a run nor end it.
    """
    run = [place for place, count in enumerate(counts) if not math.isnan(count) and count > 0]
    if len(run) < 4:
        return None
    means = sorted((totals_us[place] / counts[place], counts[place]) for place in run)
    calls = itertools.accumulate(count for _, count in means)
    half = sum(count for _, count in means) / 2
    middle = next(number for number, reached in enumerate(calls) if reached >= half)
    usual = means[min(middle, len(means) // 2)][0]
    best: Moment | None = None
    own: list[int] = []
    for place in [*run, None]:
        if place is not None and totals_us[place] / counts[place] >= usual * _SLOW:
            own.append(place)
            continue
        if own:
            made, total = sum(counts[one] for one in own), sum(totals_us[one] for one in own)
            moment = Moment(own[0], own[-1], total - made * usual, total / made, usual)
            best = moment if best is None or moment.excess_us > best.excess_us else best
            own = []
    if best is None or best.excess_us < _WORTH_SAYING * sum(totals_us[place] for place in run):
        return None
    return best


class Culprit(NamedTuple):
    """An operation that was slow for a while."""

    category: str
    name: str
    moment: Moment


def culprit(findings: Findings) -> Culprit | None:
    """The operation that lost the most time in a slow moment; a child rather than the parent that only contains it."""
    found = {}
    least = _WORTH_SAYING_OF_ALL * float(findings.tree["self_us"].sum())
    for category, name in findings.operations:
        counts = findings.over_time(category, name, "count")
        moment = slow_moment(counts, findings.over_time(category, name, "total_us"))
        if moment is not None and moment.excess_us >= least:
            found[name] = Culprit(category, name, moment)
    if not found:
        return None
    worst = max(found.values(), key=lambda one: one.moment.excess_us)
    below = _descendants(findings, worst.name)
    inner = [
        one
        for name, one in found.items()
        if name in below and one.moment.excess_us >= _EXPLAINS * worst.moment.excess_us
    ]
    return max(inner, key=lambda one: below[one.name], default=worst)


def _descendants(findings: Findings, name: str) -> dict[str, int]:
    """Operations that ran inside `name`, each with how deep."""
    found: dict[str, int] = {}
    inside: int | None = None
    for operation, depth in zip(findings.tree["operation"], findings.tree["depth"], strict=True):
        if inside is not None and depth <= inside:
            inside = None
        if inside is not None and operation != name:
            found[str(operation)] = max(found.get(str(operation), 0), int(depth) - inside)
        elif operation == name and inside is None:
            inside = int(depth)
    return found


def metric_over_time(findings: Findings, metric: str) -> list[float]:
    """A system metric, an entry a window, NaN where it was not measured or nothing ran."""
    values = [math.nan] * findings.window_count
    if metric not in findings.windows.columns:
        return values
    own = findings.windows[metric].groupby(level="time").first()
    for time, value in own.items():
        place = (int(time.value) - findings.begin_ns) // findings.window_ns  # type: ignore[attr-defined]
        if 0 <= place < len(values):
            values[place] = float(value)
    return values
