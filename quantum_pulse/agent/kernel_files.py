"""Files in which the kernel reports figures: opened once, read again and again."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import time
from abc import ABC, abstractmethod
from typing import Final, Generic, TypeVar

T = TypeVar("T")

#: No file that is read here is longer, but for those of which only the beginning matters.
_LONGEST: Final = 1 << 16
#: White space and digits of the longest number, and more.
_DIGITS: Final = 40
#: How old a reading of a SlowFile may be.
SLOW_NS: Final = 1_000_000_000
#: Readings of processes that are sampled in one tick are at most this far apart.
SAME_TICK_NS: Final = 2_000_000


class KernelFile:
    """A file of /proc or of a control group, or a folder of them, held open.

    A descriptor under ``/proc/<pid>`` belongs to that one process. After its end reads fail, also once another process
    has its number.

    Parameters
    ----------
    path
        Path of the file, relative to `folder` if that is given.
    folder
        Descriptor of a folder.
    """

    __slots__ = ("descriptor",)

    def __init__(self, path: str, folder: int | None = None) -> None:
        #: None where the file does not exist, or must not be opened.
        self.descriptor: int | None = None
        with contextlib.suppress(OSError):
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)

    def read(self) -> bytes | None:
        """What the file says now; None where it cannot be read."""
        if self.descriptor is None:
            return None
        try:
            return os.pread(self.descriptor, _LONGEST, 0)
        except OSError:
            return None

    def close(self) -> None:
        """Give the descriptor back; the file then reads as one that does not exist."""
        descriptor, self.descriptor = self.descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


class SlowFile(KernelFile):
    """A file whose content seldom changes, such as a limit: read once a second."""

    __slots__ = ("_last", "_read_ns")

    def __init__(self, path: str, folder: int | None = None) -> None:
        super().__init__(path, folder)
        self._last: bytes | None = None
        self._read_ns: float = -math.inf

    def read(self) -> bytes | None:
        """What the file said at most SLOW_NS ago; None where it cannot be read."""
        now_ns = time.monotonic_ns()
        if now_ns - self._read_ns >= SLOW_NS:
            self._last, self._read_ns = super().read(), now_ns
        return self._last


class Allowance:
    """Descriptors that may be spent on files that could as well be opened for each reading.

    Parameters
    ----------
    most
        How many; by default a quarter of what this process may open, at most 1,024.
    """

    def __init__(self, most: int | None = None) -> None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._left = (1024 if limit == resource.RLIM_INFINITY else min(limit // 4, 1024)) if most is None else most

    def take(self) -> bool:
        """Whether there is one left, which is then the caller's."""
        if self._left <= 0:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """Return one that was taken."""
        self._left += 1


class PerTick(ABC, Generic[T]):
    """Readings that processes have in common: taken anew for the first that asks in a tick."""

    _last: tuple[int, T] | None = None

    def readings(self) -> T:
        """The readings, at most SAME_TICK_NS old."""
        now_ns = time.monotonic_ns()
        if self._last is None or now_ns - self._last[0] > SAME_TICK_NS:
            self._last = now_ns, self._read()
        return self._last[1]

    @abstractmethod
    def _read(self) -> T:
        """Take the readings."""


def number_after(text: bytes | None, key: bytes) -> int | None:
    """The number that follows `key` at the beginning of a line of `text`, or None."""
    if text is None:
        return None
    before = 0 if text.startswith(key) else text.find(b"\n" + key) + 1
    if before == 0 and not text.startswith(key):
        return None
    return _first_number(text[before + len(key) :][:_DIGITS])


def stalled_us(pressure: bytes | None) -> int | None:
    """The total of the line `some` of a file of pressure stall information (PSI), in µs; None where there is none."""
    return None if pressure is None else _first_number(pressure.partition(b"total=")[2])


def _first_number(text: bytes) -> int | None:
    try:
        return int(text.split(None, 1)[0])
    except (ValueError, IndexError):
        return None
