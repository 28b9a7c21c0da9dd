"""Read the calls of an operation with what is known of each, for `analysis.causes`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.analysis import critical_path
from quantum_pulse.analysis.causes import ORDINARY, Circumstances, Condition, weighted_quantile
from quantum_pulse.reading import attributes, scan, self_time, tables
from quantum_pulse.reading.reader import Part, Source
from quantum_pulse.reading.selection import Selection

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Flags = npt.NDArray[np.bool_]
    Integers = npt.NDArray[np.int64]

#: Calls that are looked at, about; of more only every n-th is, which represents n.
MOST_CALLS: Final = 500_000
#: Slow calls, and as many typical ones, of which the calls inside are looked at.
EXAMINED: Final = 1_000
#: Rows inside of those that are looked at.
_MOST_INSIDE: Final = 2_000_000
#: Values of an attribute, and other operations, that are considered: those of the most calls.
_MOST_VALUES: Final = 50
_MOST_OPERATIONS: Final = 40
#: The first calls of a recording: so many at least, and this share of all that it made at most.
_FEWEST_FIRST: Final = 10
_MOST_FIRST: Final = 0.1
#: A burst is when so many times the usual calls arrived within the time of a few typical ones before.
_BURST: Final = 3.0
_BURST_CALLS: Final = 10
#: Metric -> kind of cause, its name, and from which share of an interval, or which number in it, it counts.
_METRICS: Final = (
    ("container_throttled_us", "throttling", "CPU quota of the container reached", 0.02),
    ("run_queue_us", "run queue", "waiting for a CPU", 0.1),
    ("cpu_steal_percent", "run queue", "CPU taken by other machines", 0.0),
    ("pressure_memory_us", "memory", "waiting for memory", 0.02),
    ("major_faults", "memory", "page faults that read from disk", 0.0),
    ("pressure_io_us", "memory", "waiting for disks", 0.1),
)
#: A metric is high in an interval that has so many times the value of quiet ones, the lower quartile.
_HIGH: Final = 1.2
#: Calls that enclose each other, as far as they are followed.
_DEEPEST: Final = 8
_COLUMNS: Final = ("start", "duration_ns", "span", "parent", "thread", "process", "weight", "error", "cpu_ns")


def read(source: Source, selection: Selection, quantile: float) -> Circumstances:
    """The calls in `selection`, which names one operation, and what each of them met."""
    return scan.whole(lambda: _read(source, selection, quantile))


def _read(source: Source, selection: Selection, quantile: float) -> Circumstances:
    import numpy as np
    import pandas as pd

    assert selection.names is not None
    calls, values = _calls(source, selection)
    duration = calls["duration_ns"].to_numpy(np.int64)
    start = calls["start"].to_numpy(np.int64)
    typical_ns = int(np.median(duration)) if len(duration) else 0
    examined, represents = _examined(calls, quantile)
    # What ran inside and beside the calls is looked up in the whole capture, whatever part of it was asked for.
    whole = source.whole
    paths, counts, related = _inside(whole, calls.iloc[examined], selection.names[0])
    conditions = [
        *_of_attributes(calls, values),
        *_of_errors(calls),
        *_of_beginning(calls),
        *_of_bursts(start, typical_ns),
        *_of_metrics(whole, calls),
        *_of_others(whole, calls, typical_ns, related),
    ]
    on_cpu = calls["cpu_ns"].to_numpy(np.float64, na_value=np.nan)
    weight = calls["weight"].to_numpy(np.int64)
    taken = _collections(whole, calls)
    return Circumstances(
        selection.names[0],
        start,
        duration,
        weight,
        conditions,
        examined,
        represents,
        pd.DataFrame(paths),
        pd.DataFrame(counts),
        on_cpu,
        taken,
    )


def samples_of(source: Source, selection: Selection, known: Circumstances, chosen: Flags, most: int) -> pd.DataFrame:
    """The samples of some calls, the slowest first, at most `most`."""
    import numpy as np
    import pandas as pd
    import pyarrow.dataset as ds

    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(-known.duration_ns[rows], kind="stable")[:most]]
    if not len(rows):
        return tables.empty(source)
    wanted = {(int(known.start_ns[row]), int(known.duration_ns[row])) for row in rows.tolist()}
    first, last = int(known.start_ns[rows].min()), int(known.start_ns[rows].max())
    near = selection._replace(start_ns=first, end_ns=last + 1)
    least = int(known.duration_ns[rows].min())
    found = []
    for part in scan.parts(source, near):
        frame = tables.read_part(source, part, tables.columns_of(source), near, ds.field("duration_ns") >= least)
        found.append(tables.frame_of(frame))
    frame = pd.concat(found, ignore_index=True)
    keys = zip(frame["start"].astype("int64"), frame["duration_ns"], strict=True)
    own = frame[[key in wanted for key in keys]]
    return own.sort_values("duration_ns", ascending=False, ignore_index=True).head(most)


# ---- the calls ------------------------------------------------------------------------------------------------------


def _calls(source: Source, selection: Selection) -> tuple[pd.DataFrame, Mapping[str, Sequence[str | None]]]:
    """The calls in the order in which they started, with a column of codes for each attribute, and its values."""
    import pandas as pd
    import pyarrow as pa

    names = attributes.names(source)
    every = max(-(-scan.rows_at_most(source, selection) // MOST_CALLS), 1)
    lock = threading.Lock()
    found: list[pd.DataFrame] = []
    values: dict[str, dict[str | None, int]] = {name: {} for name in names}

    def work(batch: Any, part: Part) -> None:
        import numpy as np

        rows = batch.take(pa.array(np.arange(0, batch.num_rows, every)))
        frame = rows.select(list(_COLUMNS)).to_pandas(types_mapper={pa.int64(): None}.get)
        frame["start"] = rows["start"].cast(pa.int64()).to_numpy()
        frame["error"] = rows["error"].is_valid().to_numpy(zero_copy_only=False)
        frame["weight"] *= every
        frame["origin"] = part.origin
        for name in names:
            codes, texts = attributes.coded(rows[attributes.COLUMN], name)
            with lock:
                known = values[name]
                places = np.array([known.setdefault(text, len(known)) for text in texts], np.int64)
            frame[f"@{name}"] = places[codes]
        with lock:
            found.append(frame)

    columns = [*_COLUMNS, *([attributes.COLUMN] if names else [])]
    scan.each(source, scan.parts(source, selection), lambda _: columns, selection, work, "why")
    empty = pd.DataFrame(columns=[*_COLUMNS, "origin", *(f"@{name}" for name in names)])
    calls = pd.concat(found, ignore_index=True) if found else empty
    calls = calls.sort_values("start", kind="stable", ignore_index=True)
    return calls, {name: list(known) for name, known in values.items()}


def _examined(calls: pd.DataFrame, quantile: float) -> tuple[Integers, npt.NDArray[np.float64]]:
    """Rows of slow calls, of ordinary ones and of those between, each spread over the time, and how many calls each
    represents."""
    import numpy as np

    duration = calls["duration_ns"].to_numpy(np.int64)
    weight = calls["weight"].to_numpy(np.int64)
    if not len(duration):
        return np.zeros(0, np.int64), np.zeros(0)
    ordinary, threshold = (weighted_quantile(duration, weight, one) for one in (min(ORDINARY, quantile), quantile))
    found, represented = [], []
    for low, high in ((-1, ordinary), (ordinary, threshold), (threshold, np.inf)):
        rows = np.flatnonzero((duration > low) & (duration <= high))
        few = rows[np.linspace(0, len(rows) - 1, min(EXAMINED, len(rows))).astype(np.int64)]
        found.append(few)
        represented.append(np.full(len(few), weight[rows].sum() / max(len(few), 1)))
    examined, represents = np.concatenate(found), np.concatenate(represented)
    order = np.argsort(examined)
    return examined[order], represents[order]


# ---- what is inside -------------------------------------------------------------------------------------------------


def _inside(source: Source, calls: pd.DataFrame, own: str) -> tuple[dict[str, Any], dict[str, Any], set[str]]:
    """For each call the time on its critical path and the calls inside by operation, and all operations above or below
    calls of it."""
    import numpy as np

    names = [own]
    places = {own: 0}
    nested: list[tuple[Integers, ...]] = []
    roots, counted = np.zeros(len(calls), np.int64), 0
    for origin, rows in calls.groupby("origin", sort=False).indices.items():
        mine = calls.iloc[rows]
        below = _below(source, str(origin), mine)
        operation = np.array([places.setdefault(name, len(places)) for name in below["operation"]], np.int64)
        names += list(places)[len(names) :]
        span = np.concatenate([mine["span"].to_numpy(np.int64), below["span"].to_numpy(np.int64)])
        parent = np.concatenate([np.full(len(mine), -1), below["parent"].to_numpy(np.int64)])
        above = self_time.rows_of_parents(span, parent)
        above = np.where(above >= 0, above + counted, -1)
        start = np.concatenate([mine["start"].to_numpy(np.int64), below["start"].to_numpy(np.int64)])
        duration = np.concatenate([mine["duration_ns"].to_numpy(np.int64), below["duration_ns"].to_numpy(np.int64)])
        kinds = np.concatenate([np.zeros(len(mine), np.int64), operation])
        nested.append((start, duration, above, kinds))
        roots[rows] = counted + np.arange(len(mine))
        counted += len(span)
    if not nested:
        return {}, {}, {own}
    whole = critical_path.Nested(*(np.concatenate(columns) for columns in zip(*nested, strict=True)))
    times = critical_path.times(whole, roots, len(names))
    runs = critical_path.inside(whole, roots, len(names))
    return (
        {name: times[:, place] for place, name in enumerate(names)},
        {name: runs[:, place] for place, name in enumerate(names)},
        set(names),
    )


def _below(source: Source, origin: str, calls: pd.DataFrame) -> pd.DataFrame:
    """All samples of the recording `origin` inside of `calls`, at any depth."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    start = calls["start"].to_numpy(np.int64)
    end = start + calls["duration_ns"].to_numpy(np.int64)
    order = np.argsort(start, kind="stable")
    begins, reach = start[order], np.maximum.accumulate(end[order])
    near = Selection(start_ns=int(begins[0]), end_ns=int(reach[-1]) + 1)
    columns = ["start", "duration_ns", "span", "parent", "operation"]
    lock = threading.Lock()
    found: list[pd.DataFrame] = []

    def work(batch: Any, _: Part) -> None:
        times = batch["start"].cast(pa.int64()).to_numpy()
        place = np.searchsorted(begins, times, "right") - 1
        is_near = (place >= 0) & (times < reach[np.maximum(place, 0)]) & (batch["parent"].to_numpy() != 0)
        if is_near.any():
            frame = batch.filter(pa.array(is_near)).to_pandas()
            frame["start"] = times[is_near]
            frame["operation"] = frame["operation"].astype(str)
            with lock:
                found.append(frame)

    own = [part for part in scan.parts(source, near) if part.origin == origin]
    scan.each(source, own, lambda _: columns, near, work, "why")
    rows = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)
    rows = rows.head(_MOST_INSIDE)
    parents = rows["parent"].to_numpy(np.int64)
    reached = np.sort(calls["span"].to_numpy(np.int64))
    chosen = np.zeros(len(rows), np.bool_)
    while len(reached):
        place = np.minimum(np.searchsorted(reached, parents), len(reached) - 1)
        new = (reached[place] == parents) & ~chosen
        chosen |= new
        reached = np.sort(rows["span"].to_numpy(np.int64)[new])
    # A slow call may enclose another one of the same operation.
    return rows[chosen & ~rows["span"].isin(calls["span"]).to_numpy()]


