"""Find captures and what was left in rings, and read both as one source."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from quantum_pulse import arguments
from quantum_pulse.errors import CaptureError
from quantum_pulse.reading import reader, remote, several

#: The parts of each capture when it was read before.
Known: TypeAlias = dict[Path | str, dict[reader.File, reader.Part]]


def source(path: several.Paths, *, may_be_empty: bool = False, known: Known | None = None) -> reader.Source:
    """The capture at `path`, or several as one; see `open`. Raises as that does.

    Footers of `known` parts are not read again; it is brought up to date.
    """
    paths, may_be_several = several.expand(path)
    sources = [_one(one, None if known is None else known.setdefault(one, {})) for one in paths]
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


def _one(path: Path | str, known: dict[reader.File, reader.Part] | None) -> reader.Source:
    if isinstance(path, str):
        return remote.find(path)
    from quantum_pulse.agent import leftovers

    # The rings first: what a living process moves from them to a part meanwhile is then in both, and not in neither.
    found = leftovers.look(path)
    source = reader.find(path, known)
    for leftover in found:
        leftover.add_to(source)
    source.note_missing()
    return source
