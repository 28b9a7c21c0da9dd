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
    path : pathlib.Path
        The directory of the capture.
    format : str
        The format of the trace.
    events : int
        Records in the trace. Each is a sample, or refused: ``events == samples + sum(refused.values())``.
    samples : int
        Samples in the capture.
    refused : dict of str to int
        Why other records are no samples, and how many.
    lost : dict of str to int
        The part of `refused` that describes calls that are missing in the capture. ``capture.losses()`` has them too.
    notes : list of str
        What else there is to know, such as spans whose parents are not in the trace.
    capture : Capture
        The capture, opened.
    enum_source : str
        The operations of the trace as enums, in Python.

    See Also
    --------
    import_trace : Returns it.

    Examples
    --------
    >>> qp.sample("engine").flame().write("calls.speedscope.json").name
    'calls.speedscope.json'
    >>> imported = qp.import_trace("calls.speedscope.json", "captures/calls")
    >>> imported.format, imported.lost
    ('speedscope', {})
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
        """Write the operations as enums to a Python file.

        Parameters
        ----------
        path : str or path-like
            The file. One that exists is replaced.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        OSError
            If it cannot be written.

        Examples
        --------
        >>> _ = qp.sample("engine").flame().write("calls.speedscope.json")
        >>> imported = qp.import_trace("calls.speedscope.json", "captures/calls")
        >>> imported.write_enum("operations.py").name
        'operations.py'
        """
        target = arguments.path(path, "what the enum is written to", "operations.py")
        with files.replacing(target) as file:
            file.write(self.enum_source.encode())
        return target

    def __repr__(self) -> str:
        return visible(f"<Imported {self.path}: {self.events:,} events of {self.format}, {self.samples:,} samples>")

    def __str__(self) -> str:
        return visible("\n".join(self._lines()))

    def _lines(self) -> Iterable[str]:
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
    which, that is found by times: a call is inside the latest one of its thread that lasts as long.

    Parameters
    ----------
    file : str or path-like
        The trace, which may be compressed with gzip.
    path : str or path-like
        The directory of the capture. It appears once the capture is complete.
    format : {"chrome", "kineto", "viztracer", "perfetto", "otlp-json", "otlp", "speedscope"}, optional
        The format of the trace. By default, it is recognised by the first bytes.
    overwrite : bool, default False
        Whether to replace a capture that exists.

    Returns
    -------
    Imported
        The number of events and samples, what was refused and why, and the capture.

    Raises
    ------
    TraceError
        If the file is of no known format, or damaged.
    ValueError
        If there is no such format; the message lists the formats.
    OSError
        If the file cannot be read or the capture cannot be written. FileExistsError if there is a capture already.

    See Also
    --------
    Capture.export : Writes traces.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> events = [{"ph": "X", "name": "load", "cat": "io", "pid": 1, "tid": 1, "ts": 0, "dur": 1500.25}]
    >>> _ = Path("trace.json").write_text(json.dumps({"traceEvents": events}))
    >>> imported = qp.import_trace("trace.json", "captures/imported")
    >>> imported.events, imported.samples, imported.refused
    (1, 1, {})
    >>> imported.capture.stats()["max_us"].to_dict()
    {('io', 'Io.LOAD'): 1500.25}
    """
    source = arguments.path(file, "the trace", "trace.json")
    target = Path(folders.target(path))
    return Imported(importing.run(source, target, format, overwrite=overwrite))
