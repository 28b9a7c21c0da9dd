"""Show what is known of one operation and of single calls: durations, course over time, parents and children."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from quantum_pulse import metrics
from quantum_pulse.statistics import shown_in
from quantum_pulse.view import budgets as words
from quantum_pulse.view import chart, numbers, statistics
from quantum_pulse.view import waterfall as waterfalls
from quantum_pulse.view.chart import Distribution, Interval, Mark, OverTime, Strip
from quantum_pulse.view.document import Block, Cell, Column, Figure, Fold, Name, Paragraph, Row, Table
from quantum_pulse.view.waterfall import Concurrent

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

_STATISTICS: Final = shown_in("details")
#: Rows of what ran concurrently, and of children.
_MEANWHILE: Final = 5
_FAMILY: Final = 6


class Spanning(Protocol):
    """Anything that lasts from `begin_ns` to `end_ns`, Unix time."""

    @property
    def begin_ns(self) -> int:
        """When it begins."""

    @property
    def end_ns(self) -> int:
        """When it ends."""


class Surrounded(Concurrent, Protocol):
    """A slow sample and what surrounds it, as `reading.slowest.SlowSample` has it."""

    @property
    def ancestors(self) -> pd.DataFrame:
        """The samples that enclose it, outermost first."""

    @property
    def children(self) -> pd.DataFrame:
        """The samples directly in it."""

    @property
    def meanwhile(self) -> pd.DataFrame:
        """What else ran in any thread while it ran."""


def distribution(
    edges_ns: Sequence[float],
    calls: npt.NDArray[Any],
    row: Mapping[str, float],
    budget_us: float | None,
    baseline: npt.NDArray[Any] | None = None,
    this_ns: float | None = None,
) -> Figure:
    """Distribution of durations; `row` is that of `Capture.stats`, `baseline` calls in the same bins.

    `this_ns` is the duration of a single call that is pointed out.
    """
    # Beside a single call, fewer: their names would touch.
    quantiles = [
        one for one in _STATISTICS if one.quantile is not None and (this_ns is None or one.name in ("p50_us", "p99_us"))
    ]
    marks = [Mark(one.title, float(row[one.name]) * 1000) for one in quantiles]
    if budget_us is not None:
        marks.append(Mark("budget", budget_us * 1000, "budget"))
    if this_ns is not None:
        marks.append(Mark("this call", this_ns, "moment"))
    return Figure(Distribution(edges_ns, calls, marks, baseline), "Distribution of durations")


def percentiles(row: Mapping[str, float], budget_us: float | None, budget: Mapping[Any, Any] | None = None) -> Table:
    """The statistics of an operation, one per line; `budget` is its row of `Capture.budgets`, for all its calls."""
    rows = [
        Row(
            [
                Cell(one.title),
                Cell(
                    statistics.value(one.name, row[one.name]),
                    kind="bad" if one.name == "errors" and row[one.name] else "",
                ),
            ]
        )
        for one in _STATISTICS
    ]
    if budget_us is not None:
        rows.append(Row([Cell("budget"), Cell(numbers.us(budget_us))]))
    if budget is not None:
        kind: Literal["", "bad"] = "bad" if words.verdict(budget) == "missed" else ""
        rows.append(Row([Cell(f"{words.quantile(budget)} within budget"), Cell(words.word(budget), kind=kind)]))
        rows.append(Row([Cell("calls over budget"), Cell(numbers.share(budget["share"]))]))
    return Table("Statistics", [Column("", is_number=False), Column("")], rows, "facts")


def metric_strips(values_of: Callable[[str], Sequence[float]]) -> list[Strip]:
    """The metrics with values above 0, each with its values over time as `values_of` gives them."""
    strips = []
    for metric in metrics.METRICS:
        if not metric.strip:
            continue
        values = values_of(metric.name)
        known = [value for value in values if not math.isnan(value)]
        if known and max(known) > 0:
            strips.append(Strip(metric.strip, values, numbers.metric(metric.name, max(known))))
    return strips


def over_time(
    heat: pd.DataFrame,
    window_ns: int,
    lines: Mapping[str, Sequence[float]],
    calls: Sequence[float],
    strips: Sequence[Strip],
    budget_us: float | None,
    slow: tuple[int, int] | None,
) -> list[Block]:
    """Durations over time, with percentiles in ns, calls and metrics in each window of `heat`.

    `slow` is the first of some windows that are pointed out, and the first after them.
    """
    window = numbers.duration(window_ns)
    own = [Strip(f"calls in {window}", calls, numbers.short(max(calls))), *strips]
    began = f"Time after {clock(chart.first_ns(heat))} UTC. Each column is {window} wide."
    shown = OverTime(heat, window_ns, lines, own, None if budget_us is None else budget_us * 1000, slow)
    picture = Figure(shown, "Durations over time, with p50 and p99 and system metrics", began)
    if not strips:
        return [picture, Paragraph("No system metrics were recorded.", "missing")]
    return [picture]


def sample(span: Spanning, row: Mapping[Any, Any]) -> list[Cell]:
    """When it began, how long it took, thread, task, error."""
    error = row["error"]
    return [
        Cell(f"{clock(int(row['start'].value))} ({since(span, int(row['start'].value))})", int(row["start"].value)),
        Cell(numbers.duration(row["duration_ns"]), row["duration_ns"]),
        Cell(str(row["thread"])),
        Cell(str(row["task"]) if row["task"] else "–"),
        Cell("–" if error is None or error != error else Name(str(error))),
    ]


def family(tree: pd.DataFrame, name: str, anchors: Mapping[str, str]) -> list[Block]:
    """The parents and children of an operation, over all paths of `Capture.tree`."""
    mine: float = float(tree["total_us"][tree["operation"] == name].sum()) or 1.0
    parents: dict[str, list[float]] = {}
    children: dict[str, list[float]] = {}
    above: list[str] = []
    for operation, depth, calls, total in zip(
        tree["operation"], tree["depth"], tree["count"], tree["total_us"], strict=True
    ):
        del above[int(depth) :]
        inside, key = (above[-1], str(operation)) if above else ("", str(operation))
        for family, member in ((parents, inside if key == name else ""), (children, key if inside == name else "")):
            if member:
                sums = family.setdefault(member, [0.0, 0.0])
                sums[0] += calls
                sums[1] += total
        above.append(key)
    if not parents and not children:
        return [
            Paragraph(
                "It runs inside no other operation, and no other operation runs inside it.",
                "missing",
            )
        ]
    columns = [
        Column("operation", is_number=False),
        Column("", is_number=False),
        Column("calls"),
        Column("time"),
        Column("share of its time"),
    ]
    rows = []
    for role, family in (("parent", parents), ("child", children)):
        for other, (calls, total) in sorted(family.items(), key=lambda one: -one[1][1]):
            share = numbers.share(min(total / mine, 1)) if role == "child" else "–"
            rows.append(
                Row(
                    [
                        Cell(Name(other, anchors.get(other, ""))),
                        Cell(role),
                        Cell(numbers.count(calls)),
                        Cell(numbers.us(total)),
                        Cell(share),
                    ]
                )
            )
    return [Table("Parents and children", columns, rows)]


def waterfall(
    slow: Surrounded,
    anchors: Mapping[str, str],
    metrics: pd.DataFrame | None = None,
    most: int = waterfalls.MOST_BOXES,
) -> list[Block]:
    """A sample among all that ran at its time, and the same as a table; `most` boxes are drawn."""
    chart, left = waterfalls.build(slow, anchors, metrics, most)
    label = (
        f"{slow.sample['operation']}, {numbers.duration(slow.sample['duration_ns'])}: what ran at its time, by thread "
        "and task."
    )
    return [Figure(chart, label, left), Fold("Show as a table", surroundings(slow, anchors), kind="small")]


def surroundings(slow: Surrounded, anchors: Mapping[str, str]) -> list[Block]:
    """The ancestors and children of a sample, and what ran concurrently, as a table."""
    length = max(int(slow.sample["duration_ns"]), 1)
    begin = int(slow.sample["start"].value)
    rows = [
        *(_nested(one, "ancestor", begin, length, anchors) for one in slow.ancestors.to_dict("records")),
        *(
            _nested(one, "child", begin, length, anchors)
            for one in slow.children.nlargest(_FAMILY, "duration_ns").sort_values("start").to_dict("records")
        ),
        *(_event(one, begin, length) for one in slow.events.to_dict("records")),
        *(_beside(one, anchors) for one in slow.meanwhile.head(_MEANWHILE).reset_index().to_dict("records")),
    ]
    if not rows:
        return [Paragraph("No other recorded operation ran during this call.", "missing")]
    columns = [
        Column("operation", is_number=False),
        Column("", is_number=False),
        Column("start"),
        Column("duration"),
        Column("share"),
        Column("when", is_number=False, wide=True, title="position between the start and the end of the call"),
    ]
    return [Table("Ancestors, children and concurrent calls", columns, rows)]


def _nested(one: Mapping[Any, Any], role: str, begin: int, length: int, anchors: Mapping[str, str]) -> Row:
    later, took = int(one["start"].value) - begin, int(one["duration_ns"])
    return Row(
        [
            Cell(Name(str(one["operation"]), anchors.get(str(one["operation"]), ""))),
            Cell(role),
            Cell(f"{'+' if later >= 0 else '−'}{numbers.duration(abs(later))}"),
            Cell(numbers.duration(took)),
            Cell(numbers.share(took / length) if role == "child" else "–"),
            Cell("", chart=Interval(later / length, (later + took) / length)),
        ]
    )


#: Kind of event -> its name in the report.
_EVENTS: Final = {"gc": "garbage collection", "clock_step": "wall clock step"}


def _event(event: Mapping[Any, Any], begin: int, length: int) -> Row:
    later, took = int(event["start"].value) - begin, int(event["duration_ns"])
    kind = str(event["event"])
    return Row(
        [
            Cell(_EVENTS.get(kind, kind)),
            Cell("concurrent"),
            Cell(f"{'+' if later >= 0 else '−'}{numbers.duration(abs(later))}"),
            Cell(numbers.duration(took)),
            Cell(numbers.share(took / length)),
            Cell("", chart=Interval(later / length, (later + took) / length)),
        ]
    )


def _beside(other: Mapping[Any, Any], anchors: Mapping[str, str]) -> Row:
    operation = str(other["operation"])
    return Row(
        [
            Cell(Name(operation, anchors.get(operation, ""))),
            Cell(f"concurrent, thread {other['thread']}"),
            Cell(f"{numbers.count(other['calls'])} ×"),
            Cell(numbers.us(other["overlap_us"])),
            Cell(numbers.share(other["share"])),
            Cell(""),
        ]
    )


def since(span: Spanning, ns: int) -> str:
    """A moment as the time after the beginning."""
    return f"+{(ns - span.begin_ns) / 1e9:.{_decimals(span.end_ns - span.begin_ns)}f} s"


def _decimals(span_ns: int) -> int:
    """Decimals of a second that distinguish moments a thousandth of `span_ns` apart."""
    return min(max(3 - math.floor(math.log10(max(span_ns, 1) / 1e9)), 0), 9)


def clock(ns: int, *, date: bool = False) -> str:
    """A moment as the time of day, UTC: 21:34:37.428, or with the date before it."""
    import pandas as pd

    text = pd.Timestamp(ns, tz="UTC").strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return text if date else text[11:]
