"""Samples of a capture as a dask DataFrame: a partition for each part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantum_pulse import arrow
from quantum_pulse.reading import attributes, reader, scan, tables
from quantum_pulse.reading.criteria import EVERYTHING

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pandas as pd


def samples(source: reader.Source) -> dd.DataFrame:
    """The samples of `source`, which are read when they are needed, also by other processes; see `Capture.to_dask`."""
    try:
        import dask.dataframe as dd
        from dask.dataframe import utils
    except ImportError as error:
        raise ImportError("to_dask() needs dask: pip install 'quantum-pulse[dask]'") from error
    parts = sorted(source.sound("samples"), key=lambda part: part.first_ns or 0)
    parts = [part for part in parts if part.rows]
    scan.fetch(source, parts)
    columns, categories = tables.columns_of(source), dict(source.categories_of())
    whole: Any = dd
    untyped: Any = utils
    meta = untyped.clear_known_categories(_frame(tables.layout_of(source, "samples").empty_table()))
    if not parts:
        empty: dd.DataFrame = whole.from_pandas(meta, npartitions=1)
        return empty
    # The names by which this process holds files open mean nothing to others.
    named = [part._replace(file=part.path) if str(part.file).startswith("/proc/") else part for part in parts]
    # Dask asks for fewer columns where fewer are needed.
    frame: dd.DataFrame = whole.from_map(_read, named, columns=columns, categories=categories, meta=meta)
    return frame


def _read(part: reader.Part, columns: list[str], categories: dict[str, str]) -> pd.DataFrame:
    """The samples of one part, in the order in which they started."""
    source = _Alone(part.path, categories)
    try:
        rows = tables.read_part(source, part, list(dict.fromkeys([*columns, "start"])), EVERYTHING)
    except scan.UnreadablePartError as error:
        raise OSError(f"{part.path} cannot be read any more; open the capture again") from error
    return _frame(rows.sort_by("start").select(columns))


def _frame(rows: Any) -> pd.DataFrame:
    """Rows as a DataFrame. Attributes stay of Arrow's type: dask takes objects for text."""
    import pandas as pd

    frame = tables.frame_of(rows.drop_columns(attributes.COLUMN) if attributes.COLUMN in rows.column_names else rows)
    if attributes.COLUMN in rows.column_names:
        place = rows.column_names.index(attributes.COLUMN)
        values = rows[attributes.COLUMN].cast(arrow.layout("samples").field(attributes.COLUMN).type)
        frame.insert(place, attributes.COLUMN, pd.Series(pd.array(values, dtype=pd.ArrowDtype(values.type))))
    return frame


class _Alone(reader.Source):
    """What reading a single part asks of a capture."""

    def __init__(self, path: Path, categories: dict[str, str]) -> None:
        super().__init__(path)
        self._categories = categories

    def categories_of(self) -> dict[str, str]:
        """Return the categories that count, where others are in the samples."""
        return self._categories
