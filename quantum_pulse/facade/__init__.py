"""What `qp.open` returns: the only place that knows all analyses. Each is imported when it is first used."""

from __future__ import annotations

import os
from pathlib import Path

from quantum_pulse import arguments
from quantum_pulse.facade import opening
from quantum_pulse.facade.capture import Capture
from quantum_pulse.facade.following import LiveCapture
from quantum_pulse.reading import reader
from quantum_pulse.reading.several import Paths

__all__ = ["Capture", "last", "nothing", "open", "sample", "so_far"]


def open(path: Paths, *, follow: bool = False) -> Capture:  # noqa: A001 - qp.open is the name that reads best
    """Open a capture: finished, still being written, or left behind by a killed process.

    Parameters
    ----------
    path : path-like, or iterable of path-like
        The directory of a capture, several directories, or a pattern such as "captures/*"; or URLs
        that fsspec opens, such as "s3://bucket/captures/*".
        Several are read as one; the column ``capture`` says where each sample is from.
    follow : bool, default False
        Read what has been written since for each question, of a recording that goes on; it may also
        have begun only just. By default a capture stays what it was when it was opened.

    Returns
    -------
    Capture
        The capture, with what is only in ring buffers, as after a kill. Nothing is changed on disk.

    Raises
    ------
    NotACaptureError
        If a path does not exist or is not a capture.
    CaptureError
        If a URL cannot be read.
    EmptyCaptureError
        If no operation ran, unless `follow` is set.
    FormatVersionError
        If the format is unknown to this version.
    TypeError
        If `path` is not a path.
    ValueError
        If `path` is empty, or cannot be a path.

    See Also
    --------
    last : Open the capture that was recorded last.
    sample : Open a capture that comes with the package.

    Examples
    --------
    >>> qp.open(qp.sample("engine").path)
    <Capture ...engine: 33,479 samples>
    >>> both = qp.open([qp.sample("engine").path, qp.sample("slow_exchange").path])
    >>> both.stats(by="capture")["count"].to_dict()
    {'engine': 33479, 'slow_exchange': 101527}
    """
    return LiveCapture(path) if follow else Capture(opening.source(path))


def last(folder: str | os.PathLike[str] = "captures") -> Capture:
    """Open the capture of the running recording, else the last one of this process, else the newest.

    So it works while cells are recorded, and again after a kernel has died.

    Parameters
    ----------
    folder : path-like, default "captures"
        Where to look for the newest capture if this process has recorded none.

    Returns
    -------
    Capture
        The capture.

    Raises
    ------
    CaptureError
        If there is none, and as `open`.

    See Also
    --------
    open : Open a certain capture.

    Examples
    --------
    >>> class Trading(qp.Operation):
    ...     SUBMIT = qp.op("Submit an order", budget_us=100)
    >>> with qp.record("captures/monday"):
    ...     with Trading.SUBMIT:
    ...         pass
    >>> qp.last()
    <Capture ...captures/monday: 1 samples>
    """
    return open(opening.last(folder))


def sample(name: str = "slow_exchange") -> Capture:
    """Open a capture that comes with the package, to try things out on.

    Parameters
    ----------
    name : {"slow_exchange", "engine"}, default "slow_exchange"
        "slow_exchange" is a trading engine whose exchange becomes slow for a while; "engine" is
        the same engine on a quiet day.

    Returns
    -------
    Capture
        The capture.

    Raises
    ------
    ValueError
        If `name` is neither. The message lists the choices.

    Examples
    --------
    >>> qp.sample("engine")
    <Capture ...engine: 33,479 samples>
    """
    folder = Path(__file__).parents[1] / "sample_data"
    choices = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return open(folder / arguments.one_of(name, "name", choices))


def so_far(path: Path) -> Capture:
    """Open the capture in the directory `path`, which need not have samples yet."""
    return Capture(opening.source(path, may_be_empty=True))


def nothing(path: Path) -> Capture:
    """Return a capture without samples that would be in the directory `path`."""
    return Capture(reader.Source(path))
