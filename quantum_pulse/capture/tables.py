"""Rows of a capture as Arrow tables and DataFrames. Filters go down to Parquet's row groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import arrow, schema
from quantum_pulse.capture import scan
from quantum_pulse.capture.reader import Part, Source
from quantum_pulse.capture.selection import EVERYTHING, Moment, Operations, Selection, select

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: Columns of the samples.
COLUMNS: Final = tuple(column.name for column in schema.SAMPLES)


def samples(
    source: Source,
    operations: Operations = None,
    start: Moment = None,
    end: Moment = None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Raw samples in the order in which they started; see `Capture.samples`."""
    wanted = _columns(columns)
    table = read(source, "samples", [*wanted, *({"start"} - set(wanted))], select(source, operations, start, end))
    frame: pd.DataFrame = table.sort_by("start").select(wanted).to_pandas()
    return frame


def whole(source: Source, table: str, order: str) -> pd.DataFrame:
    """All rows of one of schema.TABLES, sorted by the column `order`."""
    frame: pd.DataFrame = read(source, table).sort_by(order).to_pandas()
    return frame


def read(source: Source, table: str, columns: Sequence[str] | None = None, selection: Selection = EVERYTHING) -> Any:
    """An Arrow table of the rows in `selection` (of samples only), in no order. Bad parts are left out and noted."""

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
    columns: Sequence[str] | None,
    selection: Selection,
    condition: Any = None,
    table: str = "samples",
) -> Any:
    """An Arrow table of the rows of `part` in `selection` that meet `condition`, an expression of pyarrow.dataset.

    Raises scan.UnreadablePartError.
    """
    import pyarrow.dataset as ds

    layout = _layout(table, columns)
    chosen = _expression(selection, condition)
    with scan.reading(source, part):
        checked = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
        dataset: ds.Dataset = ds.dataset(part.file, format=ds.ParquetFileFormat(default_fragment_scan_options=checked))
        return dataset.to_table(columns=layout.names, filter=chosen).cast(layout)


def empty(table: str) -> pd.DataFrame:
    """No rows of `table`, with its columns."""
    frame: pd.DataFrame = arrow.layout(table).empty_table().to_pandas()
    return frame


def _layout(table: str, columns: Sequence[str] | None) -> pa.Schema:
    import pyarrow as pa

    layout = arrow.layout(table)
    return layout if columns is None else pa.schema([layout.field(name) for name in columns])


def _expression(selection: Selection, condition: Any) -> Any:
    import pyarrow as pa
    import pyarrow.dataset as ds

    kind = pa.timestamp("ns", tz="UTC")
    if selection.names is not None:
        chosen = ds.field("operation").isin(pa.array(selection.names, pa.string()))
        condition = chosen if condition is None else condition & chosen
    if selection.start_ns is not None:
        chosen = ds.field("start") >= pa.scalar(selection.start_ns, kind)
        condition = chosen if condition is None else condition & chosen
    if selection.end_ns is not None:
        chosen = ds.field("start") < pa.scalar(selection.end_ns, kind)
        condition = chosen if condition is None else condition & chosen
    return condition


def _columns(columns: Sequence[str] | None) -> list[str]:
    if columns is None:
        return list(COLUMNS)
    wanted = [columns] if isinstance(columns, str) else list(columns)
    for name in wanted:
        if name not in COLUMNS:
            raise ValueError(f"samples have no column {name!r}; their columns are {', '.join(COLUMNS)}")
    return wanted
