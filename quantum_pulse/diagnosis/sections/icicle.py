"""Where the time goes, as an icicle of the call tree."""

from __future__ import annotations

from typing import Final

from quantum_pulse import stacks
from quantum_pulse.diagnosis.findings import Findings
from quantum_pulse.diagnosis.section import Links, ReportSection
from quantum_pulse.view import numbers
from quantum_pulse.view.document import Block, Icicle


def build(findings: Findings, _: Links) -> list[Block]:
    """Frames as wide as their time, below the frames that called them."""
    if findings.tree.empty:
        return []
    whole = stacks.icicle(stacks.of_tree(findings.tree))
    return [Icicle(whole, f"Calls inside the calls that made them: {numbers.us(whole.total_us)} in all.")]


SECTION: Final = ReportSection("icicle", "Where the time goes", build, rank=35)
