"""Select what to export of a capture."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quantum_pulse.reading import statistics
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import Moment, Operations, Selection, select

if TYPE_CHECKING:
    import pandas as pd


class Wanted(NamedTuple):
    """Operations and a time interval, as requested, and as recorded in the capture; and which table of it."""

    operations: Operations
    start: Moment
    end: Moment
    selection: Selection
    table: str = "samples"

    @classmethod
    def of(cls, source: Source, operations: Operations, start: Moment, end: Moment, table: str = "samples") -> Wanted:
        """Raises TypeError and ValueError that say what was wrong."""
        return cls(operations, start, end, select(source, operations, start, end), table)

    def stats(self, source: Source) -> pd.DataFrame:
        """A row for each operation, and of several captures for each operation in each."""
        by = ["capture", "operation"] if source.captures else "operation"
        return statistics.stats(source, by, operations=self.operations, start=self.start, end=self.end)


def moment(unix_ns: int) -> str:
    """A time as text, in UTC and to the nanosecond."""
    import pandas as pd

    return pd.Timestamp(unix_ns, unit="ns", tz="UTC").isoformat()
