"""Parquet parts: rows in, one self-contained file out, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from quantum_pulse import arrow, directories, files, records, schema
from quantum_pulse.agent import attributes, rollups
from quantum_pulse.agent import footer as footers
from quantum_pulse.operations import Category, Definition, definition_of, plain_definition
from quantum_pulse.rings.batch import CPU

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from quantum_pulse.rings.batch import Batch


_Name = TypeVar("_Name")

#: Represents operations of which nobody knows the name.
UNKNOWN = Definition("?", "", "", Category("?"))


def write_samples(
    path: Path,
    batch: Batch,
    *,
    operations: Sequence[Definition],
    texts: Sequence[str],
    unix: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]],
    process: int | npt.NDArray[np.int32],
    footer: dict[str, Any],
) -> None:
    """Write the rows of `batch` as a part of `samples`.

    `operations` and `texts` resolve the numbers in the batch; error 0 means none. `unix` turns readings of the core's
    clock into Unix time. `process` is the number of the process, or that of each row. Operations and their summaries
    are added to `footer`. Raises OSError when the disk does not take it.
    """
    import numpy as np
    import pyarrow as pa

    # In the order of entering, where rings have that of leaving: differences are small then, and the file
    # is a seventh smaller. The rows are a few sorted runs, one a thread, which a stable sort only merges.
    span = batch.columns["span"]
    is_sorted = bool((span[1:] > span[:-1]).all())
    order = slice(None) if is_sorted else np.argsort(span, kind="stable")
    processes = np.full(batch.rows, process, np.int32) if isinstance(process, int) else process[order]
    wide = {name: values[order] for name, values in batch.columns.items()}
    numbers, operations = _known(wide["operation"], operations, UNKNOWN)
    error, errors = _known(wide["error"], texts, schema.OTHER)
    weight, none = wide["weight"], error == 0
    present = _present(numbers)
    values, others = attributes.column(wide, numbers, operations, texts)
    columns = {
        "operation": _named(numbers, [definition.name for definition in operations], present),
        "category": _named(numbers, [definition.category.name for definition in operations], present),
        "start": arrow.array(unix(wide["start"]), pa.timestamp("ns", tz="UTC")),
        "duration_ns": arrow.array(wide["duration"], pa.int64()),
        "thread": arrow.array(wide["thread"], pa.int64()),
        "task": arrow.array(wide["task"], pa.int64()),
        "span": arrow.array(wide["span"], pa.int64()),
        "parent": arrow.array(wide["parent"], pa.int64()),
        "error": _named(error, errors, _present(error[~none]), none),
        "weight": arrow.array(weight, pa.int32()),
        "process": arrow.array(processes, pa.int32()),
        "attributes": values,
        "cpu_ns": _with_gaps(wide.get(CPU), batch.rows),
    }
    footer = {
        **footer,
        **({"others": others} if others else {}),
        "operations": [plain_definition(operations[number]) for number in present],
        "histograms": footers.summaries(list(operations), numbers, wide["duration"], weight, ~none),
    }
    _write(path, "samples", pa.table(columns), footer)


def write_rows(path: Path, table: str, rows: list[dict[str, Any]], footer: dict[str, Any]) -> None:
    """Write `rows`, dictionaries with all columns of `table`, as a part of it. Raises OSError as `write_samples`."""
    import pyarrow as pa

    columns = {field.name: _column([row.get(field.name) for row in rows], field.type) for field in arrow.layout(table)}
    # Losses are of samples.
    _write(path, table, pa.table(columns), {key: value for key, value in footer.items() if key != "losses"})


def merge(sources: Sequence[Path], target: Path, table: str) -> None:
    """Write the rows of `sources`, parts of `table` of one recording, as the part `target`, which names them.

    Raises OSError as `write_samples`, and pyarrow's errors for a source that is damaged.
    """
    content, found = _together(sources, table)
    footer = {**found[-1], "merged": _replaced(sources, found)}
    if table == "samples":
        content = _in_order(content)
        footer |= _merged_footer(content, found)
    _write(target, table, content, footer)


def packed_footer(sources: Sequence[Path], found: list[dict[str, Any]]) -> dict[str, Any]:
    """The footer of a part of `samples` that has the rows of `sources`, whose footers are `found`."""
    summaries = rollups.combined([rollups.of_plain(footer["histograms"]) for footer in found], rollups.WHOLE)
    return {
        **found[-1],
        "merged": _replaced(sources, found),
        **_common_footer(found),
        "histograms": rollups.plain(summaries),
    }


def _replaced(sources: Sequence[Path], found: list[dict[str, Any]]) -> list[str]:
    """Names of the parts that one made of `sources` represents."""
    # A source that could not be deleted when it was merged must not come back to life when this one takes over.
    left = {
        name
        for path, footer in zip(sources, found, strict=True)
        for name in footer.get("merged", ())
        if path.with_name(name).exists()
    }
    return sorted(left | {path.name for path in sources})


def excerpt(sources: Sequence[Path], target: Path, ended_from_ns: int) -> int:
    """Write the samples in `sources`, parts of one recording, that ended at `ended_from_ns` (Unix) or later.

    Returns how many; where there are none, no part is written. Raises as `merge`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    content, found = _together(sources, "samples")
    ends = pc.add(content["start"].cast(pa.int64()), content["duration_ns"])
    content = content.filter(pc.greater_equal(ends, pa.scalar(ended_from_ns, pa.int64())))
    if content.num_rows:
        content = _in_order(content)
        _write(target, "samples", content, {**found[-1], "merged": [], **_merged_footer(content, found)})
    return int(content.num_rows)


