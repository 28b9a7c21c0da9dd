"""Imports in quantum_pulse's threads, which a fork waits for: its child would find a module half loaded and locked."""

from __future__ import annotations

import threading
from contextlib import contextmanager

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

#: How long a fork waits, in seconds. Whoever forks may itself hold what the import needs.
LONGEST_WAIT_S: Final = 5.0

_lock = threading.Lock()
_is_held_by_fork = False


@contextmanager
def importing() -> Iterator[None]:
    """Hold the lock around each first import in a thread of quantum_pulse."""
    with _lock:
        yield


def before_fork() -> None:
    """Wait, within a bound, until no such thread imports anything."""
    global _is_held_by_fork
    _is_held_by_fork = _lock.acquire(timeout=LONGEST_WAIT_S)


def after_fork() -> None:
    """Release the lock, in the parent and in the child."""
    global _is_held_by_fork
    if _is_held_by_fork:
        _is_held_by_fork = False
        _lock.release()
