"""List the export formats, and find the one for a file name."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from quantum_pulse.arguments import one_of

#: What each format is good for, as --help shows it.
FORMATS: Final = {
    "parquet": "rows, for DuckDB, Polars, pandas, Spark",
    "csv": "rows, for spreadsheets and other tools",
    "arrow": "rows, as an Arrow IPC file (Feather)",
    "json": "statistics, budgets, losses, unfinished calls and processes, for scripts",
    "trace": "Chrome's trace events: opens in Perfetto, chrome://tracing and Speedscope",
    "openmetrics": "histograms of durations, for Prometheus and other readers of OpenMetrics",
    "prometheus": "the same in Prometheus' classic text format, which the node exporter reads",
}
#: Those that are tables of rows.
TABULAR: Final = ("parquet", "csv", "arrow")
#: What of a capture a table can be made of.
TABLES: Final = ("samples", "metrics", "events", "stats")

#: Ending of a file name -> format. The first that fits counts.
ENDINGS: Final = {
    ".trace.json": "trace",
    ".json": "json",
    ".parquet": "parquet",
    ".csv": "csv",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".prom": "openmetrics",
}
_GZ: Final = ".gz"


class Chosen(NamedTuple):
    """A format, and whether it is compressed with gzip."""

    format: str
    gzip: bool


def choose(name: str | None, wanted: str | None, table: str) -> Chosen:
    """What the file name `name` (None: it has none) and the format `wanted` (None: that of the name) ask for.

    Raises ValueError that names the choices.
    """
    if wanted is not None:
        one_of(wanted, "format", FORMATS)
    one_of(table, "table", TABLES)
    lowered = Path(name or "").name.lower()
    is_packed = lowered.endswith(_GZ)
    found = wanted or _format_of(lowered.removesuffix(_GZ))
    if found is None:
        shown = f"{name!r} has no known suffix" if name else "no format is given"
        raise ValueError(
            f"{shown}: use one of {', '.join(ENDINGS)} (text also with {_GZ}), or name a format: {', '.join(FORMATS)}"
        )
    if is_packed and found in ("parquet", "arrow"):
        raise ValueError(f"{name!r}: no tool reads {found} compressed with gzip; omit {_GZ}")
    if table != "samples" and found not in TABULAR:
        raise ValueError(f"{found} does not export a single table; table= works with {', '.join(TABULAR)}")
    return Chosen(found, is_packed)


def _format_of(name: str) -> str | None:
    return next((found for ending, found in ENDINGS.items() if name.endswith(ending)), None)
