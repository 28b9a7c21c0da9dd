"""Where a process runs, as it is seen from outside: what its durations depend on, of the machine and its limits."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import Any

from quantum_pulse.agent.cgroups import ControlGroup, Readings

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_CPUINFO = Path("/proc/cpuinfo")


def environment_of(pid: int) -> dict[str, Any]:
    """What the process `pid` may use, and what the machine is like.

    Parameters
    ----------
    pid
        Number of the process.

    Returns
    -------
    dict
        ``cpu`` (the model), ``cores`` (CPUs that the process may run on), ``cpu_quota`` (cores that its control group
        allows, None without a quota), ``memory_bytes`` (memory of the machine or of the control group, whichever is
        less), ``governor``, ``load_1m`` and ``kernel``. None for what cannot be known.
    """
    limits = _limits(pid)
    return {
        "cpu": _cpu(),
        "cores": _cores(pid),
        "cpu_quota": limits.get("container_cpu_quota"),
        "memory_bytes": _memory_bytes(limits.get("container_memory_limit_bytes")),
        "governor": _text(_GOVERNOR),
        "load_1m": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
    }


def _limits(pid: int) -> Readings:
    membership = _text(Path(f"/proc/{pid}/cgroup"))
    return {} if membership is None else ControlGroup(membership).readings()


def _cores(pid: int) -> int | None:
    with contextlib.suppress(OSError, AttributeError):
        return len(os.sched_getaffinity(pid))
    return None


def _cpu() -> str | None:
    """The model of the CPU."""
    with contextlib.suppress(OSError), open(_CPUINFO, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine() or None


def _memory_bytes(limit: float | None) -> int | None:
    known = [] if limit is None else [int(limit)]
    with contextlib.suppress(OSError, ValueError, AttributeError):
        known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min((size for size in known if size > 0), default=None)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
