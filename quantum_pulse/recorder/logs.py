"""The logger of the package, which a program that never hears from it need not import."""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Any


def warning(text: str, *values: Any) -> None:
    """Log a warning, formatted as `logging` does it."""
    import logging

    logging.getLogger("quantum_pulse").warning(text, *values)


def error(text: str, *values: Any) -> None:
    """Log an error, formatted as `logging` does it."""
    import logging

    logging.getLogger("quantum_pulse").error(text, *values)


def debug(text: str, *values: Any) -> None:
    """Log what only somebody who looks for a fault wants to know."""
    import sys

    # Without `logging`, nobody has asked for it; nor where another thread has just begun to import it.
    get_logger = getattr(sys.modules.get("logging"), "getLogger", None)
    if get_logger is not None:
        get_logger("quantum_pulse").debug(text, *values)
