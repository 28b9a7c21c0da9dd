"""A process whose descriptors were closed under our threads."""

from __future__ import annotations

import errno
import time
from typing import Final

#: Much longer than it takes to become another program once the descriptors are closed.
_EXEC_S: Final = 0.5


def let_exec_pass(error: BaseException) -> None:
    """Wait a little if `error` is that of a closed descriptor, before a thread complains of it.

    A forked process that closes all of its descriptors is mostly about to become another program, as that of a
    `!command` in a notebook is. This ends the thread, and nobody wants to hear of it.
    """
    if isinstance(error, OSError) and error.errno == errno.EBADF:
        time.sleep(_EXEC_S)
