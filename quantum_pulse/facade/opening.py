"""Find captures and what was left in rings, and read both as one source."""

from __future__ import annotations

import os
from pathlib import Path

from quantum_pulse import arguments
from quantum_pulse.errors import CaptureError
from quantum_pulse.reading import reader, remote, several


def source(path: several.Paths, *, may_be_empty: bool = False) -> reader.Source:
    """The capture at `path`, or several as one; see `open`. Raises as that does."""
    paths, may_be_several = several.expand(path)
    sources = [_one(one) for one in paths]
    found = several.Several(sources) if may_be_several else sources[0]
    if not may_be_empty:
        found.check_not_empty()
    return found


def last(folder: str | os.PathLike[str]) -> Path:
    """Where the newest capture is, those of this process before those in `folder`. Raises CaptureError for none."""
    from quantum_pulse.recorder import session

    found = session.last_path()
    if found is None or not found.is_dir():
        found = reader.newest([arguments.path(folder, "folder", "captures")])
    if found is None:
        raise CaptureError(
            f"nothing was recorded in this process, and there is no capture in {Path(folder).absolute()}"
        )
    return found


def _one(path: Path | str) -> reader.Source:
    if isinstance(path, str):
        return remote.find(path)
    from quantum_pulse.agent import leftovers

    # The rings first: what a living process moves from them to a part meanwhile is then in both, and not in neither.
    found = leftovers.look(path)
    source = reader.find(path)
    for leftover in found:
        leftover.add_to(source)
    source.note_missing()
    return source
