"""Lines of the journal beside a ring."""

from __future__ import annotations

import json
import zlib

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Any


def line_of(entry: dict[str, Any]) -> bytes:
    """Make a line of a journal, with a checksum: a name that is slightly wrong would otherwise go unnoticed."""
    text = json.dumps(entry).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)
