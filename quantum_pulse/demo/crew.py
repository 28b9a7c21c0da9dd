"""Threads that end together: what goes wrong in one of them ends all, and comes out in the thread that waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

#: How often a thread that waits looks whether it should give up, in seconds.
LOOK_EVERY_S: Final = 0.1


class Stopped(Exception):  # noqa: N818 - no error: the answer of a thread that was asked to stop
    """Raised in a thread of a crew that should stop, because another one has failed or nobody waits any more."""


class Crew:
    """A group of threads. Leaving the context tells those that still run to stop, and waits for them."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._on_stop: list[Callable[[], object]] = []
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    def start(self, work: Callable[[], None], name: str) -> threading.Thread:
        """Run `work` in a thread of its own."""
        thread = threading.Thread(target=self._run, args=(work,), name=f"demo-{name}")
        thread.start()
        self._threads.append(thread)
        return thread

    def on_stop(self, wake: Callable[[], object]) -> None:
        """Call `wake`, from any thread, when the crew must stop: for threads that wait for something else."""
        self._on_stop.append(wake)

    def check(self) -> None:
        """Raise Stopped if the crew must stop; for its threads to call now and then."""
        if self.stopping.is_set():
            raise Stopped

    def join(self, *threads: threading.Thread, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Wait for `threads`, calling `meanwhile` now and then. Raises what any thread of the crew has raised."""
        for thread in threads:
            while thread.is_alive() and not self.stopping.is_set():
                thread.join(LOOK_EVERY_S)
                meanwhile()
        if self._error is not None:
            raise self._error

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - `join` raises it again
            with self._lock:
                self._error = self._error or error
            self._stop()

    def _stop(self) -> None:
        self.stopping.set()
        for wake in self._on_stop:
            wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        for thread in self._threads:
            thread.join()
