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
    from quantum_pulse.core.contract import Batch


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

    numbers = np.frombuffer(batch.columns["operation"], np.uint32)
    error = np.frombuffer(batch.columns["error"], np.uint32)
    weight = np.frombuffer(batch.columns["weight"], np.int32)
    wide = {
        name: np.frombuffer(batch.columns[name], np.int64)
        for name in ("start", "duration", "thread", "task", "span", "parent")
    }
    none = error == 0
    columns: dict[str, Any] = {
        "operation": _named(numbers, [definition.name for definition in operations]),
        "category": _named(numbers, [definition.category.name for definition in operations]),
        "start": pa.array(wide["start"] + anchor_ns).cast(pa.timestamp("ns", tz="UTC")),
        "duration_ns": wide["duration"],
        "thread": wide["thread"],
        "task": wide["task"],
        "span": wide["span"],
        "parent": wide["parent"],
        "error": _named(error, errors, none),
        "weight": weight,
        "process": np.full(batch.rows, process, np.int32),
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

    _write(path, table, pa.Table.from_pylist(rows, schema=arrow.layout(table)), footer)


def _named(numbers: Any, names: Sequence[str], none: Any = None) -> Any:
    """A dictionary array of `names[number]`; null where `none` is true."""
    import numpy as np
    import pyarrow as pa

    # Two numbers may have one name, as an operation has that was redefined; a dictionary must not.
    codes: dict[str, int] = {}
    code_of = np.array([codes.setdefault(name, len(codes)) for name in names], np.int32)
    indices = pa.array(code_of[numbers], mask=none)
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(codes), pa.string()))


def _write(path: Path, table: str, content: Any, footer: dict[str, Any]) -> None:
    import pyarrow.parquet as pq

    columns = schema.TABLES[table]
    content = content.cast(arrow.layout(table)).replace_schema_metadata({schema.FOOTER_KEY: json.dumps(footer)})
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        pq.write_table(
            content,
            temporary,
            compression="zstd",
            compression_level=1,
            # pyarrow's types know only the boolean.
            use_dictionary=[column.name for column in columns if column.encoding == "dictionary"],  # type: ignore[arg-type]
            column_encoding={column.name: column.encoding for column in columns if column.encoding.isupper()},
        )
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
