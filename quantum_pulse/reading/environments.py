"""Read the conditions under which a capture was recorded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.reading import scan, tables
from quantum_pulse.reading.reader import Part, Source
from quantum_pulse.reading.selection import EVERYTHING

if TYPE_CHECKING:
    import pandas as pd

#: Metrics over this time say how busy the machine was.
_LONG_ENOUGH_NS: Final = 500_000_000
_COLUMNS: Final = ("interval_ns", "cpu_machine_percent", "cpu_process_percent")


def each(source: Source) -> list[dict[str, Any]]:
    """The environment of each recording that says something of it; `analysis.environments` compares them.

    With `others`, the share of the machine's CPU time that other processes used meanwhile; None if not known.
    """
    metrics = _metrics(source)
    return [
        {**environment, "others": _others(metrics.get(name), environment.get("cores") or 1)}
        for name, process in source.recordings.items()
        if (environment := process.get("environment"))
    ]


def memory_bytes(source: Source) -> int | None:
    """Memory of the machine. None where it is not known, or where there were several machines."""
    sizes = {own.get("memory_bytes") for process in source.processes if (own := process.get("environment"))}
    return sizes.pop() if len(sizes) == 1 else None


def _others(metrics: pd.DataFrame | None, cores: int) -> float | None:
    # Shorter recordings do not show how busy the machine was.
    if metrics is None or metrics["interval_ns"].sum() < _LONG_ENOUGH_NS:
        return None
    machine, ours = (metrics[["cpu_machine_percent", "cpu_process_percent"]].mean() / 100).tolist()
    others: float = machine - ours / cores
    # The CPU of the machine cannot be read everywhere.
    return None if math.isnan(others) else max(others, 0.0)


def _metrics(source: Source) -> dict[str, pd.DataFrame]:
    """Metrics by recording. The number of a process would not do: other hosts have it too, and it comes again."""

    def work() -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for part in source.sound("metrics"):
            rows = tables.read_part(source, part, _COLUMNS, EVERYTHING, table="metrics")
            found.setdefault(_recording(source, part), []).append(rows)
        return found

    found = scan.whole(work)
    if not found:
        return {}
    import pyarrow as pa

    return {name: pa.concat_tables(rows).to_pandas() for name, rows in found.items()}


def _recording(source: Source, part: Part) -> str:
    """The name of the recording that `part` is of, in `source.recordings`."""
    return part.origin if source.captures else part.recording
