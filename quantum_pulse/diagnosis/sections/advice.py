"""What could be done about latency that moves with a metric."""

from __future__ import annotations

from typing import Final

from quantum_pulse.analysis.display import correlations
from quantum_pulse.diagnosis.findings import Findings
from quantum_pulse.diagnosis.section import Links, ReportSection
from quantum_pulse.view.document import Block, Entries, Paragraph


def build(findings: Findings, _links: Links) -> list[Block]:
    """The recommendations, or why there are none."""
    if findings.metrics.empty:
        return [Paragraph("No system metrics were recorded, so there are no recommendations.", "missing")]
    if not findings.recommendations:
        return [Paragraph("No recommendations: no metric is strongly correlated with the latency of an operation.")]
    return [
        Paragraph("The recommendations with the strongest evidence come first.", "note"),
        Entries(correlations.recommendations(findings.recommendations)),
    ]


SECTION: Final = ReportSection("advice", "Recommendations", build, rank=70)
