"""What changed against a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from quantum_pulse.analysis.display import comparisons
from quantum_pulse.diagnosis.findings import Findings
from quantum_pulse.diagnosis.section import Links, ReportSection
from quantum_pulse.view.document import Block, Name


def build(findings: Findings, links: Links) -> list[Block]:
    """The whole comparison; nothing without a baseline."""
    return blocks(findings, links.to)


def blocks(findings: Findings, links: Mapping[str, str]) -> list[Block]:
    """The same with `links` of operations."""
    if findings.comparison is None:
        return []
    named: list[str | Name] = ["Baseline: ", Name(str(findings.baseline)), ". "]
    return comparisons.blocks(findings.comparison, everything=True, baseline=named, links=links)


SECTION: Final = ReportSection("comparison", "Comparison", build, rank=40)
