"""What `qp.open` returns: the only place that knows all analyses. Each is imported when it is first asked for."""

from __future__ import annotations

import os
from pathlib import Path

from quantum_pulse import arguments
from quantum_pulse.facade import opening
from quantum_pulse.facade.capture import Capture
from quantum_pulse.reading import reader
from quantum_pulse.reading.several import Paths

__all__ = ["Capture", "last", "nothing", "open", "sample", "so_far"]


def open(path: Paths) -> Capture:  # noqa: A001 - qp.open is the name that reads best
    """The capture in the directory `path`: finished, still being written, or left behind by a killed process.

    Several paths, or a pattern such as "captures/*", are read as one, with a column `capture` for where each sample is
    from: processes, hosts or days. What stands in rings only, as it does after a kill, is read too, and left where it
    is. Raises NotACaptureError, FormatVersionError or EmptyCaptureError, all of them CaptureError and
    QuantumPulseError.
    """
    return Capture(opening.source(path))


def last(folder: str | os.PathLike[str] = "captures") -> Capture:
    """The capture of the recording that goes on, or of the last one of this process, or else the newest in `folder`.

    So it is there while cells are still recorded, and again after a kernel has died. Raises CaptureError where there is
    none, and what `open` raises.
    """
    return open(opening.last(folder))


def sample(name: str = "slow_exchange") -> Capture:
    """A capture that comes with the package, to try things out on.

    Parameters
    ----------
    name
        "slow_exchange", a trading engine with something to be found, or "engine", the same engine on a quiet day.

    Raises
    ------
    ValueError
        Names the choices where `name` is none of them.

    Examples
    --------
    >>> qp.sample("engine")  # doctest: +ELLIPSIS
    <Capture ...engine: 33,479 samples>
    """
    folder = Path(__file__).parents[1] / "sample_data"
    choices = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return open(folder / arguments.one_of(name, "name", choices))


def so_far(path: Path) -> Capture:
    """The capture in the directory `path`, which need not have samples yet."""
    return Capture(opening.source(path, may_be_empty=True))


def nothing(path: Path) -> Capture:
    """A capture without samples that would be in the directory `path`."""
    return Capture(reader.Source(path))
