"""A call among all that ran at its time, as boxes on tracks: a track for each thread and task, at true times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from quantum_pulse import metrics as declared
from quantum_pulse.view import icicle, numbers
from quantum_pulse.view.chart import Box, Boxes, Key, Track

if TYPE_CHECKING:
    import pandas as pd

#: Boxes and tracks of a waterfall; the rest is counted below it.
MOST_BOXES: Final = 1200
_MOST_TRACKS: Final = 14
_MOST_METRICS: Final = 6
#: Time around the call that is shown first, as a share of it.
_MARGIN: Final = 0.06
#: Relation to the call -> colour (that of its operation where there is none), and word.
_KINDS: Final = {
    "call": ("call", "this call"),
    "ancestor": ("around", "ancestor"),
    "descendant": ("inside", "inside this call"),
    "other": ("", "concurrent"),
}
_EVENTS: Final = {"gc": "garbage collection", "clock_step": "wall clock step"}

_LEGEND: Final = (Key("call", "this call"), Key("around", "ancestors"), Key("inside", "inside it"))
#: Colours of concurrent calls: one for each operation, the most frequent first, and again from the beginning.
_HUES: Final = 7


class Concurrent(Protocol):
    """A call and what ran at its time, as `reading.slowest.SlowSample` has it."""

    @property
    def sample(self) -> pd.Series[Any]:
        """Its row of the raw samples."""

    @property
    def concurrent(self) -> pd.DataFrame:
        """Raw samples of all that ran at its time, with their `relation` to it."""

    @property
    def events(self) -> pd.DataFrame:
        """Garbage collections and the like while it ran."""


def build(
    slow: Concurrent, links: Mapping[str, str], metrics: pd.DataFrame | None = None, most: int = MOST_BOXES
) -> tuple[Boxes, str]:
    """The waterfall, in ns after the call began, and what is left out of it, empty for nothing.

    `metrics` are rows as those of a capture; `most` bounds the boxes: the longest calls are kept.
    """
    origin = int(slow.sample["start"].value)
    length = max(int(slow.sample["duration_ns"]), 1)
    rows = slow.concurrent.assign(begin=slow.concurrent["start"].astype("datetime64[ns, UTC]").astype("int64") - origin)
    rows["end"] = rows["begin"] + rows["duration_ns"]
    every = _by_track(rows)
    shown = every[:_MOST_TRACKS]
    prefix = icicle.common_prefix([str(name) for name in rows["operation"].unique()])
    hues = {name: f"other o{place % _HUES}" for place, name in enumerate(rows["operation"].value_counts().index)}
    boxes: list[Box] = []
    tracks: list[Track] = []
    row = 0
    longest = _longest(rows, most)
    for title, own in shown:
        kept = own[own.index.isin(longest)]
        placed = _rows(kept.to_dict("records"))
        if not placed:
            continue
        boxes += [_box(one, row + place, prefix, hues, links) for one, place in placed]
        tracks.append(Track(title, max(place for _, place in placed) + 1))
        row += tracks[-1].rows
    calls = len(boxes)
    for track, own_boxes in (*_pauses(slow.events, origin, row), *_metrics(metrics, origin, length)):
        boxes += [one._replace(row=row) for one in own_boxes]
        tracks.append(track)
        row += 1
    left = [
        f"{numbers.count(count)} {what}"
        for count, what in (
            (len(rows) - calls, "shorter calls"),
            (len(every) - len(shown), "threads or tasks that ran less at this time"),
        )
        if count > 0
    ]
    chart = Boxes(boxes, -_MARGIN * length, length * (1 + _MARGIN), tracks, (0, length), True, _LEGEND)
    return chart, f"Left out: {' and '.join(left)}." if left else ""


def _longest(rows: pd.DataFrame, most: int) -> pd.Index:
    """The rows to draw: the call and its ancestors, then the longest."""
    is_kin = rows["relation"].isin(["call", "ancestor"])
    order = rows.assign(kin=is_kin).sort_values(["kin", "duration_ns"], ascending=[False, False])
    return order.index[:most]


def _by_track(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """A title and the rows of each thread and task: that of the call first, then those that ran longest."""
    keys = [key for key in ("capture", "process", "thread", "task") if key in rows.columns]
    several = [key for key in ("capture", "process") if key in keys and rows[key].nunique() > 1]
    found = []
    for key, own in rows.groupby(keys, observed=True, dropna=False):
        names = dict(zip(keys, key, strict=True))
        is_own = bool((own["relation"] == "call").any())
        words = [*(f"{name} {names[name]}" for name in several), f"thread {names['thread']}"]
        if names["task"] and names["task"] == names["task"]:
            words.append(f"task {names['task']}")
        title = " · ".join(words) + (" (this call)" if is_own else "")
        kin = bool(own["relation"].isin(["ancestor", "descendant"]).any())
        found.append(((not is_own, not kin, -int(own["duration_ns"].sum())), title, own))
    return [(title, own) for _, title, own in sorted(found, key=lambda one: one[0])]


def _rows(samples: Sequence[Mapping[Any, Any]]) -> list[tuple[Mapping[Any, Any], int]]:
    """Samples with their rows: below the call that encloses each, in the first row that is free at its time."""
    ends: list[float] = []
    row_of: dict[int, int] = {}
    found = []
    for one in sorted(samples, key=lambda sample: (sample["begin"], -sample["end"], sample["span"])):
        first = row_of.get(int(one["parent"]), -1) + 1
        row = next((place for place in range(first, len(ends)) if ends[place] <= one["begin"]), len(ends))
        ends += [float("-inf")] * (row + 1 - len(ends))
        ends[row] = one["end"]
        row_of[int(one["span"])] = row
        found.append((one, row))
    return found


def _box(one: Mapping[Any, Any], row: int, prefix: str, hues: Mapping[Any, str], links: Mapping[str, str]) -> Box:
    kind, word = _KINDS[str(one["relation"])]
    name = str(one["operation"])
    kind = kind or hues[one["operation"]]
    told = f"{name}: {numbers.duration(one['duration_ns'])}, {_after(one['begin'])}, {word}"
    if one["error"] is not None and one["error"] == one["error"]:
        told += f", raised {one['error']}"
    attributes = one.get("attributes")
    if isinstance(attributes, dict) and attributes:
        told += ", " + ", ".join(f"{key}={value}" for key, value in attributes.items())
    return Box(row, float(one["begin"]), float(one["end"]), name.removeprefix(prefix), told, kind, links.get(name, ""))


def _after(ns: float) -> str:
    return f"{'−' if ns < 0 else '+'}{numbers.duration(abs(ns))}"


def _pauses(events: pd.DataFrame, origin: int, row: int) -> list[tuple[Track, list[Box]]]:
    found = []
    for kind, own in events.groupby("event", observed=True):
        name = _EVENTS.get(str(kind), str(kind))
        boxes = []
        for begin, took in zip(
            own["start"].astype("datetime64[ns, UTC]").astype("int64"), own["duration_ns"], strict=True
        ):
            told = f"{name}: {numbers.duration(took)}, {_after(int(begin) - origin)}"
            boxes.append(Box(row, float(int(begin) - origin), float(int(begin) - origin + took), name, told, "event"))
        found.append((Track(name, 1), boxes))
    return found


def _metrics(metrics: pd.DataFrame | None, origin: int, length: int) -> list[tuple[Track, list[Box]]]:
    """A track for each metric that was above 0 at that time: a bar for each reading, as high as it is large."""
    if metrics is None or metrics.empty:
        return []
    ends = metrics["time"].astype("datetime64[ns, UTC]").astype("int64") - origin
    begins = ends - metrics["interval_ns"]
    near = metrics[(begins < length * (1 + 4 * _MARGIN)) & (ends > -4 * _MARGIN * length)]
    found: list[tuple[Track, list[Box]]] = []
    for metric in declared.METRICS:
        if not metric.strip or metric.name not in near.columns or len(found) == _MOST_METRICS:
            continue
        most = float(metrics[metric.name].max())
        values = near[metric.name].dropna()
        if values.empty or not most > 0 or not values.max() > 0:
            continue
        boxes = []
        edges = zip(begins[values.index].tolist(), ends[values.index].tolist(), values.tolist(), strict=True)
        for begin, end, value in edges:
            told = f"{metric.strip}: {numbers.metric(metric.name, value)}"
            boxes.append(Box(0, float(begin), float(end), "", told, "metric", "", max(value / most, 0.06)))
        largest = numbers.metric(metric.name, float(values.max()))
        found.append((Track(f"{metric.strip}: {largest}", 1), boxes))
    return found
