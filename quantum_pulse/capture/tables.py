"""Rows of a capture as Arrow tables and DataFrames. Filters go down to Parquet's row groups."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from quantum_pulse import arrow, schema
from quantum_pulse.capture.reader import Source
from quantum_pulse.operations import Operation, checked

if TYPE_CHECKING:
    import pandas as pd

#: A moment: a timestamp, its text, or seconds (a timedelta) after the first sample of the capture.
Moment = Any


def samples(
    source: Source,
    operations: Operation | Iterable[Operation] | None = None,
    start: Moment = None,
    end: Moment = None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Raw samples in the order in which they started; see `Capture.samples`."""
    wanted = _columns(columns)
    condition = _condition(source, operations, start, end)
    table = read(source, "samples", [*wanted, *({"start"} - set(wanted))], condition)
    frame: pd.DataFrame = table.sort_by("start").select(wanted).to_pandas()
    return frame


def whole(source: Source, table: str, order: str) -> pd.DataFrame:
    """All rows of one of schema.TABLES, sorted by the column `order`."""
    frame: pd.DataFrame = read(source, table).sort_by(order).to_pandas()
    return frame


def read(
    source: Source,
    table: str,
    columns: Sequence[str] | None = None,
    condition: Any = None,
    names: Sequence[str] | None = None,
) -> Any:
    """An Arrow table of the rows that meet `condition` (a dataset expression). Bad parts are left out and noted.

    `names` chooses operations by what stands in the `operation` column.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    if names is not None:
        chosen = ds.field("operation").isin(pa.array(names, pa.string()))
        condition = chosen if condition is None else condition & chosen
    layout = arrow.layout(table)
    if columns is not None:
        layout = pa.schema([layout.field(name) for name in columns])
    found = []
    # Part by part rather than as one dataset, so that one that cannot be read costs only itself.
    for part in source.parts[table]:
        if source.is_bad(part.path):
            continue
        try:
            rows = ds.dataset(part.file, format="parquet").to_table(columns=layout.names, filter=condition)
            found.append(rows.cast(layout))
        except (OSError, pa.ArrowException) as error:
            source.report_bad(part.path, error, part.rows)
    return pa.concat_tables(found).unify_dictionaries() if found else layout.empty_table()


def recorded_names(source: Source, operations: Operation | Iterable[Operation]) -> list[str]:
    """Names in the `operation` column of these operations. A string among them is a TypeError."""
    # A string is iterable too, and its letters would make a poor error.
    if isinstance(operations, Operation | str) or not isinstance(operations, Iterable):
        operations = [checked(operations)]
    definitions = source.definitions()
    names: set[str] = set()
    for operation in operations:
        own = checked(operation).definition
        # Two classes of one name in a capture are told apart by the module, which the recorder then puts before it.
        spellings = (own.name, f"{own.module}.{own.name}")
        same = {d["name"] for d in definitions if d.get("module") == own.module and d["name"] in spellings}
        names |= same or {own.name}
    return sorted(names)


def _columns(columns: Sequence[str] | None) -> list[str]:
    known = [column.name for column in schema.SAMPLES]
    if columns is None:
        return known
    wanted = [columns] if isinstance(columns, str) else list(columns)
    for name in wanted:
        if name not in known:
            raise ValueError(f"samples have no column {name!r}; their columns are {', '.join(known)}")
    return wanted


def _condition(source: Source, operations: Any, start: Moment, end: Moment) -> Any:
    import pyarrow as pa
    import pyarrow.dataset as ds

    kind = pa.timestamp("ns", tz="UTC")
    conditions = []
    if operations is not None:
        conditions.append(ds.field("operation").isin(pa.array(recorded_names(source, operations), pa.string())))
    if start is not None:
        conditions.append(ds.field("start") >= pa.scalar(_moment_ns(source, start, "start"), kind))
    if end is not None:
        conditions.append(ds.field("start") < pa.scalar(_moment_ns(source, end, "end"), kind))
    condition = None
    for one in conditions:
        condition = one if condition is None else condition & one
    return condition


def _moment_ns(source: Source, moment: Moment, name: str) -> int:
    """Unix time in ns of a moment; a time without a zone is taken for UTC, as everything in a capture is."""
    import numpy as np
    import pandas as pd

    if isinstance(moment, int | float | np.number) and not isinstance(moment, bool):
        moment = pd.Timedelta(float(moment), unit="s")
    if isinstance(moment, dt.timedelta | np.timedelta64):
        return _first_ns(source) + pd.Timedelta(moment).as_unit("ns").value
    if not isinstance(moment, str | dt.datetime | np.datetime64):
        raise TypeError(f"{name} must be a timestamp, its text, or seconds after the first sample, not {moment!r}")
    try:
        stamp = pd.Timestamp(moment)
    except ValueError as error:
        raise ValueError(f"{name}={moment!r} is no time: {error}") from error
    stamp = stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp
    return int(stamp.as_unit("ns").value)


def _first_ns(source: Source) -> int:
    known = [part.first_ns for part in source.parts["samples"] if part.rows]
    if known and all(first is not None for first in known):
        return min(first for first in known if first is not None)
    import pyarrow as pa
    import pyarrow.compute as pc

    lowest = pc.min(read(source, "samples", ["start"])["start"]).cast(pa.int64()).as_py()
    return int(lowest or 0)
