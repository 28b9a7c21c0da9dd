"""Large parts into one file of many row groups, so that a day has a few hundred files at any rate.

Parts of about schema.MERGED_ROWS are copied one at a time, a row group each, between two rounds of the agent: a file
of a hundred of them takes ten seconds to write, and nothing waits for it. Until it is whole it counts for nothing; then
it names its sources, as any merged part does, before they are deleted.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from quantum_pulse import arrow, directories, schema
from quantum_pulse.agent import parts

logger = logging.getLogger("quantum_pulse")

#: Parts in a file.
PARTS: Final = 100


class Packer:
    """The parts of samples of one recording that are too large to be merged."""

    def __init__(self, next_path: Callable[[str], Path]) -> None:
        """`next_path` gives the path of a new part of a table."""
        self._next_path = next_path
        self._parts: list[Path] = []
        self._file: _PackedFile | None = None

    def add(self, path: Path, rows: int) -> None:
        """Take note of a part."""
        if rows <= schema.FINAL_ROWS:
            self._parts.append(path)

    def forget(self, paths: Iterable[Path]) -> None:
        """These parts are gone."""
        gone = set(paths)
        if self._file is not None and gone.intersection(self._file.sources):
            self.give_up()
        self._parts = [path for path in self._parts if path not in gone]

    def step(self) -> None:
        """Copy one part, if there are enough for a file. Raises OSError, and pyarrow's errors for a damaged part."""
        if self._file is None:
            if len(self._parts) < PARTS:
                return
            self._file = _PackedFile(self._next_path("samples"), self._parts[:PARTS])
        try:
            is_whole = self._file.copy_next()
        except BaseException:
            self.give_up()
            raise
        if is_whole:
            packed, self._file = self._file, None
            del self._parts[:PARTS]
            for path in packed.sources:
                directories.delete(path)
            logger.debug("packed %d parts into %s", len(packed.sources), packed.path.name)

    def give_up(self) -> None:
        """Drop a file that is not whole. Its sources stay."""
        if self._file is not None:
            self._file.drop()
            self._file = None


class _UnfinishedError(Exception):
    """The file is not wanted any more."""


class _PackedFile:
    """A file that is being made of `sources`."""

    def __init__(self, path: Path, sources: list[Path]) -> None:
        import pyarrow.parquet as pq

        self.path = path
        self.sources = sources
        self._footers: list[dict[str, Any]] = []
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(directories.holding(path))
            file = stack.enter_context(folder.replacing(path.name))
            self._layout = arrow.layout("samples", strict=True)
            self._writer: Any = pq.ParquetWriter(file, self._layout, **parts.how("samples"))
            self._resources = stack.pop_all()

    def copy_next(self) -> bool:
        """Copy a source. Whether it was the last one, and the file is whole."""
        source = self.sources[len(self._footers)]
        content, footer = parts.read(source, "samples")
        self._writer.write_table(content.cast(self._layout))
        self._footers.append(footer)
        if len(self._footers) < len(self.sources):
            return False
        self._writer.add_key_value_metadata(parts.described(parts.packed_footer(self.sources, self._footers)))
        self._writer.close()
        self._resources.close()
        return True

    def drop(self) -> None:
        """It is not to become a file."""
        error = _UnfinishedError()
        with contextlib.suppress(Exception):
            self._writer.close()
        with contextlib.suppress(_UnfinishedError, OSError):
            self._resources.__exit__(type(error), error, None)
