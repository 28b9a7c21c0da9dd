"""What moves with latency in a capture: its timeline through `analysis.windows` and `analysis.recommendations`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantum_pulse import analysis, arguments, metrics
from quantum_pulse.analysis import recommendations, stacks, windows
from quantum_pulse.reading import environments, nesting, selection, statistics, tables, timeline
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import Operations

if TYPE_CHECKING:
    import pandas as pd


def correlate(
    source: Source,
    window: timeline.Window | None = None,
    operations: Operations = None,
    *,
    quantile: float = 0.95,
    alpha: float = 0.05,
    tree: pd.DataFrame | None = None,
) -> analysis.Correlations:
    """Metrics and other operations against the latency of each operation; see `Capture.correlate`.

    `tree` is that of all calls, where it is known; to build it is a pass over all samples.
    """
    alpha = arguments.between(alpha, "alpha", 0, 1)
    operations = selection.some(source, operations)
    measured = tables.whole(source, "metrics", "time")
    length_s = windows.length_s(measured) if window is None else timeline.seconds(window)
    first, last = selection.extent_ns(source)
    fitting_s = windows.longer_s(length_s, last - first)
    if window is not None and fitting_s > length_s:
        raise ValueError(f"window={window!r} is too short for {(last - first) / 1e9:,.0f} s; {fitting_s:g} s is not")
    length_s = fitting_s
    latency, busy, measures = windows.aligned(
        timeline.timeline(source, length_s, operations, quantiles=[quantile]), length_s, metrics.NAMES
    )
    table = windows.correlate_all(latency, busy, measures, alpha)
    advice = recommendations.recommend(
        statistics.stats(source),
        measured,
        table,
        memory_bytes=environments.memory_bytes(source),
        alpha=alpha,
        shares=stacks.shares(stacks.of_tree(nesting.tree(source) if tree is None else tree)),
    )
    return analysis.Correlations(
        table, advice.recommendations, length_s, alpha, not_applicable=tuple(advice.not_applicable)
    )
