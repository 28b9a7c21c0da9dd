"""Lengths of time as people write them, such as ``1.5s`` or ``1h30m``: one grammar for everything that takes one."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

_UNITS: Final = {
    **dict.fromkeys(("ns",), 1),
    **dict.fromkeys(("us", "µs", "μs"), 10**3),
    **dict.fromkeys(("ms",), 10**6),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 10**9),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60 * 10**9),
    **dict.fromkeys(("h", "hour", "hours"), 3600 * 10**9),
    **dict.fromkeys(("d", "day", "days"), 86_400 * 10**9),
    **dict.fromkeys(("w", "week", "weeks"), 7 * 86_400 * 10**9),
}
_PIECE: Final = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zµμ]+)\s*", re.ASCII)


def nanoseconds(text: str) -> int | None:
    """The length that `text` names, in nanoseconds; None where it names none, as without a unit.

    Examples
    --------
    >>> nanoseconds("1.5s"), nanoseconds("1h 30m") == 90 * 60 * 10**9, nanoseconds("90")
    (1500000000, True, None)
    """
    total, at = Fraction(0), 0
    while at < len(text):
        piece = _PIECE.match(text, at)
        if piece is None or piece[2] not in _UNITS:
            return None
        total += Fraction(piece[1]) * _UNITS[piece[2]]
        at = piece.end()
    return round(total) if at else None


def seconds(text: str) -> float:
    """The length that `text` names, in seconds, which it need not say. Raises ValueError."""
    length_ns = nanoseconds(text)
    return float(text) if length_ns is None else length_ns / 1e9
