"""What is missing in the capture, and what recording cost."""

from __future__ import annotations

from typing import Final

from quantum_pulse.diagnosis.findings import Findings
from quantum_pulse.diagnosis.section import Links, ReportSection
from quantum_pulse.view import numbers
from quantum_pulse.view.document import Block, Cell, Column, Name, Paragraph, Row, Table


def build(findings: Findings, _links: Links) -> list[Block]:
    """Losses, expired samples, the account of the recordings, and their overhead."""
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


SECTION: Final = ReportSection("losses", "Losses and overhead", build, rank=80)
