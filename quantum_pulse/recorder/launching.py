"""Keep an agent running for a capture: a process, or a thread of the program if no process can be started."""

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

#: The longest that a new process takes to hold the lock on a busy machine, in seconds.
STARTING_S: Final = 5.0
#: How many processes, and then threads, are started that never come to hold the lock.
MOST_ATTEMPTS: Final = 2

#: Variables that make a process record itself, which the agent must not.
_OWN_VARIABLES: Final = (
    "QUANTUM_PULSE",
    "QUANTUM_PULSE_CONFIG",
    "QUANTUM_PULSE_INHERITED",
    "QUANTUM_PULSE_LEVEL",
    "QUANTUM_PULSE_RINGS",
)
#: With more threads than one, OpenBLAS ends a process in which no thread can be started, and nothing here needs them.
_SINGLE_THREADED: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

_PROGRAM: Final = """
import sys
sys.path += sys.argv[2:]
from quantum_pulse.agent.process import main
main(sys.argv[1])
"""


class Launcher:
    """Keeps an agent running for one capture."""

    def __init__(self, place: Place, *, is_thread: bool) -> None:
        """With `is_thread`, never start a process."""
        self._place = place
        self._is_thread = is_thread
        self._attempts = 0
        self._launched_at = float("-inf")
        self._launched_ns = core.now()
        self._thread: Any = None
        self._threads = 0

    def ensure(self, seen_ns: int = 0) -> None:
        """Start an agent unless one is running. Raises RecordingError if neither a process nor a thread can be started.

        `seen_ns` is when an agent last looked at the rings, on the core's clock.
        """
        if self._place.has_agent():
            self._attempts = 0
            return
        if seen_ns > self._launched_ns:
            # The last one came to hold the lock, and was killed later.
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
            self._fall_back("the agent that was started has ended")
        self._start_thread()

    def close(self) -> None:
        """End the thread, if there is one, once it has written what it began."""
        if self._thread is not None:
            self._thread.close()
            self._thread = None

    def abandon(self) -> None:
        """In a forked child: forget the thread, which only the parent has."""
        if self._thread is not None:
            self._thread.abandon()
            self._thread = None

    def _fall_back(self, why: object) -> None:
        self._is_thread = True
        import warnings

        warnings.warn(
            f"quantum_pulse writes from a thread of this program, because no process could be started ({why})",
            RuntimeWarning,
            stacklevel=2,
        )

    def _start_thread(self) -> None:
        from quantum_pulse.agent.threaded import AgentThread

        if self._thread is not None and self._thread.is_alive():
            return
        self._threads += 1
        if self._threads > MOST_ATTEMPTS:
            return  # the log says why they ended
        try:
            self._thread = AgentThread(self._place)
        except (RuntimeError, ImportError) as error:
            raise RecordingError(f"cannot write into {self._place.capture}: {error}") from error


def _launch(capture: str) -> None:
    """Start the process. Raises OSError, and ValueError if no Python is found."""
    python = _python()
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # After its own, so that nothing in them hides a module of the standard library.
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
    """Return the path of the interpreter. If Python is embedded, `sys.executable` names another program."""
    candidates = [sys.executable, getattr(sys, "_base_executable", None)]
    candidates += [f"{prefix}/bin/python3" for prefix in (sys.prefix, sys.base_prefix)]
    for path in candidates:
        if path and os.path.basename(path).startswith(("python", "pypy")) and os.access(path, os.X_OK):
            return path
    raise ValueError("no Python interpreter was found to run the agent")
