"""All operations, by category, and their budgets."""

from __future__ import annotations

from typing import Final

from quantum_pulse.diagnosis.findings import Findings
from quantum_pulse.diagnosis.section import Links, ReportSection
from quantum_pulse.view import operations
from quantum_pulse.view.document import Block


def build(findings: Findings, links: Links) -> list[Block]:
    """A row for each operation, and one for each budget."""
    return operations.build(
        findings.stats, findings.budgets, links.to, findings.priorities, findings.shares, findings.over_time
    )


SECTION: Final = ReportSection("operations", "Operations", build, rank=30)
