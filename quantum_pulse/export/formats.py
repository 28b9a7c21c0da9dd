"""Find the export format for a file name."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from quantum_pulse import registry
from quantum_pulse.arguments import one_of
from quantum_pulse.export.exporter import Exporter

#: Format -> how it is written: each module of `exporters`.
FORMATS: Final[dict[str, Exporter]] = {
    exporter.name: exporter for exporter in registry.entries("quantum_pulse.export.exporters", "EXPORTER")
}
#: Those that are tables of rows.
TABULAR: Final = tuple(name for name, exporter in FORMATS.items() if exporter.is_table)
#: What of a capture a table can be made of.
TABLES: Final = ("samples", "metrics", "events", "stats")

#: Ending of a file name -> format.
ENDINGS: Final = {ending: name for name, exporter in FORMATS.items() for ending in exporter.endings}
_GZ: Final = ".gz"


class Chosen(NamedTuple):
    """A format, and whether it is compressed with gzip."""

    exporter: Exporter
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
    exporter = FORMATS[found]
    if is_packed and not exporter.is_text:
        raise ValueError(f"{name!r}: no tool reads {found} compressed with gzip; omit {_GZ}")
    if table != "samples" and not exporter.is_table:
        raise ValueError(f"{found} does not export a single table; table= works with {', '.join(TABULAR)}")
    return Chosen(exporter, is_packed)


def _format_of(name: str) -> str | None:
    # The longest ending counts: a .trace.json is no .json.
    endings = sorted(ENDINGS, key=len, reverse=True)
    return next((ENDINGS[ending] for ending in endings if name.endswith(ending)), None)
