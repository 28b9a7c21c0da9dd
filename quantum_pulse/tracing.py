"""``QUANTUM_PULSE_DEBUG=1``: what the recorder does, on standard error, whatever the program does with logging."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Final

ENVIRONMENT: Final = "QUANTUM_PULSE_DEBUG"
FORMAT: Final = "%(asctime)s.%(msecs)03d %(name)s %(process)d/%(threadName)s: %(message)s"


def is_asked() -> bool:
    """Whether the environment asks for a trace."""
    return os.environ.get(ENVIRONMENT, "") not in ("", "0")


def start_if_asked() -> None:
    """Let the logger "quantum_pulse" write everything that is logged, if the environment says so."""
    if not is_asked():
        return
    import logging

    logger = logging.getLogger("quantum_pulse")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(FORMAT, "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    # The program's own handlers would write each line once more.
    logger.propagate = False
