"""Files of a capture, as the agent makes and deletes them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from quantum_pulse import directories, schema
from quantum_pulse.rings.names import journal_of


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write whole or not at all. Raises OSError."""
    with directories.holding(path) as folder:
        folder.write_json(path.name, content)


def next_number(capture: Path, name: str) -> int:
    """The largest number of a part of the recording `name`, 0 where there is none."""
    largest = 0
    for table in schema.RECORDED:
        for path in (capture / table).glob(f"{name}-*.parquet"):
            with contextlib.suppress(ValueError):
                largest = max(largest, int(path.stem.rpartition("-")[2]))
    return largest


def remove_ring(ring: Path) -> None:
    """Delete a ring and its journal; the journal last, because its lock says whose they are."""
    for path in (ring, journal_of(ring)):
        with contextlib.suppress(OSError):
            directories.delete(path)
