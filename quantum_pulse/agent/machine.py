"""What the machine has for rings."""

from __future__ import annotations

import os

#: Of the shared memory, and of what the control group may take, so much is left to others.
LEFT_FREE = 0.1


def room_for_rings(folder: str | os.PathLike[str]) -> int:
    """How many bytes more rings in `folder` may take."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return int((found.f_bavail - LEFT_FREE * found.f_blocks) * found.f_frsize)
