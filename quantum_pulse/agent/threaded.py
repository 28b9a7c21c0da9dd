"""The agent as a thread of the program, where no process can be started, or where that was asked for."""

from __future__ import annotations

import logging
import os
import threading
from typing import Final

from quantum_pulse.core import core
from quantum_pulse.importing import importing
from quantum_pulse.rings.places import Place

logger = logging.getLogger("quantum_pulse")

#: How long the program waits for it, in seconds.
LONGEST_STOP_S: Final = 5.0


class AgentThread:
    """A thread that serves a capture, unless another agent does."""

    def __init__(self, place: Place) -> None:
        """Raises RuntimeError when no thread can be started."""
        with importing():
            import pyarrow.parquet  # noqa: F401

            from quantum_pulse.agent.agent import Agent
        self._agent: Agent | None = None
        lock = place.lock()
        if lock is None:
            return
        try:
            self._agent = Agent(place, core, lock)
        except BaseException:
            os.close(lock)
            raise
        # A daemon, because a disk that hangs must not keep the interpreter from exiting.
        self._thread = threading.Thread(target=self._run, name="quantum-pulse-agent", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._agent.close()  # else its lock would keep others from serving the capture
            self._agent = None
            raise

    def _run(self) -> None:
        assert self._agent is not None
        try:
            self._agent.run()
        except Exception:
            logger.exception("the agent's thread has failed; the program continues")

    def is_alive(self) -> bool:
        """Whether it is at work."""
        return self._agent is not None and self._thread.is_alive()

    def close(self) -> None:
        """End it once everything is written, within a bounded time."""
        if self._agent is not None:
            self._agent.finish()
            self._thread.join(LONGEST_STOP_S)

    def abandon(self) -> None:
        """In a forked child, where the thread is not there: let go of the lock."""
        for descriptor in self._agent.descriptors() if self._agent is not None else ():
            os.close(descriptor)
