"""Smallest and largest values of a column in a Parquet file, from the statistics of its row groups."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

#: Table -> the column of time that its statistics are asked for, where that is not `start`.
_TIMES: Final = {"metrics": "time"}


def whole_range(metadata: Any, table: str = "samples") -> tuple[int | None, int | None]:
    """First and last time of a file of `table`, in Unix ns; None where the file does not say."""
    return integer_range_of(metadata, _TIMES.get(table, "start")) or (None, None)


def integer_range_of(metadata: Any, name: str) -> tuple[int, int] | None:
    """Smallest and largest value of a column of integers or times in a file; None where the file does not say."""
    ranges = [integer_range(metadata, group, name) for group in range(metadata.num_row_groups)]
    known = [found for found in ranges if found is not None]
    if not ranges or len(known) < len(ranges):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def start_range(metadata: Any, group: int) -> tuple[int | None, int | None]:
    """Smallest and largest `start` of a row group, in Unix ns; None where the file does not say."""
    return integer_range(metadata, group, "start") or (None, None)


def integer_range(metadata: Any, group: int, name: str) -> tuple[int, int] | None:
    """Smallest and largest value of a column of integers or times in a row group; None where the file does not say."""
    return integer_ranges(metadata, group, [name]).get(name)


def integer_ranges(metadata: Any, group: int, names: Collection[str]) -> dict[str, tuple[int, int]]:
    """`integer_range` of several columns, as far as the file says them. Raises ValueError for what are no integers."""
    content = metadata.row_group(group)
    found = {}
    # By the path in the schema, not by position in a list of names: nested columns of another writer would shift it.
    for number in range(content.num_columns):
        column = content.column(number)
        if column.path_in_schema in names and column.path_in_schema not in found:
            statistics = column.statistics
            if statistics is None or not statistics.has_min_max:
                continue
            low, high = statistics.min_raw, statistics.max_raw
            if not (isinstance(low, int) and isinstance(high, int)):
                continue
            if low > high:
                raise ValueError(f"the extremes of its column {column.path_in_schema!r} make no sense")
            found[column.path_in_schema] = (low, high)
    return found
