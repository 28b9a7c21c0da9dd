"""A capture of what stands in the rings at a moment, while the recording goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from quantum_pulse import rings
from quantum_pulse.recorder import parts

Rows = list[dict[str, Any]]

#: Metrics are kept from so long before the first sample, in ns: a row stands for an interval that began before it.
LEAD_NS: Final = 1_000_000_000


def write(target: Path, ring: Path, footer: dict[str, Any], first_ns: int, kept: tuple[Rows, Rows]) -> None:
    """Write the rows of `ring` that ended after `first_ns` on the core's clock as a part in the capture `target`.

    Beside them goes what `kept` has of that time, rows of metrics and of events. `footer` is what all parts of the
    recording have in theirs. The ring may be written to meanwhile; nothing in it is changed. Raises OSError.
    """
    import numpy as np

    parts.load()
    contents = rings.read(ring)
    start = np.frombuffer(contents.batch.columns["start"], np.int64)
    duration = np.frombuffer(contents.batch.columns["duration"], np.int64)
    batch = rings.selected(contents.batch, start + duration >= first_ns)
    if not batch.rows:
        return
    name, anchor_ns = ring.stem, footer["clock_anchor_ns"]
    parts.write_samples(
        target / "samples" / f"{name}-000001.parquet",
        batch,
        operations=contents.operations,
        errors=contents.errors,
        anchor_ns=anchor_ns,
        process=footer["process"],
        footer={**footer, "losses": []},
    )
    oldest = int(np.frombuffer(batch.columns["start"], np.int64).min()) - LEAD_NS
    for table, clock_column, rows in zip(("metrics", "events"), ("time", "start"), kept, strict=True):
        of_that_time = [
            {**row, clock_column: row[clock_column] + anchor_ns, "process": footer["process"]}
            for row in rows
            if row[clock_column] >= oldest
        ]
        if of_that_time:
            parts.write_rows(target / table / f"{name}-000001.parquet", table, of_that_time, footer)
