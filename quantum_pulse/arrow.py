"""The tables of `schema` as pyarrow schemas, and arrays of them, for whoever writes or reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from quantum_pulse import schema

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
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
        "string": pa.string(),
    }
    return pa.schema([pa.field(column.name, types[column.type]) for column in schema.TABLES[table]])


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


def array(numbers: npt.NDArray[Any], kind: pa.DataType) -> pa.Array[Any]:
    """`numbers` as an Arrow array of the type `kind`, which is as wide."""
    import numpy as np
    import pyarrow as pa

    return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(np.ascontiguousarray(numbers).data)])


def strings(texts: Sequence[str]) -> pa.Array[Any]:
    """`texts` as an Arrow array."""
    import numpy as np
    import pyarrow as pa

    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(encoded), [None, pa.py_buffer(offsets.data), pa.py_buffer(b"".join(encoded))]
    )


def named(codes: npt.NDArray[np.integer[Any]], names: Sequence[str]) -> pa.Array[Any]:
    """A dictionary array of `names[code]`; the names are different ones."""
    import numpy as np
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(array(codes.astype(np.int32), pa.int32()), strings(names))
