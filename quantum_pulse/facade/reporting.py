"""All that a report and the explorer say of a capture."""

from __future__ import annotations

from quantum_pulse.diagnosis import findings
from quantum_pulse.facade import comparing, correlating
from quantum_pulse.reading import nesting, overhead, scan, tables
from quantum_pulse.reading.reader import Source


def gather(source: Source, baseline: Source | None, detailed: int = findings.MOST_DETAILED) -> findings.Findings:
    """What is found in `source`, also against `baseline`, with `detailed` operations looked at closely.

    A bar of progress is shown when that takes over a second.
    """
    with scan.steps(3 + findings.steps(source, detailed), "report") as advance:
        comparison = None if baseline is None else comparing.compare([baseline], [source])
        advance()
        tree = nesting.tree(source)
        advance()
        has_metrics = len(tables.whole(source, "metrics", "time")) > 0
        recommendations = correlating.correlate(source, tree=tree).recommendations if has_metrics else []
        advance()
        return findings.gather(
            source,
            tree,
            comparison=comparison,
            baseline=None if baseline is None else baseline.path,
            overhead=overhead.stored(source),
            recommendations=recommendations,
            detailed=detailed,
            advance=advance,
        )
