"""Segments of the ring file, as views into its mapping."""

from __future__ import annotations

import mmap
import struct

from quantum_pulse import schema


class Mapped:
    """Views into the mapping, which cannot be closed before they are released."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._views = [memoryview(memory)]
        self.fields: dict[str, memoryview] = {}

    def view(self, offset: int, code: str, count: int) -> memoryview:
        part = self._views[0][offset : offset + count * struct.calcsize(code)]
        result: memoryview = part.cast(code)  # type: ignore[call-overload]  # one of the codes of `schema`
        self._views += [part, result]
        return result

    def add_fields(self, base: int, fields: tuple[tuple[str, str, int], ...]) -> None:
        for name, code, offset in fields:
            self.fields[name] = self.view(base + offset, code, 1)

    def close(self) -> None:
        for view in reversed(self._views):
            view.release()
        self._views.clear()


class Segment(Mapped):
    """A segment of the ring file and its columns."""

    def __init__(self, memory: mmap.mmap, index: int) -> None:
        super().__init__(memory)
        self.base = base = schema.RING_HEADER_BYTES + index * schema.SEGMENT_BYTES
        self.add_fields(base, schema.SEGMENT_FIELDS)
        self.columns: dict[str, memoryview] = {}
        offset = base + schema.SEGMENT_HEADER_BYTES
        for name, code in schema.RING_COLUMNS:
            self.columns[name] = self.view(offset, code, schema.SEGMENT_ROWS)
            offset += schema.SEGMENT_ROWS * struct.calcsize(code)
        self.written = 0
        self.drained = 0
        self.full = False
        self.thread = 0

    def begin(self, sequence: int, thread: int) -> None:
        """It is taken anew, and empty; whoever reads the file knows it by `state`, which is to be set last."""
        values = {"written": 0, "inverse": schema.WORD, "consumed": 0, "thread": thread, "sequence": sequence}
        for field, value in values.items():
            self.fields[field][0] = value

    def finish(self) -> None:
        """Nobody will add to it."""
        self.full = True
        if self._views:
            self.fields["state"][0] = 2
