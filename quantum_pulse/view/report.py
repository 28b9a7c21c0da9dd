"""Findings to a document: which sections there are, and what stands in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.view import charts, closeup, numbers, verdict
from quantum_pulse.view.document import (
    Block,
    Cell,
    Column,
    Document,
    Fold,
    Name,
    Paragraph,
    Row,
    Section,
    Table,
    Text,
)
from quantum_pulse.view.findings import Findings
from quantum_pulse.view.scales import LogScale

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS: Final = (
    Column("operation", is_number=False),
    Column("share of time", wide=True),
    Column("calls"),
    Column("errors"),
    Column("total"),
    Column("p50"),
    Column("p99"),
    Column("max"),
    Column("over budget", title="share of the calls that took longer than the budget"),
)


def build(findings: Findings, title: str | None = None) -> Document:
    """The whole report. `title` replaces the name of the capture's folder."""
    anchors = {name: f"op-{number}" for number, (_, name) in enumerate(findings.operations, 1)}
    document = Document(Name(title or findings.path.resolve().name), _subtitle(findings))
    document.sections.append(Section("verdict", "Verdict", _verdict(findings, anchors)))
    document.sections.append(Section("operations", "Operations", _operations(findings, anchors)))
    if findings.comparison is not None:
        document.sections.append(Section("comparison", "Comparison", _comparison(findings, anchors)))
    if findings.closeups:
        document.sections.append(Section("closeups", "Each operation", _closeups(findings, anchors), brief=False))
    document.sections.append(Section("tree", "Calls inside calls", _tree(findings, anchors), brief=False))
    document.sections.append(Section("advice", "Recommendations", _advice(findings)))
    document.sections.append(Section("losses", "What is missing, and what recording cost", _losses(findings)))
    document.sections.append(Section("environment", "Environment", _environment(findings), brief=False))
    return document


def _subtitle(findings: Findings) -> Text:
    if findings.stats.empty:
        return "no samples"
    span = numbers.duration(findings.end_ns - findings.begin_ns)
    calls = numbers.count(findings.stats["count"].sum())
    operations = len(findings.stats)
    plural = "" if operations == 1 else "s"
    began = closeup.clock(findings.begin_ns, date=True)
    return f"{calls} calls of {operations} operation{plural} in {span}, from {began} UTC"


def _verdict(findings: Findings, anchors: dict[str, str]) -> list[Block]:
    blocks: list[Block] = [Paragraph(sentence, "lead") for sentence in verdict.sentences(findings, anchors)]
    if findings.comparison is not None:
        blocks.append(Paragraph(f"Against the baseline: {findings.comparison.summary}", "lead"))
    return blocks


def _operations(findings: Findings, anchors: dict[str, str]) -> list[Block]:
    stats = findings.stats
    if stats.empty:
        return [Paragraph("No operation was recorded.", "missing")]
    scale = LogScale.around(stats["min_us"].min() * 1000, stats["max_us"].max() * 1000, 8, 172)
    total = float(stats["total_us"].sum()) or 1.0
    rows = []
    sums: dict[Any, float] = stats["total_us"].groupby(level="category").sum().to_dict()
    by_category = sorted(sums, key=lambda name: -sums[name])
    for category in by_category:
        own: Any = stats.xs(category, level="category")
        own = own.sort_values("total_us", ascending=False)
        rows.append(_category_row(str(category), own, sums[category], total))
        rows += [
            _operation_row(findings, str(category), str(name), row, total, scale, anchors)
            for name, row in own.iterrows()
        ]
    latency = Column(
        "latency", False, wide=True, title="from min to max, bar from p50 to p99", picture=charts.ranges_axis(scale)
    )
    columns = [*_COLUMNS, latency, Column("trend", False, wide=True, title="p99 over time")]
    note = (
        "Latency: a thin line from the fastest call to the slowest, a bar from p50 to p99, a ring at p50, a dashed "
        "mark at the budget. Times of enclosed operations are part of those around them, so shares are of all measured "
        "time, not of the clock's."
    )
    return [Table("Operations by category, most time first", columns, rows, "grid"), Paragraph(note, "note")]


def _category_row(category: str, own: pd.DataFrame, took: float, total: float) -> Row:
    count, errors = own["count"].sum(), own["errors"].sum()
    share = took / total
    blank = Cell("")
    return Row(
        [
            Cell(Name(category)),
            Cell(numbers.share(share), share, charts.share_bar(share)),
            Cell(numbers.count(count), count),
            _errors(errors, count),
            Cell(_us(took), took),
            blank,
            blank,
            Cell(_us(own["max_us"].max()), own["max_us"].max()),
            blank,
            blank,
            blank,
        ],
        is_group=True,
    )


