"""The rows of a table of a capture, batch by batch, for the formats that are tables."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse import schema
from quantum_pulse.export.chosen import Wanted
from quantum_pulse.reading import scan, tables
from quantum_pulse.reading.reader import Source

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows of a batch, and of a row group in Parquet: about 60 MB in memory.
_BATCH_ROWS: Final = 1 << 19
#: Table -> the column that says when.
_TIMES: Final = {"metrics": "time", "events": "start"}


class Rows(NamedTuple):
    """Arrow tables of one layout, one after the other. `names`: all values of a column of names, by column."""

    layout: pa.Schema
    batches: Iterable[Any]
    names: Callable[[], dict[str, list[str]]]


def rows_of(source: Source, wanted: Wanted) -> Rows:
    """The rows of the table that is wanted, one of formats.TABLES."""
    return _samples(source, wanted) if wanted.table == "samples" else _in_memory(source, wanted, wanted.table)


def _samples(source: Source, wanted: Wanted) -> Rows:
    columns = tables.columns_of(source)
    batches = tables.iter_tables(source, columns, wanted.selection, _BATCH_ROWS)
    return Rows(tables.layout_of(source, "samples"), batches, lambda: _names(source, wanted))


def _in_memory(source: Source, wanted: Wanted, table: str) -> Rows:
    """Of these there is a row an interval, a collection or an operation: few beside the samples."""
    content = _stats(source, wanted) if table == "stats" else _over_time(source, wanted, table)
    batches = [content] if content.num_rows else []

    def names() -> dict[str, list[str]]:
        import pyarrow as pa

        named = [field.name for field in content.schema if pa.types.is_dictionary(field.type)]
        return {name: content[name].unique().dictionary_decode().drop_null().to_pylist() for name in named}

    return Rows(content.schema, batches, names)


def _stats(source: Source, wanted: Wanted) -> Any:
    import pyarrow as pa

    frame = wanted.stats(source)
    table = pa.Table.from_pandas(frame.reset_index(), preserve_index=False).replace_schema_metadata(None)
    # pandas makes them large strings, which fewer readers know; without rows it does not know what they are.
    layout = [
        pa.field(name, pa.string()) if name in frame.index.names else table.schema.field(name)
        for name in table.column_names
    ]
    return table.cast(pa.schema(layout))


def _over_time(source: Source, wanted: Wanted, table: str) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if wanted.operations is not None:
        raise ValueError(f"{table} do not belong to operations: select them by time, with start and end")
    content = tables.whole_table(source, table, _TIMES[table])
    begin, end = wanted.selection.start_ns, wanted.selection.end_ns
    kind = pa.timestamp("ns", tz="UTC")
    if begin is not None:
        content = content.filter(pc.field(_TIMES[table]) >= pa.scalar(begin, kind))
    if end is not None:
        content = content.filter(pc.field(_TIMES[table]) < pa.scalar(end, kind))
    return content.cast(tables.layout_of(source, table))


def _names(source: Source, wanted: Wanted) -> dict[str, list[str]]:
    """All names that occur in the columns of names of the chosen samples, from a pass over these columns."""
    columns = [column.name for column in schema.SAMPLES if column.type.startswith("dictionary")]
    found: dict[str, dict[str, None]] = {name: {} for name in columns}
    for batch in _batches(source, wanted, columns):
        for name in columns:
            found[name].update(dict.fromkeys(batch[name].dictionary.to_pylist()))
    # Where captures disagree, the newest category counts.
    found["category"].update(dict.fromkeys(source.categories_of().values()))
    more = {tables.CAPTURE: list(source.captures)} if source.captures else {}
    return {**{name: list(values) for name, values in found.items()}, **more}


def _batches(source: Source, wanted: Wanted, columns: list[str]) -> Iterator[Any]:
    for part in scan.parts(source, wanted.selection):
        with contextlib.suppress(scan.UnreadablePartError):
            yield from scan.batches(source, part, None, columns, wanted.selection)