def _together(sources: Sequence[Path], table: str) -> tuple[Any, list[dict[str, Any]]]:
    """The rows of parts, and their footers."""
    import pyarrow as pa

    tables, found = zip(*(read(path, table) for path in sources), strict=True)
    return pa.concat_tables(tables).unify_dictionaries(), list(found)


def read(path: Path, table: str) -> tuple[Any, dict[str, Any]]:
    """The rows of a part, and its footer. Raises as `merge`."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        footer = json.loads((file.metadata.metadata or {})[schema.FOOTER_KEY.encode()])
        rows = arrow.with_nulls(file.read(), table, arrow.layout(table).names)
        return rows.select(arrow.layout(table).names).cast(arrow.layout(table)), footer


def _in_order(samples: Any) -> Any:
    import numpy as np
    import pyarrow as pa

    order = np.argsort(arrow.values(samples["span"]), kind="stable")
    return samples.take(arrow.array(order, pa.int64())).combine_chunks()


def merged(paths: Iterable[Path]) -> set[str]:
    """Names of parts whose rows are in one of the parts `paths` as well, because the process died between."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names: set[str] = set()
    for path in paths:
        with contextlib.suppress(OSError, pa.ArrowException, ValueError, MemoryError):
            files.check(path)
            names.update(records.footer(pq.read_metadata(path)).get("merged", ()))
    return names


def _merged_footer(content: Any, sources: list[dict[str, Any]]) -> dict[str, Any]:
    """What the footer of merged samples says anew. Summaries are made of the rows, which is as fast as adding them."""
    import numpy as np
    import pyarrow as pa

    common = _common_footer(sources)
    definitions = [definition_of(plain) for plain in common["operations"]]
    known = {(definition.name, definition.category.name): number for number, definition in enumerate(definitions)}
    operation: Any = content["operation"].chunk(0)
    category: Any = content["category"].chunk(0)
    names, categories = operation.dictionary.to_pylist(), category.dictionary.to_pylist()
    table = np.array([[known.get((name, group), 0) for group in categories] for name in names], np.uint32)
    return {
        **common,
        "histograms": footers.summaries(
            definitions,
            table[arrow.values(operation.indices), arrow.values(category.indices)],
            arrow.values(content["duration_ns"]),
            arrow.values(content["weight"]),
            arrow.values(content["error"].is_valid().cast(pa.int8())).astype(np.bool_),
        ),
    }


