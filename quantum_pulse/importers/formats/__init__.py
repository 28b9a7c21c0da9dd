"""The formats of traces: each module in this package has one, as `FORMAT`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import BinaryIO, Final, NamedTuple

from quantum_pulse import arguments, registry
from quantum_pulse.errors import TraceError
from quantum_pulse.importers.sink import Sink

#: Bytes at the beginning of a file by which its format is recognised.
HEAD_BYTES: Final = 1 << 16


class Format(NamedTuple):
    """A format of traces."""

    #: Its place among the formats, as they are listed.
    rank: int
    name: str
    #: What it is, as --help shows it.
    about: str
    #: How sure it is, by its first bytes, that a file is of this format: 0 not at all; a dialect is surer than what it
    #: is a dialect of.
    recognise: Callable[[bytes], int]
    #: Reads a trace. It may open the file several times. Raises OSError and TraceError.
    read: Callable[[Callable[[], BinaryIO], Sink], None]


@cache
def formats() -> dict[str, Format]:
    """All formats by name."""
    return {one.name: one for one in registry.entries(__name__, "FORMAT")}


def choose(wanted: str | None, head: bytes, file: str) -> Format:
    """The format called `wanted` or, with None, the one that the first bytes of the file are of.

    Raises
    ------
    ValueError
        There is no format of that name; it lists them.
    TraceError
        The file is of no format that is known.
    """
    known = formats()
    if wanted is not None:
        return known[arguments.one_of(wanted, "format", known)]
    if not head.strip():
        raise TraceError(f"{file} is empty")
    found = max(known.values(), key=lambda one: one.recognise(head))
    if not found.recognise(head):
        raise TraceError(f"{file} is of no format that can be imported; there are {', '.join(known)}")
    return found
