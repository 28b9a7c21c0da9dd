"""Which calls enclose which, and where the time goes."""

from __future__ import annotations

from typing import Final

from quantum_pulse.diagnosis.findings import Findings
from quantum_pulse.diagnosis.section import Links, ReportSection
from quantum_pulse.view import numbers
from quantum_pulse.view.chart import Share
from quantum_pulse.view.document import Block, Cell, Column, Name, Paragraph, Row, Table

#: Most paths in the tree.
_MOST_PATHS: Final = 400


def build(findings: Findings, links: Links) -> list[Block]:
    """A row for each path of calls."""
    tree = findings.tree
    if tree.empty:
        return [Paragraph("No calls were recorded.", "missing")]
    columns = [
        Column("call", is_number=False),
        Column("share of time", wide=True, title="self time and calls inside, of the time of the outermost calls"),
        Column("calls"),
        Column("total"),
        Column("self time", title="time that is not spent in calls inside"),
        Column("mean"),
        Column("max"),
    ]
    shares = [share.inclusive for share in findings.shares.paths] or [0.0] * len(tree)
    shown = tree.head(_MOST_PATHS)
    rows = [
        Row(
            [
                Cell(Name(str(row["operation"]), links.to.get(str(row["operation"]), ""))),
                Cell(numbers.share(share), share, Share(share)),
                Cell(numbers.count(row["count"]), row["count"]),
                Cell(numbers.us(row["total_us"]), row["total_us"]),
                Cell(numbers.us(row["self_us"]), row["self_us"]),
                Cell(numbers.us(row["mean_us"]), row["mean_us"]),
                Cell(numbers.us(row["max_us"]), row["max_us"]),
            ],
            level=int(row["depth"]) + 1,
        )
        for share, (_, row) in zip(shares, shown.iterrows(), strict=False)
    ]
    note = "Self time is the duration without the time in calls inside. Concurrent calls each count in full in shares."
    blocks: list[Block] = [
        Table("Calls by the calls that enclose them", columns, rows, "grid"),
        Paragraph(note, "note"),
    ]
    if len(tree) > len(shown):
        blocks.append(Paragraph(f"{len(tree) - len(shown)} more paths are not shown.", "missing"))
    return blocks


SECTION: Final = ReportSection("tree", "Call tree", build, rank=60, brief=False)
