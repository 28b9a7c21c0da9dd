"""Limits and pressure of the control group of a process, in version 1 and version 2 of control groups.

A container is a control group. Groups that contain it limit it too, as far as they can be seen: in a cgroup namespace
the group of the container is the root of what is mounted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, Literal, NamedTuple

from quantum_pulse.agent.kernel_files import KernelFile, PerTick, SlowFile, number_after, stalled_us

Readings = dict[str, int | float | None]

#: Version 1 writes "no limit" as the largest number of pages.
_UNLIMITED: Final = 1 << 60


class Mount(NamedTuple):
    """A mounted hierarchy of control groups: the group `root` is at `point`."""

    version: Literal[1, 2]
    root: str
    point: str
    #: Of version 1. In version 2 each group has its own.
    controllers: frozenset[str]


class Groups(NamedTuple):
    """Folders of the control group of a process, and of those that contain it, the innermost first."""

    version: Literal[1, 2]
    folders: list[str]


def mounts(mountinfo: str) -> list[Mount]:
    """The hierarchies of control groups that are mounted.

    Parameters
    ----------
    mountinfo
        Content of ``/proc/self/mountinfo``.
    """
    found = []
    for line in mountinfo.splitlines():
        place, _, system = line.partition(" - ")
        # ID, parent, device, root, mount point, options, ... - type, source, options of the file system
        fields, about = place.split(), system.split()
        if len(fields) < 5 or len(about) < 3:
            continue
        root, point = (field.replace(r"\040", " ") for field in fields[3:5])
        if about[0] == "cgroup2":
            found.append(Mount(2, root, point, frozenset()))
        elif about[0] == "cgroup":
            found.append(Mount(1, root, point, frozenset(about[2].split(","))))
    return found


def mounted() -> list[Mount]:
    """As `mounts`, of this process; none where that cannot be read."""
    try:
        return mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:
        return []


def groups(membership: str, controller: str, hierarchies: Sequence[Mount]) -> Groups | None:
    """The control groups that are in charge of a resource of a process.

    Parameters
    ----------
    membership
        Content of ``/proc/<pid>/cgroup``.
    controller
        Name of the resource, such as "cpu".
    hierarchies
        As of `mounts`.

    Returns
    -------
    Groups or None
        None where they are not mounted here.
    """
    found = None
    for line in membership.splitlines():
        _, names, path = [*line.split(":", 2), "", ""][:3]
        for mount in hierarchies:
            if mount.version == 1 and controller in names.split(",") and controller in mount.controllers:
                inside = _inside(path, mount)
                if inside is not None:  # a controller of version 1 is not in charge in version 2
                    return Groups(1, inside)
            elif mount.version == 2 and not names and found is None:
                inside = _inside(path, mount)
                found = None if inside is None else Groups(2, inside)
    return found


def _inside(path: str, mount: Mount) -> list[str] | None:
    """Folders of the group `path` and of those above it; None where it lies outside of what is mounted."""
    group, root = PurePosixPath(path), PurePosixPath(mount.root)
    if ".." in group.parts or not group.is_relative_to(root):
        return None
    inside = group.relative_to(root)
    return [str(mount.point / folder) for folder in (inside, *inside.parents)]


class ControlGroup(PerTick[Readings]):
    """The control group of a process: the metrics of the scope "container".

    Parameters
    ----------
    membership
        Content of ``/proc/<pid>/cgroup``.
    hierarchies
        As of `mounts`; by default those of this process.
    """

    def __init__(self, membership: str, hierarchies: Sequence[Mount] | None = None) -> None:
        known = mounted() if hierarchies is None else hierarchies
        self._parts: list[Callable[[], Readings]] = []
        if (cpu := groups(membership, "cpu", known)) is not None:
            self._parts.append((_CpuV1 if cpu.version == 1 else _CpuV2)(cpu.folders).readings)
        if (memory := groups(membership, "memory", known)) is not None:
            self._parts.append((_MemoryV1 if memory.version == 1 else _MemoryV2)(memory.folders).readings)
        # Only version 2 has pressure by group.
        if (unified := groups(membership, "", known)) is not None and unified.version == 2:
            self._parts.append(_Pressure(unified.folders[0]).readings)

    def _read(self) -> Readings:
        """Totals and levels by metric; None, or missing, for what the kernel does not report."""
        found: Readings = {}
        for part in self._parts:
            found.update(part())
        return found


class _CpuV1:
    """The quota of a group is the smallest of those around it; each of them may throttle it."""

    def __init__(self, folders: Iterable[str]) -> None:
        self._levels = [
            (
                SlowFile(f"{folder}/cpu.cfs_quota_us"),
                SlowFile(f"{folder}/cpu.cfs_period_us"),
                KernelFile(f"{folder}/cpu.stat"),
            )
            for folder in folders
        ]

    def readings(self) -> Readings:
        quotas, periods, throttled_ns = [], [], []
        for quota, period, stat in self._levels:
            quotas.append(_share(quota.read(), period.read()))
            text = stat.read()
            periods.append(number_after(text, b"nr_throttled "))
            throttled_ns.append(number_after(text, b"throttled_time "))
        total_ns = _sum(throttled_ns)
        return _cpu(quotas, periods, None if total_ns is None else total_ns // 1000)


class _CpuV2:
    """As _CpuV1."""

    def __init__(self, folders: Iterable[str]) -> None:
        self._levels = [(SlowFile(f"{folder}/cpu.max"), KernelFile(f"{folder}/cpu.stat")) for folder in folders]

    def readings(self) -> Readings:
        quotas, periods, throttled_us = [], [], []
        for limit, stat in self._levels:
            quota, _, period = (limit.read() or b"").partition(b" ")
            quotas.append(_share(quota, period))
            text = stat.read()
            periods.append(number_after(text, b"nr_throttled "))
            throttled_us.append(number_after(text, b"throttled_usec "))
        return _cpu(quotas, periods, _sum(throttled_us))


def _cpu(quotas: Iterable[float | None], periods: Iterable[int | None], throttled_us: int | None) -> Readings:
    return {
        "container_cpu_quota": min((quota for quota in quotas if quota is not None), default=None),
        "container_throttled_periods": _sum(periods),
        "container_throttled_us": throttled_us,
    }


def _share(quota_us: bytes | None, period_us: bytes | None) -> float | None:
    """Cores that a quota allows; None for "max", -1 and what cannot be read."""
    quota, period = _number(quota_us), _number(period_us)
    return quota / period if quota is not None and quota > 0 and period else None


class _MemoryV1:
    """The group whose limit is the smallest when this is made: that is the one which runs into it."""

    def __init__(self, folders: Sequence[str]) -> None:
        folder = _tightest(folders, "memory.limit_in_bytes")
        self._limit = SlowFile(f"{folder}/memory.limit_in_bytes")
        self._usage, self._failures, self._oom, self._stat = (
            KernelFile(f"{folder}/memory.{name}") for name in ("usage_in_bytes", "failcnt", "oom_control", "stat")
        )

    def readings(self) -> Readings:
        return {
            "container_memory_limit_bytes": _limit(self._limit.read()),
            "container_memory_bytes": _number(self._usage.read()),
            "container_memory_limit_hits": _number(self._failures.read()),
            "container_oom_kills": number_after(self._oom.read(), b"oom_kill "),
            "container_refaults": _refaults(self._stat.read(), b"total_"),
        }


class _MemoryV2:
    """As _MemoryV1."""

    def __init__(self, folders: Sequence[str]) -> None:
        folder = _tightest(folders, "memory.max")
        self._limit = SlowFile(f"{folder}/memory.max")
        self._usage, self._events, self._stat = (
            KernelFile(f"{folder}/memory.{name}") for name in ("current", "events", "stat")
        )

    def readings(self) -> Readings:
        events = self._events.read()
        return {
            "container_memory_limit_bytes": _limit(self._limit.read()),
            "container_memory_bytes": _number(self._usage.read()),
            "container_memory_limit_hits": _sum(number_after(events, key) for key in (b"high ", b"max ")),
            "container_oom_kills": number_after(events, b"oom_kill "),
            "container_refaults": _refaults(self._stat.read()),
        }


def _tightest(folders: Sequence[str], file: str) -> str:
    """The folder with the smallest limit in `file`, the innermost of equal ones and where there is no limit."""
    limits = {folder: _limit(KernelFile(f"{folder}/{file}").read()) for folder in folders}
    return min(folders, key=lambda folder: _UNLIMITED if limits[folder] is None else limits[folder] or 0)


def _limit(text: bytes | None) -> int | None:
    limit = _number(text)
    return None if limit is None or limit >= _UNLIMITED else limit


def _refaults(stat: bytes | None, prefix: bytes = b"") -> int | None:
    """Pages of files and of anonymous memory; kernels before 5.9 count only the former, under another name."""
    kinds = (b"workingset_refault_file ", b"workingset_refault_anon ", b"workingset_refault ")
    return _sum(number_after(stat, prefix + kind) for kind in kinds)


class _Pressure:
    """Pressure stall information (PSI) of a group. The root's would be that of the machine."""

    def __init__(self, folder: str) -> None:
        is_root = KernelFile(f"{folder}/cgroup.type").descriptor is None
        kinds = () if is_root else ("cpu", "memory", "io")
        self._files = {f"container_pressure_{kind}_us": KernelFile(f"{folder}/{kind}.pressure") for kind in kinds}

    def readings(self) -> Readings:
        return {metric: stalled_us(file.read()) for metric, file in self._files.items()}


def _number(text: bytes | None) -> int | None:
    """The number that a file consists of; None for "max"."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def _sum(values: Iterable[int | None]) -> int | None:
    """The sum of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
