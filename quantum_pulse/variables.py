"""Read environment variables.

Whoever sets a variable may not have written the program, so an invalid one breaks nothing: it is reported once, and the
program continues as if it were not set.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Collection

_told: set[tuple[str, str]] = set()


def chosen(variable: str, choices: Collection[str]) -> str | None:
    """The value of `variable` if it is one of `choices`; None where it is not set, or empty, or wrong."""
    value = os.environ.get(variable) or None
    if value is None or value in choices:
        return value
    *others, last = map(repr, choices)
    refuse(variable, value, f"must be {', '.join(others)} or {last}")
    return None


def refuse(variable: str, value: str, must: str) -> None:
    """Say that the value makes no sense, and what would; once for each value."""
    if (variable, value) not in _told:
        _told.add((variable, value))
        import logging

        logger = logging.getLogger("quantum_pulse")
        logger.warning("%s %s, not %r; it is left out of account", variable, must, value)
