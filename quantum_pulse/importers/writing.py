"""Write the calls of a trace as a capture, by what writes those of a recording."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import directories, schema
from quantum_pulse.agent import parts
from quantum_pulse.errors import TraceError
from quantum_pulse.importers import account
from quantum_pulse.importers.enclosing import Enclosing
from quantum_pulse.importers.links import Links
from quantum_pulse.importers.rows import Rows, from_arrow, joined, to_arrow
from quantum_pulse.importers.sink import Open, Sink
from quantum_pulse.operations import writable
from quantum_pulse.rings.batch import DTYPES, Batch

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Rows of a part.
PART_ROWS: Final = 1 << 19
_CLOCK_COLUMN: Final = {"metrics": "time", "events": "start"}


class Writer:
    """Writes what a sink has taken in: each process is a recording, but for calls that are nested across processes."""

    def __init__(self, sink: Sink, capture: Path, scratch: Path) -> None:
        self._sink = sink
        self._capture = capture
        self._scratch = scratch
        self._recordings: dict[int, _Recording] = {}
        # A part is written while the next one is put together.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="import-write")
        self._writing: Future[None] | None = None
        sink.write_rows = self.write_rows

    def close(self) -> None:
        """Nothing is written any more."""
        self._pool.shutdown(cancel_futures=True)

    def write(self) -> None:
        """Write all. Raises OSError, and TraceError for times that do not fit."""
        sink = self._sink
        # A capture's times are not before 1970, and so much is known of a clock whose zero is not.
        sink.base_ns = max(sink.base_ns, -sink.first_ns)
        if sink.account.samples and sink.last_ns + sink.base_ns > schema.MOST_NS:
            raise TraceError("its times are beyond the year 2116")
        for (table, place), waiting in sink.rows.items():
            self.write_rows(table, place, waiting)
        numbered = self._by_links() if sink.has_named_parents else self._by_recording()
        current: _Recording | None = None
        for place, rows in numbered:
            recording = self._recording(place)
            if current is not None and current is not recording:
                self._write_part(current)
            current = recording
            recording.waiting.append(rows)
            recording.waiting_rows += len(rows)
            if recording.waiting_rows >= PART_ROWS:
                self._write_part(recording)
        if current is not None:
            self._write_part(current)
        self._wait()
        self._write_processes()

    def write_rows(self, table: str, place: int, rows: list[dict[str, Any]]) -> None:
        """Write rows of `metrics` or `events`. Raises OSError."""
        if not rows:
            return
        recording, column = self._recording(place), _CLOCK_COLUMN[table]
        shown = [{**row, column: row[column] + self._sink.base_ns, "process": recording.pid} for row in rows]
        parts.write_rows(recording.next_part(table), table, shown, recording.footer())
        recording.rows[table] += len(rows)

    def _recording(self, place: int) -> _Recording:
        key = 0 if self._sink.has_named_parents else place
        found = self._recordings.get(key)
        if found is None:
            found = self._recordings[key] = _Recording(self._capture, key, self._sink.processes[key].pid)
        return found

    # ---- which call is inside which ---------------------------------------------------------------------------------

    def _by_recording(self) -> Iterator[tuple[int, Rows]]:
        """Calls with their final numbers, process after process."""
        import numpy as np

        last_place, last_span, enclosing = -1, 0, Enclosing()
        for rows in self._sink.runs.merged():
            bounds = np.flatnonzero(np.diff(rows["place"], prepend=-1, append=-1))
            for first, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
                own, place = rows.take(slice(first, end)), int(rows["place"][first])
                if place != last_place:
                    last_place, last_span, enclosing = place, 0, Enclosing()
                if self._sink.has_own_spans:
                    own = self._without_repeated(own, last_span)
                else:
                    span = np.arange(last_span + 1, last_span + 1 + len(own))
                    parent = enclosing.parents(own["thread"], own["task"], span, own["start"], own["duration"])
                    own = own.with_columns(span=span, parent=parent)
                if len(own):
                    last_span = int(own["span"][-1])
                    yield place, own

    def _without_repeated(self, rows: Rows, last_span: int) -> Rows:
        """The rows whose spans are all different, and numbers from 1 on."""
        import numpy as np

        is_new = np.diff(rows["span"], prepend=last_span) > 0
        repeated = int((~is_new).sum())
        if repeated:
            self._sink.refuse(account.TWICE, repeated)
            self._sink.account.samples -= repeated
        return rows.take(is_new)

    def _by_links(self) -> Iterator[tuple[int, Rows]]:
        """Calls with their final numbers, in the order of their starts."""
        import numpy as np
        import pyarrow as pa

        links = Links(self._scratch)
        spool = self._scratch / "sorted.arrow"
        try:
            last = 0
            writer: Any = None
            with pa.OSFile(str(spool), "wb") as file:
                for rows in self._sink.runs.merged():
                    number = np.arange(last + 1, last + 1 + len(rows))
                    last += len(rows)
                    links.add(rows["span"], rows["parent"], number)
                    batch = to_arrow(rows.with_columns(span=number))
                    if writer is None:
                        options = pa.ipc.IpcWriteOptions(compression="lz4")
                        writer = pa.ipc.new_file(file, batch.schema, options=options)
                    writer.write_batch(batch)
                if writer is not None:
                    writer.close()
            if writer is None:
                return
            links.resolve()
            with pa.OSFile(str(spool), "rb") as file:
                reader = pa.ipc.open_file(file)
                for place in range(reader.num_record_batches):
                    rows = from_arrow(reader.get_batch(place))
                    yield 0, rows.with_columns(parent=links.parents(rows["span"]))
            self._note_links(links)
        finally:
            links.close()

    def _note_links(self, links: Links) -> None:
        for count, what in (
            (links.missing, "have a parent that is not in the trace"),
            (links.early, "begin before their parent, as where clocks differ"),
        ):
            if count:
                self._sink.notes.append(f"{count:,} spans {what}: they count as outermost")
        if links.repeated:
            self._sink.notes.append(f"{links.repeated:,} spans have the id of another one: children are of the first")

    # ---- files ------------------------------------------------------------------------------------------------------

    def _write_part(self, recording: _Recording) -> None:
        if not recording.waiting:
            return
        self._wait()
        rows, recording.waiting, recording.waiting_rows = joined(recording.waiting), [], 0
        path = recording.next_part("samples")
        recording.note(rows, self._sink.base_ns)
        self._writing = self._pool.submit(self._write_samples, path, rows, recording)

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write_samples(self, path: Path, rows: Rows, recording: _Recording) -> None:
        import numpy as np

        sink = self._sink
        names = {"operation": "kind"}
        columns = {name: rows[names.get(name, name)].astype(kind, copy=False) for name, kind in DTYPES.items()}
        pids = np.array([process.pid for process in sink.processes], np.int32)

        def unix(start: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            return start + sink.base_ns

        parts.write_samples(
            path,
            Batch(columns),
            operations=sink.operations.definitions,
            errors=[writable(name) for name in sink.errors],
            unix=unix,
            process=pids[rows["place"]],
            footer=recording.footer(),
        )

    def _write_processes(self) -> None:
        """The process files. What was refused has no process: the first one tells of it."""
        sink = self._sink
        for call in sink.unfinished:
            self._recording(call.place).unfinished.append(call)
        if not self._recordings and sink.account.lost:
            self._recordings[0] = _Recording(self._capture, 0, sink.processes[0].pid if sink.processes else 0)
        is_first = True
        for recording in self._recordings.values():
            losses = self._losses() if is_first else []
            content = recording.content(sink, losses)
            path = self._capture / schema.PROCESSES / f"{recording.name}.json"
            with directories.holding(path) as folder:
                folder.write_json(path.name, content)
            is_first = False

    def _losses(self) -> list[dict[str, Any]]:
        return [
            {
                "operation": None,
                "thread": None,
                "count": events,
                "start": None,
                "end": None,
                "cause": f"refused when the trace was imported: {reason.text}",
            }
            for reason, events in self._sink.account.lost.items()
        ]


class _Recording:
    """A recording that is being written."""

    def __init__(self, capture: Path, place: int, pid: int) -> None:
        self.pid = pid
        self.place = place
        # Readers go through recordings by name: in the order of the trace.
        self.name = f"trace-{place:06d}"
        self.rows = dict.fromkeys(schema.RECORDED, 0)
        self.waiting: list[Rows] = []
        self.waiting_rows = 0
        self.unfinished: list[Open] = []
        self._capture = capture
        self._parts = 0
        self._first_ns: int | None = None
        self._last_ns: int | None = None
        self._last_span = 0

    def next_part(self, table: str) -> Path:
        """The path of the next part of `table`."""
        self._parts += 1
        return self._capture / table / f"{self.name}-{self._parts:06d}.parquet"

    def note(self, rows: Rows, base_ns: int) -> None:
        """Rows are about to be written."""
        first, last = int(rows["start"].min()) + base_ns, int((rows["start"] + rows["duration"]).max()) + base_ns
        self._first_ns = first if self._first_ns is None else min(self._first_ns, first)
        self._last_ns = last if self._last_ns is None else max(self._last_ns, last)
        self._last_span = max(self._last_span, int(rows["span"].max()))
        self.rows["samples"] += len(rows)

    def footer(self) -> dict[str, Any]:
        """What the footers of all parts have in common."""
        return {
            "format": schema.FORMAT_VERSION,
            "process": self.pid,
            "core": None,
            "clock_anchor_ns": None,
            "losses": [],
        }

    def content(self, sink: Sink, losses: list[dict[str, Any]]) -> dict[str, Any]:
        """What the process file says."""
        process = sink.processes[self.place] if sink.processes else None
        lost = sum(loss["count"] for loss in losses)
        written = self.rows["samples"]
        return {
            "pid": self.pid,
            "host": process.host if process else None,
            "title": writable(process.title) if process and process.title else None,
            "state": "finished",
            "started_ns": self._first_ns,
            "stopped_ns": self._last_ns,
            "ended": None,
            "account": {
                "started": written + len(self.unfinished) + lost,
                "written": written,
                "pending": 0,
                "open": len(self.unfinished),
                "lost": lost,
            },
            "rows": dict(self.rows),
            "losses": losses,
            "unfinished": [
                {
                    "operation": sink.operations.definitions[call.kind].name,
                    "category": sink.operations.definitions[call.kind].category.name,
                    "start": call.start + sink.base_ns,
                    "thread": call.thread,
                    "task": call.task,
                    "span": self._last_span + number,
                    "parent": 0,
                    "weight": 1,
                }
                for number, call in enumerate(self.unfinished, 1)
            ],
        }
