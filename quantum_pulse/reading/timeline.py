"""Calculate statistics per time window, and heat maps over time and duration."""

from __future__ import annotations

import datetime as dt
import itertools
import numbers
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse import metrics
from quantum_pulse.arguments import real, whole
from quantum_pulse.operations import Operation
from quantum_pulse.reading import density, expired, scan, sorting, statistics, tables
from quantum_pulse.reading import groups as grouping
from quantum_pulse.reading.groups import Groups
from quantum_pulse.reading.reader import Part, Source
from quantum_pulse.reading.selection import Moment, Operations, Recorded, Selection, Where, member, select
from quantum_pulse.statistics import QUANTILES

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

Window = str | dt.timedelta | float

#: Of a heat map: no screen shows as many, and more of them would take memory for nothing.
MOST_COLUMNS: Final = 100_000
#: Rollups that are added up at once, at up to 400 buckets each.
_ROLLUPS_AT_ONCE: Final = 1 << 14
#: Intervals of a timeline that are worked on at once: while one is sorted, the next is read.
SLABS_AT_ONCE: Final = 2


def timeline(
    source: Source,
    window: Window = "1s",
    operations: Operations = None,
    start: Moment = None,
    end: Moment = None,
    *,
    by: str | Iterable[str] = "operation",
    where: Where = None,
    quantiles: float | Sequence[float] | None = None,
    with_expired: bool = False,
) -> pd.DataFrame:
    """A row for each window and group that ran in it; see `Capture.timeline`.

    `with_expired` begins with the windows that rollups cover.
    """
    import pandas as pd

    window_ns = _window_ns(window)
    chosen = select(source, operations, start, end, where) & source.within
    levels = grouping.levels(by, source)
    with_expired = with_expired and not chosen.where and {"category", "operation", "capture"}.issuperset(levels)
    wanted = QUANTILES if quantiles is None else statistics.quantile_columns(quantiles)

    def work() -> pd.DataFrame:
        slabs = _with_expired(source, chosen, window_ns) if with_expired else _slabs(source, chosen, window_ns)
        frames: list[pd.DataFrame] = []
        with (
            scan.progress(sum(part.rows for part in scan.parts(source, chosen)), "timeline") as advance,
            ThreadPoolExecutor(min(len(slabs), SLABS_AT_ONCE), thread_name_prefix="timeline") as pool,
        ):
            try:
                for slab, frame in zip(slabs, pool.map(one, slabs), strict=True):
                    frames.append(frame)
                    advance(slab.rows)
            except BaseException:
                # An interrupt, or a part that cannot be read: do not work on the rest first.
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return pd.concat([frame for frame in frames if len(frame)] or frames[:1])

    def one(slab: _Slab) -> pd.DataFrame:
        groups = Groups(("window", *levels), source.categories_of(), window_ns)
        with scan.silent():
            approximate = slab.has_expired
            return statistics.summarise(
                source, groups, slab.chosen, wanted, approximate=approximate, with_expired=approximate
            )

    frame = scan.whole(work)
    windows = frame.index.get_level_values("window").astype("int64")
    times = pd.DatetimeIndex(pd.to_datetime(windows, unit="ns", utc=True)).as_unit("ns")
    arrays = [times, *(frame.index.get_level_values(name) for name in levels)]
    frame.index = pd.MultiIndex.from_arrays(arrays, names=["time", *levels])
    return frame.join(window_metrics(source, times.unique(), window_ns), on="time")


class _Slab(NamedTuple):
    """A time interval, and about how many samples are read for it. `has_expired` if rollups cover it as well."""

    chosen: Selection
    rows: int
    has_expired: bool = False


