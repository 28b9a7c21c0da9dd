"""Write tables as Parquet, CSV and Arrow files, batch by batch."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse import schema, shown
from quantum_pulse.export.chosen import Wanted
from quantum_pulse.reading import scan, tables
from quantum_pulse.reading.reader import Source

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows of a batch, and of a row group in Parquet: about 60 MB in memory.
_BATCH_ROWS: Final = 1 << 19
#: Table -> the column that says when.
_TIMES: Final = {"metrics": "time", "events": "start"}
#: Encodings of columns that a capture's parts do not leave to Parquet.
_ENCODINGS: Final = {
    column.name: column.encoding
    for columns in schema.TABLES.values()
    for column in columns
    if column.encoding.isupper()
}


class _Rows(NamedTuple):
    """Arrow tables of one layout, one after the other. `names`: all values of a column of names, by column."""

    layout: pa.Schema
    batches: Iterable[Any]
    names: Callable[[], dict[str, list[str]]]


def write(source: Source, wanted: Wanted, table: str, kind: str, out: Any) -> int:
    """Write one of formats.TABLES to `out` in one of formats.TABULAR; the number of rows. Raises OSError."""
    rows = _samples(source, wanted) if table == "samples" else _in_memory(source, wanted, table)
    return _WRITERS[kind](rows, out)


def _samples(source: Source, wanted: Wanted) -> _Rows:
    columns = tables.columns_of(source)
    batches = tables.iter_tables(source, columns, wanted.selection, _BATCH_ROWS)
    return _Rows(tables.layout_of(source, "samples"), batches, lambda: _names(source, wanted))


def _in_memory(source: Source, wanted: Wanted, table: str) -> _Rows:
    """Of these there is a row an interval, a collection or an operation: few beside the samples."""
    content = _stats(source, wanted) if table == "stats" else _over_time(source, wanted, table)
    batches = [content] if content.num_rows else []

    def names() -> dict[str, list[str]]:
        import pyarrow as pa

        named = [field.name for field in content.schema if pa.types.is_dictionary(field.type)]
        return {name: content[name].unique().dictionary_decode().drop_null().to_pylist() for name in named}

    return _Rows(content.schema, batches, names)


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

    if wanted.operations is not None or wanted.selection.where:
        raise ValueError(f"{table} do not belong to operations: select them by time, with start and end")
    content = tables.whole_table(source, table, _TIMES[table])
    begin, end = wanted.selection.start_ns, wanted.selection.end_ns
    kind = pa.timestamp("ns", tz="UTC")
    if begin is not None:
        content = content.filter(pc.field(_TIMES[table]) >= pa.scalar(begin, kind))
    if end is not None:
        content = content.filter(pc.field(_TIMES[table]) < pa.scalar(end, kind))
    return content.cast(tables.layout_of(source, table))


def _parquet(rows: _Rows, out: Any) -> int:
    import pyarrow.parquet as pq

    # As in a capture, but without BYTE_STREAM_SPLIT, which older readers do not know for integers: a fifth larger.
    encoding = {name: kind for name, kind in _ENCODINGS.items() if name in rows.layout.names}
    delta = {name: kind for name, kind in encoding.items() if kind == "DELTA_BINARY_PACKED"}
    named: Any = [name for name in rows.layout.names if name not in encoding]
    count = 0
    with pq.ParquetWriter(
        out, rows.layout, compression="zstd", use_dictionary=named, column_encoding=delta, write_page_checksum=True
    ) as writer:
        for batch in rows.batches:
            writer.write_table(batch)
            count += batch.num_rows
    return count


def _csv(rows: _Rows, out: Any) -> int:
    import pyarrow as pa
    from pyarrow import csv

    # Names are quoted, so that one that is empty differs from none.
    fields = [pa.field(field.name, _plain(field.type)) for field in rows.layout]
    layout, count = pa.schema(fields), 0
    with csv.CSVWriter(out, layout) as writer:
        for batch in rows.batches:
            writer.write_table(_for_spreadsheets(_without_maps(batch).cast(layout)))
            count += batch.num_rows
    return count


def _without_maps(batch: Any) -> Any:
    """`batch` with maps as JSON objects."""
    import pyarrow as pa

    for place, field in enumerate(batch.schema):
        if pa.types.is_map(field.type):
            texts = [
                None if one is None else json.dumps(dict(one), ensure_ascii=False)
                for one in batch[field.name].to_pylist()
            ]
            batch = batch.set_column(place, pa.field(field.name, pa.string()), pa.array(texts, pa.string()))
    return batch


def _for_spreadsheets(batch: Any) -> Any:
    """`batch` with texts that no spreadsheet takes for formulas."""
    import pyarrow as pa

    for place, field in enumerate(batch.schema):
        if pa.types.is_string(field.type):
            # Names are few, and each comes often.
            coded = batch[field.name].combine_chunks().dictionary_encode()
            names = pa.array([shown.cell(name) for name in coded.dictionary.to_pylist()], pa.string())
            batch = batch.set_column(place, field, names.take(coded.indices))
    return batch


def _arrow(rows: _Rows, out: Any) -> int:
    import pyarrow as pa

    # A file has one dictionary a column, and it comes first. Not compressed: so it can be mapped, and any reader
    # knows it.
    whole = {name: pa.array(values, pa.string()) for name, values in rows.names().items()}
    count = 0
    with pa.ipc.new_file(out, rows.layout) as writer:
        for batch in rows.batches:
            for name, values in whole.items():
                place = rows.layout.get_field_index(name)
                batch = batch.set_column(place, rows.layout.field(name), _recoded(batch[name], values))
            writer.write_table(batch)
            count += batch.num_rows
    return count


_WRITERS: Final[dict[str, Callable[[_Rows, Any], int]]] = {"parquet": _parquet, "csv": _csv, "arrow": _arrow}


def _plain(kind: Any) -> Any:
    import pyarrow as pa

    return pa.string() if pa.types.is_dictionary(kind) or pa.types.is_map(kind) else kind


def _recoded(column: Any, names: Any) -> Any:
    """A column of names with the dictionary `names`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    chunks = [
        pa.DictionaryArray.from_arrays(pc.index_in(chunk.dictionary, names).take(chunk.indices), names)
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, column.type)


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
