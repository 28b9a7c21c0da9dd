"""Charts as data: what they show, independent of how they are drawn. `svg` draws them, `sparks` writes them as text.

Durations are in ns. Text from a capture gets in through `Box` and `Track` alone, and whoever draws them escapes it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from quantum_pulse.view.scales import LogScale

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Durations:
    """One operation: a thin line from the fastest to the slowest, a bar from p50 to p99, a dot at p50, its budget."""

    low: float
    p50: float
    p99: float
    high: float
    budget: float | None = None

    @classmethod
    def of(cls, row: Mapping[Any, Any], budget_us: float | None) -> Durations:
        """Those of a row of `Capture.stats`."""
        low, p50, p99, high = (float(row[key]) * 1000 for key in ("min_us", "p50_us", "p99_us", "max_us"))
        return cls(low, p50, p99, high, None if budget_us is None else budget_us * 1000)


@dataclass(frozen=True, slots=True)
class OnScale:
    """Durations on an axis that several rows share."""

    scale: LogScale
    durations: Durations


@dataclass(frozen=True, slots=True)
class Axis:
    """The labels of the axis that several rows share, for the head of their column."""

    scale: LogScale


@dataclass(frozen=True, slots=True)
class Share:
    """A bar that is filled in part."""

    share: float


@dataclass(frozen=True, slots=True)
class Interval:
    """A bar from `begin` to `end`, as shares of the time shown; what lies outside is cut off."""

    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Trend:
    """A line through values over time, NaN where there is none."""

    values: Sequence[float]

    def heights(self) -> list[float]:
        """The logarithms as shares of their range, NaN where there is none; empty for less than two values."""
        known = [value for value in self.values if not math.isnan(value) and value > 0]
        if len(known) < 2:
            return []
        low, high = math.log(min(known)), math.log(max(known))
        # Do not magnify a change of less than a fifth.
        if high - low < 0.2:
            low, high = low - 0.1, high + 0.1
        return [
            math.nan if math.isnan(value) or value <= 0 else (math.log(value) - low) / (high - low)
            for value in self.values
        ]


@dataclass(frozen=True, slots=True)
class Runs:
    """A few durations over a logarithmic axis, with a mark at their median."""

    durations: Sequence[int]
    median: float

    def heights(self, bins: int) -> list[float]:
        """How many are in each of `bins`, as shares of the highest; empty where all are the same."""
        logs = [math.log(max(value, 1)) for value in self.durations]
        if not logs or max(logs) == min(logs):
            return []
        low, high = min(logs), max(logs)
        counts = [0] * bins
        for value in logs:
            counts[min(int((value - low) / (high - low) * bins), bins - 1)] += 1
        return [count / max(counts) for count in counts]


class Mark(NamedTuple):
    """A duration that is pointed out: a percentile, a budget."""

    name: str
    ns: float
    kind: str = "mark"


@dataclass(frozen=True, slots=True)
class Distribution:
    """Bars over a logarithmic axis, with `marks` above it.

    `edges` are those of the bins, one more than `calls`. `baseline`, in the same bins, is drawn as a line, as high as
    if it had as many calls.
    """

    edges: Sequence[float]
    calls: npt.NDArray[Any]
    marks: Sequence[Mark]
    baseline: npt.NDArray[Any] | None = None


class Strip(NamedTuple):
    """A metric under a heat map: its name, one value a window (NaN where unknown), and the largest as text."""

    name: str
    values: Sequence[float]
    largest: str


@dataclass(frozen=True, slots=True)
class OverTime:
    """A heat map of durations over time, percentiles over it, metrics under it, all on one axis of time.

    `heat` as `Capture.heatmap` gives it, a column a window of `window_ns`; `lines` p50 and p99 of each window; `slow`
    the first of some windows that are pointed out, and the first after them.
    """

    heat: pd.DataFrame
    window_ns: int
    lines: Mapping[str, Sequence[float]]
    strips: Sequence[Strip]
    budget: float | None = None
    slow: tuple[int, int] | None = None


class Box(NamedTuple):
    """A bar in a row, from `begin` to `end`. `told` describes it; `kind` names its colour, see `assets/boxes.css`.

    `link` is the anchor of its operation, `height` the share of the row that it fills.
    """

    row: int
    begin: float
    end: float
    name: str
    told: str
    kind: str
    link: str = ""
    height: float = 1.0


class Lane(NamedTuple):
    """An operation over time: a value a window, in ns, NaN where it did not run; `link` is its anchor."""

    name: str
    values: Sequence[float]
    link: str = ""


@dataclass(frozen=True, slots=True)
class Lanes:
    """Operations one below the other on one axis of time, the slower than usual the stronger, with metrics under them.

    Windows of `window_ns` begin at `begin_ns`, Unix time; `slow` as of `OverTime`.
    """

    lanes: Sequence[Lane]
    begin_ns: int
    window_ns: int
    strips: Sequence[Strip] = ()
    slow: tuple[int, int] | None = None

    def ratios(self, lane: Lane) -> list[float]:
        """Each value over the median of all of them, NaN where there is none."""
        known = [value for value in lane.values if not math.isnan(value) and value > 0]
        usual = statistics.median(known) if known else math.nan
        return [value / usual if value > 0 else math.nan for value in lane.values]


class Key(NamedTuple):
    """What a colour means."""

    kind: str
    text: str


class Track(NamedTuple):
    """Rows that belong together, with a title above them."""

    title: str
    rows: int


@dataclass(frozen=True, slots=True)
class Boxes:
    """Calls as boxes in rows, in a row below what called them: an icicle, or with an axis of time a waterfall.

    `begin` to `end` is shown first; boxes may reach beyond, and users may look there. Tracks that have no title, and
    rows that belong to no track, are drawn as they are. `marked` is an interval that is pointed out in all tracks.
    """

    boxes: Sequence[Box]
    begin: float
    end: float
    tracks: Sequence[Track] = ()
    marked: tuple[float, float] | None = None
    is_time: bool = False
    legend: Sequence[Key] = ()


#: Fits into a cell of a table.
CellChart: TypeAlias = OnScale | Axis | Share | Interval | Trend | Runs
#: Needs room of its own.
FigureChart: TypeAlias = Distribution | OverTime | Lanes | Boxes


def first_ns(heat: pd.DataFrame) -> int:
    """When the first column of a heat map begins, Unix time."""
    import pandas as pd

    return int(pd.Timestamp(heat.columns[0]).value)


def edges_ns(heat: pd.DataFrame) -> list[float]:
    """Edges of the rows of a heat map (of `Capture.heatmap`) in ns, one more than rows; at least 1, as axes need it."""
    edges = [float(edge) * 1000 for edge in heat.index]
    # Rows are equally high on a logarithmic axis, but for those below 64 ns, which are of 8 ns.
    above = edges[-1] * 2**0.125 if len(edges) < 2 or not edges[-2] else edges[-1] * edges[-1] / edges[-2]
    return [max(edge, 1.0) for edge in (*edges, max(above, edges[-1] + 8))]
