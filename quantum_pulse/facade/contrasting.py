"""An interval of a capture against the time around it: its windows through `analysis.contrasts`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantum_pulse import analysis, arguments, metrics
from quantum_pulse.analysis import contrasts, windows
from quantum_pulse.reading import selection, tables, timeline
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import Moment, Operations

if TYPE_CHECKING:
    import pandas as pd


def contrast(
    source: Source,
    start: Moment,
    end: Moment,
    *,
    operations: Operations = None,
    chosen_by: Operations = None,
    quantile: float = 0.95,
    alpha: float = 0.05,
) -> analysis.Contrast:
    """Operations and metrics from `start` to `end` against the time around; see `Capture.contrast`."""
    import pandas as pd

    alpha = arguments.between(alpha, "alpha", 0, 1)
    begin_ns, end_ns, first, last = _interval(source, start, end)
    wanted = selection.some(source, operations)
    chosen = [] if chosen_by is None else selection.recorded_names(source, chosen_by)

    def read_operations(starts: list[int], length: int) -> pd.DataFrame:
        times = pd.DatetimeIndex(pd.to_datetime(starts, utc=True)).as_unit("ns")
        reaches = pd.Timestamp(starts[-1] + length, tz="UTC")
        frame = timeline.timeline(source, length / 1e9, wanted, times[0], reaches, quantiles=[quantile])
        return windows.of_operations(frame, times, length / 1e9)

    def read_metrics(starts: list[int], length: int) -> pd.DataFrame:
        return windows.of_metrics(timeline.rates(source, starts, length), metrics.GROWTH)

    window = contrasts.window(begin_ns, end_ns)
    coarse = contrasts.window(begin_ns, end_ns, tables.whole(source, "metrics", "time")["interval_ns"])
    parts = []
    for read, length in ((read_operations, window), (read_metrics, coarse)):
        values, inside = contrasts.read_windows(read, length, begin_ns, end_ns, first, last)
        parts.append(contrasts.contrast(values, inside, alpha=alpha))
    low, high = contrasts.surroundings(begin_ns, end_ns, first, last)
    begin, until, since, to = (pd.Timestamp(moment, tz="UTC") for moment in (begin_ns, end_ns, low, high))
    table = contrasts.ranked(parts, chosen)
    return analysis.Contrast(table, begin, until, since, to, window / 1e9, alpha, tuple(chosen))


def _interval(source: Source, start: Moment, end: Moment) -> tuple[int, int, int, int]:
    """From `start` to `end`, as far as something was recorded, and from when to when it was; Unix time in ns."""
    source.check_readable()
    first, last = selection.extent_ns(source)
    begin_ns, end_ns = selection.interval_bounds_ns(source, start, end)
    begin_ns = first if begin_ns is None else max(begin_ns, first)
    end_ns = last if end_ns is None else min(end_ns, last)
    if begin_ns >= end_ns:
        raise ValueError(f"nothing was recorded from start={start!r} to end={end!r}")
    if end_ns - begin_ns < contrasts.SHORTEST_NS:
        raise ValueError(f"from start={start!r} to end={end!r} is less than a microsecond: too short to compare")
    return begin_ns, end_ns, first, last
