"""One recorded process, as the agent sees it: its ring, its parts, and what its process file says."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from quantum_pulse import directories, records, schema
from quantum_pulse.agent import ending, parts
from quantum_pulse.agent import footer as footers
from quantum_pulse.agent.clock import Clock
from quantum_pulse.agent.ended import accounted
from quantum_pulse.agent.files import next_number, remove_ring, write_json
from quantum_pulse.agent.merging import Merger
from quantum_pulse.agent.written import delete_leftovers, rows_in_parts, spans_in_parts
from quantum_pulse.operations import Definition
from quantum_pulse.rings import contents, owners
from quantum_pulse.rings.batch import Batch
from quantum_pulse.rings.names import read_names
from quantum_pulse.rings.ring import Ring, Trip

if TYPE_CHECKING:
    import numpy.typing as npt

    from quantum_pulse.core.contract import Core

logger = logging.getLogger("quantum_pulse")

#: Rows that are written as one part, but for one segment more. About 150 bytes of memory each, while it is written.
LARGEST_BATCH: Final = 1 << 20
#: Metrics and events are written at least this often, in seconds.
ROWS_EVERY_S: Final = 5.0
#: Time between two saves of a flight recorder that are made because of a sample, in seconds.
SHORTEST_SAVE_S: Final = 1.0
#: What that time grows to, doubled from save to save, where each is followed by another.
LONGEST_SAVE_S: Final = 600.0
#: Times when nothing could be written that a process file names; the newest.
MOST_FAILURES: Final = 100
#: Rows of metrics and of events that are kept in memory at most.
KEPT_ROWS: Final = 100_000


class _Noticed(NamedTuple):
    """A sample that a flight recorder saves for, which ended between two moments on the core's clock."""

    trip: Trip
    after_ns: int
    noticed_ns: int


