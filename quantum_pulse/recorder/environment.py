"""What only the program itself knows of where it is recorded. The agent adds what the machine says."""

from __future__ import annotations

import contextlib
import os
import sys

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Any


def found() -> dict[str, Any]:
    """The version of Python and of packages, and the commit; None where something cannot be known."""
    names = {"cpython": "CPython", "pypy": "PyPy"}
    version = ".".join(map(str, sys.version_info[:3]))
    return {
        "python": f"{names.get(sys.implementation.name, sys.implementation.name)} {version}",
        "packages": packages(),
        "commit": commit(os.getcwd()),
    }


def packages() -> dict[str, str]:
    """Versions of imported packages, as far as they say them. What computes its version when asked is not asked."""
    versions = {}
    for name, module in list(sys.modules.items()):
        version = getattr(module, "__dict__", {}).get("__version__")
        if "." not in name and not name.startswith("_") and isinstance(version, str):
            versions[name] = version
    return dict(sorted(versions.items()))


def commit(folder: str) -> str | None:
    """The commit that is checked out in `folder` or above, read from git's files. None where there is none."""
    git = _git(folder)
    if git is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        if os.path.isfile(git):  # of a work tree or a submodule: it names the directory
            git = os.path.join(os.path.dirname(git), _text(git).partition("gitdir:")[2].strip())
        head = _text(f"{git}/HEAD").strip()
        if not head.startswith("ref:"):
            return head or None
        name = head.removeprefix("ref:").strip()
        common = _text(f"{git}/commondir").strip()
        for place in dict.fromkeys((git, os.path.join(git, common))):
            if found := _text(f"{place}/{name}").strip():
                return found
            for line in _text(f"{place}/packed-refs").splitlines():
                known, _, own = line.partition(" ")
                if own == name:
                    return known
    return None


def _git(folder: str) -> str | None:
    while True:
        if os.path.exists(f"{folder}/.git"):
            return f"{folder}/.git"
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above


def _text(path: str) -> str:
    """What is in a file; nothing where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""
