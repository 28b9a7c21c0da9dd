"""System metrics of a process, read from outside by its number: /proc and the files of its control group.

A reader returns its figures by the name of the metric; `metrics.METRICS` says whether a row has their growth or the
figures themselves. So a new metric needs its declaration there, and its figure in one of the readers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

from quantum_pulse import metrics
from quantum_pulse.agent.cgroups import ControlGroup, Readings
from quantum_pulse.agent.kernel_files import Allowance, KernelFile, PerTick, SlowFile, number_after, stalled_us
from quantum_pulse.agent.threads import Threads

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class _Ticks(NamedTuple):
    """CPU time of all CPUs since the machine started, in the kernel's ticks."""

    all: int
    busy: int
    stolen: int


class _MachineReadings(NamedTuple):
    """Totals and levels by metric, and CPU time; None for what the kernel does not report."""

    values: Readings
    ticks: _Ticks | None


class Machine(PerTick[_MachineReadings]):
    """What processes have in common: readings of the machine, and of their control groups.

    Share one among the `ProcessMetrics` that are sampled together, so that it is read once for all of them.
    """

    def __init__(self) -> None:
        self._stat, self._net = KernelFile("/proc/stat"), KernelFile("/proc/net/dev")
        # The kernel computes it every five seconds.
        self._load = SlowFile("/proc/loadavg")
        self._pressure = {
            f"pressure_{kind}_us": KernelFile(f"/proc/pressure/{kind}") for kind in ("cpu", "memory", "io")
        }
        #: For files of threads.
        self.allowance = Allowance()
        self._groups: WeakValueDictionary[bytes, ControlGroup] = WeakValueDictionary()

    def group(self, membership: bytes) -> ControlGroup:
        """The control group of the processes whose file ``cgroup`` says `membership`."""
        group = self._groups.get(membership)
        if group is None:
            group = self._groups[membership] = ControlGroup(os.fsdecode(membership))
        return group

    def _read(self) -> _MachineReadings:
        sent, received = _transferred(self._net.read())
        load = self._load.read()
        values: Readings = {
            "net_sent_bytes": sent,
            "net_received_bytes": received,
            "load_1m": None if load is None else float(load.split(None, 1)[0]),
            **{name: stalled_us(file.read()) for name, file in self._pressure.items()},
        }
        return _MachineReadings(values, _ticks(self._stat.read()))


def _ticks(stat: bytes | None) -> _Ticks | None:
    """CPU time from the first line of ``/proc/stat``."""
    if stat is None:
        return None
    # user, nice, system, idle, iowait, irq, softirq, steal; then guests, which user and nice include
    fields = [int(field) for field in stat.partition(b"\n")[0].split()[1:9]]
    return _Ticks(sum(fields), sum(fields) - fields[3] - fields[4], fields[7])


def _transferred(net_dev: bytes | None) -> tuple[int | None, int | None]:
    """Bytes sent and received over all interfaces."""
    if net_dev is None:
        return None, None
    counts = [line.rpartition(b":")[2].split() for line in net_dev.splitlines()[2:]]
    return sum(int(fields[8]) for fields in counts), sum(int(fields[0]) for fields in counts)


class _Status(NamedTuple):
    """What is used of ``/proc/<pid>/stat``, over all threads, those that have ended included."""

    minor_faults: int
    major_faults: int
    cpu_ticks: int
    threads: int
    start_ticks: int
    rss_pages: int


class _Sample(NamedTuple):
    """All readings at one time. `membership` says in which control groups the process was."""

    time_ns: int
    cpu_ns: int
    membership: bytes
    machine: _Ticks | None
    values: Readings


