"""Read Protocol Buffers without their library: fields of a message by their numbers.

The encoding: "Encoding", protobuf.dev/programming-guides/encoding. The messages that are read here are few, and their
numbers never change; the library and its generated code would be a hundred times as much to install and to import.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final, TypeAlias

from quantum_pulse.errors import TraceError

#: An integer (varint or fixed), or the bytes of a string or message.
Field: TypeAlias = "int | bytes"
#: The largest message that is read, in bytes.
MOST_BYTES: Final = 1 << 28
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_CHUNK: Final = 1 << 20


class TruncatedError(Exception):
    """The file ends within a message."""


def fields(message: bytes) -> Iterator[tuple[int, Field]]:
    """The number and value of each field of `message`, in order. Raises TraceError where it is not one."""
    at, end = 0, len(message)
    try:
        while at < end:
            key = message[at]
            at += 1
            if key >= 0x80:
                key, at = _varint(message, at, key)
            kind = key & 7
            if kind == _VARINT:
                value = message[at]
                at += 1
                if value >= 0x80:
                    value, at = _varint(message, at, value)
                yield key >> 3, value
            elif kind == _BYTES:
                length = message[at]
                at += 1
                if length >= 0x80:
                    length, at = _varint(message, at, length)
                if length > end - at:
                    raise TraceError("a field is longer than its message")
                yield key >> 3, message[at : at + length]
                at += length
            elif kind in (_FIXED64, _FIXED32):
                width = 8 if kind == _FIXED64 else 4
                yield key >> 3, struct.unpack_from("<Q" if width == 8 else "<I", message, at)[0]
                at += width
            else:
                raise TraceError(f"a field is of the wire type {kind}, which is not in use")
    except (IndexError, struct.error):
        raise TraceError("a message ends within a field") from None


def _varint(message: bytes, at: int, first: int) -> tuple[int, int]:
    """The rest of an integer whose first byte was `first`, and where it ends."""
    value, shift = first & 0x7F, 7
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise TraceError("an integer is longer than ten bytes")


def signed(value: Field) -> int:
    """An integer of 64 bits as a signed one."""
    number = integer(value)
    return number - (1 << 64) if number >= 1 << 63 else number


def integer(value: Field) -> int:
    """`value`, which must be an integer. Raises TraceError."""
    if not isinstance(value, int):
        raise TraceError("a field holds bytes where a number belongs")
    return value


def content(value: Field) -> bytes:
    """`value`, which must be bytes. Raises TraceError."""
    if not isinstance(value, bytes):
        raise TraceError("a field holds a number where bytes belong")
    return value


def text(value: Field) -> str:
    """`value` as text."""
    return content(value).decode("utf-8", "replace")


def double(value: Field) -> float:
    """An integer of 64 bits as the float that it encodes."""
    return float(struct.unpack("<d", struct.pack("<Q", integer(value)))[0])


class Reader:
    """Reads a file of messages, of which only one is in memory at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._buffer = b""
        self._at = 0

    def _need(self, size: int) -> bool:
        """Have `size` bytes in the buffer; whether the file has as many."""
        while len(self._buffer) - self._at < size:
            more = self._file.read(max(_CHUNK, size))
            if not more:
                return False
            self._buffer, self._at = self._buffer[self._at :] + more, 0
        return True

    def _varint(self) -> int | None:
        """The integer that comes next; None at the end of the file."""
        value = 0
        for shift in range(0, 70, 7):
            if not self._need(1):
                if shift:
                    raise TruncatedError
                return None
            byte = self._buffer[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise TraceError("an integer is longer than ten bytes")

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        if size > MOST_BYTES:
            raise TraceError(f"a message has {size:,} bytes; the most that is read is {MOST_BYTES:,}")
        if not self._need(size):
            raise TruncatedError
        self._at += size
        return self._buffer[self._at - size : self._at]

    def fields(self) -> Iterator[tuple[int, Field]]:
        """The fields of the message that the whole file is. Raises TruncatedError, TraceError."""
        while (key := self._varint()) is not None:
            kind = key & 7
            if kind == _BYTES:
                length = self._varint()
                if length is None:
                    raise TruncatedError
                yield key >> 3, self.take(length)
            elif kind == _VARINT:
                value = self._varint()
                if value is None:
                    raise TruncatedError
                yield key >> 3, value
            elif kind in (_FIXED64, _FIXED32):
                yield key >> 3, int.from_bytes(self.take(8 if kind == _FIXED64 else 4), "little")
            else:
                raise TraceError(f"a field is of the wire type {kind}, which is not in use")

    def messages(self) -> Iterator[bytes]:
        """Messages that each follow their length, four bytes with the highest first. Raises as `fields`."""
        while self._need(1):
            yield self.take(int.from_bytes(self.take(4), "big"))
