"""Unfinished calls."""

from __future__ import annotations

from typing import Final

from quantum_pulse.diagnosis.findings import Findings
from quantum_pulse.diagnosis.section import Links, ReportSection
from quantum_pulse.view import open_calls
from quantum_pulse.view.document import Block


def build(findings: Findings, _links: Links) -> list[Block]:
    """The innermost ones; nothing where all calls ended."""
    return open_calls.blocks(findings.unfinished) if findings.unfinished else []


SECTION: Final = ReportSection("unfinished", "Unfinished calls", build, rank=20)
