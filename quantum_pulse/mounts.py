"""Which file system a folder is on."""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Final

#: File systems that have no disk.
IN_MEMORY: Final = ("tmpfs", "devtmpfs")
#: File systems that write what is changed to another place, so that on a full disk no file can be changed either.
COPY_ON_WRITE: Final = ("btrfs", "zfs", "bcachefs", "nilfs2")


def kind_of(path: str) -> str:
    """The type of the file system that `path` is on, as `mount` names it; empty where it is not known."""
    path = os.path.realpath(path)
    kind, longest = "", -1
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                before, _, after = line.partition(" - ")
                point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), before.split()[4])
                is_above = point == "/" or path == point or path.startswith(f"{point}/")
                if is_above and len(point) >= longest:  # of two at the same place the later one is seen
                    kind, longest = after.split()[0], len(point)
    except (OSError, IndexError):
        return ""
    return kind