# ---- what they met --------------------------------------------------------------------------------------------------


def _of_attributes(calls: pd.DataFrame, values: Mapping[str, Sequence[str | None]]) -> Iterator[Condition]:
    import numpy as np

    for name, texts in values.items():
        codes = calls[f"@{name}"].to_numpy(np.int64)
        often = np.bincount(codes, minlength=len(texts))
        for code in np.argsort(-often, kind="stable")[:_MOST_VALUES].tolist():
            text = texts[code]
            if text is not None and often[code]:
                yield Condition(f"{name}={text}", "attribute", codes == code, (name, text))


def _of_errors(calls: pd.DataFrame) -> Iterator[Condition]:
    yield Condition("the call failed", "error", calls["error"].to_numpy(bool))


def _of_beginning(calls: pd.DataFrame) -> Iterator[Condition]:
    """The first calls of each recording: the first 10, 30, 100 and so on."""
    place = calls.groupby("origin").cumcount().to_numpy()
    size = calls.groupby("origin")["start"].transform("size").to_numpy()
    first = _FEWEST_FIRST
    while len(size) and first <= _MOST_FIRST * size.max():
        yield Condition(f"the first {first:,} calls", "start-up", place < first, is_first=True)
        first *= 3


def _of_bursts(start: Integers, typical_ns: int) -> Iterator[Condition]:
    """Calls before which many arrived: more than the time of a few typical calls usually sees."""
    import numpy as np

    if len(start) < 2:
        return
    window = _BURST_CALLS * max(typical_ns, 1)
    arrived = np.arange(len(start)) - np.searchsorted(start, start - window)
    usual = max(float(np.median(arrived)), 1.0)
    yield Condition("a burst of calls", "burst", arrived > _BURST * usual)


