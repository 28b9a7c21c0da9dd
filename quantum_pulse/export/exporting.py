"""Export a capture, or part of it, to a file in another format."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from quantum_pulse import arguments
from quantum_pulse.export import formats, sinks
from quantum_pulse.export.chosen import Wanted
from quantum_pulse.reading import scan
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import Moment, Operations


@dataclass(frozen=True)
class Exported:
    """What `Capture.export` has written.

    Attributes
    ----------
    path : pathlib.Path or None
        The file; None for a stream.
    format : str
        The format, such as "parquet".
    what : str
        What the rows are: "samples", "metrics", "events", "stats" or "operations".
    rows : int
        How many rows were written.
    bytes : int
        Size of the export in bytes.

    See Also
    --------
    Capture.export : Export a capture.

    Examples
    --------
    >>> done = qp.sample("engine").export("engine.csv.gz", table="stats")
    >>> done.format, done.what, done.rows
    ('csv', 'stats', 17)
    """

    path: Path | None
    format: str
    what: str
    rows: int
    bytes: int


def export(
    source: Source,
    target: str | os.PathLike[str] | IO[bytes],
    format: str | None = None,  # noqa: A002 - as in `Capture.export`
    *,
    table: str = "samples",
    operations: Operations = None,
    start: Moment = None,
    end: Moment = None,
    overwrite: bool = False,
) -> Exported:
    """Write a selection of a capture to `target`; see `Capture.export`."""
    named = _named(target)
    # The file that a link leads to, so that the link stays.
    path = None if named is None else Path(os.path.realpath(named))
    if path is not None:
        sinks.check(path, overwrite=overwrite)
    exporter, is_packed = formats.choose(None if named is None else str(named), format, table)
    wanted = Wanted.of(source, operations, start, end, table)

    def work() -> tuple[int, int]:
        # What restarts is begun anew when a part turns out to be damaged. All others then go on, or had not begun.
        with sinks.opened(path or target, packed=is_packed, spooled=exporter.restarts) as (out, sink):  # type: ignore[arg-type]
            rows = exporter.write(source, wanted, out)
        return rows, sink.bytes

    rows, size = scan.whole(work)
    return Exported(named, exporter.name, exporter.rows or table, rows, size)


def _named(target: str | os.PathLike[str] | IO[bytes]) -> Path | None:
    """The path that `target` is, None for a stream. Raises TypeError and ValueError for what is neither."""
    if isinstance(target, io.TextIOBase):
        raise TypeError(f"an export is binary, but {target!r} is a text file: open it with 'wb', or pass its .buffer")
    if hasattr(target, "write"):
        return None
    if target == "-":
        raise ValueError("'-' means standard output on the command line only; pass sys.stdout.buffer instead")
    return arguments.path(target, "what is exported to", "first.parquet")
