"""The tables of `schema` as pyarrow schemas, for whoever writes or reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