def _of_metrics(source: Source, calls: pd.DataFrame) -> Iterator[Condition]:
    """Calls in intervals in which a metric was high: above its usual value, and by so much that it matters."""
    import numpy as np

    measured = tables.whole(source, "metrics", "time")
    for metric, kind, name, least in _METRICS:
        if metric not in measured or not measured[metric].notna().any():
            continue
        met = np.zeros(len(calls), np.bool_)
        for process, rows in measured.groupby("process"):
            end = rows["time"].astype("int64").to_numpy()
            length = rows["interval_ns"].to_numpy(np.int64)
            value = rows[metric].fillna(0).to_numpy(np.float64)
            value = value * 1000 / length if metric.endswith("_us") else value
            is_high = value > max(least, _HIGH * float(np.quantile(value, 0.25)))
            own = np.flatnonzero(calls["process"].to_numpy() == process)
            times = calls["start"].to_numpy(np.int64)[own]
            place = np.searchsorted(end, times)
            inside = np.minimum(place, len(end) - 1)
            met[own] |= (place < len(end)) & (times >= end[inside] - length[inside]) & is_high[inside]
        yield Condition(name, kind, met)


def _of_others(source: Source, calls: pd.DataFrame, typical_ns: int, related: set[str]) -> Iterator[Condition]:
    """Calls that other operations ran beside.

    What counts is only the time of a typical call from the start on: the longer a call, the more runs beside it.
    """
    import numpy as np

    if calls.empty:
        return
    start = calls["start"].to_numpy(np.int64)
    enclosing = _above(source, calls)
    others = [name for name in _operations(source) if name not in related and name not in enclosing]
    for name in others[:_MOST_OPERATIONS]:
        near = Selection((name,), None, int(start[-1]) + typical_ns)
        rows = tables.read(source, "samples", ["start", "duration_ns", "thread"], near).to_pandas()
        if rows.empty:
            continue
        began = rows["start"].astype("int64").to_numpy()
        order = np.argsort(began, kind="stable")
        ended = np.maximum.accumulate((began + rows["duration_ns"].to_numpy(np.int64))[order])
        began = began[order]
        place = np.searchsorted(began, start + typical_ns) - 1
        met = (place >= 0) & (ended[np.maximum(place, 0)] > start)
        kind = "event loop" if name.startswith("EventLoop.") else "concurrent"
        yield Condition(name, kind, met)