class Recording:
    """A recording of a process that is there, or that was there when this began to look at it."""

    def __init__(self, capture: Path, path: Path, clock: Clock, core: Core) -> None:
        """Attach to the ring `path`. Raises OSError, and ValueError when it is not a ring file."""
        self.capture = capture
        self.path = path
        self.name = owners.recording_of(path)
        self.pid = owners.process_of(path)
        self.ring = Ring(path, core.fence)
        self.ending = ending.Ending(self.pid)
        # A process that is gone already cannot be watched.
        self.has_exited = self.ending.file < 0 and self.has_gone()
        self.drained_at = time.monotonic()
        self.attached_at = self.drained_at
        self._clock = clock
        self._core = core
        self._names = read_names(path)
        self._errors = self.ring.error_names()
        self._part = 0
        self._merger = Merger(self.next_part)
        self._rows = dict.fromkeys(schema.RECORDED, 0)
        self._known: npt.NDArray[np.int64] | None = None  # spans that another agent may have written already
        if self.ring["attached"]:
            try:
                self._follow_another_agent()
            except BaseException:
                self.close()
                raise
        self.ring["attached"] += 1
        self._written: npt.NDArray[np.int64] | None = None  # spans that are in parts and not released yet
        self._rest: contents.Contents | None = None  # what the process had left, once it is in parts
        self._trips: list[_Noticed] = []
        self._looked_ns = 0  # on the core's clock, for such samples
        self._saved_at = float("-inf")
        self._save_pause_s = SHORTEST_SAVE_S
        self._answered = self.ring["answered"]
        self._metrics: list[dict[str, Any]] = []
        self._events: list[dict[str, Any]] = []
        self._kept: dict[str, list[dict[str, Any]]] = {"metrics": [], "events": []}
        self._wrote_rows_at = self.drained_at
        self.saved_at = float("-inf")
        self._is_changed = True  # what the process file says
        self._failure = ""
        self._failures: list[dict[str, Any]] = []  # as the process file has them
        self.errors = 0  # that were not the disk's
        self.taken = 0  # rows that the process had left
        if self._names.anchor_ns is not None and self.described.get("started_ns"):
            clock.note_start(self.described["started_ns"] - self._names.anchor_ns, self._names.anchor_ns)

    @property
    def described(self) -> dict[str, Any]:
        """What the recording said of itself as it began."""
        return self._names.process

    @property
    def is_forked(self) -> bool:
        """Whether its process was forked from one that recorded."""
        return bool(self.described.get("is_forked"))

    @property
    def has_parts(self) -> bool:
        """Whether any of its rows are in parts of its own."""
        return any(self._rows.values())

    @property
    def is_stopped(self) -> bool:
        """Whether the program has ended the recording."""
        return bool(self.ring["stopped"])

    def has_gone(self) -> bool:
        """Whether the process records no more, as far as its lock says."""
        return not owners.is_alive(self.path)

    @property
    def is_asked(self) -> bool:
        """Whether the program waits for an answer."""
        return self.ring["asked"] != self._answered

    def next_part(self, table: str) -> Path:
        """The path of the next part of `table`."""
        self._part += 1
        return self.capture / table / f"{self.name}-{self._part:06d}.parquet"

    # ---- what comes in ----------------------------------------------------------------------------------------------

    def add_metrics(self, row: dict[str, Any]) -> None:
        """Take in a row of metrics; its `time` is on the core's clock."""
        self._add("metrics", self._metrics, row)

    def add_event(self, row: dict[str, Any]) -> None:
        """Take in an event; its `start` is on the core's clock."""
        self._add("events", self._events, row)

    def _add(self, table: str, pending: list[dict[str, Any]], row: dict[str, Any]) -> None:
        pending.append({**row, "process": self.pid})
        del pending[: max(len(pending) - KEPT_ROWS, 0)]  # while the disk takes nothing
        if self.ring.keeps:
            kept = self._kept[table]
            kept.append(pending[-1])
            del kept[: max(len(kept) - KEPT_ROWS, 0)]

    def look(self, room: int) -> None:
        """Say that the agent is there, and reserve memory ahead; `room` is how many bytes may be taken."""
        self.ring["seen_ns"] = self._core.now()
        self.ring["anchor_ns"] = self._clock.offset_ns
        self.ring.reserve_ahead(room)
        if self.ring.keeps:
            now_ns = self._core.now()
            self._trips += [_Noticed(trip, self._looked_ns or now_ns, now_ns) for trip in self.ring.trips()]
            self._looked_ns = now_ns

    @property
    def is_worth_saving(self) -> bool:
        """Whether a flight recorder has seen what it watches for."""
        return bool(self._trips) and time.monotonic() >= self._saved_at + self._save_pause_s

    # ---- what goes out ----------------------------------------------------------------------------------------------

    def save_trips(self) -> None:
        """Write what a flight recorder is to save because of the samples that it watches for. Raises OSError."""
        last_s = self.described.get("save_last_s")
        if not last_s:
            self.write()
            return
        # Where saves follow upon each other, the first of those samples may be too old for this one.
        since_ns = max(self._trips[-1].after_ns - int(last_s * 1e9), 1)
        self._trips = [one for one in self._trips if one.noticed_ns >= since_ns]
        self.write(since_ns=since_ns)

    def write(self, *, all_rows: bool = False, since_ns: int = 0) -> None:
        """Write what has finished into parts, and give its space back. Raises OSError.

        `all_rows`: metrics and events as well, however few. `since_ns`: only what ended since then on the core's clock,
        and what shares a segment with it.
        """
        ticket = self.ring["asked"]
        while True:
            batch = self.ring.drain(LARGEST_BATCH, since_ns)
            if batch.rows:
                self._write_batch(batch)
            self.ring.release()
            self._written = None
            self.ring["released_ns"] = self._core.now()
            if batch.rows < LARGEST_BATCH:
                break
        if not self.ring.follows_claims:
            self._known = None  # all that another agent may have copied has come by
        now = time.monotonic()
        self.drained_at = now
        if all_rows or ticket != self._answered or now > self._wrote_rows_at + ROWS_EVERY_S:
            self._write_rows("metrics", self._metrics, "time")
            self._write_rows("events", self._events, "start")
            self._wrote_rows_at = now
        self._note_failure("")

    def answer(self, ticket: int) -> None:
        """Tell the program that what it asked for is done."""
        self._answered = self.ring["answered"] = ticket

    def merge(self, *, finally_: bool = False) -> None:
        """Make larger parts, unless samples wait. That is for comfort only: what goes wrong ends nothing but this."""
        if finally_ or not self.ring.is_crowded():
            self._merger.tidy(finally_=finally_)

    def forget_parts(self, paths: tuple[Path, ...]) -> None:
        """Some parts are gone, and need not be merged."""
        self._merger.forget(paths)

    def fail(self, error: BaseException) -> None:
        """Nothing can be written now."""
        # Not in pyarrow's words, which name another file each time.
        number = getattr(error, "errno", None)
        self._note_failure((os.strerror(number) if number else str(error)) or type(error).__name__)

    def _note_failure(self, text: str) -> None:
        if text != self._failure:
            now_ns = self._clock.unix_of(self._core.now())
            if self._failure and self._failures:
                self._failures[-1]["end"] = now_ns
            if text:
                self._failures = [*self._failures[1 - MOST_FAILURES :], {"start": now_ns, "end": None, "reason": text}]
            self._failure = text
            self._is_changed = True
            self.ring.report_failure(text)
            if text:
                logger.warning("cannot write what %s records into %s: %s", self.name, self.capture, text)

    def _write_batch(self, batch: Batch) -> None:
        samples, collections = batch.split_collections()
        for spans in (self._known, self._written):
            if spans is not None:
                samples = samples.where(~np.isin(samples.columns["span"], spans))
        if samples.rows:
            self._learn_names(samples)
            footer = self.footer()
            if self.ring.keeps:
                if self._trips:
                    self._note_save()
                footer["saved_for"], self._trips = [self._shown(one) for one in self._trips], []
            path = self.next_part("samples")
            parts.write_samples(
                path,
                samples,
                operations=self.operations,
                errors=self._errors,
                unix=self._clock.unix,
                process=self.pid,
                footer=footer,
            )
            self._note_part("samples", path, samples.rows)
            self.ring["drained_rows"] += samples.rows
            # Should the disk take these and not the events, they come again.
            own = samples.columns["span"]
            self._written = own if self._written is None else np.concatenate([self._written, own])
        if collections.rows:
            self._write_events(collections)  # before their space is given back

    def _note_save(self) -> None:
        """Wait longer and longer while one save follows upon another: else 2 % of calls that fail would save all."""
        now = time.monotonic()
        is_quiet = now > self._saved_at + 2 * self._save_pause_s
        self._save_pause_s = SHORTEST_SAVE_S if is_quiet else min(2 * self._save_pause_s, LONGEST_SAVE_S)
        self._saved_at = now

    def _write_events(self, collections: Batch) -> None:
        """Write events, and collections that come again if the disk does not take them."""
        events = events_of(collections)
        self._write_rows("events", [*self._events, *({**event, "process": self.pid} for event in events)], "start")
        self._events.clear()
        if self.ring.keeps:
            for event in events:
                self._add("events", [], event)

    def _write_rows(self, table: str, rows: list[dict[str, Any]], clock_column: str) -> None:
        if not rows:
            return
        path = self.next_part(table)
        shown = [{**row, clock_column: self._clock.unix_of(row[clock_column])} for row in rows]
        parts.write_rows(path, table, shown, self.footer())
        self._note_part(table, path, len(rows))
        rows.clear()

    def _note_part(self, table: str, path: Path, rows: int) -> None:
        self._rows[table] += rows
        self._is_changed = True
        logger.debug("wrote %s/%s: %d rows", table, path.name, rows)
        self._merger.add(table, path, rows)

    # ---- names ------------------------------------------------------------------------------------------------------

    @property
    def operations(self) -> list[Definition]:
        """Definitions by the numbers that samples carry."""
        return [parts.UNKNOWN if one is None else one for one in self._names.operations]

    def _learn_names(self, samples: Batch) -> None:
        """Read names that have come since."""
        if int(samples.columns["operation"].max()) >= len(self._names.operations):
            self._names = read_names(self.path)
        error = samples.columns["error"]
        known = error[error != schema.OTHER_ERROR]
        if len(known) and int(known.max()) >= len(self._errors):
            self._errors = self.ring.error_names()

    def _shown(self, noticed: _Noticed) -> dict[str, Any]:
        operations, trip = self.operations, noticed.trip
        name = operations[trip.operation].name if trip.operation < len(operations) else "?"
        error = self._errors[trip.error] if trip.error < len(self._errors) else parts.OTHER_ERRORS
        logger.info("saved because of %s: %.1f µs", name, trip.duration_ns / 1000)
        return {
            "operation": name,
            "span": trip.span,
            "duration_ns": trip.duration_ns,
            "error": error or None,
            "noticed_ns": self._clock.unix_of(noticed.noticed_ns),
        }

    def footer(self) -> dict[str, Any]:
        """What the footers of all parts have in common."""
        return footers.common(self.pid, self.described.get("core"), self._clock.offset_ns)

    # ---- the process file -------------------------------------------------------------------------------------------

    @property
    def process_path(self) -> Path:
        """The process file."""
        return self.capture / schema.PROCESSES / f"{self.name}.json"

    def save(self, environment: dict[str, Any]) -> None:
        """Write the process file if what it says has changed. Raises OSError."""
        self.saved_at = time.monotonic()
        if self._is_changed:
            write_json(self.process_path, self.content("recording", environment))
            self._is_changed = False

    def content(self, state: str, environment: dict[str, Any]) -> dict[str, Any]:
        """What the process file says, as `docs/format.md` has it."""
        return {
            **self.described,
            "pid": self.pid,
            "state": state,
            "stopped_ns": None,
            "ended": None,
            "clock_anchor_ns": self._clock.offset_ns,
            "environment": {**environment, **(self.described.get("environment") or {})},
            "account": None,
            "rows": dict(self._rows),
            "losses": [],
            "failure": self._failure or None,
            "failures": [dict(one) for one in self._failures],
        }

    def final_content(self, found: contents.Contents, environment: dict[str, Any]) -> dict[str, Any]:
        """What the process file says in the end, when all rows are in parts and `found` is what the ring says."""
        end, status = found.names.end, self.ending.status() if self.has_exited else None
        has_replaced_itself = self.has_exited and status is None and self.ending.is_running()
        # Where a part has gone since, whoever reads the capture is to miss it.
        account = accounted(found, max(self._rows["samples"], found.drained + self.taken))
        is_orderly = self.is_stopped or has_replaced_itself or ending.is_orderly(status, account["open"])
        content = self.content("finished" if is_orderly else "recovered", environment)
        if end:
            content["environment"]["packages"] = end.get("packages")
            content["operations"] = end.get("operations")
            content["accounts"] = end.get("accounts")
        content |= {
            "stopped_ns": end.get("stopped_ns") or (self._now_as_of_start() if is_orderly else None),
            "ended": "stop" if self.is_stopped else "exec" if has_replaced_itself else ending.described(status),
            "account": account,
            "rows": {**self._rows, "samples": account["written"]},
            "losses": self._losses(end) if end else found.unreported([]),
            "unfinished": found.open_blocks(self._clock.unix_of),
            "unused": found.unused(),
        }
        if found.damage:
            content["damage"] = found.damage
        return content

    def _now_as_of_start(self) -> int:
        """Return the current Unix time by the wall clock as it was set when the recording began."""
        return self._core.now() + (self._names.anchor_ns or 0)

    def _losses(self, end: dict[str, Any]) -> list[dict[str, Any]]:
        """Losses as the program counted them, in Unix time."""
        return [
            {
                **{key: loss[key] for key in ("operation", "thread", "count", "cause")},
                "start": self._clock.unix_of(loss["first_ns"]),
                "end": self._clock.unix_of(loss["last_ns"]),
            }
            for loss in end.get("losses") or ()
        ]

    # ---- the end ----------------------------------------------------------------------------------------------------

    def finish(self, environment: dict[str, Any]) -> dict[str, Any]:
        """Write everything, also the process file, and delete the ring.

        Returns what the process file says. Raises OSError, and ValueError when the ring cannot be read.
        """
        if self.is_stopped:
            self.write(all_rows=True)
            found = contents.read(self.path)
        else:
            found = self._rest or self._write_rest()
        self.merge(finally_=True)
        content = self.final_content(found, environment)
        if self.is_forked and not found.entered and not self._rows["samples"]:
            self.forget()  # a child that has recorded nothing leaves nothing behind
        else:
            write_json(self.process_path, content)
        remove_ring(self.path)
        return content

    def tell_finished(self) -> None:
        """Tell the program that everything is written."""
        self.answer(self.ring["asked"])
        self.ring["finished"] = 1

    def _write_rest(self) -> contents.Contents:
        """Write what a process has left that is gone; what a core would not write is left out."""
        found = contents.read(self.path)
        if self.has_parts:
            # Also of blocks that had just ended: their slots may say for a moment that they are open.
            found = found.without(spans_in_parts(self.capture, self.name, found))
        self._known = None
        self.taken = found.batch.rows
        for first in range(0, found.batch.rows, LARGEST_BATCH):
            self._write_batch(found.batch.part(first, LARGEST_BATCH))
            self._written = None  # should they come again, they are found in parts
        self._write_rows("metrics", self._metrics, "time")
        self._write_events(found.collections)
        self._rest = found
        return found

    def give_up(self, error: BaseException, environment: dict[str, Any]) -> None:
        """Its ring cannot be read any more. Raises OSError."""
        content = self.content("recovered", environment)
        content["damage"] = [f"{self.path.name}: {error}"]
        write_json(self.process_path, content)
        remove_ring(self.path)

    def forget(self) -> None:
        """Delete what was written of a recording that has no samples."""
        directories.delete(self.process_path)
        for table in schema.RECORDED:
            for path in (self.capture / table).glob(f"{self.name}-*.parquet"):
                directories.delete(path)

    def close(self) -> None:
        """Let go of the ring."""
        self._merger.close()
        self.ending.close()
        self.ring.close()

    def kept_rows(self) -> dict[str, list[dict[str, Any]]]:
        """Metrics and events of a flight recorder, for a snapshot."""
        return self._kept

    def _follow_another_agent(self) -> None:
        """Go on where another agent has ended or was killed."""
        with contextlib.suppress(OSError, ValueError):
            self._failures = records.process(self.process_path).get("failures") or []
        delete_leftovers(self.capture, self.name)
        self._part = next_number(self.capture, self.name)
        self._rows |= rows_in_parts(self.capture, self.name, self._merger)
        if self.has_parts:
            self._known = spans_in_parts(self.capture, self.name, contents.read(self.path))


def events_of(collections: Batch) -> list[dict[str, Any]]:
    """Garbage collections as rows of `events`, on the core's clock."""
    columns = collections.columns
    fields = ("start", "duration", "thread", "error", "parent")
    return [
        {
            "event": "gc",
            "start": start,
            "duration_ns": duration,
            "thread": thread,
            "generation": generation,
            "collected": collected,
        }
        for start, duration, thread, generation, collected in zip(
            *(columns[name].tolist() for name in fields), strict=True
        )
    ]
