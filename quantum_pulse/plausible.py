"""What the rows of a capture can be. Checksums detect damage, not whether a recorder wrote it.

Every reader takes rows through `check_rows`, so no code behind it meets a value that it cannot add, sort or show. A
file with one such value is refused as a whole: with sound checksums it is no damage, and none of its rows can be
believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import arrow, ranges, schema

if TYPE_CHECKING:
    import pyarrow as pa

_ANY: Final = (-(1 << 63), (1 << 63) - 1)
_NS: Final = (0, schema.MOST_NS)
#: Column of numbers or times -> smallest and largest value, in every table that has it.
_RANGES: Final = {
    "start": _NS,
    "time": _NS,
    "duration_ns": _NS,
    "interval_ns": _NS,
    "sum_ns": (0, _ANY[1]),
    "min_ns": _NS,
    "max_ns": _NS,
    "m2_ns2": (0, 1e300),
    "span": (1, schema.MOST_NS),
    "parent": (0, schema.MOST_NS),
    "task": (0, schema.MOST_NS),
    "weight": (1, (1 << 31) - 1),
    "process": (0, (1 << 31) - 1),
    "count": (1, 1 << 53),
    "errors": (0, 1 << 53),
    "samples": (0, 1 << 53),
}
#: Of columns of floats that are not above.
_FLOATS: Final = (-1e300, 1e300)


def check_file(metadata: Any, table: str) -> None:
    """Check what the footer of a Parquet file of `table` says of its rows: columns, types, numbers, extremes.

    Parameters
    ----------
    metadata
        The file's ``pyarrow.parquet.FileMetaData``.
    table
        One of ``schema.TABLES``.

    Raises
    ------
    ValueError
        No recorder writes such a file.
    """
    present = metadata.schema.to_arrow_schema()
    arrow.stored(table, [column.name for column in schema.TABLES[table]], present.names)
    for field in arrow.layout(table):
        own = [one.type for one in present if one.name == field.name]
        if own and (len(own) > 1 or _plain(own[0]) != _plain(field.type)):
            raise ValueError(f"its column {field.name!r} is of the type {own[0]}, not {field.type}")
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if not 0 <= rows <= schema.MOST_GROUP_ROWS:
            raise ValueError(f"a row group of {rows:,} rows is more than any recorder writes")
        _check_extremes(metadata, group, table, rows)


def _check_extremes(metadata: Any, group: int, table: str, rows: int) -> None:
    extremes = ranges.integer_ranges(metadata, group, [name for name in _names(table) if name in _RANGES])
    for name, (low, high) in extremes.items():
        _check(name, low, high)
        if name == "span" and rows > high - low + 1:
            raise ValueError(_TWICE)


def check_rows(rows: Any, table: str) -> None:
    """Check rows that were read from a file of `table`.

    Parameters
    ----------
    rows
        A ``pyarrow.Table`` or ``RecordBatch`` with any of the table's columns.
    table
        One of ``schema.TABLES``.

    Raises
    ------
    ValueError
        Some value is one that no recorder writes; pyarrow's errors, which are ValueErrors too, for broken arrays.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows.validate(full=True)
    optional = {column.name for column in schema.TABLES[table] if column.nullable}
    for name in _names(table):
        if name not in rows.schema.names:
            continue
        column: Any = rows.column(name)
        if column.null_count and name not in optional:
            raise ValueError(f"its column {name!r} has gaps")
        if not len(column) or column.null_count == len(column):
            continue
        if pa.types.is_floating(column.type):
            if not pc.all(pc.is_finite(column), min_count=0).as_py():
                raise ValueError(f"its column {name!r} holds values that are not numbers")
        elif name not in _RANGES:
            continue
        whole = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        found: Any = pc.min_max(whole).as_py()
        _check(name, found["min"], found["max"])
    if "span" in rows.schema.names and table == "samples":
        _check_spans(rows.column("span"))


def _check_spans(column: Any) -> None:
    import numpy as np
    import pyarrow as pa

    span = arrow.values(column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column]))
    # Recorders sort by span, so that the sort is for files of other makers.
    if not (span[1:] > span[:-1]).all() and (np.diff(np.sort(span)) == 0).any():
        raise ValueError(_TWICE)


def _check(name: str, low: float, high: float) -> None:
    least, most = _RANGES.get(name, _FLOATS)
    if low < least or high > most:
        raise ValueError(f"its column {name!r} holds {low if low < least else high}, which no recorder writes")


def _names(table: str) -> Iterable[str]:
    return (column.name for column in schema.TABLES[table])


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values of a dictionary, which a reader may have asked for or not."""
    import pyarrow as pa

    return kind.value_type if isinstance(kind, pa.DictionaryType) else kind


_TWICE: Final = "it holds one span several times"
