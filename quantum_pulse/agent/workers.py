"""Forked processes that end before anything of theirs is written: together they are one recording.

A pool that recycles its workers would else leave a part and a process file for each. Their spans are numbered anew,
one process after the other; the offset is in the ring, so that whoever takes over after a kill finds what is written
already.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

from quantum_pulse import files, records, schema
from quantum_pulse.agent import ending, parts
from quantum_pulse.agent import footer as footers
from quantum_pulse.agent.clock import Clock
from quantum_pulse.agent.ended import ACCOUNT, accounted
from quantum_pulse.agent.files import next_number, remove_ring, write_json
from quantum_pulse.agent.merging import Merger
from quantum_pulse.agent.recording import Recording, events_of
from quantum_pulse.agent.written import delete_leftovers, last_span, parts_of, rows_in_parts, spans_in
from quantum_pulse.operations import Definition
from quantum_pulse.rings import contents
from quantum_pulse.rings.batch import Batch, joined
from quantum_pulse.rings.ring import Ring

logger = logging.getLogger("quantum_pulse")

#: Open blocks and losses that are listed; further ones are counted.
MOST_LISTED: Final = 1000


class Workers:
    """The short-lived processes that the recording `root` has forked."""

    def __init__(self, capture: Path, root: str, clock: Clock, rings: Iterable[Ring]) -> None:
        """`rings` are those of processes that `root` has forked."""
        self.capture = capture
        self.name = f"{root}{schema.WORKERS}"
        self._clock = clock
        delete_leftovers(capture, self.name)
        self._part = next_number(capture, self.name)
        self._merger = Merger(self._next_part)
        self._content = self._read()
        self._content["rows"] = rows_in_parts(capture, self.name, self._merger)
        # An agent that died may have numbered rings of which it has written nothing yet.
        numbered = [ring["span_offset"] + ring["last_span"] for ring in rings if ring["span_offset"]]
        # Never 0, which says of a ring that nobody has taken it.
        self._span = max(last_span(capture, self.name), int(self._content.get("last_span") or 0), *numbered, 1)
        self._takes_over = any(self._content["rows"].values())
        # What an agent has accounted for that died before it could delete the rings.
        self._accounted = set(self._content["taken"])
        self._content["taken"] = []

    def _read(self) -> dict[str, Any]:
        try:
            return {"taken": [], **records.process(self._path)}
        except (OSError, ValueError):
            return {
                "pid": int(self.name.partition("-")[0]),
                "workers": 0,
                "account": dict.fromkeys(ACCOUNT, 0),
                "accounts": [],
                "losses": [],
                "unfinished": [],
                "ended": {},
                "taken": [],
            }

    @property
    def _path(self) -> Path:
        return self.capture / schema.PROCESSES / f"{self.name}.json"

    def _next_part(self, table: str) -> Path:
        self._part += 1
        return self.capture / table / f"{self.name}-{self._part:06d}.parquet"

    def take(self, ended: list[Recording], environment: dict[str, Any]) -> None:
        """Write all that `ended` processes have recorded, account for it, and delete their rings. Raises OSError."""
        found = []
        for recording in ended:
            if recording.name in self._accounted:
                continue
            try:
                found.append((recording, contents.read(recording.path)))
            except (OSError, ValueError) as error:
                self._note_damage(recording, f"{recording.path.name}: {files.reason(error)}")
        before = copy.deepcopy(self._content)
        try:
            pieces = [self._numbered(recording, one) for recording, one in found]
            self._write(found, pieces, environment)
        except OSError:
            # They come again, with the numbers that they have, and may be in a part by now.
            self._content = before
            self._content["rows"] = rows_in_parts(self.capture, self.name)
            self._takes_over = True
            raise
        for recording in ended:
            remove_ring(recording.path)

    def merge(self, *, finally_: bool = False) -> None:
        """Make larger parts."""
        self._merger.tidy(finally_=finally_)

    def forget_parts(self, paths: tuple[Path, ...]) -> None:
        """Some parts are gone, and need not be merged."""
        self._merger.forget(paths)

    def _numbered(self, recording: Recording, found: contents.Contents) -> contents.Contents:
        """The contents with spans of their own, without what another agent has written before it died."""
        if not found.span_offset:
            recording.ring["span_offset"] = self._span
            found = found._replace(span_offset=self._span)
        # Not the number of blocks: the first of them has the number after the last one that its parent had entered.
        if found.entered:
            self._span = max(self._span, found.span_offset + recording.ring["last_span"])
        found = found.shifted()
        if self._takes_over:
            found = found.without(spans_in(parts_of(self.capture, "samples", self.name), found))
        return found

    def _write(
        self,
        found: list[tuple[Recording, contents.Contents]],
        pieces: list[contents.Contents],
        environment: dict[str, Any],
    ) -> None:
        rows = sum(piece.batch.rows for piece in pieces)
        footer = self._footer(found)
        if rows:
            batch, operations, errors = _together(pieces)
            processes = np.concatenate([np.full(piece.batch.rows, piece.process, np.int32) for piece in pieces])
            path = self._next_part("samples")
            parts.write_samples(
                path,
                batch,
                operations=operations,
                errors=errors,
                unix=self._clock.unix,
                process=processes,
                footer=footer,
            )
            self._note_part("samples", path, rows)
        events = [
            {**event, "start": self._clock.unix_of(event["start"]), "process": piece.process}
            for piece in pieces
            for event in events_of(piece.collections)
        ]
        if events:
            path = self._next_part("events")
            parts.write_rows(path, "events", events, footer)
            self._note_part("events", path, len(events))
        for (recording, whole), piece in zip(found, pieces, strict=True):
            self._account_for(recording, whole, piece, environment)
        self._content["taken"] = [recording.name for recording, _ in found]
        self._content["last_span"] = self._span
        if self._content["workers"]:
            write_json(self._path, self._content)
        self._content["taken"] = []

    def _account_for(
        self, recording: Recording, whole: contents.Contents, piece: contents.Contents, environment: dict[str, Any]
    ) -> None:
        if not whole.entered and not whole.damage:
            return
        content, account = self._content, self._content["account"]
        status = recording.ending.status() if recording.has_exited else None
        end = whole.names.end
        how = "stop" if end else ending.described(status) or "unknown"
        own = accounted(whole, whole.batch.rows + whole.drained)
        content["ended"][how] = content["ended"].get(how, 0) + 1
        content["workers"] += 1
        for key, count in own.items():
            account[key] += count
        _add_up(content["accounts"], end.get("accounts") or [])
        content["losses"] = _added_losses(content["losses"], whole.unreported([]))
        content["unused"] = records.newest([*(content.get("unused") or []), *whole.unused()])
        content["unfinished"] += piece.open_blocks(self._clock.unix_of)
        del content["unfinished"][MOST_LISTED:]
        content["damage"] = [*(content.get("damage") or []), *whole.damage][:MOST_LISTED]
        described = {key: value for key, value in whole.names.process.items() if key not in content}
        content |= described
        if not end and not ending.is_orderly(status, own["open"]):
            content["state"] = "recovered"
        content.setdefault("state", "finished")
        content["environment"] = {**environment, **(whole.names.process.get("environment") or {})}
        starts = [one["started_ns"] for one in (content, whole.names.process) if one.get("started_ns")]
        content["started_ns"] = min(starts, default=None)
        content["stopped_ns"] = end.get("stopped_ns") or time.time_ns()
        content["clock_anchor_ns"] = self._clock.offset_ns

    def _note_damage(self, recording: Recording, damage: str) -> None:
        self._content["damage"] = [*(self._content.get("damage") or []), damage][:MOST_LISTED]
        self._content["workers"] += 1
        self._content["state"] = "recovered"
        self._content["clock_anchor_ns"] = self._clock.offset_ns
        logger.debug("%s is damaged: %s", recording.name, damage)

    def _footer(self, found: list[tuple[Recording, contents.Contents]]) -> dict[str, Any]:
        core = found[0][1].names.process.get("core") if found else None
        return footers.common(self._content["pid"], core, self._clock.offset_ns)

    def _note_part(self, table: str, path: Path, rows: int) -> None:
        self._content["rows"][table] += rows
        self._merger.add(table, path, rows)


def _together(pieces: list[contents.Contents]) -> tuple[Batch, list[Definition], list[str]]:
    """The rows of several processes, with one numbering of operations and errors."""
    operations: dict[Definition, int] = {}
    errors: dict[str, int] = {"": 0}
    batches = []
    for piece in pieces:
        columns = dict(piece.batch.columns)
        numbers = np.array([operations.setdefault(one, len(operations)) for one in piece.operations], np.uint32)
        columns["operation"] = numbers[columns["operation"]] if piece.batch.rows else columns["operation"]
        names = [*piece.errors, parts.OTHER_ERRORS]
        codes = np.array([errors.setdefault(name, len(errors)) for name in names], np.uint32)
        columns["error"] = codes[np.minimum(columns["error"], np.uint32(len(names) - 1))]
        batches.append(Batch(columns))
    return joined(batches), list(operations), list(errors)


def _add_up(total: list[dict[str, Any]], accounts: list[dict[str, Any]]) -> None:
    """Add accounts by operation; thread 0 is for threads that have ended."""
    known = {one["operation"]: one for one in total}
    for account in accounts:
        own = known.get(account["operation"])
        if own is None:
            own = known[account["operation"]] = {"operation": account["operation"], "thread": 0}
            own |= dict.fromkeys(("started", "ended", "open", "lost"), 0)
            total.append(own)
        for key in ("started", "ended", "open", "lost"):
            own[key] += account[key]


def _added_losses(total: list[dict[str, Any]], losses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Losses by operation and cause."""
    found: dict[tuple[Any, Any], dict[str, Any]] = {}
    for loss in [*total, *losses]:
        key = (loss.get("operation"), loss.get("cause"))
        known = found.setdefault(key, {**loss, "thread": 0, "count": 0})
        known["count"] += loss["count"]
        for name, choose in (("start", min), ("end", max)):
            times = [one[name] for one in (known, loss) if one.get(name) is not None]
            if times:
                known[name] = choose(times)
    return list(found.values())


def root_of(recording: str) -> str:
    """The recording of the process that forked first."""
    return recording.partition(".")[0]
