"""The ring file as views into its mapping: the header, the tables, the segments."""

from __future__ import annotations

import contextlib
import mmap
import struct
from typing import Any, Final

from quantum_pulse import schema


class _Closed:
    """Replaces what was mapped once the rings are closed."""

    def __getitem__(self, key: Any) -> Any:
        raise ValueError("the rings are closed")

    def __setitem__(self, key: Any, value: Any) -> None:
        raise ValueError("the rings are closed")


CLOSED: Final[Any] = _Closed()


class Mapped:
    """Views into the mapping.

    The mapping goes with the last of them: a thread that is about to write goes on to have it until it has written.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory: memoryview | None = memoryview(memory)
        self.fields: dict[str, memoryview] = {}

    def view(self, offset: int, code: str, count: int) -> memoryview:
        assert self._memory is not None
        part = self._memory[offset : offset + count * struct.calcsize(code)]
        result: memoryview = part.cast(code)  # type: ignore[call-overload]  # one of the codes of `schema`
        return result

    def add_fields(self, base: int, fields: tuple[tuple[str, str, int], ...]) -> None:
        for name, code, offset in fields:
            self.fields[name] = self.view(base + offset, code, 1)

    def close(self) -> None:
        self._memory = None
        self.fields = CLOSED


class Header(Mapped):
    """The header of a ring, and its tables of what the agent has drained and claimed."""

    def __init__(self, memory: mmap.mmap, limit: int) -> None:
        super().__init__(memory)
        self.add_fields(0, schema.RING_FIELDS)
        self.drained = self.view(schema.RING_HEADER_BYTES, "Q", limit)
        self.claimed = self.view(schema.RING_HEADER_BYTES + 8 * limit, "Q", limit)

    def close(self) -> None:
        super().close()
        self.drained = self.claimed = CLOSED

    def __getitem__(self, name: str) -> int:
        return int(self.fields[name][0])

    def __setitem__(self, name: str, value: int) -> None:
        self.fields[name][0] = value


class Segment(Mapped):
    """A segment of the ring file and its columns."""

    def __init__(self, memory: mmap.mmap, number: int, limit: int) -> None:
        super().__init__(memory)
        self.number = number
        self.base = base = schema.segments_at(limit) + number * schema.SEGMENT_BYTES
        self.add_fields(base, schema.SEGMENT_FIELDS)
        self.columns: dict[str, memoryview] = {}
        offset = base + schema.SEGMENT_HEADER_BYTES
        for name, code in schema.RING_COLUMNS:
            self.columns[name] = self.view(offset, code, schema.SEGMENT_ROWS)
            offset += schema.SEGMENT_ROWS * struct.calcsize(code)
        self.written = 0
        self.sequence = 0
        self.thread = 0
        self.is_owned = False

    def begin(self, sequence: int, thread: int, state: int) -> None:
        """Take it anew, and empty. Whoever finds the new sequence must not find the rows of the old one."""
        self.written, self.sequence, self.thread, self.is_owned = 0, sequence, thread, True
        values = {"state": schema.FREE, "written": 0, "inverse": schema.WORD, "thread": thread, "sequence": sequence}
        for field, value in values.items():
            self.fields[field][0] = value
        self.fields["state"][0] = state

    def finish(self) -> None:
        """Nobody will add to it."""
        with contextlib.suppress(ValueError):  # the rings are closed
            self.fields["state"][0] = schema.FULL

    def close(self) -> None:
        super().close()
        self.columns = CLOSED
