"""Read rows of a capture as Arrow tables and DataFrames; filters are pushed down to row groups."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import arguments, arrow, plausible, schema
from quantum_pulse.reading import attributes, scan
from quantum_pulse.reading.reader import Part, Source
from quantum_pulse.reading.selection import EVERYTHING, Moment, Operations, Selection, Where, select

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: Columns of the samples.
COLUMNS: Final = tuple(column.name for column in schema.SAMPLES)
_CPU: Final = "cpu_ns"
#: Not a column of the files: which of several captures a row is from.
CAPTURE: Final = "capture"
#: From so many on, whoever writes batches elsewhere may take a second over them, however fast they are read.
_PROGRESS_ROWS: Final = 200_000


def samples(
    source: Source,
    operations: Operations = None,
    start: Moment = None,
    end: Moment = None,
    columns: Sequence[str] | None = None,
    where: Where = None,
) -> pd.DataFrame:
    """Raw samples in the order in which they started; see `Capture.samples`."""
    wanted = _columns(source, columns)
    chosen = select(source, operations, start, end, where)
    return frame_of(
        read(source, "samples", [*wanted, *({"start"} - set(wanted))], chosen).sort_by("start").select(wanted)
    )


def frame_of(rows: Any) -> pd.DataFrame:
    """An Arrow table of samples as a DataFrame: attributes as dictionaries, CPU times as nullable integers."""
    import pyarrow as pa

    frame: pd.DataFrame = rows.to_pandas(maps_as_pydicts="strict")
    if _CPU in frame.columns:
        import pandas as pd

        frame[_CPU] = rows[_CPU].to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return frame


def iter_samples(
    source: Source,
    operations: Operations = None,
    start: Moment = None,
    end: Moment = None,
    columns: Sequence[str] | None = None,
    rows: int = 1_000_000,
    where: Where = None,
) -> Iterator[pd.DataFrame]:
    """Raw samples in batches of `rows`, only the last of which is smaller; see `Capture.iter_samples`."""
    rows = arguments.whole(rows, "rows", 1)
    wanted = _columns(source, columns)
    batches = iter_tables(source, wanted, select(source, operations, start, end, where), rows)
    return map(frame_of, batches)


def iter_tables(source: Source, wanted: list[str], selection: Selection, rows: int) -> Iterator[Any]:
    """As `iter_samples`, as Arrow tables with the columns `wanted`, in the types of `schema`."""
    import pyarrow as pa

    names = list(dict.fromkeys([*wanted, "start"]))
    layout = _layout("samples", names)
    parts = sorted(scan.parts(source, selection), key=lambda part: part.first_ns or 0)
    held = layout.empty_table()
    with scan.progress(sum(part.rows for part in parts), "samples", _PROGRESS_ROWS) as advance:
        for part in parts:
            stored = _stored(source, names)
            # What a part held before it turned out to be damaged has been handed out, and the rest is a loss.
            with contextlib.suppress(scan.UnreadablePartError):
                for batch in scan.batches(source, part, None, stored, selection):
                    found = _completed(source, part, pa.Table.from_batches([batch]), names).cast(layout)
                    held = pa.concat_tables([held, found])
                    while held.num_rows >= rows:
                        yield _ordered(held.slice(0, rows), wanted)
                        held = held.slice(rows)
            advance(part.rows)
    if held.num_rows:
        yield _ordered(held, wanted)


def _ordered(table: Any, wanted: list[str]) -> Any:
    return table.unify_dictionaries().sort_by("start").select(wanted)


def whole(source: Source, table: str, order: str) -> pd.DataFrame:
    """All rows of one of schema.TABLES, sorted by the column `order`; of several captures with the name of each."""
    frame: pd.DataFrame = whole_table(source, table, order).to_pandas()
    return frame


def whole_table(source: Source, table: str, order: str) -> Any:
    """As `whole`, as an Arrow table in the types of `schema`."""
    names = [column.name for column in schema.TABLES[table]]
    return read(source, table, [*([CAPTURE] if source.captures else []), *names], EVERYTHING).sort_by(order)


def read(source: Source, table: str, columns: Sequence[str], selection: Selection) -> Any:
    """An Arrow table of the rows in `selection`, in no order. Bad parts are left out and noted."""

    def work() -> Any:
        import pyarrow as pa

        parts = scan.parts(source, selection) if table == "samples" else source.sound(table)
        # Part by part rather than as one dataset, so that one that cannot be read costs only itself.
        found = [read_part(source, part, columns, selection, table=table) for part in parts]
        return pa.concat_tables(found).unify_dictionaries() if found else _layout(table, columns).empty_table()

    return scan.whole(work)


def read_part(
    source: Source,
    part: Part,
    columns: Sequence[str],
    selection: Selection,
    condition: Any = None,
    table: str = "samples",
) -> Any:
    """An Arrow table of the rows of `part` in `selection` that meet `condition`, an expression of pyarrow.dataset.

    `columns` are those of the table, or "capture". Raises scan.UnreadablePartError.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    selection &= part.within
    chosen = _expression(selection, table, condition)
    with scan.reading(source, part):
        checked = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
        dataset: ds.Dataset = ds.dataset(part.file, format=ds.ParquetFileFormat(default_fragment_scan_options=checked))
        needed = attributes.columns_of(selection.where) if table == "samples" else []
        wanted = list(dict.fromkeys([*_stored(source, columns), *needed]))
        rows = dataset.to_table(columns=arrow.stored(table, wanted, dataset.schema.names), filter=chosen)
        plausible.check_rows(rows, table)
        rows = arrow.with_nulls(rows, table, wanted)
        if needed:
            rows = rows.filter(pa.array(attributes.chosen(rows, selection.where)))
        return _completed(source, part, rows, columns).cast(_layout(table, columns))


