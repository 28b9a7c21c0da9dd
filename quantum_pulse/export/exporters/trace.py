"""Write samples as Chrome trace events in JSON, for Perfetto, chrome://tracing and Speedscope.

The format: "Trace Event Format", D. Sinclair and others, Chromium, 2016; read as Perfetto's importer does
(src/trace_processor/importers/json), which is stricter: tracks are distinguished by thread alone, whatever the process,
and events that overlap on a track without one enclosing the other are dropped.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse import metrics, schema
from quantum_pulse.export.chosen import Wanted, moment
from quantum_pulse.export.exporter import Exporter
from quantum_pulse.export.tracks import OTHER_TASKS, Track, Tracks
from quantum_pulse.reading import scan, spans, tables
from quantum_pulse.reading.groups import Groups
from quantum_pulse.reading.reader import Part, Source
from quantum_pulse.reading.selection import EVERYTHING, Selection, first_ns

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from quantum_pulse.reading.spans import Rows

#: Columns of the events that are written beside their times, where they have a value.
_ABOUT_EVENTS: Final = ("generation", "collected", "value", "thread")
#: Larger than any process or thread that Linux numbers (PID_MAX_LIMIT): from here on we do.
_FIRST_OWN: Final = 1 << 22
#: Rows that are turned into text at a time.
_CHUNK: Final = 1 << 14
#: So many take a second.
_PROGRESS_ROWS: Final = 200_000


def write(source: Source, wanted: Wanted, out: Any) -> int:
    """Write a trace to `out`; the number of samples in it. Raises OSError, scan.UnreadablePartError."""
    chosen = wanted.selection & source.within
    events = _Events(out, _begin_ns(source, chosen), _titles(source))
    recordings: dict[str, list[Part]] = defaultdict(list)
    for part in scan.parts(source, chosen):
        recordings[part.origin].append(part)
    total = sum(part.rows for parts in recordings.values() for part in parts)
    written = 0
    with scan.progress(total, "trace", _PROGRESS_ROWS) as advance:
        for parts in recordings.values():
            recording = _Recording(
                source, events, events.process(parts[0]), chosen, _spans_where(source, parts, chosen)
            )
            for block in spans.blocks(source, parts, recording.kinds, ("thread", "task")):
                for first in range(0, len(block.rows.span), _CHUNK):
                    rows = block.rows.take(slice(first, first + _CHUNK))
                    written += recording.add(rows)
                    advance(len(rows.span))
    for part in source.sound("events"):
        _add_events(source, events, part, chosen)
    for part in source.sound("metrics"):
        _add_counters(source, events, part, chosen)
    events.finish()
    return written


def _spans_where(source: Source, parts: list[Part], chosen: Selection) -> npt.NDArray[np.int64] | None:
    """The spans of samples that have the wanted attributes; None where all are wanted."""
    import numpy as np

    if not chosen.where:
        return None
    found = [np.zeros(0, np.int64)]
    for part in parts:
        found += [batch["span"].to_numpy() for batch in scan.batches(source, part, None, ["span"], chosen)]
    return np.concatenate(found)


def _begin_ns(source: Source, chosen: Selection) -> int:
    """What time is counted from: absolute times in microseconds would not fit into a double to the nanosecond."""
    if chosen.start_ns is not None:
        return chosen.start_ns
    known = [part.first_ns for part in source.sound("events") if part.first_ns is not None]
    return min([first_ns(source), *known])


def _titles(source: Source) -> dict[str, str]:
    """What recordings that were imported are called in their traces, by origin."""
    return {
        part.origin: process["title"]
        for table in schema.RECORDED
        for part in source.sound(table)
        if (process := source.process_of(part)).get("title")
    }


class _Process(NamedTuple):
    """A recording in the trace: its number there, and the one that it had."""

    number: int
    pid: int
    tracks: dict[Any, int]


class _Events:
    """Writes events, and names processes and tracks as they are first met."""

    def __init__(self, out: Any, begin_ns: int, titles: dict[str, str]) -> None:
        self.begin_ns = begin_ns
        self._titles = titles
        self._out = out
        self._separator = ""
        self._numbers = count(_FIRST_OWN)
        self._pids: set[int] = set()
        self._tids: set[int] = set()
        self._processes: dict[str, _Process] = {}
        out.write(b'{"traceEvents":[\n')

    def add(self, events: Sequence[str]) -> None:
        """Write events, each the text of a JSON object."""
        if events:
            self._out.write((self._separator + ",\n".join(events)).encode("utf-8"))
            self._separator = ",\n"

    def finish(self) -> None:
        """Write the end."""
        # At the end, because Perfetto's importer is not fond of other keys before the events.
        details = {"made_by": "quantum_pulse", "ts_0_unix_ns": str(self.begin_ns), "ts_0": moment(self.begin_ns)}
        self._out.write(f'\n],\n"otherData":{_json(details)}}}\n'.encode())

    def process(self, part: Part) -> _Process:
        """The recording that `part` is of."""
        found = self._processes.get(part.origin)
        if found is None:
            pid = int(part.footer.get("process") or 0)
            found = self._processes[part.origin] = _Process(self._number(pid, self._pids), pid, {})
            # Whoever imports the trace needs more than the name: the numbers may be taken, and the time comes last.
            title = self._titles.get(part.origin) or f"{part.capture}, process {pid}"
            details = _json({"name": title, "process": pid, "ts_0_unix_ns": str(self.begin_ns)})
            self.add([f'{{"ph":"M","name":"process_name","pid":{found.number},"args":{details}}}'])
        return found

    def track(self, process: _Process, key: Any, tid: int | None, name: str, thread: int) -> int:
        """The number of a new track of `process`: `tid` if that is free."""
        number = process.tracks[key] = self._number(tid, self._tids)
        where = f'"pid":{process.number},"tid":{number}'
        order = len(process.tracks)
        self.add(
            [
                f'{{"ph":"M","name":"thread_name",{where},"args":{_json({"name": name, "thread": thread})}}}',
                f'{{"ph":"M","name":"thread_sort_index",{where},"args":{{"sort_index":{order}}}}}',
            ]
        )
        return number

    def _number(self, wanted: int | None, used: set[int]) -> int:
        """A number that is not used yet: recordings of several machines or containers may have the same ones."""
        number = wanted if wanted and wanted not in used else next(self._numbers)
        used.add(number)
        return number


class _Recording:
    """Samples of one recording, in the order of their spans, as events."""

    def __init__(
        self,
        source: Source,
        events: _Events,
        process: _Process,
        chosen: Selection,
        spans_where: npt.NDArray[np.int64] | None,
    ) -> None:
        self._spans_where = spans_where
        self.kinds = Groups(("category", "operation", "error"), source.categories_of())
        self._events = events
        self._process = process
        self._chosen = chosen
        self._tracks = Tracks()
        self._heads: list[tuple[str, str, int]] = []
        self._operations: dict[str, int] = {}

    def add(self, rows: Rows) -> int:
        """Write the chosen ones of `rows`; how many they are."""
        rows = rows.take(self._is_chosen(rows))
        begin, pid, numbers = self._events.begin_ns, self._process.number, self._process.tracks
        found = []
        columns = (rows.span, rows.parent, rows.kind, rows.start, rows.duration, rows.weight, *rows.more.T)
        for span, parent, kind, start, duration, weight, thread, task in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            head, error, operation = self._heads[kind]
            place = self._tracks.place(thread, task, span, parent, operation, start, start + duration)
            tid = numbers.get(place)
            if tid is None:
                tid = self._new_track(*place)
            after = start - begin
            above = f',"parent":{parent}' if parent else ""
            calls = f',"weight":{weight}' if weight != 1 else ""
            where = f',"thread":{thread},"task":{task}' if task else ""
            found.append(
                f'{head},"pid":{pid},"tid":{tid},"ts":{after // 1000}.{after % 1000:03d},'
                f'"dur":{duration // 1000}.{duration % 1000:03d},"args":{{"span":{span}{above}{error}{calls}{where}}}}}'
            )
        self._events.add(found)
        return len(found)

    def _is_chosen(self, rows: Rows) -> npt.NDArray[np.bool_]:
        import numpy as np

        for category, name, error in self.kinds.keys[len(self._heads) :]:
            failed = "" if error is None else f',"error":{_json(error)}'
            number = self._operations.setdefault(name, len(self._operations))
            self._heads.append((f'{{"ph":"X","name":{_json(name)},"cat":{_json(category)}', failed, number))
        chosen = self._chosen
        by_kind = [chosen.names is None or name in chosen.names for _, name, _ in self.kinds.keys]
        mask: npt.NDArray[np.bool_] = np.array(by_kind, np.bool_)[rows.kind]
        if chosen.start_ns is not None:
            mask &= rows.start >= chosen.start_ns
        if chosen.end_ns is not None:
            mask &= rows.start < chosen.end_ns
        if self._spans_where is not None:
            mask &= np.isin(rows.span, self._spans_where)
        return mask

    def _new_track(self, track: Track, lane: int) -> int:
        name = f"thread {track.thread}"
        if track == OTHER_TASKS:
            name = "other tasks"
        elif track.task:
            name = f"task {track.task}"
        elif track.thread == self._process.pid:
            name = f"main thread {track.thread}"
        shown = f"{name} ({lane + 1})" if lane else name
        return self._events.track(self._process, (track, lane), None if lane else track.thread, shown, track.thread)


def _add_events(source: Source, events: _Events, part: Part, chosen: Selection) -> None:
    """Events, on a track beside that of the thread that they held up."""
    process = events.process(part)
    rows = _rows(source, part, "events")
    found = []
    for row in sorted(rows, key=lambda row: row["start"]):
        if not chosen.overlaps(row["start"], row["start"]):
            continue
        key = ("events", row["thread"])
        tid = process.tracks.get(key)
        if tid is None:
            name = f"events of thread {row['thread']}" if row["thread"] else "events of the process"
            tid = events.track(process, key, None, name, row["thread"])
        details = _json({name: row[name] for name in _ABOUT_EVENTS if row[name] is not None})
        found.append(
            f'{{"ph":"X","name":{_json(row["event"])},"cat":"events","pid":{process.number},"tid":{tid},'
            f'"ts":{_us(row["start"] - events.begin_ns)},"dur":{_us(row["duration_ns"])},"args":{details}}}'
        )
    events.add(found)


def _add_counters(source: Source, events: _Events, part: Part, chosen: Selection) -> None:
    """Metrics, each of which holds from the beginning of its interval on."""
    process = events.process(part)
    found = []
    for row in sorted(_rows(source, part, "metrics"), key=lambda row: row["time"]):
        since = max(row["time"] - row["interval_ns"], events.begin_ns)
        if row["time"] <= events.begin_ns or (chosen.end_ns is not None and since >= chosen.end_ns):
            continue
        when = f'"pid":{process.number},"ts":{_us(since - events.begin_ns)}'
        values = {"interval_ns": row["time"] - since, **{name: row[name] for name in metrics.NAMES}}
        found += [
            f'{{"ph":"C","name":"{name}",{when},"args":{{"value":{_json(value)}}}}}'
            for name, value in values.items()
            if value is not None and math.isfinite(value)
        ]
    events.add(found)


def _rows(source: Source, part: Part, table: str) -> list[dict[str, Any]]:
    """The rows of a part, times as Unix ns."""
    import pyarrow as pa

    names = [column.name for column in schema.TABLES[table]]
    content = tables.read_part(source, part, names, EVERYTHING, table=table)
    for place, field in enumerate(content.schema):
        if pa.types.is_timestamp(field.type):
            content = content.set_column(place, field.name, content[field.name].cast(pa.int64()))
    found: list[dict[str, Any]] = content.to_pylist()
    return found


def _us(ns: int) -> str:
    """Microseconds, to the nanosecond."""
    return f"{ns // 1000}.{ns % 1000:03d}"


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


EXPORTER: Final = Exporter(
    "trace",
    "Chrome's trace events: opens in Perfetto, chrome://tracing and Speedscope",
    write,
    rank=5,
    endings=(".trace.json",),
    rows="samples",
    restarts=True,
)