def _operation_row(
    findings: Findings, category: str, name: str, row: Any, total: float, scale: LogScale, anchors: Mapping[str, str]
) -> Row:
    budget = findings.budgets_us.get(name)
    share = row["total_us"] / total
    low, p50, p99, high = (float(row[key]) * 1000 for key in ("min_us", "p50_us", "p99_us", "max_us"))
    picture = charts.ranges(scale, low, p50, p99, high, None if budget is None else budget * 1000)
    over_time = findings.over_time(category, name, "p99_us")
    return Row(
        [
            Cell(Name(name, anchors[name] if name in findings.closeups else "")),
            Cell(numbers.share(share), share, charts.share_bar(share)),
            Cell(numbers.count(row["count"]), row["count"]),
            _errors(row["errors"], row["count"]),
            Cell(_us(row["total_us"]), row["total_us"]),
            Cell(_us(row["p50_us"]), row["p50_us"]),
            Cell(_us(row["p99_us"]), row["p99_us"]),
            Cell(_us(row["max_us"]), row["max_us"]),
            _over(findings, name),
            Cell("", picture=picture),
            Cell("", picture=charts.trend(over_time)),
        ],
        level=2,
    )


def _over(findings: Findings, name: str) -> Cell:
    if name not in findings.budgets_us:
        return Cell("")
    budget: Any = findings.budgets.loc[name]
    if not budget["over"]:
        return Cell("0 %", 0)
    return Cell(f"{numbers.share(budget['share'])} > {_us(budget['budget_us'])}", budget["share"], kind="bad")


def _errors(errors: float, count: float) -> Cell:
    text = f"{numbers.count(errors)} ({numbers.share(errors / count)})" if errors else "0"
    return Cell(text, errors, kind="bad" if errors else "")


def _closeups(findings: Findings, anchors: Mapping[str, str]) -> list[Block]:
    folds: list[Block] = []
    for category, name in findings.operations:
        if name in findings.closeups:
            row = findings.row(category, name)
            aside = f"{numbers.count(row['count'])} calls, p50 {_us(row['p50_us'])}, p99 {_us(row['p99_us'])}"
            blocks = closeup.build(findings, category, name, anchors)
            folds.append(Fold(Name(name), blocks, anchors[name], "operation", aside))
    left = len(findings.stats) - len(folds)
    if left:
        folds.append(
            Paragraph(
                f"Pictures are of the {len(folds)} operations that took most time; of the other {left} there are the "
                "statistics above.",
                "missing",
            )
        )
    return folds


def _tree(findings: Findings, anchors: Mapping[str, str]) -> list[Block]:
    tree = findings.tree
    if tree.empty:
        return [Paragraph("Nothing was recorded that could enclose anything.", "missing")]
    columns = [
        Column("call", is_number=False),
        Column("share of time", wide=True),
        Column("calls"),
        Column("total"),
        Column("self", title="what its children do not explain"),
        Column("mean"),
        Column("max"),
    ]
    whole = float(tree["total_us"][tree["depth"] == 0].sum()) or 1.0
    shown = tree.head(_MOST_PATHS)
    rows = [
        Row(
            [
                Cell(Name(str(row["operation"]), anchors.get(str(row["operation"]), ""))),
                Cell(
                    numbers.share(row["total_us"] / whole),
                    row["total_us"],
                    charts.share_bar(min(row["total_us"] / whole, 1)),
                ),
                Cell(numbers.count(row["count"]), row["count"]),
                Cell(_us(row["total_us"]), row["total_us"]),
                Cell(_us(row["self_us"]), row["self_us"]),
                Cell(_us(row["mean_us"]), row["mean_us"]),
                Cell(_us(row["max_us"]), row["max_us"]),
            ],
            level=int(row["depth"]) + 1,
        )
        for _, row in shown.iterrows()
    ]
    note = "Self is what the calls inside do not explain. Calls that ran at once are each counted in full."
    blocks: list[Block] = [Table("Calls as they enclosed each other", columns, rows, "grid"), Paragraph(note, "note")]
    if len(tree) > len(shown):
        blocks.append(Paragraph(f"{len(tree) - len(shown)} more paths are left out here.", "missing"))
    return blocks


#: Paths in the tree; more of them nobody reads.
_MOST_PATHS: Final = 400


def _comparison(findings: Findings, anchors: Mapping[str, str]) -> list[Block]:
    assert findings.comparison is not None
    columns = [
        Column("operation", is_number=False),
        Column("quantile"),
        Column("baseline"),
        Column("now"),
        Column("change"),
        Column("95 % interval"),
        Column("verdict", is_number=False),
    ]
    rows = []
    for row in findings.comparison.table.to_dict("records"):
        name, what = str(row["operation"]), str(row["verdict"])
        rows.append(
            Row(
                [
                    Cell(Name(name, anchors.get(name, ""))),
                    Cell(f"p{row['quantile'] * 100:g}", row["quantile"]),
                    Cell(_us(row["baseline_us"]), row["baseline_us"]),
                    Cell(_us(row["current_us"]), row["current_us"]),
                    Cell(_change(row["change"]), row["change"]),
                    Cell(
                        f"{_change(row['ci_low'])} to {_change(row['ci_high'])}"
                        if math.isfinite(row["ci_low"])
                        else "–"
                    ),
                    Cell(what, kind="bad" if what == "regressed" else "good" if what == "improved" else ""),
                ]
            )
        )
    where: Text = ["Baseline: ", Name(str(findings.baseline)), ". ", findings.comparison.summary]
    return [Paragraph(where), Table("Quantiles against the baseline", columns, rows, "grid")]


