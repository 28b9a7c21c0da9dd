"""The tables of `schema` as pyarrow schemas, and arrays of them, for whoever writes or reads them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from quantum_pulse import schema

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa


def layout(table: str, *, strict: bool = False) -> pa.Schema:
    """The pyarrow.Schema of one of schema.TABLES; with `strict`, nulls are only where the table allows them."""
    import pyarrow as pa

    types = {
        "dictionary<string>": pa.dictionary(pa.int32(), pa.string()),
        "timestamp[ns, UTC]": pa.timestamp("ns", tz="UTC"),
        "int64": pa.int64(),
        "int32": pa.int32(),
        "double": pa.float64(),
        "string": pa.string(),
        "map<string, string>": pa.map_(pa.string(), pa.string()),
    }
    return pa.schema(
        [
            pa.field(column.name, types[column.type], nullable=column.nullable or not strict)
            for column in schema.TABLES[table]
        ]
    )


def stored_columns(column: schema.Column) -> list[str]:
    """The columns that a Parquet file has for one of a table: a map has one for its keys and one for its values."""
    if not column.type.startswith("map"):
        return [column.name]
    return [f"{column.name}.key_value.key", f"{column.name}.key_value.value"]


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


# Arrays are made of buffers, and the other way round, because pa.array() and to_numpy() import pandas, if there is one,
# to ask whether a Series is meant; and because nothing needs to be copied.


def values(column: Any) -> npt.NDArray[Any]:
    """The values of an Arrow array, chunked or not, of numbers or times without nulls."""
    import numpy as np
    import pyarrow as pa

    whole: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    width = np.dtype(np.int64) if pa.types.is_timestamp(whole.type) else np.dtype(whole.type.to_pandas_dtype())
    if not len(whole):
        return np.zeros(0, width)
    return np.frombuffer(whole.buffers()[1], width)[whole.offset : whole.offset + len(whole)]


def array(numbers: npt.NDArray[Any], kind: pa.DataType, none: npt.NDArray[np.bool_] | None = None) -> pa.Array[Any]:
    """`numbers` as an Arrow array of the type `kind`, which is as wide; null where `none` is true."""
    import numpy as np
    import pyarrow as pa

    valid = None if none is None else pa.py_buffer(np.packbits(~none, bitorder="little").data)
    return pa.Array.from_buffers(kind, len(numbers), [valid, pa.py_buffer(np.ascontiguousarray(numbers).data)])


def flags(truths: npt.NDArray[np.bool_]) -> pa.Array[Any]:
    """`truths` as an Arrow array, to filter by."""
    import numpy as np
    import pyarrow as pa

    return pa.Array.from_buffers(
        pa.bool_(), len(truths), [None, pa.py_buffer(np.packbits(truths, bitorder="little").data)]
    )


def truths(flags: Any) -> npt.NDArray[np.bool_]:
    """The values of an Arrow array of truth values without nulls."""
    import numpy as np

    bits = np.frombuffer(flags.buffers()[1], np.uint8) if len(flags) else np.zeros(0, np.uint8)
    return np.unpackbits(bits, bitorder="little", count=flags.offset + len(flags))[flags.offset :].astype(np.bool_)


def strings(texts: Sequence[str]) -> pa.Array[Any]:
    """`texts` as an Arrow array."""
    import numpy as np
    import pyarrow as pa

    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(encoded), [None, pa.py_buffer(offsets.data), pa.py_buffer(b"".join(encoded))]
    )


def named(
    codes: npt.NDArray[np.integer[Any]], names: Sequence[str], none: npt.NDArray[np.bool_] | None = None
) -> pa.Array[Any]:
    """A dictionary array of `names[code]`; the names are different ones. Null where `none` is true."""
    import numpy as np
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(array(codes.astype(np.int32), pa.int32(), none), strings(names))
