"""The texts of a ring by their numbers: names of errors and values of attributes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final, NamedTuple

from quantum_pulse import schema

#: Room for texts in a segment, in bytes.
SEGMENT_BYTES: Final = schema.SEGMENT_BYTES - schema.SEGMENT_HEADER_BYTES


class Area(NamedTuple):
    """Consecutive texts, whose numbers follow `before`."""

    before: int
    data: bytes


def parsed_texts(data: bytes) -> list[str]:
    """The texts in an area, as far as they make sense."""
    texts, at = [], 0
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 4], sys.byteorder)
        if at + 4 + length > len(data):
            break
        texts.append(data[at + 4 : at + 4 + length].decode("utf-8", "replace"))
        at += 4 + length
    return texts


def numbered(areas: Iterable[Area]) -> list[str]:
    """The texts of all areas by their numbers; 0 means none. What an area that makes no sense had is `schema.OTHER`."""
    texts = [""]
    for before, data in sorted(areas):
        if before + 1 < len(texts) or before > _MOST:
            continue
        texts += [schema.OTHER] * (before + 1 - len(texts))
        texts += parsed_texts(data)
    return texts


#: More texts than any ring has room for: a larger number is damage.
_MOST: Final = 1 << 24
