"""What the kernel counts by thread only: switches, time slices, and time spent waiting for a CPU.

No file has the sum over a process, so its threads are read one by one. Reading ``schedstat`` of a thread takes 0.5 µs
where it is open and 2 µs where not, ``status`` 4 µs. A switch changes both, so the second is read only where the first
has changed: hundreds of idle threads cost little. The time for a reading is bounded, and what does not fit waits for
the next one. As the kernel's figures are totals, what is read late is still counted in full. What a thread did between
the last reading and its end is unknown.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Iterator
from typing import Final

from quantum_pulse.agent.kernel_files import Allowance, KernelFile, number_after

#: Time for listing the threads and reading `schedstat` of each, and then for `status` of those that have run.
SCHEDSTATS_NS: Final = 1_000_000
STATUSES_NS: Final = 500_000
#: Threads of which either is read however long it takes.
FEWEST: Final = 16


class _Thread:
    """Totals of a thread when they were last read, and its file `schedstat` if that is held open."""

    __slots__ = ("file", "has_run", "involuntary", "schedstat", "slices", "voluntary", "waited_ns")

    def __init__(self, file: KernelFile | None) -> None:
        self.file = file
        #: Whether it is among those whose `status` is to be read.
        self.has_run = False
        self.schedstat = b""
        self.waited_ns = self.slices = self.voluntary = self.involuntary = 0


class Threads:
    """Totals over the threads of a process, those that have ended included.

    Parameters
    ----------
    folder
        The folder ``/proc/<pid>/task``.
    allowance
        Descriptors that may be spent on threads.
    """

    def __init__(self, folder: KernelFile, allowance: Allowance) -> None:
        self._folder = folder
        self._allowance = allowance
        self._known: dict[str, _Thread] = {}
        #: Threads of the present round that are still to be read.
        self._unread: deque[str] = deque()
        #: Threads that have run since their `status` was read.
        self._active: deque[str] = deque()
        self._waited_ns = self._slices = self._voluntary = self._involuntary = 0
        #: Whether this kernel counts these.
        self._has_schedstat = self._has_switches = False
        self._list()
        # What happened before is not to be counted.
        self._read_schedstats(math.inf)
        self._read_statuses(math.inf)

    def readings(self) -> dict[str, int | None]:
        """Read the threads, as many as there is time for.

        Returns
        -------
        dict
            Totals by metric; None for what the kernel does not report. Only their growth has a meaning.
        """
        end_ns = time.perf_counter_ns() + SCHEDSTATS_NS
        if not self._unread:
            self._list()
        self._read_schedstats(end_ns)
        self._read_statuses(time.perf_counter_ns() + STATUSES_NS)
        return {
            "run_queue_us": self._waited_ns // 1000 if self._has_schedstat else None,
            "time_slices": self._slices if self._has_schedstat else None,
            "voluntary_switches": self._voluntary if self._has_switches else None,
            "involuntary_switches": self._involuntary if self._has_switches else None,
        }

    def close(self) -> None:
        """Close all files; the totals then grow no more."""
        for thread in list(self._known):
            self._forget(thread)
        self._folder.close()

    def __del__(self) -> None:
        self.close()

    def _list(self) -> None:
        """Begin a round of all threads that there are now."""
        if self._folder.descriptor is None:
            return
        try:
            alive = os.listdir(self._folder.descriptor)  # noqa: PTH208 - by descriptor
        except OSError:
            return
        self._unread.extend(alive)
        for thread in self._known.keys() - set(alive):
            self._forget(thread)

    def _read_schedstats(self, end_ns: float) -> None:
        """Go on with the round."""
        for _ in _until(end_ns, len(self._unread)):
            self._read_schedstat(self._unread.popleft())

    def _read_statuses(self, end_ns: float) -> None:
        """Of the threads that have run, those first that have waited longest."""
        for _ in _until(end_ns, len(self._active)):
            self._read_status(self._active.popleft())

    def _read_schedstat(self, thread: str) -> None:
        """Time spent waiting and time slices; see Documentation/scheduler/sched-stats.rst of the kernel."""
        known = self._known.get(thread)
        if known is None:
            known = self._known[thread] = _Thread(self._held(f"{thread}/schedstat"))
        text = self._content(f"{thread}/schedstat") if known.file is None else known.file.read()
        if text == known.schedstat and self._has_schedstat:
            return
        if not known.has_run:
            known.has_run = True
            self._active.append(thread)
        if not text:
            # The thread has ended, which its status shows, or another has its number.
            self._close(known)
            return
        _, waited_ns, slices = map(int, text.split())
        self._waited_ns += _growth(known.waited_ns, waited_ns)
        self._slices += _growth(known.slices, slices)
        # A kernel that does not count them says 0 for all threads.
        self._has_schedstat = self._has_schedstat or slices > 0
        known.schedstat, known.waited_ns, known.slices = text, waited_ns, slices

    def _read_status(self, thread: str) -> None:
        known = self._known.get(thread)
        if known is None:
            return
        known.has_run = False
        text = self._content(f"{thread}/status")
        voluntary = number_after(text, b"voluntary_ctxt_switches:")
        involuntary = number_after(text, b"nonvoluntary_ctxt_switches:")
        if voluntary is None or involuntary is None:
            self._forget(thread)
            return
        self._voluntary += _growth(known.voluntary, voluntary)
        self._involuntary += _growth(known.involuntary, involuntary)
        self._has_switches = True
        known.voluntary, known.involuntary = voluntary, involuntary

    def _forget(self, thread: str) -> None:
        known = self._known.pop(thread, None)
        if known is not None:
            self._close(known)

    def _close(self, thread: _Thread) -> None:
        if thread.file is not None:
            thread.file.close()
            thread.file = None
            self._allowance.give_back()

    def _held(self, path: str) -> KernelFile | None:
        """A file of a thread, held open as far as the allowance goes."""
        return KernelFile(path, self._folder.descriptor) if self._allowance.take() else None

    def _content(self, path: str) -> bytes | None:
        """A file of a thread that is not held open; None where the thread has ended."""
        if self._folder.descriptor is None:
            return None
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder.descriptor)
        except OSError:
            return None
        try:
            return os.read(descriptor, 4096)
        except OSError:
            return None
        finally:
            os.close(descriptor)


def _until(end_ns: float, count: int) -> Iterator[int]:
    """Numbers up to `count` until the time `end_ns` has come, but FEWEST at least."""
    for number in range(count):
        if number >= FEWEST and time.perf_counter_ns() > end_ns:
            return
        yield number


def _growth(before: int, after: int) -> int:
    """Growth of a total. One that has shrunk is of another thread, which has the number of one that ended."""
    return after - before if after >= before else after
