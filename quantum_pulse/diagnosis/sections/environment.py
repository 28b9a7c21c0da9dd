"""Which processes were recorded, and what they could use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from quantum_pulse.analysis import environments
from quantum_pulse.diagnosis.findings import Findings
from quantum_pulse.diagnosis.section import Links, ReportSection
from quantum_pulse.view import closeup, numbers
from quantum_pulse.view.document import Block, Cell, Column, Name, Paragraph, Row, Table

#: Most processes that are listed.
_MOST_PROCESSES: Final = 50


def build(findings: Findings, _links: Links) -> list[Block]:
    """A row for each process."""
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
    if findings.restriction:
        blocks.insert(0, Paragraph("What processes say of themselves is of the whole recording.", "lead"))
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


SECTION: Final = ReportSection("environment", "Environment", build, rank=90, brief=False)
