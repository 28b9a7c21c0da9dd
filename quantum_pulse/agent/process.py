"""The agent's process: started by the first process that records into a capture, it ends by itself."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

from quantum_pulse.rings.places import Place

#: How far the agent steps back for others. A program that has done so itself is not to starve it.
NICENESS = 10


def main(capture: str) -> None:
    """Serve `capture`, unless another agent does."""
    # It ends once nobody records any more. Whoever stops the programs of a service may well stop it with them.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _close_descriptors()
    with contextlib.suppress(OSError):
        os.nice(max(NICENESS - os.nice(0), 0))
    _trace(capture)
    place = Place(capture)
    try:
        lock = place.lock()
    except OSError:
        return  # the folders are gone: so is whoever wanted an agent
    if lock is None:
        return
    from quantum_pulse.agent.agent import Agent
    from quantum_pulse.core import core

    try:
        Agent(place, core, lock).run()
    except Exception:
        logging.getLogger("quantum_pulse").exception("the agent of %s has failed", capture)
        sys.exit(1)


def _trace(capture: str) -> None:
    """Write errors of the agent into the capture, and with QUANTUM_PULSE_DEBUG all that it does: it has no terminal."""
    from quantum_pulse import tracing

    handler = logging.FileHandler(f"{capture}/agent.log", delay=True)  # there is no file before there is an error
    handler.setFormatter(logging.Formatter(tracing.FORMAT, "%H:%M:%S"))
    handler.setLevel(logging.DEBUG if tracing.is_asked() else logging.ERROR)
    logger = logging.getLogger("quantum_pulse")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if tracing.is_asked() else logging.INFO)


def _close_descriptors() -> None:
    """Those that were inherited would keep files, pipes and sockets of others open."""
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if descriptor > 2:
            with contextlib.suppress(OSError):
                os.close(descriptor)
