"""See to it that an agent serves a capture: a process, or where that is impossible a thread that does the same."""

from __future__ import annotations

import os
import sys
import time

from quantum_pulse.core import core
from quantum_pulse.errors import RecordingError
from quantum_pulse.recorder import logs
from quantum_pulse.rings.places import Place

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Any, Final

#: A process that was started needs so long until it holds the lock, in seconds, on a machine that is busy.
STARTING_S: Final = 5.0
#: How often a process, and then a thread, is started that never comes to hold the lock.
MOST_ATTEMPTS: Final = 2

#: Variables that make a process record itself: the agent must not.
_OWN_VARIABLES: Final = ("QUANTUM_PULSE", "QUANTUM_PULSE_INHERITED", "QUANTUM_PULSE_LEVEL", "QUANTUM_PULSE_RINGS")
#: With more threads than one, OpenBLAS ends a process in which no thread can be started, and nothing here needs them.
_SINGLE_THREADED: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

_PROGRAM: Final = """
import sys
sys.path += sys.argv[2:]
from quantum_pulse.agent.process import main
main(sys.argv[1])
"""


class Launcher:
    """Keeps an agent at work for one capture."""

    def __init__(self, place: Place, *, is_thread: bool) -> None:
        """`is_thread`: never start a process."""
        self._place = place
        self._is_thread = is_thread
        self._attempts = 0
        self._launched_at = float("-inf")
        self._launched_ns = core.now()
        self._thread: Any = None
        self._threads = 0

    def ensure(self, seen_ns: int = 0) -> None:
        """Start an agent unless there is one. Raises RecordingError where nothing can be started at all.

        `seen_ns` is when an agent last looked at the rings, on the core's clock.
        """
        if self._place.has_agent():
            self._attempts = 0
            return
        if seen_ns > self._launched_ns:
            # The one that was started last has come to hold the lock, and has been killed since.
            self._attempts = 0
            self._launched_at = float("-inf")
        if time.monotonic() < self._launched_at + STARTING_S:
            return
        if not self._is_thread and self._attempts < MOST_ATTEMPTS:
            self._attempts += 1
            self._launched_at = time.monotonic()
            self._launched_ns = core.now()
            try:
                _launch(self._place.capture)
            except (OSError, ValueError) as error:
                self._fall_back(error)
            else:
                return
        elif not self._is_thread:
            self._fall_back("the process that was started to write has ended")
        self._start_thread()

    def close(self) -> None:
        """End the thread, if there is one, once what it has begun is written."""
        if self._thread is not None:
            self._thread.close()
            self._thread = None

    def abandon(self) -> None:
        """In a forked child: the thread is not there."""
        if self._thread is not None:
            self._thread.abandon()
            self._thread = None

    def _fall_back(self, why: object) -> None:
        self._is_thread = True
        import warnings

        warnings.warn(
            f"quantum_pulse writes with a thread of this program, because no process could be started ({why})",
            RuntimeWarning,
            stacklevel=2,
        )

    def _start_thread(self) -> None:
        from quantum_pulse.agent.threaded import AgentThread

        if self._thread is not None and self._thread.is_alive():
            return
        self._threads += 1
        if self._threads > MOST_ATTEMPTS:
            return  # whatever ends it is in the log
        try:
            self._thread = AgentThread(self._place)
        except (RuntimeError, ImportError) as error:
            raise RecordingError(f"nothing can write into {self._place.capture}: {error}") from error


def _launch(capture: str) -> None:
    """Start the process. Raises OSError, and ValueError where it is not known how to start Python."""
    python = _python()
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # Behind its own, so that nothing in them hides a module of the standard library.
    folders = [root, *(path for path in sys.path[1:] if os.path.isabs(path) and os.path.exists(path))]
    arguments = [python, "-I", "-S", "-c", _PROGRAM, capture, *dict.fromkeys(folders)]
    environment = {
        **{name: value for name, value in os.environb.items() if os.fsdecode(name) not in _OWN_VARIABLES},
        **{name.encode(): b"1" for name in _SINGLE_THREADED},
    }
    begin = time.perf_counter()
    core.launch(tuple(map(os.fsencode, arguments)), tuple(name + b"=" + value for name, value in environment.items()))
    logs.debug("started an agent for %s in %.1f ms", capture, (time.perf_counter() - begin) * 1000)


def _python() -> str:
    """The interpreter. Where Python is part of another program, that is not what `sys.executable` names."""
    candidates = [sys.executable, getattr(sys, "_base_executable", None)]
    candidates += [f"{prefix}/bin/python3" for prefix in (sys.prefix, sys.base_prefix)]
    for path in candidates:
        if path and os.path.basename(path).startswith(("python", "pypy")) and os.access(path, os.X_OK):
            return path
    raise ValueError("no Python was found to run it with")