def _stored(source: Source, columns: Sequence[str]) -> list[str]:
    """What must be read of a part to give `columns`."""
    needed = ["operation"] if "category" in columns and source.categories_of() else []
    return [name for name in dict.fromkeys([*columns, *needed]) if name != CAPTURE]


def _completed(source: Source, part: Part, rows: Any, columns: Sequence[str]) -> Any:
    """Rows of `part` with the name of the capture, if that is wanted, and the category that counts."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if CAPTURE in columns:
        codes = np.zeros(rows.num_rows, np.int32)
        rows = rows.append_column(CAPTURE, pa.DictionaryArray.from_arrays(codes, pa.array([part.capture])))
    changed = source.categories_of()
    if "category" in columns and changed:
        operation, category = (rows[name].cast(pa.string()) for name in ("operation", "category"))
        for name, counts in changed.items():
            category = pc.if_else(pc.equal(operation, pa.scalar(name)), counts, category)
        rows = rows.set_column(rows.schema.get_field_index("category"), "category", category.dictionary_encode())
    return rows.select(list(columns))


def empty(source: Source) -> pd.DataFrame:
    """No samples, with the columns of those of `source`."""
    return frame_of(_layout("samples", columns_of(source)).empty_table())


def columns_of(source: Source) -> list[str]:
    """Columns of the samples: of several captures the first is the name of each."""
    return [*([CAPTURE] if source.captures else []), *COLUMNS]


def layout_of(source: Source, table: str) -> pa.Schema:
    """Columns and types of `whole_table`, and of `iter_tables` with the columns of `columns_of`."""
    return _layout(table, [*([CAPTURE] if source.captures else []), *(column.name for column in schema.TABLES[table])])


def _layout(table: str, columns: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    layout = arrow.layout(table).append(pa.field(CAPTURE, pa.dictionary(pa.int32(), pa.string())))
    return pa.schema([layout.field(name) for name in columns])


def _expression(selection: Selection, table: str, condition: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    kind = pa.timestamp("ns", tz="UTC")
    if selection.names is not None:
        chosen = ds.field("operation").isin(pa.array(selection.names, pa.string()))
        condition = chosen if condition is None else condition & chosen
    if selection.start_ns is not None:
        # A row of metrics is of the interval before its time, of which some is wanted.
        begins = pa.scalar(selection.start_ns, kind)
        chosen = ds.field("time") > begins if table == "metrics" else ds.field("start") >= begins
        condition = chosen if condition is None else condition & chosen
    if selection.end_ns is not None:
        ends = pa.scalar(selection.end_ns, kind)
        length = ds.field("interval_ns").cast(pa.duration("ns"))
        chosen = pc.subtract(ds.field("time"), length) < ends if table == "metrics" else ds.field("start") < ends
        condition = chosen if condition is None else condition & chosen
    return condition


def _columns(source: Source, columns: Sequence[str] | None) -> list[str]:
    if columns is None:
        return columns_of(source)
    wanted = [columns] if isinstance(columns, str) or not isinstance(columns, Iterable) else list(columns)
    known = [CAPTURE, *COLUMNS]
    for name in wanted:
        if name not in known:
            raise ValueError(f"samples have no column {name!r}; their columns are {', '.join(known)}")
    return wanted