def _with_expired(source: Source, chosen: Selection, window_ns: int) -> list[_Slab]:
    """As `_slabs`, where the first ones are the windows in which something has expired.

    Raises ValueError where the rollups of that time are by longer intervals.
    """
    until_ns = expired.until_ns(source)
    cut_ns = -(-(until_ns or 0) // window_ns) * window_ns
    is_later = chosen.start_ns is not None and chosen.start_ns >= cut_ns
    if until_ns is None or is_later or window_ns % expired.MINUTE_NS:
        return _slabs(source, chosen, window_ns)
    expired.check_window(source, chosen, window_ns)
    begins = [int(begin) // window_ns * window_ns for begin in expired.starts(source, chosen)[::_ROLLUPS_AT_ONCE]]
    edges = [chosen.start_ns, *sorted(set(begins) - set(begins[:1]))]
    edges.append(cut_ns if chosen.end_ns is None else min(cut_ns, chosen.end_ns))
    early = [
        _Slab(chosen._replace(start_ns=begin, end_ns=end), 0, has_expired=True)
        for begin, end in itertools.pairwise(edges)
    ]
    if chosen.end_ns is not None and chosen.end_ns <= cut_ns:
        return early
    return [*early, *_slabs(source, chosen._replace(start_ns=cut_ns), window_ns)]


def _slabs(source: Source, chosen: Selection, window_ns: int) -> list[_Slab]:
    """`chosen` cut along windows into intervals of few samples, as far as the windows are short enough."""
    parts = scan.parts(source, chosen)
    if any(part.first_ns is None or part.last_ns is None for part in parts):
        return [_Slab(chosen, sum(part.rows for part in parts))]
    slabs: list[_Slab] = []
    since, inside = chosen.start_ns, list[Part]()
    for part in sorted(parts, key=lambda part: part.first_ns or 0):
        cut = (part.first_ns or 0) // window_ns * window_ns
        if sum(one.rows for one in [*inside, part]) > sorting.FEW_ROWS and cut > (since or 0):
            slabs.append(_Slab(chosen._replace(start_ns=since, end_ns=cut), sum(one.rows for one in inside)))
            # What reaches beyond the cut is read again.
            since, inside = cut, [one for one in inside if (one.last_ns or 0) >= cut]
        inside.append(part)
    return [*slabs, _Slab(chosen._replace(start_ns=since), sum(one.rows for one in inside))]


def window_metrics(source: Source, times: pd.DatetimeIndex, window_ns: int) -> pd.DataFrame:
    """The system metrics in the windows that begin at `times`, index `time`; NaN where nothing was measured.

    Growth is spread evenly over its interval; levels are means weighted by time. Metrics of a process are added up over
    processes, those of the container and the machine are averaged.
    """
    import numpy as np
    import pandas as pd

    measured = tables.whole(source, "metrics", "time")
    starts = times.as_unit("ns").asi8
    added = {name: np.full(len(times), np.nan) for name in metrics.NAMES}
    processes = {name: np.zeros(len(times)) for name in metrics.NAMES}
    for _, own in measured.groupby(["capture", "process"] if source.captures else "process"):
        for name in metrics.NAMES:
            values = _in_windows(own, name, starts, window_ns)
            known = ~np.isnan(values)
            added[name] = np.where(known, np.nan_to_num(added[name]) + np.nan_to_num(values), added[name])
            processes[name] += known
    for name in metrics.SHARED:
        added[name] = added[name] / np.maximum(processes[name], 1)
    return pd.DataFrame(added, index=times.rename("time"))


def rates(source: Source, starts: Sequence[int], window_ns: int) -> pd.DataFrame:
    """`window_metrics` of windows that begin at `starts`, Unix time in ns; growth as of a second."""
    import pandas as pd

    times = pd.DatetimeIndex(pd.to_datetime(list(starts), utc=True)).as_unit("ns")
    found = window_metrics(source, times, window_ns)
    found[sorted(metrics.GROWTH)] /= window_ns / 1e9
    return found


def _in_windows(
    measured: pd.DataFrame, name: str, starts: npt.NDArray[np.int64], window_ns: int
) -> npt.NDArray[np.float64]:
    """One metric of one process in windows: its sum or its mean over what was measured, NaN where nothing was."""
    import numpy as np

    measured = measured[measured[name].notna()]
    if measured.empty or not len(starts):
        return np.full(len(starts), np.nan)
    origin = int(starts[0])
    ends = measured["time"].astype("datetime64[ns, UTC]").astype("int64").to_numpy() - origin
    lengths = measured["interval_ns"].to_numpy()
    begins = np.maximum(ends - lengths, np.concatenate([[np.iinfo(np.int64).min], ends[:-1]]))
    values = measured[name].to_numpy(np.float64)
    amounts = values if name in metrics.GROWTH else values * (ends - begins)
    # The integral over time from the first interval on, flat where nothing was measured; a window is a difference.
    edges = np.column_stack([begins, ends]).ravel()
    amount = np.cumsum(np.column_stack([np.zeros(len(ends)), amounts]).ravel())
    covered = np.cumsum(np.column_stack([np.zeros(len(ends)), ends - begins]).ravel())
    low, high = starts - origin, starts - origin + window_ns
    known = np.interp(high, edges, covered) - np.interp(low, edges, covered)
    total = np.interp(high, edges, amount) - np.interp(low, edges, amount)
    found: npt.NDArray[np.float64] = np.full(len(starts), np.nan)
    some = known > 0
    found[some] = total[some] if name in metrics.GROWTH else total[some] / known[some]
    return found


def heatmap(
    source: Source,
    operation: Operation | Recorded,
    start: Moment = None,
    end: Moment = None,
    columns: int = 120,
    where: Where = None,
) -> pd.DataFrame:
    """Counts over time and log-duration; see `Capture.heatmap`."""
    columns = whole(columns, "columns", 1, MOST_COLUMNS)
    chosen = select(source, member(source, operation), start, end, where)
    return scan.whole(lambda: _heatmap(source, chosen, columns))


def _heatmap(source: Source, chosen: Selection, columns: int) -> pd.DataFrame:
    import pandas as pd

    begin, end = _range(source, chosen)
    if end <= begin:
        return pd.DataFrame(
            index=pd.Index([], dtype="float64", name="duration_us"), columns=pd.DatetimeIndex([], tz="UTC", name="time")
        )
    return density.read(source, chosen, begin, end, columns).heatmap()


def _range(source: Source, chosen: Selection) -> tuple[int, int]:
    """From the first sample in `chosen` to just after the last: what the user set, else when they ran."""
    start_ns = source.within.start_ns if chosen.start_ns is None else chosen.start_ns
    end_ns = source.within.end_ns if chosen.end_ns is None else chosen.end_ns
    if start_ns is not None and end_ns is not None:
        return start_ns, end_ns
    parts = scan.parts(source, chosen)
    firsts = [part.first_ns for part in parts if part.first_ns is not None]
    lasts = [part.last_ns for part in parts if part.last_ns is not None]
    if len(firsts) < len(parts) or len(lasts) < len(parts):
        raise ValueError("some parts do not say when their samples started; give start and end")
    begin = start_ns if start_ns is not None else min(firsts, default=0)
    end = end_ns if end_ns is not None else max(lasts, default=-1) + 1
    return begin, end


def seconds(window: Window) -> float:
    """The length of a window in seconds. Raises ValueError as `timeline`."""
    return _window_ns(window) / 1e9


def _window_ns(window: Window) -> int:
    import numpy as np
    import pandas as pd

    given: Any = window
    is_timedelta = isinstance(given, dt.timedelta | np.timedelta64)
    # numpy's timedelta64 is registered as a whole number.
    is_number = isinstance(given, numbers.Real) and not isinstance(given, bool) and not is_timedelta
    try:
        if not (is_number or is_timedelta or isinstance(given, str)):
            raise TypeError
        length: Any = pd.Timedelta(real(given), unit="s") if is_number else pd.Timedelta(given)
        if length is pd.NaT:
            raise ValueError
        length_ns = int(length.as_unit("ns").value)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"window={window!r} is not a valid duration; write it as '1s', '100ms' or '5min', or as seconds"
        ) from error
    if length_ns < 1000:
        raise ValueError(f"window={window!r} is shorter than a microsecond; write it as '1s', '100ms' or '5min'")
    return length_ns
