"""The journal beside a ring: what its numbers mean, and what the recording says of itself.

It is locked for as long as the process records, so that whoever finds it knows whether the process is still there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from quantum_pulse import directories, schema
from quantum_pulse.recorder import logs
from quantum_pulse.rings.lines import line_of

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Any

    from quantum_pulse.rings.places import Place


class Journal:
    """The journal of the recording `name`. A descriptor, so that nothing is ever left in a buffer."""

    def __init__(self, place: Place, name: str, first: bytes) -> None:
        """Begin it with the lines `first`. Raises OSError."""
        path = f"{place.rings}/{name}{schema.NAMES_SUFFIX}"
        temporary = f"{place.rings}/.{name}{schema.NAMES_SUFFIX}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(temporary, flags, 0o600)
        with contextlib.suppress(OSError):  # there are file systems without locks
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            with directories.becoming(path, temporary):
                os.write(self._file, first)
        except BaseException:
            os.close(self._file)
            raise
        self.path = path

    def note(self, entry: dict[str, Any]) -> None:
        """Add a line. Where that is not possible, it is logged."""
        self.add(line_of(entry))

    def add(self, lines: bytes) -> None:
        """Add lines as they are."""
        try:
            os.write(self._file, lines)
        except OSError as error:
            logs.warning("cannot note a name beside the rings: %s", error)

    def close(self) -> None:
        """Let go of it: the process records no more."""
        os.close(self._file)
