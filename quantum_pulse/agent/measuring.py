"""System metrics of a recorded process, at an interval."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from quantum_pulse.agent.procfs import Machine, ProcessMetrics

if TYPE_CHECKING:
    from quantum_pulse.agent.recording import Recording

logger = logging.getLogger("quantum_pulse")


class Meter:
    """Takes a row of metrics every `interval_s` seconds and hands it to its recording."""

    def __init__(self, recording: Recording, interval_s: float, now: Callable[[], int], machine: Machine) -> None:
        """`machine` is shared by all. Raises OSError when the process is gone."""
        self._recording = recording
        self._interval_s = interval_s
        ring = recording.ring
        self._metrics = ProcessMetrics(
            recording.pid,
            now,
            machine=machine,
            # Those that came before another agent was at work are in its rows.
            gc_collections=ring["gc_collections"] if recording.has_parts else 0,
            gc_pause_ns=ring["gc_pause_ns"] if recording.has_parts else 0,
        )
        self.due_at = time.monotonic() + interval_s

    def sample(self) -> bool:
        """Take a row. Returns whether there will be more: not of a process that is gone."""
        ring = self._recording.ring
        self.due_at = time.monotonic() + self._interval_s
        try:
            self._recording.add_metrics(self._metrics.sample(ring["gc_collections"], ring["gc_pause_ns"]))
        except OSError as error:
            logger.debug("no more metrics of %s: %s", self._recording.name, error)
            return False
        return True

    def close(self) -> None:
        """Let go of the kernel's files."""
        self._metrics.close()