class ProcessMetrics:
    """Rows of the table `metrics` for one process.

    Parameters
    ----------
    pid
        Number of the process.
    now
        Reads the clock of the column `time`, in ns.
    machine
        Shared among processes that are sampled together; by default one of its own.
    gc_collections, gc_pause_ns
        Collections and time in them, in ns, that were counted before the first row.
    start_ticks
        When the process started, as in `start_ticks` of an earlier object, if it is known.

    Raises
    ------
    ProcessLookupError
        Where no such process runs, or another has its number now.
    """

    def __init__(
        self,
        pid: int,
        now: Callable[[], int],
        *,
        machine: Machine | None = None,
        gc_collections: int = 0,
        gc_pause_ns: int = 0,
        start_ticks: int | None = None,
    ) -> None:
        self.pid = pid
        self._now = now
        self._machine = Machine() if machine is None else machine
        # Whatever is opened in one folder is of one process, also if another takes its number meanwhile.
        folder = _folder(pid)
        try:
            self._stat, self._io = KernelFile("stat", folder), KernelFile("io", folder)
            self._cgroup = SlowFile("cgroup", folder)
            tasks = KernelFile("task", folder)
        finally:
            os.close(folder)
        #: When the process started, in ticks since the machine did. Tells it from others that have its number later.
        self.start_ticks: int | None = start_ticks
        self.start_ticks = self._status().start_ticks
        self._threads = Threads(tasks, self._machine.allowance)
        self._membership = b""
        self._group: ControlGroup | None = None
        self._before = self._read(gc_collections, gc_pause_ns)

    def sample(self, gc_collections: int, gc_pause_ns: int) -> dict[str, Any]:
        """What happened since the last call, or since the object was made.

        Parameters
        ----------
        gc_collections
            Garbage collections of the process so far.
        gc_pause_ns
            Time spent in them, in ns.

        Returns
        -------
        dict
            A row of the table `metrics`, without `process`. What cannot be read is None.

        Raises
        ------
        ProcessLookupError
            Where the process has ended.
        """
        after = self._read(gc_collections, gc_pause_ns)
        before, self._before = self._before, after
        return _row(before, after)

    def close(self) -> None:
        """Close the files of the process. `sample` then raises ProcessLookupError."""
        for file in (self._stat, self._io, self._cgroup):
            file.close()
        self._threads.close()
        self._group = None

    def _read(self, gc_collections: int, gc_pause_ns: int) -> _Sample:
        time_ns, cpu_ns = self._now(), _cpu_ns(self.pid)
        # After the clock of the process, which another may have meanwhile: then this raises.
        status = self._status()
        io = self._io.read()
        machine = self._machine.readings()
        values: Readings = {
            "rss_bytes": status.rss_pages * _PAGE_BYTES,
            "minor_faults": status.minor_faults,
            "major_faults": status.major_faults,
            "threads": status.threads,
            "disk_read_bytes": number_after(io, b"read_bytes: "),
            "disk_write_bytes": number_after(io, b"write_bytes: "),
            "gc_collections": gc_collections,
            "gc_pause_us": gc_pause_ns / 1000,
            **self._threads.readings(),
            **self._group_readings(),
            **machine.values,
        }
        if cpu_ns is None:
            cpu_ns = status.cpu_ticks * 1_000_000_000 // _TICKS_PER_S
        return _Sample(time_ns, cpu_ns, self._membership, machine.ticks, values)

    def _status(self) -> _Status:
        """Raises ProcessLookupError where the process has ended, also if its parent has not taken note yet."""
        text = self._stat.read()
        if text is not None:
            # The name of the program comes before, in parentheses that it may contain itself.
            fields = text.rpartition(b")")[2].split()
            status = _Status(
                minor_faults=int(fields[7]),
                major_faults=int(fields[9]),
                cpu_ticks=int(fields[11]) + int(fields[12]),
                threads=int(fields[17]),
                start_ticks=int(fields[19]),
                rss_pages=int(fields[21]),
            )
            # Of a running process, the main thread alone may have ended.
            has_ended = fields[0] in (b"Z", b"X") and status.threads <= 1
            if not has_ended and self.start_ticks in (None, status.start_ticks):
                return status
        raise ProcessLookupError(f"process {self.pid} has ended")

    def _group_readings(self) -> Readings:
        """Readings of the control group, which the process may have been moved to since the last time."""
        membership = self._cgroup.read()
        if membership is None:
            return {}
        if self._group is None or membership != self._membership:
            self._membership, self._group = membership, self._machine.group(membership)
        return self._group.readings()


def _folder(pid: int) -> int:
    """A descriptor of ``/proc/<pid>``. Raises OSError."""
    try:
        return os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ProcessLookupError(f"there is no process {pid}") from None


def _cpu_ns(pid: int) -> int | None:
    """CPU time of the process with all its threads, those that have ended included, to the nanosecond.

    That is the clock of clock_getcpuclockid(3). None where it cannot be read.
    """
    try:
        return time.clock_gettime_ns(~pid << 3 | 2)
    except OSError:
        return None


def _row(before: _Sample, after: _Sample) -> dict[str, Any]:
    interval_ns = max(after.time_ns - before.time_ns, 1)
    row: dict[str, Any] = {"time": after.time_ns, "interval_ns": interval_ns}
    for metric in metrics.METRICS:
        value = after.values.get(metric.name)
        if metric.kind == "growth":
            # Totals of two control groups have nothing to do with each other.
            is_same = metric.scope != "container" or before.membership == after.membership
            value = _growth(before.values.get(metric.name), value) if is_same else None
        row[metric.name] = value
    row["cpu_process_percent"] = max(after.cpu_ns - before.cpu_ns, 0) / interval_ns * 100
    row["cpu_machine_percent"], row["cpu_steal_percent"] = _machine_percent(before.machine, after.machine)
    return row


def _growth(before: float | None, after: float | None) -> float | None:
    """Growth of a total: 0 where it has shrunk, as with an interface that went away."""
    return None if before is None or after is None else max(after - before, 0)


def _machine_percent(before: _Ticks | None, after: _Ticks | None) -> tuple[float | None, float | None]:
    """Busy and stolen CPU time of the machine; None where less than a tick has passed."""
    if before is None or after is None or after.all <= before.all:
        return None, None
    passed = after.all - before.all
    return _percent(after.busy - before.busy, passed), _percent(after.stolen - before.stolen, passed)


def _percent(part: int, whole: int) -> float:
    """`part` of `whole` in percent. The kernel may take back idle time that it has reported."""
    return min(max(part / whole, 0.0), 1.0) * 100
