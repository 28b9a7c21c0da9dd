"""Imports in our threads. A fork waits for them: the child would find the module half loaded, and locked for ever."""

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
    """Around each first import in a thread of ours."""
    with _lock:
        yield


def before_fork() -> None:
    global _is_held_by_fork
    _is_held_by_fork = _lock.acquire(timeout=LONGEST_WAIT_S)


def after_fork() -> None:
    """In the parent and in the child."""
    global _is_held_by_fork
    if _is_held_by_fork:
        _is_held_by_fork = False
        _lock.release()
