"""Read unfinished calls: what a program was in the middle of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.reading import scan, tables
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import EVERYTHING, Selection
from quantum_pulse.rings import owners

if TYPE_CHECKING:
    import pandas as pd

#: Blocks around an open one that are reported, the innermost. Each of a chain of tasks may be in all those before it.
_MOST_AROUND: Final = 64

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


def frame(source: Source, more: Sequence[str] = ()) -> pd.DataFrame:
    """A row for each block that is open as far as the capture knows; see `Capture.unfinished`.

    `more`: further columns. "recording" distinguishes spans of different recordings, "around" are the spans of open
    blocks around it, the outermost first, and "path" the operations of these.
    """
    import pandas as pd

    rows = []
    for name, own in source.whole.by_capture():
        for recording in sorted({*own.recordings, *own.open}):
            rows += [{**row, "capture": name} for row in _of_recording(own, recording)]
    rows = [row for row in rows if _is_wanted(row, source.within)]
    columns = [*COLUMNS, *(["capture"] if source.captures else []), *more]
    found = pd.DataFrame(rows, columns=columns)
    # From the rows, as a column of numbers with gaps would be of floats, which do not hold each ns of Unix time.
    starts = pd.Series(pd.array([row["start"] for row in rows], dtype="Int64"))
    found["start"] = pd.to_datetime(starts, unit="ns", utc=True).astype("datetime64[ns, UTC]")
    integers = dict.fromkeys(("thread", "task", "span", "parent", "process"), "int64")
    return found.astype({**integers, "elapsed_us": "float64"}).sort_values("start", ignore_index=True, kind="stable")


def _is_wanted(row: dict[str, Any], within: Selection) -> bool:
    """Whether an open block is in a selection. Which attributes it has is known once it has ended."""
    is_named = within.names is None or row["operation"] in within.names
    return is_named and not within.where and within.overlaps(row["start"], row["start"])


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
    by_span = {block["span"]: block for block in blocks}
    return [
        {
            **block,
            "state": state,
            "elapsed_us": _elapsed_us(block.get("start"), until_ns),
            "process": block.get("process") or process.get("pid") or owners.process_of(Path(recording)),
            "recording": recording,
            "around": (around := _around(block, by_span)),
            "path": tuple(by_span[span]["operation"] for span in around),
        }
        for block in blocks
    ]


def _around(block: dict[str, Any], by_span: dict[int, dict[str, Any]]) -> tuple[int, ...]:
    found: list[int] = []
    span = block["parent"]
    while span in by_span and len(found) < _MOST_AROUND:
        found.append(span)
        above = by_span[span]["parent"]
        span = above if above < span else 0  # a damaged file may hold anything
    return tuple(reversed(found))


def _elapsed_us(start_ns: int | None, until_ns: int | None) -> float | None:
    return None if start_ns is None or until_ns is None else max(until_ns - start_ns, 0) / 1000


def _last_known_ns(source: Source, recording: str, blocks: list[dict[str, Any]]) -> int | None:
    """The last moment at which a process that was killed is known to have lived, Unix time."""
    known = [part.last_ns for part in source.parts["samples"] if part.recording == recording]
    known += [block.get("start") for block in blocks]
    known += [_last_metrics_ns(source, recording)]
    return max((moment for moment in known if moment is not None), default=None)


def _last_metrics_ns(source: Source, recording: str) -> int | None:
    # Not by the number of the process: in a container that is the same again each time that it is started.
    def work() -> int | None:
        import pyarrow as pa
        import pyarrow.compute as pc

        own = [part for part in source.sound("metrics") if part.recording == recording]
        times = [tables.read_part(source, part, ["time"], EVERYTHING, table="metrics")["time"] for part in own]
        found = [pc.max(column.cast(pa.int64())).as_py() for column in times]
        return max((moment for moment in found if moment is not None), default=None)

    return scan.whole(work)
