"""What is slow, when, and why, in a few sentences."""

from __future__ import annotations

from typing import Final

from quantum_pulse.diagnosis import verdict
from quantum_pulse.diagnosis.findings import Findings
from quantum_pulse.diagnosis.section import Links, ReportSection
from quantum_pulse.view.document import Block, Paragraph


def build(findings: Findings, links: Links) -> list[Block]:
    """The verdict, and that of the comparison if there is one."""
    blocks: list[Block] = [Paragraph(sentence, "lead") for sentence in verdict.sentences(findings, links.to)]
    if findings.comparison is not None:
        blocks.append(Paragraph(f"Compared with the baseline: {findings.comparison.summary}", "lead"))
    return blocks


SECTION: Final = ReportSection("verdict", "Verdict", build, rank=10)
