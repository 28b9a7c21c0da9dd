"""Notice that a process ends, whoever its parent is, and find out how."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
from typing import Final

# <linux/pidfd.h>: PIDFD_GET_INFO of struct pidfd_info in its first version, and the flag for the exit status.
_INFO: Final = struct.Struct("=QQ11Ii")
_GET_INFO: Final = 3 << 30 | _INFO.size << 16 | 0xFF << 8 | 11
_EXIT: Final = 1 << 3

#: Signals that ask a program to end. Whoever re-raises one after an orderly shutdown has ended in good order.
_GRACEFUL: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Ending:
    """Watches a process. `file` is readable once it has ended; -1 where this system does not say."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.file = -1
        with contextlib.suppress(OSError, AttributeError):
            self.file = os.pidfd_open(pid)

    def status(self) -> int | None:
        """The wait status of a process that has ended; None where it is not known."""
        if self.file >= 0:
            with contextlib.suppress(OSError):
                found = fcntl.ioctl(self.file, _GET_INFO, _INFO.pack(_EXIT, 0, *([0] * 11), 0))
                mask, *_, code = _INFO.unpack(found)
                if mask & _EXIT:
                    return int(code)
        # Its parent has not waited for it yet, or the kernel is older than 6.15: then it has to be quick.
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{self._pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
            if fields[0] == b"Z":
                return int(fields[49])
        return None

    def is_running(self) -> bool:
        """Whether the process is there. Where it records no more, it has become another program."""
        if self.file < 0:
            return False
        poll = select.poll()
        poll.register(self.file, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Watch no more."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


def described(status: int | None) -> str | None:
    """How a process ended, in words; None where it is not known."""
    if status is None:
        return None
    if not os.WIFSIGNALED(status):
        return f"exit status {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def is_orderly(status: int | None, left_open: int) -> bool:
    """Whether a process ended by itself, or because it was asked to.

    Where that is not known, one that was in the middle of something, as `left_open` blocks say, was killed.
    """
    if status is None:
        return not left_open
    return not os.WIFSIGNALED(status) or os.WTERMSIG(status) in _GRACEFUL
