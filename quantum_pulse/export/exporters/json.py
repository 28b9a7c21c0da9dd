"""Summarise a capture as one JSON document for scripts. Its keys are documented in `docs/export.md`."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.diagnosis import budgets
from quantum_pulse.export.chosen import Wanted, moment
from quantum_pulse.export.exporter import Exporter
from quantum_pulse.reading import definitions, reader, unfinished
from quantum_pulse.reading.reader import Source

if TYPE_CHECKING:
    import pandas as pd

#: Grows when a key changes its meaning or goes; new keys may come without that.
VERSION: Final = 1

#: Of what a process says of itself: what helps to judge its figures. Not its arguments, which may hold secrets.
_PROCESS_KEYS: Final = (
    "pid",
    "host",
    "state",
    "core",
    "clock",
    "level",
    "on_full",
    "python",
    "environment",
    "overhead",
)


def write(source: Source, wanted: Wanted, out: Any) -> int:
    """Write it to `out`; the number of operations in it. Raises OSError."""
    content = build(source, wanted)
    out.write(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n")
    return len(content["operations"])


def build(source: Source, wanted: Wanted) -> dict[str, Any]:
    """The document as JSON's own types; what is not known is null."""
    chosen = wanted.selection
    details = definitions.frame(source)[["description", "priority", "budget_us"]]
    operations = wanted.stats(source).reset_index().merge(details, how="left", left_on="operation", right_index=True)
    return {
        "version": VERSION,
        "path": str(source.path),
        "captures": source.captures,
        "selection": {
            "operations": None if chosen.names is None else list(chosen.names),
            "start": _time(chosen.start_ns),
            "end": _time(chosen.end_ns),
        },
        "operations": _records(operations),
        "budgets": _records(budgets.check(source, chosen).reset_index()),
        # After the statistics: a part that turns out to be damaged is a loss too.
        "losses": _records(reader.loss_frame(source)),
        "unfinished": _records(unfinished.frame(source)),
        "recordings": [_recording(name, process) for name, one in source.by_capture() for process in one.processes],
    }


def _recording(capture: str | None, process: dict[str, Any]) -> dict[str, Any]:
    details = {name: process.get(name) for name in _PROCESS_KEYS}
    account = process.get("account") or {}
    return {
        **({} if capture is None else {"capture": capture}),
        **details,
        "started": _time(process.get("started_ns")),
        "stopped": _time(process.get("stopped_ns")),
        "samples": {name: account.get(name) for name in ("started", "written", "open", "lost")},
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    columns = {str(name): [_plain(value) for value in frame[name].tolist()] for name in frame.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    """A value of a frame as one of JSON's: times as text, what is missing or has no bound as null."""
    import pandas as pd

    if value is None or pd.isna(value) or (isinstance(value, float) and math.isinf(value)):
        return None
    return value.isoformat() if isinstance(value, pd.Timestamp) else value


def _time(unix_ns: int | None) -> str | None:
    return None if unix_ns is None else moment(unix_ns)


EXPORTER: Final = Exporter(
    "json",
    "statistics, budgets, losses, unfinished calls and processes, for scripts",
    write,
    rank=4,
    endings=(".json",),
    rows="operations",
)
