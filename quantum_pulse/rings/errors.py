"""Names of error types in the header of a ring."""

from __future__ import annotations

import sys


def parsed_names(text: bytes) -> list[str]:
    """The names in the header of a ring, as far as they make sense."""
    names, at = [], 0
    while at + 4 <= len(text):
        length = int.from_bytes(text[at : at + 4], sys.byteorder)
        if at + 4 + length > len(text):
            break
        names.append(text[at + 4 : at + 4 + length].decode("utf-8", "replace"))
        at += 4 + length
    return names
