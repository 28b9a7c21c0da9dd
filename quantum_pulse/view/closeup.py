"""Describe one operation: distribution of durations, course over time, callers and callees, slowest calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from quantum_pulse import metrics
from quantum_pulse.reading.slowest import SlowSample
from quantum_pulse.view import budgets as words
from quantum_pulse.view import charts, numbers, verdict
from quantum_pulse.view.charts import Mark, Strip
from quantum_pulse.view.document import (
    Beside,
    Block,
    Cell,
    Column,
    Fold,
    Name,
    Paragraph,
    Picture,
    Row,
    Table,
    Text,
)
from quantum_pulse.view.findings import Closeup, Findings

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

#: Slow samples that are listed in a time interval, and rows of what ran concurrently.
_SAMPLES_A_RANGE: Final = 3
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


def build(findings: Findings, category: str, name: str, anchors: Mapping[str, str]) -> list[Block]:
    """The blocks that describe one operation."""
    row = findings.row(category, name)
    own = findings.closeups[name]
    budget = findings.budget(name)
    limit_us = None if budget is None else float(budget["budget_us"])
    blocks: list[Block] = []
    if findings.descriptions.get(name):
        blocks.append(Paragraph([Name(findings.descriptions[name])]))
    if own.heat.empty:
        blocks.append(percentiles(row, limit_us, budget))
    else:
        calls = own.heat.to_numpy().sum(axis=1)
        blocks.append(
            Beside([distribution(charts.edges_ns(own.heat), calls, row, limit_us), percentiles(row, limit_us, budget)])
        )
        blocks += _over_time(findings, category, name)
    blocks += _ranges(findings, category, name)
    blocks += family(findings.tree, name, anchors)
    blocks += _slowest(findings, own, anchors)
    return blocks


def distribution(
    edges_ns: Sequence[float],
    calls: npt.NDArray[Any],
    row: Mapping[str, float],
    budget_us: float | None,
    baseline: npt.NDArray[Any] | None = None,
) -> Picture:
    """Distribution of durations; `row` is that of `Capture.stats`, `baseline` calls in the same bins."""
    marks = [Mark(shown, float(row[key]) * 1000) for shown, key in _PERCENTILES if shown.startswith("p")]
    if budget_us is not None:
        marks.append(Mark("budget", budget_us * 1000, "budget"))
    return Picture(charts.distribution(edges_ns, calls, marks, baseline), "Distribution of durations")


_PERCENTILES: Final = (
    ("min", "min_us"),
    ("p50", "p50_us"),
    ("p90", "p90_us"),
    ("p99", "p99_us"),
    ("p99.9", "p999_us"),
    ("max", "max_us"),
)


def percentiles(row: Mapping[str, float], budget_us: float | None, budget: Mapping[Any, Any] | None = None) -> Table:
    """The statistics of an operation, one per line; `budget` is its row of `Capture.budgets`, for all its calls."""
    rows = [
        Row([Cell("calls"), Cell(numbers.count(row["count"]))]),
        Row([Cell("errors"), Cell(numbers.count(row["errors"]), kind="bad" if row["errors"] else "")]),
        Row([Cell("total"), Cell(_us(row["total_us"]))]),
        Row([Cell("mean"), Cell(_us(row["mean_us"]))]),
        *(Row([Cell(shown), Cell(_us(row[key]))]) for shown, key in _PERCENTILES),
    ]
    if budget_us is not None:
        rows.append(Row([Cell("budget"), Cell(_us(budget_us))]))
    if budget is not None:
        kind: Literal["", "bad"] = "bad" if words.verdict(budget) == "missed" else ""
        rows.append(Row([Cell(f"{words.quantile(budget)} within budget"), Cell(words.word(budget), kind=kind)]))
        rows.append(Row([Cell("calls over budget"), Cell(numbers.share(budget["share"]))]))
    return Table("Statistics", [Column("", is_number=False), Column("")], rows, "facts")


def _over_time(findings: Findings, category: str, name: str) -> list[Block]:
    lines = {
        shown: [value * 1000 for value in findings.over_time(category, name, key)]
        for shown, key in (("p50", "p50_us"), ("p99", "p99_us"))
    }
    calls = [0.0 if math.isnan(value) else value for value in findings.over_time(category, name, "count")]
    strips = metric_strips(lambda metric: verdict.metric_over_time(findings, metric))
    budget = findings.budget(name)
    moment = verdict.slow_moment(calls, findings.over_time(category, name, "total_us"))
    return over_time(
        findings.closeups[name].heat,
        findings.window_ns,
        lines,
        calls,
        strips,
        None if budget is None else float(budget["budget_us"]),
        moment,
    )


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
    moment: verdict.Moment | None,
) -> list[Block]:
    """Durations over time, with percentiles in ns, calls and metrics in each window of `heat`, a slow moment marked."""
    window = numbers.duration(window_ns)
    own = [Strip(f"calls in {window}", calls, numbers.short(max(calls))), *strips]
    slow = None if moment is None else (moment.first, moment.last + 1)
    svg = charts.over_time(heat, window_ns, lines, own, None if budget_us is None else budget_us * 1000, slow)
    began = f"Time after {clock(charts.first_ns(heat))} UTC. Each column is {window} wide."
    picture = Picture(svg, "Durations over time, with p50 and p99 and system metrics", began)
    if not strips:
        return [picture, Paragraph("No system metrics were recorded.", "missing")]
    return [picture]


def _ranges(findings: Findings, category: str, name: str) -> list[Block]:
    """Time intervals, each with its statistics; opening one shows its slowest samples."""
    try:
        own: Any = findings.ranges.xs((category, name), level=("category", "operation"))
    except KeyError:
        return []
    slowest = findings.closeups[name].slowest
    starts = slowest["start"].astype("datetime64[ns, UTC]").astype("int64")
    worst = own["p99_us"].max()
    folds: list[Block] = [Paragraph("Time intervals", "note")]
    for begin, row in zip(own.index.as_unit("ns").asi8.tolist(), own.to_dict("records"), strict=True):
        end = min(begin + findings.range_ns, findings.end_ns)
        inside = slowest[(starts >= begin) & (starts < end)].head(_SAMPLES_A_RANGE)
        shown = f"{since(findings, max(begin, findings.begin_ns))} to {since(findings, end)}"
        aside = f"{numbers.count(row['count'])} calls, p50 {_us(row['p50_us'])}, p99 {_us(row['p99_us'])}"
        aside += f", max {_us(row['max_us'])}"
        aside += f", {numbers.count(row['errors'])} errors" if row["errors"] else ""
        aside += " ← slowest" if row["p99_us"] == worst and len(own) > 1 else ""
        block: Block = (
            _samples(findings, inside, "Slowest calls in this interval")
            if len(inside)
            else Paragraph(f"The {len(slowest)} slowest calls of the operation lie in other intervals.", "missing")
        )
        folds.append(Fold(shown, [block], kind="small", aside=aside))
    return folds


def _samples(span: Spanning, rows: pd.DataFrame, caption: str) -> Table:
    columns = [
        Column("start", is_number=False),
        Column("duration"),
        Column("thread"),
        Column("task"),
        Column("error", is_number=False),
    ]
    return Table(caption, columns, [Row(sample(span, row)) for row in rows.to_dict("records")])


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
                        Cell(_us(total)),
                        Cell(share),
                    ]
                )
            )
    return [Table("Parents and children", columns, rows)]


def _slowest(findings: Findings, own: Closeup, anchors: Mapping[str, str]) -> list[Block]:
    blocks: list[Block] = [Paragraph("Slowest calls", "note")] if own.surroundings else []
    for place, slow in enumerate(own.surroundings, 1):
        sample = slow.sample
        began = int(sample["start"].value)
        error = sample["error"]
        failed: Text = "" if error is None or error != error else ["Raised ", Name(str(error))]
        aside = f"at {since(findings, began)} ({clock(began)} UTC), thread {sample['thread']}"
        inner: list[Block] = [Paragraph(failed)] if failed else []
        inner += surroundings(slow, anchors)
        blocks.append(Fold(f"{place}. {numbers.duration(sample['duration_ns'])}", inner, kind="small", aside=aside))
    return blocks


def surroundings(slow: SlowSample, anchors: Mapping[str, str]) -> list[Block]:
    """The ancestors and children of a sample, and what ran concurrently."""
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
            Cell("", picture=charts.span_bar(later / length, (later + took) / length)),
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
            Cell("", picture=charts.span_bar(later / length, (later + took) / length)),
        ]
    )


def _beside(other: Mapping[Any, Any], anchors: Mapping[str, str]) -> Row:
    operation = str(other["operation"])
    return Row(
        [
            Cell(Name(operation, anchors.get(operation, ""))),
            Cell(f"concurrent, thread {other['thread']}"),
            Cell(f"{numbers.count(other['calls'])} ×"),
            Cell(_us(other["overlap_us"])),
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


def _us(value: float) -> str:
    return numbers.duration(value * 1000)
