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
#: Slow windows from an operation's first one on are its start-up, no incident, up to this share of the windows.
_START_UP: Final = 0.1
#: Incidents that are named.
_MOST_INCIDENTS: Final = 3
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
    """The run of neighbouring windows that lost the most time against the usual window, if it is worth reporting."""
    return next(iter(slow_moments(counts, totals_us)), None)


def slow_moments(counts: Sequence[float], totals_us: Sequence[float]) -> list[Moment]:
    """Runs of neighbouring windows that lost time against the usual window and are worth reporting, the worst first.

    Usual is the median of the windows' means, each window counting once, or, if that is less, each call counting once:
    an operation that blocks its callers is called less often while it is slow, and may be slow for most of the time.
    Windows in which the operation did not run neither belong to a run nor end it. An operation that is slow at first,
    for a short time, is starting up.
    """
    run = [place for place, count in enumerate(counts) if not math.isnan(count) and count > 0]
    if len(run) < 4:
        return []
    means = sorted((totals_us[place] / counts[place], counts[place]) for place in run)
    calls = itertools.accumulate(count for _, count in means)
    half = sum(count for _, count in means) / 2
    middle = next(number for number, reached in enumerate(calls) if reached >= half)
    usual = means[min(middle, len(means) // 2)][0]
    found: list[Moment] = []
    for is_slow, group in itertools.groupby(run, lambda place: totals_us[place] / counts[place] >= usual * _SLOW):
        own = list(group)
        if not is_slow or (own[0] == run[0] and len(own) <= _START_UP * len(run)):
            continue
        made, total = sum(counts[one] for one in own), sum(totals_us[one] for one in own)
        found.append(Moment(own[0], own[-1], total - made * usual, total / made, usual))
    least = _WORTH_SAYING * sum(totals_us[place] for place in run)
    return sorted((one for one in found if one.excess_us >= least), key=lambda one: -one.excess_us)


class Culprit(NamedTuple):
    """An operation that was slow for a while."""

    category: str
    name: str
    moment: Moment


def culprit(findings: Findings) -> Culprit | None:
    """The operation that lost the most time in a slow moment; a child rather than the parent that only contains it."""
    return next(iter(incidents(findings)), None)


def incidents(findings: Findings) -> list[Culprit]:
    """Slow moments that do not overlap, each with the operation that lost the most time in it, the worst first."""
    least = _WORTH_SAYING_OF_ALL * float(findings.tree["self_us"].sum())
    left = [
        Culprit(category, name, moment)
        for category, name in findings.operations
        for moment in slow_moments(
            findings.over_time(category, name, "count"), findings.over_time(category, name, "total_us")
        )
        if moment.excess_us >= least
    ]
    found: list[Culprit] = []
    while left and len(found) < _MOST_INCIDENTS:
        worst = max(left, key=lambda one: one.moment.excess_us)
        at_once = [one for one in left if _overlap(one.moment, worst.moment)]
        below = _descendants(findings, worst.name)
        inner = [
            one for one in at_once if one.name in below and one.moment.excess_us >= _EXPLAINS * worst.moment.excess_us
        ]
        found.append(max(inner, key=lambda one: below[one.name], default=worst))
        left = [one for one in left if one not in at_once]
    return found


def _overlap(one: Moment, other: Moment) -> bool:
    """Whether two moments have a window in common, or are next to each other."""
    return one.first <= other.last + 1 and other.first <= one.last + 1


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
