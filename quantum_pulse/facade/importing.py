"""`qp.import_trace`: captures made of the traces of other tools."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from quantum_pulse import arguments, files, folders
from quantum_pulse.importers import importing, names
from quantum_pulse.shown import visible

if TYPE_CHECKING:
    from quantum_pulse.facade.capture import Capture


class Imported:
    """What became of the events of a trace that `import_trace` has read.

    Attributes
    ----------
    path
        The directory of the capture.
    format
        The format of the trace.
    events
        Records in the trace. Each is a sample, or refused: ``events == samples + sum(refused.values())``.
    samples
        Samples in the capture.
    refused
        Why other records are no samples, and how many are not: a dictionary of reasons.
    lost
        The part of `refused` that describes calls which are missing in the capture. ``capture.losses()`` has them too.
    notes
        What else there is to know, such as spans whose parents are not in the trace.
    """

    def __init__(self, result: importing.Result) -> None:
        self.path: Path = result.path
        self.format = result.format
        self.events = result.events
        self.samples = result.samples
        self.refused = result.refused
        self.lost = result.lost
        self.notes = result.notes
        self._operations = result.operations

    @property
    def capture(self) -> Capture:
        """The capture, opened."""
        from quantum_pulse import facade

        return facade.open(self.path)

    @property
    def enum_source(self) -> str:
        """The operations of the trace as enums, in Python."""
        return names.enum_source(self._operations)

    def write_enum(self, path: str | os.PathLike[str]) -> Path:
        """Write `enum_source` to the file `path`, which it replaces. Raises OSError."""
        target = arguments.path(path, "what the enum is written to", "operations.py")
        with files.replacing(target) as file:
            file.write(self.enum_source.encode())
        return target

    def __repr__(self) -> str:
        return visible(f"<Imported {self.path}: {self.events:,} events of {self.format}, {self.samples:,} samples>")

    def __str__(self) -> str:
        return visible("\n".join(self.lines()))

    def lines(self) -> Iterable[str]:
        """What to report, line by line."""
        yield f"{self.path}: {self.samples:,} samples of {self.events:,} events; {self.format}"
        for reason, events in self.refused.items():
            yield f"  {events:,} events: {reason}{'; LOST' if reason in self.lost else ''}"
        for note in self.notes:
            yield f"  {note}"


def import_trace(
    file: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002 - as in `Capture.export`
    overwrite: bool = False,
) -> Imported:
    """Make a capture of a trace that another tool has written.

    Each call in the trace becomes a sample. Its name becomes a member of an enum that is named after the category of
    the call; `Imported.write_enum` writes these enums as Python. Where the trace does not say which call is inside
    which, that is found by times: a call lies in the latest one of its thread that lasts as long. The file is read
    once, in bounded memory, and may be compressed with gzip.

    Parameters
    ----------
    file
        The trace.
    path
        The directory of the capture. It appears once the capture is complete.
    format
        "chrome", "kineto", "viztracer", "perfetto", "otlp-json", "otlp", or "speedscope"; by default what the file
        looks like.
    overwrite
        Whether to replace a capture that is there.

    Returns
    -------
    Imported
        The number of events and samples, what was refused and why, and the capture.

    Raises
    ------
    TraceError
        The file is of no known format, or damaged.
    ValueError
        There is no such format; the message names those that there are.
    OSError
        The file cannot be read, or the capture cannot be written. FileExistsError if there is one already.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp())
    >>> events = [{"ph": "X", "name": "load", "cat": "io", "pid": 1, "tid": 1, "ts": 0, "dur": 1500.25}]
    >>> _ = (folder / "trace.json").write_text(json.dumps({"traceEvents": events}))
    >>> imported = qp.import_trace(folder / "trace.json", folder / "capture")
    >>> imported.events, imported.samples, imported.refused
    (1, 1, {})
    >>> imported.capture.stats()["max_us"].to_dict()
    {('io', 'Io.LOAD'): 1500.25}
    """
    source = arguments.path(file, "the trace", "trace.json")
    target = Path(folders.target(path))
    return Imported(importing.run(source, target, format, overwrite=overwrite))
