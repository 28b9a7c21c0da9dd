"""Blocks that were entered and had not ended: what a program was in the middle of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.capture import tables
from quantum_pulse.capture.reader import Source

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Final = (
    "operation",
    "category",
    "state",
    "start",
    "elapsed_us",
    "thread",
    "task",
    "span",
    "parent",
    "process",
)


def frame(source: Source) -> pd.DataFrame:
    """A row for each block that is open as far as the capture can tell; see `Capture.unfinished`."""
    import pandas as pd

    rows = []
    for name, own in source.by_capture():
        for recording in sorted({*own.recordings, *own.open}):
            rows += [{**row, "capture": name} for row in _of_recording(own, recording)]
    columns = [*COLUMNS, *(["capture"] if source.captures else [])]
    found = pd.DataFrame(rows, columns=columns)
    found["start"] = pd.to_datetime(found["start"].astype("Int64"), unit="ns", utc=True).astype("datetime64[ns, UTC]")
    integers = dict.fromkeys(("thread", "task", "span", "parent", "process"), "int64")
    return found.astype({**integers, "elapsed_us": "float64"}).sort_values("start", ignore_index=True, kind="stable")


def _of_recording(source: Source, recording: str) -> list[dict[str, Any]]:
    process = source.recordings.get(recording, {})
    blocks, now_ns = source.open.get(recording, (process.get("unfinished") or [], None))
    if not blocks:
        return []
    if now_ns is not None:
        state, until_ns = "running", now_ns
    elif process.get("state") in ("finished", "failed"):
        state, until_ns = "stopped", process.get("stopped_ns")
    else:
        state, until_ns = "killed", _last_known_ns(source, recording, blocks)
    return [
        {
            **block,
            "state": state,
            "elapsed_us": _elapsed_us(block.get("start"), until_ns),
            "process": process.get("pid") or int(recording.partition("-")[0]),
        }
        for block in blocks
    ]


def _elapsed_us(start_ns: int | None, until_ns: int | None) -> float | None:
    return None if start_ns is None or until_ns is None else max(until_ns - start_ns, 0) / 1000


def _last_known_ns(source: Source, recording: str, blocks: list[dict[str, Any]]) -> int | None:
    """The last moment at which a process that was killed is known to have lived, Unix time."""
    known = [part.last_ns for part in source.parts["samples"] if part.recording == recording]
    known += [block.get("start") for block in blocks]
    metrics = tables.whole(source, "metrics", "time")
    own = metrics.loc[metrics["process"] == source.recordings.get(recording, {}).get("pid"), "time"]
    known += [int(own.max().value)] if len(own) else []
    return max((moment for moment in known if moment is not None), default=None)