def _change(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else f"{value * 100:+.1f} %".replace("-", "−")


def _losses(findings: Findings) -> list[Block]:
    blocks: list[Block] = []
    if findings.losses.empty:
        blocks.append(Paragraph("Nothing was lost: every call that ended stands in this report."))
    else:
        columns = [Column("cause", is_number=False), Column("operation", is_number=False), Column("samples")]
        rows = []
        for (cause, operation), own in findings.losses.groupby(["cause", "operation"], sort=False, dropna=False):
            known = own["count"].notna().all()
            text = numbers.count(own["count"].sum()) if known else "unknown"
            rows.append(
                Row([Cell(Name(str(cause))), Cell(Name("" if operation != operation else str(operation))), Cell(text)])
            )
        blocks.append(Paragraph("Not everything is in this report. Missing:", "warning"))
        blocks.append(Table("Samples that were lost or cannot be read", columns, rows))
    if findings.metrics.empty:
        blocks.append(Paragraph("No system metrics were recorded.", "missing"))
    if not any(process.get("account") for process in findings.processes):
        blocks.append(
            Paragraph("No process of this capture has left its account, so losses may not all be known.", "missing")
        )
        return blocks
    accounts = [process["account"] for process in findings.processes if process.get("account")]
    sums = {
        key: sum(int(account.get(key, 0) or 0) for account in accounts)
        for key in ("started", "written", "open", "lost")
    }
    blocks.append(
        Paragraph(
            f"Account: {numbers.count(sums['started'])} calls started = {numbers.count(sums['written'])} written + "
            f"{numbers.count(sums['open'])} still open at the end + {numbers.count(sums['lost'])} lost."
        )
    )
    blocks.append(Paragraph(_own_cost(findings, sums["started"]), "note"))
    return blocks


def _own_cost(findings: Findings, started: int) -> str:
    if not findings.overhead:
        return "What a sample costs was not measured when this was recorded."
    costs = [float(one["sample_ns"]) for one in findings.overhead]
    each = sum(costs) / len(costs)
    recorded = sum(
        max((process.get("stopped_ns") or findings.end_ns) - (process.get("started_ns") or findings.begin_ns), 1)
        for process in findings.processes
    )
    return (
        f"The recorder's own cost: {numbers.duration(each)} a call, measured as the recording began; "
        f"{numbers.duration(each * started)} of the {numbers.duration(recorded)} recorded, "
        f"{numbers.share(each * started / recorded)}."
    )


def _advice(findings: Findings) -> list[Block]:
    if findings.metrics.empty:
        return [Paragraph("No system metrics were recorded, so there is nothing to found advice on.", "missing")]
    columns = [Column(name, is_number=False) for name in ("subject", "evidence", "reason", "what to do", "record next")]
    rows = [
        Row([Cell(Name(str(text))) for text in (one.subject, one.evidence, one.reason, one.action, one.record_next)])
        for one in findings.recommendations
    ]
    if not rows:
        return [Paragraph("Nothing applies: no metric moves with the latency of an operation strongly enough.")]
    return [Table("What could be done, the best founded first", columns, rows)]


def _environment(findings: Findings) -> list[Block]:
    if not findings.processes:
        return [Paragraph("The capture says nothing of the processes that made it.", "missing")]
    columns = [
        Column("process", is_number=False),
        Column("command", is_number=False),
        Column("host", is_number=False),
        Column("Python", is_number=False),
        Column("core", is_number=False),
        Column("state", is_number=False),
        Column("from", is_number=False),
        Column("for"),
    ]
    rows = []
    for process in findings.processes[:_MOST_PROCESSES]:
        started, stopped = process.get("started_ns"), process.get("stopped_ns")
        rows.append(
            Row(
                [
                    Cell(str(process.get("pid", "?"))),
                    Cell(Name(" ".join(map(str, process.get("argv") or ())))),
                    Cell(Name(str(process.get("host", "?")))),
                    Cell(Name(str(process.get("python", "?")))),
                    Cell(Name(str(process.get("core", "?")))),
                    Cell(Name(str(process.get("state", "?")))),
                    Cell(f"{closeup.clock(started, date=True)} UTC" if started else "?"),
                    Cell(numbers.duration(stopped - started) if started and stopped else "?"),
                ]
            )
        )
    blocks: list[Block] = [Table("Processes that were recorded", columns, rows)]
    if len(findings.processes) > _MOST_PROCESSES:
        blocks.append(Paragraph(f"{len(findings.processes) - _MOST_PROCESSES} more processes are left out.", "missing"))
    return blocks


#: Processes in the environment; a service with more is known by its first.
_MOST_PROCESSES: Final = 50


def _us(value: float) -> str:
    return numbers.duration(value * 1000)
