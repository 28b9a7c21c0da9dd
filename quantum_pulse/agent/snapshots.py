"""A capture of what the rings hold at a moment, while the recording continues."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import ranges, schema
from quantum_pulse.agent import parts
from quantum_pulse.agent.written import parts_of, spans_in
from quantum_pulse.core.contract import OVERWRITTEN
from quantum_pulse.rings import contents

if TYPE_CHECKING:
    from quantum_pulse.agent.clock import Clock
    from quantum_pulse.agent.recording import Recording

#: Metrics are kept from so long before the first sample, in ns: a row is of an interval that began before it.
LEAD_NS: Final = 1_000_000_000


def write(target: Path, recording: Recording, first_ns: int, clock: Clock) -> dict[str, Any]:
    """Write what ended after `first_ns` on the core's clock into the capture `target`; 0: all that the ring holds.

    After a `first_ns` that includes what was saved into parts meanwhile. Beside them go metrics and events of that
    time. The ring may be written to meanwhile; nothing in it is changed. Returns what its process file says of it:
    its rows, since when nothing is missing, and the spans of blocks that were open. Raises OSError.
    """
    found = contents.read(recording.path)
    name = recording.name
    saved = _saved(recording, clock.unix_of(first_ns)) if first_ns else []
    rows = dict.fromkeys(schema.RECORDED, 0)
    if saved:
        found = found.without(spans_in(saved, found))
        rows["samples"] = parts.excerpt(saved, target / "samples" / f"{name}-000002.parquet", clock.unix_of(first_ns))
    start, duration = found.batch.columns["start"], found.batch.columns["duration"]
    batch = found.batch.where(start + duration >= first_ns)
    footer = recording.footer()
    rows["samples"] += batch.rows
    if batch.rows:
        parts.write_samples(
            target / "samples" / f"{name}-000001.parquet",
            batch,
            operations=found.operations,
            errors=found.errors,
            unix=clock.unix,
            process=recording.pid,
            footer=footer,
        )
    if rows["samples"]:
        oldest = first_ns or int(batch.columns["start"].min())
        for table, clock_column in (("metrics", "time"), ("events", "start")):
            of_that_time = [
                {**row, clock_column: clock.unix_of(row[clock_column])}
                for row in recording.kept_rows()[table]
                if row[clock_column] >= oldest - LEAD_NS
            ]
            rows[table] = len(of_that_time)
            if of_that_time:
                parts.write_rows(target / table / f"{name}-000001.parquet", table, of_that_time, footer)
    overwritten = max((lost.last for lost in found.losses if lost.cause == OVERWRITTEN), default=0)
    whole_from = max(first_ns, overwritten)
    return {
        "rows": rows,
        "whole_from": clock.unix_of(whole_from) if whole_from else None,
        "open_spans": [block.span for block in found.unfinished],
    }


def _saved(recording: Recording, from_ns: int) -> list[Path]:
    """Parts that may have samples that ended at `from_ns` (Unix) or later."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = []
    for path in parts_of(recording.capture, "samples", recording.name):
        with contextlib.suppress(OSError, pa.ArrowException, ValueError):
            metadata = pq.read_metadata(path)
            _, last_ns = ranges.whole_range(metadata)
            longest = ranges.integer_range_of(metadata, "duration_ns")
            if last_ns is None or longest is None or last_ns + longest[1] >= from_ns:
                found.append(path)
    return found