def _common_footer(sources: list[dict[str, Any]]) -> dict[str, Any]:
    """What the footer of merged samples takes over from those of its sources."""
    described = {json.dumps(plain, sort_keys=True): plain for footer in sources for plain in footer["operations"]}
    saved = [sample for footer in sources for sample in footer.get("saved_for", ())]
    others = attributes.added_others(footer.get("others", ()) for footer in sources)
    return {
        "operations": list(described.values()),
        "losses": [loss for footer in sources for loss in footer["losses"]],
        **({"saved_for": saved} if any("saved_for" in footer for footer in sources) else {}),
        **({"others": others} if others else {}),
    }


def _with_gaps(values: npt.NDArray[np.int64] | None, rows: int) -> pa.Array[Any]:
    """Integers of which some may be schema.NO_VALUE, or all."""
    import pyarrow as pa

    return pa.nulls(rows, pa.int64()) if values is None else arrow.array(values, pa.int64(), values == schema.NO_VALUE)


def _known(
    numbers: npt.NDArray[np.unsignedinteger[Any]], names: Sequence[_Name], other: _Name
) -> tuple[npt.NDArray[np.intp], Sequence[_Name]]:
    """`numbers` as indices, and `names` with `other` at their end, where some of them have no name."""
    import numpy as np

    indices = numbers.astype(np.intp)
    if not len(indices) or int(indices.max()) < len(names):
        return indices, names
    return np.minimum(indices, len(names)), [*names, other]


def _named(
    numbers: npt.NDArray[np.intp],
    names: Sequence[str],
    present: Sequence[int],
    none: npt.NDArray[np.bool_] | None = None,
) -> pa.Array[Any]:
    """A dictionary array of `names[number]`; null where `none` is true. `present` are the numbers that occur."""
    import numpy as np

    # Two numbers may have one name, as an operation has that was redefined; a dictionary must not.
    codes: dict[str, int] = {}
    code_of = np.zeros(len(names), np.int32)
    for number in present:
        code_of[number] = codes.setdefault(names[number], len(codes))
    return arrow.named(code_of[numbers], list(codes), none)


def _present(numbers: npt.NDArray[np.intp]) -> list[int]:
    """The different numbers, ascending; they are small."""
    import numpy as np

    return np.flatnonzero(np.bincount(numbers)).tolist()


def _column(values: list[Any], kind: pa.DataType) -> pa.Array[Any]:
    """Python values, None among them, as an Arrow array of a type that schema.TABLES uses."""
    import numpy as np
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _named(np.arange(len(values)), values, range(len(values)))
    none = np.array([value is None for value in values], np.bool_)
    width = np.dtype(np.int64) if pa.types.is_timestamp(kind) else np.dtype(kind.to_pandas_dtype())
    return arrow.array(np.array([0 if value is None else value for value in values], width), kind, none)


def _write(path: Path, table: str, content: Any, footer: dict[str, Any]) -> None:
    import pyarrow.parquet as pq

    content = content.cast(arrow.layout(table, strict=True)).replace_schema_metadata(described(footer))
    with directories.holding(path) as folder, folder.replacing(path.name) as file:
        pq.write_table(content, file, **how(table))


def described(footer: dict[str, Any]) -> dict[str, str]:
    """`footer` as metadata of a Parquet file."""
    text = json.dumps(footer, separators=(",", ":"))
    return {schema.FOOTER_KEY: text, schema.FOOTER_CHECKSUM_KEY: f"{zlib.crc32(text.encode()):08x}"}


def how(table: str) -> dict[str, Any]:
    """How pyarrow is to write parts of `table`. Columns are those of ``arrow.layout(table, strict=True)``: one that is
    never null is written a sixth faster where the file says so."""
    columns = schema.TABLES[table]
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": [
            name for column in columns if column.encoding == "dictionary" for name in arrow.stored_columns(column)
        ],
        # Extremes of names help nobody, and finding them takes as long as writing them.
        "write_statistics": [column.name for column in columns if not column.type.startswith(("dictionary", "map"))],
        "column_encoding": {column.name: column.encoding for column in columns if column.encoding.isupper()},
        "write_page_checksum": True,
    }
