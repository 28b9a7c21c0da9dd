"""Details of one operation after the other: charts, time intervals, parents and children, slowest calls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.diagnosis import culprits
from quantum_pulse.diagnosis.findings import Closeup, Findings
from quantum_pulse.diagnosis.section import Links, ReportSection
from quantum_pulse.view import chart, closeup, numbers
from quantum_pulse.view.document import Beside, Block, Column, Fold, Name, Paragraph, Row, Table, Text

if TYPE_CHECKING:
    import pandas as pd

#: Slow samples that are listed in a time interval.
_SAMPLES_A_RANGE: Final = 3
#: Calls that the waterfall of a slow one shows: a report has many of them.
_BOXES: Final = 60


def build(findings: Findings, links: Links) -> list[Block]:
    """A fold for each operation that has a closeup."""
    if not findings.closeups:
        return []
    folds: list[Block] = []
    for category, name in findings.operations:
        if name in findings.closeups:
            row = findings.row(category, name)
            aside = (
                f"{numbers.count(row['count'])} calls, p50 {numbers.us(row['p50_us'])}, p99 {numbers.us(row['p99_us'])}"
            )
            blocks = operation(findings, category, name, links.to)
            folds.append(Fold(Name(name), blocks, links.to[name], "operation", aside, up=f"{links.prefix}operations"))
    left = len(findings.stats) - len(folds)
    if left:
        folds.append(
            Paragraph(
                f"Charts are shown for the {len(folds)} operations with the largest total time. For the other "
                f"{left}, see the statistics above.",
                "missing",
            )
        )
    return folds


def _aside(row: Mapping[Any, Any]) -> str:
    """The statistics of calls in a line."""
    return f"{numbers.count(row['count'])} calls, p50 {numbers.us(row['p50_us'])}, p99 {numbers.us(row['p99_us'])}"


def operation(findings: Findings, category: str, name: str, anchors: Mapping[str, str]) -> list[Block]:
    """The blocks that describe one operation."""
    row = findings.row(category, name)
    own = findings.closeups[name]
    budget = findings.budget(name)
    limit_us = None if budget is None else float(budget["budget_us"])
    blocks: list[Block] = []
    if findings.descriptions.get(name):
        blocks.append(Paragraph([Name(findings.descriptions[name])]))
    if own.heat.empty:
        blocks.append(closeup.percentiles(row, limit_us, budget))
    else:
        calls = own.heat.to_numpy().sum(axis=1)
        blocks.append(
            Beside(
                [
                    closeup.distribution(chart.edges_ns(own.heat), calls, row, limit_us),
                    closeup.percentiles(row, limit_us, budget),
                ]
            )
        )
        blocks += _over_time(findings, category, name)
    blocks += _ranges(findings, category, name)
    blocks += closeup.family(findings.tree, name, anchors)
    blocks += _slowest(findings, own, anchors)
    return blocks


def _over_time(findings: Findings, category: str, name: str) -> list[Block]:
    lines = {
        shown: [value * 1000 for value in findings.over_time(category, name, key)]
        for shown, key in (("p50", "p50_us"), ("p99", "p99_us"))
    }
    calls = [0.0 if math.isnan(value) else value for value in findings.over_time(category, name, "count")]
    strips = closeup.metric_strips(lambda metric: culprits.metric_over_time(findings, metric))
    budget = findings.budget(name)
    moment = culprits.slow_moment(calls, findings.over_time(category, name, "total_us"))
    return closeup.over_time(
        findings.closeups[name].heat,
        findings.window_ns,
        lines,
        calls,
        strips,
        None if budget is None else float(budget["budget_us"]),
        None if moment is None else (moment.first, moment.last + 1),
    )


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
        shown = f"{closeup.since(findings, max(begin, findings.begin_ns))} to {closeup.since(findings, end)}"
        aside = _aside(row)
        aside += f", max {numbers.us(row['max_us'])}"
        aside += f", {numbers.count(row['errors'])} errors" if row["errors"] else ""
        aside += " ← slowest" if row["p99_us"] == worst and len(own) > 1 else ""
        block: Block = (
            _samples(findings, inside, "Slowest calls in this interval")
            if len(inside)
            else Paragraph(f"The {len(slowest)} slowest calls of the operation lie in other intervals.", "missing")
        )
        folds.append(Fold(shown, [block], kind="small", aside=aside))
    return folds


def _samples(span: closeup.Spanning, rows: pd.DataFrame, caption: str) -> Table:
    columns = [
        Column("start", is_number=False),
        Column("duration"),
        Column("thread"),
        Column("task"),
        Column("error", is_number=False),
    ]
    return Table(caption, columns, [Row(closeup.sample(span, row)) for row in rows.to_dict("records")])


def _slowest(findings: Findings, own: Closeup, anchors: Mapping[str, str]) -> list[Block]:
    blocks: list[Block] = [Paragraph("Slowest calls", "note")] if own.surroundings else []
    for place, slow in enumerate(own.surroundings, 1):
        sample = slow.sample
        began = int(sample["start"].value)
        error = sample["error"]
        failed: Text = "" if error is None or error != error else ["Raised ", Name(str(error))]
        aside = f"at {closeup.since(findings, began)} ({closeup.clock(began)} UTC), thread {sample['thread']}"
        inner: list[Block] = [Paragraph(failed)] if failed else []
        # A waterfall takes room: the slowest has one.
        inner += (
            closeup.waterfall(slow, anchors, findings.metrics, _BOXES)
            if place == 1
            else closeup.surroundings(slow, anchors)
        )
        blocks.append(Fold(f"{place}. {numbers.duration(sample['duration_ns'])}", inner, kind="small", aside=aside))
    return blocks


SECTION: Final = ReportSection("closeups", "Details by operation", build, rank=50, brief=False)
