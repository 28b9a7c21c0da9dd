"""The tables of `schema` as pyarrow schemas, for whoever writes or reads them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from quantum_pulse import schema

if TYPE_CHECKING:
    import pyarrow as pa


def layout(table: str) -> pa.Schema:
    """The pyarrow.Schema of one of schema.TABLES."""
    import pyarrow as pa

    types = {
        "dictionary<string>": pa.dictionary(pa.int32(), pa.string()),
        "timestamp[ns, UTC]": pa.timestamp("ns", tz="UTC"),
        "int64": pa.int64(),
        "int32": pa.int32(),
        "double": pa.float64(),
    }
    return pa.schema([pa.field(column.name, types[column.type]) for column in schema.TABLES[table]])


def stored(table: str, columns: Sequence[str], present: Collection[str]) -> list[str]:
    """Those of `columns` to read from a file of `table` that has the columns `present`.

    A column that may be null can be missing, as in files of older versions of the format; `with_nulls` adds it. Raises
    ValueError for any other that is missing.
    """
    optional = {column.name for column in schema.TABLES[table] if column.nullable}
    missing = {name for name in columns if name not in present}
    if not missing <= optional:
        raise ValueError(f"it has no column {', '.join(map(repr, sorted(missing - optional)))}")
    return [name for name in columns if name not in missing]


def with_nulls(rows: Any, table: str, columns: Sequence[str]) -> Any:
    """`rows`, a pyarrow.Table or RecordBatch, with nulls for those of `columns` of `table` that it lacks."""
    import pyarrow as pa

    missing = [name for name in columns if name not in rows.schema.names]
    if not missing:
        return rows
    fields = [layout(table).field(name) for name in missing]
    added = [pa.nulls(rows.num_rows, field.type) for field in fields]
    return type(rows).from_arrays([*rows.columns, *added], schema=pa.schema([*rows.schema, *fields]))
