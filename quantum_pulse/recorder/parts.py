"""Parquet parts: rows in, one self-contained file out, whole or not at all. pyarrow is imported when first used."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantum_pulse import arrow, schema
from quantum_pulse.operations import Definition
from quantum_pulse.recorder import footer as footers

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from quantum_pulse.core.contract import Batch


def load() -> None:
    """Import what writing needs, now."""
    import numpy  # noqa: F401
    import pyarrow.parquet  # noqa: F401


def write_samples(
    path: Path,
    batch: Batch,
    *,
    operations: list[Definition],
    errors: Sequence[str],
    anchor_ns: int,
    process: int,
    footer: dict[str, Any],
) -> None:
    """Write the rows of `batch` as a part of `samples`.

    `operations` and `errors` resolve the numbers in the batch; error 0 is none. `anchor_ns` turns the core's clock
    into Unix time. Operations and their summaries are added to `footer`. Raises OSError when the disk does not take it.
    """
    import numpy as np
    import pyarrow as pa

    # In the order of entering, where rings have that of leaving: differences are small then, and the file
    # is a seventh smaller. The rows are a few sorted runs, one a thread, which a stable sort only merges.
    order = np.argsort(np.frombuffer(batch.columns["span"], np.int64), kind="stable")
    numbers = np.frombuffer(batch.columns["operation"], np.uint32)[order]
    error = np.frombuffer(batch.columns["error"], np.uint32)[order]
    weight = np.frombuffer(batch.columns["weight"], np.int32)[order]
    wide = {
        name: np.frombuffer(batch.columns[name], np.int64)[order]
        for name in ("start", "duration", "thread", "task", "span", "parent")
    }
    none = error == 0
    columns = {
        "operation": _named(numbers, [definition.name for definition in operations]),
        "category": _named(numbers, [definition.category.name for definition in operations]),
        "start": _array(wide["start"] + anchor_ns, pa.timestamp("ns", tz="UTC")),
        "duration_ns": _array(wide["duration"], pa.int64()),
        "thread": _array(wide["thread"], pa.int64()),
        "task": _array(wide["task"], pa.int64()),
        "span": _array(wide["span"], pa.int64()),
        "parent": _array(wide["parent"], pa.int64()),
        "error": _named(error, errors, none),
        "weight": _array(weight, pa.int32()),
        "process": _array(np.full(batch.rows, process, np.int32), pa.int32()),
    }
    present = [operations[number] for number in np.unique(numbers)]
    footer = {
        **footer,
        "operations": footers.describe(present),
        "histograms": footers.summaries(operations, numbers, wide["duration"], weight, ~none),
    }
    _write(path, "samples", pa.table(columns), footer)


def write_rows(path: Path, table: str, rows: list[dict[str, Any]], footer: dict[str, Any]) -> None:
    """Write `rows`, dictionaries with all columns of `table`, as a part of it. Raises OSError as `write_samples`."""
    import pyarrow as pa

    columns = {field.name: _column([row[field.name] for row in rows], field.type) for field in arrow.layout(table)}
    _write(path, table, pa.table(columns), footer)


# The arrays are built from buffers because pa.array() imports pandas, if there is one, to ask whether it was given a
# Series; and because nothing needs to be copied.


def _array(values: npt.NDArray[Any], kind: pa.DataType, none: npt.NDArray[np.bool_] | None = None) -> pa.Array[Any]:
    """`values` as an Arrow array of the type `kind`; null where `none` is true."""
    import numpy as np
    import pyarrow as pa

    valid = None if none is None else pa.py_buffer(np.packbits(~none, bitorder="little").data)
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(np.ascontiguousarray(values).data)])


def _strings(texts: Sequence[str]) -> pa.Array[Any]:
    import numpy as np
    import pyarrow as pa

    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(encoded), [None, pa.py_buffer(offsets.data), pa.py_buffer(b"".join(encoded))]
    )


def _named(
    numbers: npt.NDArray[np.unsignedinteger[Any]], names: Sequence[str], none: npt.NDArray[np.bool_] | None = None
) -> pa.Array[Any]:
    """A dictionary array of `names[number]`; null where `none` is true."""
    import numpy as np
    import pyarrow as pa

    # Two numbers may have one name, as an operation has that was redefined; a dictionary must not.
    codes: dict[str, int] = {}
    code_of = np.zeros(len(names), np.int32)
    for number in np.unique(numbers if none is None else numbers[~none]).tolist():
        code_of[number] = codes.setdefault(names[number], len(codes))
    return pa.DictionaryArray.from_arrays(_array(code_of[numbers], pa.int32(), none), _strings(list(codes)))


def _column(values: list[Any], kind: pa.DataType) -> pa.Array[Any]:
    """Python values, None among them, as an Arrow array of a type that schema.TABLES uses."""
    import numpy as np
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _named(np.arange(len(values), dtype=np.uint32), values)
    none = np.array([value is None for value in values], np.bool_)
    width = np.dtype(np.int64) if pa.types.is_timestamp(kind) else np.dtype(kind.to_pandas_dtype())
    return _array(np.array([0 if value is None else value for value in values], width), kind, none)


def _write(path: Path, table: str, content: Any, footer: dict[str, Any]) -> None:
    import pyarrow.parquet as pq

    columns = schema.TABLES[table]
    content = content.cast(arrow.layout(table)).replace_schema_metadata(
        {schema.FOOTER_KEY: json.dumps(footer, separators=(",", ":"))}
    )
    # Any, because types for pyarrow, where they are installed, know only the boolean.
    named: Any = [column.name for column in columns if column.encoding == "dictionary"]
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        pq.write_table(
            content,
            temporary,
            compression="zstd",
            compression_level=1,
            use_dictionary=named,
            column_encoding={column.name: column.encoding for column in columns if column.encoding.isupper()},
        )
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