def _operations(source: Source) -> list[str]:
    """Names of the operations, those with most time first."""
    total: dict[str, int] = {}
    for part in source.sound("samples"):
        for summary in part.footer.get("histograms") or ():
            total[summary["operation"]] = total.get(summary["operation"], 0) + int(summary.get("sum_ns", 0))
    return sorted(total, key=lambda name: -total[name])


def _above(source: Source, calls: pd.DataFrame) -> set[str]:
    """Operations that enclose some of the calls: they run beside each of them, by what they are."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.dataset as ds

    found: set[str] = set()
    for origin, rows in calls.groupby("origin", sort=False):
        spans = np.unique(rows["parent"].to_numpy(np.int64))
        spans = spans[spans != 0][:: max(len(spans) // EXAMINED, 1)]
        own = [part for part in source.sound("samples") if part.origin == origin]
        for _ in range(_DEEPEST):
            if not len(spans):
                break
            wanted = ds.field("span").isin(pa.array(spans))
            above = [tables.read_part(source, part, ["operation", "parent"], Selection(), wanted) for part in own]
            found |= {str(name) for one in above for name in one["operation"].unique().to_pylist()}
            parents = np.unique(np.concatenate([one["parent"].to_numpy() for one in above] or [np.zeros(0, np.int64)]))
            spans = parents[parents != 0]
    return found


def _collections(source: Source, calls: pd.DataFrame) -> dict[str, npt.NDArray[np.float64]]:
    """How long garbage collections held up each call, in ns: those of its process, whichever thread ran them."""
    import numpy as np

    events = tables.whole(source, "events", "start")
    events = events[events["event"] == "gc"]
    taken = np.zeros(len(calls))
    start = calls["start"].to_numpy(np.int64)
    end = start + calls["duration_ns"].to_numpy(np.int64)
    for process, rows in events.groupby("process"):
        began = rows["start"].astype("int64").to_numpy()
        length = rows["duration_ns"].to_numpy(np.int64)
        own = np.flatnonzero(calls["process"].to_numpy() == process)
        # Pauses of a process do not overlap: the time of all until a moment, by interpolation.
        edges = np.column_stack([began, began + length]).ravel()
        paused = np.column_stack([np.cumsum(length) - length, np.cumsum(length)]).ravel()
        taken[own] = np.interp(end[own], edges, paused) - np.interp(start[own], edges, paused)
    return {"garbage collection": taken} if len(events) else {}
