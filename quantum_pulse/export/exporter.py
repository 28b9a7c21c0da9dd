"""What an export format is: its name, its purpose, the endings of its files, and the function that writes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from quantum_pulse.export.chosen import Wanted
from quantum_pulse.reading.reader import Source


class Exporter(NamedTuple):
    """A format. `write` writes what is wanted of a capture to a binary file, and returns how many `rows` that were."""

    name: str
    #: What it is good for, as --help shows it.
    about: str
    write: Callable[[Source, Wanted, Any], int]
    #: Its place where formats are listed, the smallest first.
    rank: int
    #: File names that end so are of this format.
    endings: tuple[str, ...] = ()
    #: What the rows are, "samples" or "operations"; None for the rows of the table that is wanted.
    rows: str | None = None
    #: Binary formats are not shown on a terminal, and no tool reads them in gzip.
    is_text: bool = True
    #: Whether `write` begins anew when a part turns out to be damaged, so that a stream must wait for the end.
    restarts: bool = False

    @property
    def is_table(self) -> bool:
        """Whether it holds one table of rows, which can be chosen."""
        return self.rows is None
