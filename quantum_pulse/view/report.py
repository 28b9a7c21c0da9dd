"""Build the document of a report from findings: its sections and their content."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.analysis import environments, stacks
from quantum_pulse.view import charts, closeup, comparisons, numbers, operations, unfinished, verdict
from quantum_pulse.view.document import (
    Block,
    Cell,
    Column,
    Document,
    Entries,
    Fold,
    Icicle,
    Name,
    Paragraph,
    Row,
    Section,
    Table,
    Text,
)
from quantum_pulse.view.findings import Findings

if TYPE_CHECKING:
    from quantum_pulse.analysis.comparison import Comparison


def build(
    findings: Findings, title: str | None = None, *, links: Mapping[str, str] | None = None, prefix: str = ""
) -> Document:
    """The whole report. `title` replaces the name of the capture's folder.

    Names of operations link to their section, or to the anchors in `links`. Anchors begin with `prefix`, so that a page
    may hold several reports.
    """
    anchors = {name: f"{prefix}op-{number}" for number, (_, name) in enumerate(findings.operations, 1)}
    if links is None:
        links = {name: anchor for name, anchor in anchors.items() if name in findings.closeups}
    sections = [Section("verdict", "Verdict", _verdict(findings, links))]
    if findings.unfinished:
        sections.append(Section("unfinished", "Unfinished calls", unfinished.blocks(findings.unfinished)))
    sections.append(
        Section(
            "operations",
            "Operations",
            operations.build(findings.stats, findings.budgets, links, findings.priorities, findings.over_time),
        )
    )
    if not findings.tree.empty:
        whole = stacks.icicle(stacks.of_tree(findings.tree))
        label = f"Calls inside the calls that made them: {numbers.duration(whole.total_us * 1000)} in all."
        sections.append(Section("icicle", "Where the time goes", [Icicle(whole, label)]))
    if findings.comparison is not None:
        sections.append(Section("comparison", "Comparison", comparison(findings.comparison, findings.baseline, links)))
    if findings.closeups:
        sections.append(Section("closeups", "Details by operation", _closeups(findings, links, prefix), brief=False))
    sections += [
        Section("tree", "Call tree", _tree(findings, links), brief=False),
        Section("advice", "Recommendations", _advice(findings)),
        Section("losses", "Losses and overhead", _losses(findings)),
        Section("environment", "Environment", _environment(findings), brief=False),
    ]
    sections = [replace(one, anchor=prefix + one.anchor) for one in sections]
    if title is not None and not isinstance(title, str):
        raise TypeError(f"title must be text, not {title!r}")
    return Document(Name(title or findings.path.resolve().name), _subtitle(findings), sections)


def _subtitle(findings: Findings) -> Text:
    if findings.stats.empty:
        return "no samples"
    span = numbers.duration(findings.end_ns - findings.begin_ns)
    calls = numbers.count(findings.stats["count"].sum())
    operations = len(findings.stats)
    plural = "" if operations == 1 else "s"
    began = closeup.clock(findings.begin_ns, date=True)
    return f"{calls} calls of {operations} operation{plural} in {span}, from {began} UTC"


def _verdict(findings: Findings, anchors: Mapping[str, str]) -> list[Block]:
    blocks: list[Block] = [Paragraph(sentence, "lead") for sentence in verdict.sentences(findings, anchors)]
    if findings.comparison is not None:
        blocks.append(Paragraph(f"Compared with the baseline: {findings.comparison.summary}", "lead"))
    return blocks


def _closeups(findings: Findings, anchors: Mapping[str, str], prefix: str) -> list[Block]:
    folds: list[Block] = []
    for category, name in findings.operations:
        if name in findings.closeups:
            row = findings.row(category, name)
            aside = f"{numbers.count(row['count'])} calls, p50 {_us(row['p50_us'])}, p99 {_us(row['p99_us'])}"
            blocks = closeup.build(findings, category, name, anchors)
            folds.append(Fold(Name(name), blocks, anchors[name], "operation", aside, up=f"{prefix}operations"))
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


def _tree(findings: Findings, anchors: Mapping[str, str]) -> list[Block]:
    tree = findings.tree
    if tree.empty:
        return [Paragraph("No calls were recorded.", "missing")]
    columns = [
        Column("call", is_number=False),
        Column("share of time", wide=True),
        Column("calls"),
        Column("total"),
        Column("self time", title="time that is not spent in calls inside"),
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
    note = "Self time is the duration without the time in calls inside. Concurrent calls each count in full."
    blocks: list[Block] = [
        Table("Calls by the calls that enclose them", columns, rows, "grid"),
        Paragraph(note, "note"),
    ]
    if len(tree) > len(shown):
        blocks.append(Paragraph(f"{len(tree) - len(shown)} more paths are not shown.", "missing"))
    return blocks


#: Most paths in the tree.
_MOST_PATHS: Final = 400


def comparison(found: Comparison, baseline: Path | None, anchors: Mapping[str, str]) -> list[Block]:
    """Changes against a baseline: a row for each operation and quantile."""
    columns = [
        Column("operation", is_number=False),
        Column("quantile"),
        Column("baseline"),
        Column("current"),
        Column("change"),
        Column("95 % interval"),
        Column("verdict", is_number=False),
    ]
    rows = []
    for row in found.judged.to_dict("records"):
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
    where: Text = ["Baseline: ", Name(str(baseline)), ". ", found.summary]
    reasons = [Paragraph(line) for line in comparisons.reasons(found)]
    open_calls = [Paragraph(line, "warning") for line in comparisons.unfinished_lines(found)]
    return [
        *open_calls,
        Paragraph(where),
        *reasons,
        Table("Quantiles and their changes", columns, rows, "grid"),
    ]


def _change(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else f"{value * 100:+.1f} %".replace("-", "−")


def _losses(findings: Findings) -> list[Block]:
    blocks: list[Block] = []
    if findings.losses.empty and findings.expired:
        blocks.append(Paragraph("Nothing was lost."))
    elif findings.losses.empty:
        blocks.append(Paragraph("Nothing was lost: this report includes every recorded call that finished."))
    else:
        columns = [Column("cause", is_number=False), Column("operation", is_number=False), Column("samples")]
        rows = []
        for (cause, operation), own in findings.losses.groupby(["cause", "operation"], sort=False, dropna=False):
            known = own["count"].notna().all()
            text = numbers.count(own["count"].sum()) if known else "unknown"
            rows.append(
                Row([Cell(Name(str(cause))), Cell(Name("" if operation != operation else str(operation))), Cell(text)])
            )
        blocks.append(Paragraph("This report is incomplete. These samples are missing:", "warning"))
        blocks.append(Table("Samples that were lost or are unreadable", columns, rows))
    if findings.expired:
        blocks.append(Paragraph(findings.expired, "missing"))
    if findings.metrics.empty:
        blocks.append(Paragraph("No system metrics were recorded.", "missing"))
    without = sum(not process.get("account") for process in findings.processes)
    if without:
        which = (
            f"{without} of {len(findings.processes)} recordings" if len(findings.processes) > 1 else "This recording"
        )
        verb = "have" if without > 1 else "has"
        blocks.append(
            Paragraph(
                f"{which} {verb} not ended yet or ended abnormally, so there is no account of the samples: "
                "`quantum-pulse recover` writes one.",
                "missing",
            )
        )
    if without == len(findings.processes):
        return blocks
    accounts = [process["account"] for process in findings.processes if process.get("account")]
    sums = {
        key: sum(int(account.get(key, 0) or 0) for account in accounts)
        for key in ("started", "written", "open", "lost")
    }
    blocks.append(
        Paragraph(
            f"Account: {numbers.count(sums['started'])} calls started = {numbers.count(sums['written'])} written + "
            f"{numbers.count(sums['open'])} unfinished at the end + {numbers.count(sums['lost'])} lost."
        )
    )
    blocks.append(Paragraph(_own_cost(findings, sums["started"]), "note"))
    return blocks


def _own_cost(findings: Findings, started: int) -> str:
    if not findings.overhead:
        return "The cost of a sample was not measured when this was recorded."
    costs = [float(one["sample_ns"]) for one in findings.overhead]
    each = sum(costs) / len(costs)
    recorded = sum(
        max((process.get("stopped_ns") or findings.end_ns) - (process.get("started_ns") or findings.begin_ns), 1)
        for process in findings.processes
    )
    return (
        f"Recording overhead: {numbers.duration(each)} per call, measured at the start of the recording; in all "
        f"{numbers.duration(each * started)} of the {numbers.duration(recorded)} recorded, "
        f"{numbers.share(each * started / recorded)}."
    )


def _advice(findings: Findings) -> list[Block]:
    if findings.metrics.empty:
        return [Paragraph("No system metrics were recorded, so there are no recommendations.", "missing")]
    if not findings.recommendations:
        return [Paragraph("No recommendations: no metric is strongly correlated with the latency of an operation.")]
    entries: list[list[tuple[str, Text]]] = [
        [
            ("Try", Name(one.action)),
            ("Evidence", [Name(one.subject), ": ", Name(one.evidence)]),
            ("Why", Name(one.reason)),
            ("Record next time", Name(one.record_next)),
        ]
        for one in findings.recommendations
    ]
    return [Paragraph("The recommendations with the strongest evidence come first.", "note"), Entries(entries)]


def _environment(findings: Findings) -> list[Block]:
    if not findings.processes:
        return [Paragraph("The capture has no information about its processes.", "missing")]
    columns = [
        Column("process", is_number=False),
        Column("command", is_number=False),
        Column("host", is_number=False),
        Column("Python", is_number=False),
        Column("core", is_number=False),
        Column("resources", is_number=False),
        Column("state", is_number=False),
        Column("started", is_number=False),
        Column("duration"),
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
                    Cell(_allowance(process.get("environment") or {})),
                    Cell(Name(str(process.get("state", "?")))),
                    Cell(f"{closeup.clock(started, date=True)} UTC" if started else "?"),
                    Cell(numbers.duration(stopped - started) if started and stopped else "?"),
                ]
            )
        )
    blocks: list[Block] = [Table("Recorded processes", columns, rows)]
    if len(findings.processes) > _MOST_PROCESSES:
        blocks.append(
            Paragraph(f"{len(findings.processes) - _MOST_PROCESSES} more processes are not shown.", "missing")
        )
    return blocks


def _allowance(environment: Mapping[str, Any]) -> str:
    """The CPU and memory that a process may use, as far as it is known: "4 cores, quota 1.5 cores, 8 GB"."""
    cores, quota, memory = (environment.get(key) for key in ("cores", "cpu_quota", "memory_bytes"))
    known = []
    if isinstance(cores, int):
        known.append(f"{cores} core{'' if cores == 1 else 's'}")
    if isinstance(quota, int | float):
        known.append(f"quota {environments.quota(quota)}")
    if isinstance(memory, int):
        known.append(numbers.size(memory))
    return ", ".join(known) or "?"


#: Most processes in the environment.
_MOST_PROCESSES: Final = 50


def _us(value: float) -> str:
    return numbers.duration(value * 1000)
