"""All that a report and the explorer say of a capture."""

from __future__ import annotations

from quantum_pulse.capture import overhead, tables
from quantum_pulse.capture.reader import Source
from quantum_pulse.facade import comparing, correlating
from quantum_pulse.view import findings


def gather(source: Source, baseline: Source | None, detailed: int = findings.MOST_DETAILED) -> findings.Findings:
    """What is found in `source`, also against `baseline`, with `detailed` operations looked at closely."""
    has_metrics = len(tables.whole(source, "metrics", "time")) > 0
    return findings.gather(
        source,
        comparison=None if baseline is None else comparing.compare([baseline], [source]),
        baseline=None if baseline is None else baseline.path,
        overhead=overhead.stored(source),
        recommendations=correlating.correlate(source).recommendations if has_metrics else [],
        detailed=detailed,
    )
