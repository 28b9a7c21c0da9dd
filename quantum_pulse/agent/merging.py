"""Small parts into larger ones, while a recording continues and when it stops.

One of schema.MERGED_ROWS takes about 70 MB of memory while it is made.
A merged part names its sources in its footer and has its final name before they are deleted. So wherever the
process dies, each row is in a part that counts: readers and `recover` leave out parts that another one names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from quantum_pulse import directories, schema
from quantum_pulse.agent import parts
from quantum_pulse.agent.packing import Packer

logger = logging.getLogger("quantum_pulse")

#: Parts of one generation that are merged into one of the next: each row is written again log(rows) times.
FAN_IN: Final = 8


class _Piece(NamedTuple):
    path: Path
    rows: int


class Merger:
    """The parts that one recording has written and that are small enough to be merged."""

    def __init__(self, next_path: Callable[[str], Path]) -> None:
        """`next_path` gives the path of a new part of a table."""
        self._next_path = next_path
        self._packer = Packer(next_path)
        self._has_failed = False
        # By table and generation: how often the rows in them were merged.
        self._pieces: dict[str, list[list[_Piece]]] = {table: [] for table in schema.RECORDED}

    def add(self, table: str, path: Path, rows: int, generation: int = 0) -> None:
        """Take note of a new part."""
        if self._has_failed:
            return
        if rows > schema.MERGED_ROWS // 2:
            if table == "samples":
                self._packer.add(path, rows)
            return
        generations = self._pieces[table]
        generations += [[] for _ in range(generation + 1 - len(generations))]
        generations[generation].append(_Piece(path, rows))

    def forget(self, paths: Iterable[Path]) -> None:
        """These parts are gone."""
        gone = set(paths)
        self._packer.forget(gone)
        for generations in self._pieces.values():
            for pieces in generations:
                pieces[:] = [piece for piece in pieces if piece.path not in gone]

    def close(self) -> None:
        """Nothing more is merged."""
        self._packer.give_up()

    def tidy(self, *, finally_: bool = False) -> None:
        """`merge`, or `finish` with `finally_`. That is for comfort only: what goes wrong ends nothing but this."""
        if self._has_failed:
            return
        try:
            if finally_:
                self.finish()
            else:
                self.merge()
        except Exception as error:  # noqa: BLE001 - the disk's errors, pyarrow's, and those of a damaged part
            logger.debug("parts are no longer merged: %s", error)
            self._has_failed = True

    def merge(self) -> None:
        """Merge where enough parts of one generation have come together. Raises OSError, as the disk does."""
        for table, generations in self._pieces.items():
            generation = 0
            while generation < len(generations):
                while group := _group(generations[generation], FAN_IN):
                    self._merge(table, group, generation + 1)
                    del generations[generation][: len(group)]
                generation += 1
        self._packer.step()

    def finish(self) -> None:
        """Merge whatever can still be merged. Raises OSError."""
        for table, generations in self._pieces.items():
            rest = [piece for generation in reversed(generations) for piece in generation]
            while rest:
                group = _group(rest, len(rest)) or rest
                if len(group) > 1:
                    self._merge(table, group, 0)
                del rest[: len(group)]
            generations.clear()
        self._packer.give_up()

    def _merge(self, table: str, group: list[_Piece], generation: int) -> None:
        path = self._next_path(table)
        parts.merge([piece.path for piece in group], path, table)
        for piece in group:
            directories.delete(piece.path)
        logger.debug("merged %d parts into %s", len(group), path.name)
        if generation:
            self.add(table, path, sum(piece.rows for piece in group), generation)


def _group(pieces: list[_Piece], enough: int) -> list[_Piece]:
    """The first of `pieces` that make one part: `enough` of them, or as many as fill it; else none."""
    rows = 0
    for count, piece in enumerate(pieces):
        rows += piece.rows
        if rows > schema.MERGED_ROWS:
            return pieces[:count]
        if count + 1 == enough:
            return pieces[:enough]
    return []
