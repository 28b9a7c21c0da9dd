"""How much room the rings of a recording may take."""

from __future__ import annotations

import os

from quantum_pulse import mounts, schema
from quantum_pulse.errors import RecordingError

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Final

#: At most this share of what is left of the memory or the disk is taken by the rings of one recording.
SHARE_OF_ROOM: Final = 0.5


def check_disk(rings: str) -> None:
    """Raise RecordingError if a full disk would end the program by SIGBUS."""
    kind = mounts.kind_of(rings)
    if kind in mounts.COPY_ON_WRITE:
        raise RecordingError(
            f"there is no shared memory in /dev/shm, and rings must not be on {kind}, where a full disk would end the "
            "program; ring_folder= or QUANTUM_PULSE_RINGS can name another folder"
        )


def within(budget_bytes: int, rings: str) -> int:
    """Limit the size of the rings to a share of what is free in their folder, which others use too."""
    found = os.statvfs(rings)
    least = schema.RING_HEADER_BYTES + schema.SEGMENT_BYTES
    return max(min(budget_bytes, int(found.f_bavail * found.f_frsize * SHARE_OF_ROOM)), least)
