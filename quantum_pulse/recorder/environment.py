"""Where a recording was made: what its durations depend on, of the machine and of the program."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from pathlib import Path
from typing import Any

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_CPUINFO = Path("/proc/cpuinfo")
_CGROUP = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def found() -> dict[str, Any]:
    """CPU, cores and memory that the process may use, governor, load, kernel, Python, versions of packages, commit.

    None where something cannot be known. Takes about a millisecond.
    """
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "governor": _text(_GOVERNOR),
        "load_1m": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": packages(),
        "commit": _commit(Path.cwd()),
    }


def _cpu() -> str | None:
    with contextlib.suppress(OSError), open(_CPUINFO, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine() or None


def _memory_bytes() -> int | None:
    """The machine's memory, or what the control group of the process may have of it, where that is less."""
    found = []
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError, ValueError):
        # "0::/path" in version 2; what is above a group limits it too. A container sees its own group as the root.
        own = _CGROUPS / _CGROUP.read_text(encoding="utf-8").partition("0::")[2].partition("\n")[0].strip("/")
        for folder in (own, *own.parents):
            if (limit := _text(folder / "memory.max")) not in (None, "max"):
                found.append(int(str(limit)))
            if folder == _CGROUPS:
                break
    return min((size for size in found if size > 0), default=None)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def packages() -> dict[str, str]:
    """Versions of imported packages, as far as they say them. What computes its version when asked is not asked."""
    versions = {}
    for name, module in list(sys.modules.items()):
        version = getattr(module, "__dict__", {}).get("__version__")
        if "." not in name and not name.startswith("_") and isinstance(version, str):
            versions[name] = version
    return dict(sorted(versions.items()))


def _commit(folder: Path) -> str | None:
    """The commit that is checked out in `folder` or above, read from git's files. None where there is none."""
    with contextlib.suppress(OSError, ValueError):
        git = next((one / ".git" for one in (folder, *folder.parents) if (one / ".git").exists()), None)
        if git is None:
            return None
        if git.is_file():  # of a work tree or a submodule: it names the directory
            git = folder / git.read_text(encoding="utf-8").partition("gitdir:")[2].strip()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref:"):
            return head
        name = head.removeprefix("ref:").strip()
        common = _text(git / "commondir")
        places = [git] if common is None else [git, (git / common).resolve()]
        for place in places:
            if (commit := _text(place / name)) is not None:
                return commit
            for line in (_text(place / "packed-refs") or "").splitlines():
                commit, _, own = line.partition(" ")
                if own == name:
                    return commit
    return None
