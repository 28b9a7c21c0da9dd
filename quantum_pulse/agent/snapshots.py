"""A capture of what the rings hold at a moment, while the recording goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from quantum_pulse.agent import parts
from quantum_pulse.rings import contents

if TYPE_CHECKING:
    from quantum_pulse.agent.clock import Clock
    from quantum_pulse.agent.recording import Recording

#: Metrics are kept from so long before the first sample, in ns: a row is of an interval that began before it.
LEAD_NS: Final = 1_000_000_000


def write(target: Path, recording: Recording, first_ns: int, clock: Clock) -> None:
    """Write the rows of a ring that ended after `first_ns` on the core's clock into the capture `target`.

    Beside them go metrics and events of that time. The ring may be written to meanwhile; nothing in it is changed.
    Raises OSError.
    """
    found = contents.read(recording.path)
    start, duration = found.batch.columns["start"], found.batch.columns["duration"]
    batch = found.batch.where(start + duration >= first_ns)
    if not batch.rows:
        return
    name = recording.name
    footer = recording.footer()
    parts.write_samples(
        target / "samples" / f"{name}-000001.parquet",
        batch,
        operations=found.operations,
        errors=found.errors,
        unix=clock.unix,
        process=recording.pid,
        footer=footer,
    )
    oldest = int(batch.columns["start"].min()) - LEAD_NS
    for table, clock_column in (("metrics", "time"), ("events", "start")):
        of_that_time = [
            {**row, clock_column: clock.unix_of(row[clock_column])}
            for row in recording.kept_rows()[table]
            if row[clock_column] >= oldest
        ]
        if of_that_time:
            parts.write_rows(target / table / f"{name}-000001.parquet", table, of_that_time, footer)
