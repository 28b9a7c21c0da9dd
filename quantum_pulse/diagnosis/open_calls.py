"""Find the unfinished calls that are worth reporting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from quantum_pulse.reading import statistics, unfinished
from quantum_pulse.reading.reader import Source
from quantum_pulse.view.open_calls import Unfinished

if TYPE_CHECKING:
    from quantum_pulse.analysis.compared import StillOpen


def find(source: Source) -> list[Unfinished]:
    """The unfinished calls that are worth reporting, the longest first.

    That is all that a stopped or killed program was in the middle of, and in one that goes on what has taken longer
    than any call that ended; and of these the innermost.
    """
    if not unfinished.rows(source):
        return []
    frame = unfinished.frame(source, ["recording", "around", "path"])
    # From what the parts say of themselves: the longest is exact there.
    longest = statistics.stats(source, approximate=True)["max_us"].groupby(level="operation").max()
    rows: list[Any] = [
        row
        for row in frame.itertuples()
        if row.state != "running" or not row.elapsed_us <= longest.get(row.operation, math.nan)
    ]
    enclosing = {(row.recording, span) for row in rows for span in row.around}
    groups: dict[tuple[Any, ...], Unfinished] = {}
    for row in rows:  # those that began first come first
        if (row.recording, row.span) in enclosing:
            continue
        key = (row.recording, row.operation, row.path)
        if key in groups:
            groups[key] = groups[key]._replace(calls=groups[key].calls + 1)
            continue
        highest = float(longest.get(row.operation, math.nan)) * 1000
        elapsed = float(row.elapsed_us) * 1000
        where = (row.thread, row.task, row.process)
        groups[key] = Unfinished(row.operation, row.path, row.state, 1, elapsed, highest, *where)
    return sorted(groups.values(), key=lambda one: 0.0 if math.isnan(one.elapsed_ns) else -one.elapsed_ns)


def of_side(sources: Sequence[Source]) -> StillOpen:
    """Unfinished calls of one side of a comparison; of several captures on it what `find` returns for each."""
    from quantum_pulse.analysis.compared import OpenCalls, StillOpen

    calls = [
        OpenCalls(one.operation, one.state, one.elapsed_ns, one.calls) for source in sources for one in find(source)
    ]
    return StillOpen(
        tuple(sorted(calls, key=lambda call: 0.0 if math.isnan(call.elapsed_ns) else -call.elapsed_ns)),
        any(now_ns is not None for source in sources for _, now_ns in source.open.values()),
        sum(len({*source.recordings, *source.open}) for source in sources),
    )
