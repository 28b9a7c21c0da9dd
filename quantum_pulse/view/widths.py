"""How wide text is in a terminal."""

from __future__ import annotations

import unicodedata


def width(text: str) -> int:
    """Columns that `text` takes in a terminal: East Asian wide characters take two, combining ones none."""
    return sum(
        0
        if unicodedata.category(char) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(char) in "WF"
        else 1
        for char in text
    )
