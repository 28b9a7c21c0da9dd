"""What is in rings and in no part yet, as parts of a capture that is being opened, which is not changed."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import weakref
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from quantum_pulse import files, records, schema
from quantum_pulse.agent import footer as footers
from quantum_pulse.agent import parts
from quantum_pulse.agent.recording import events_of
from quantum_pulse.agent.workers import root_of
from quantum_pulse.agent.written import events_in, spans_in
from quantum_pulse.rings import contents, owners, places
from quantum_pulse.rings.batch import Batch
from quantum_pulse.rings.contents import Contents

#: Two events of one length are the same one if they begin within so many ns: the wall clock is slewed meanwhile.
_SAME_NS: Final = 1_000_000


class Source(Protocol):
    """What `Leftover.add_to` asks of a capture that is being opened."""

    parts: dict[str, list[Any]]
    recordings: dict[str, dict[str, Any]]

    def add_part(self, table: str, file: Path) -> object:
        """Read a file as one more part of `table`."""

    def note_loss(self, key: str, loss: dict[str, Any]) -> None:
        """Note a loss once, which `key` identifies."""

    def note_open(self, recording: str, blocks: list[dict[str, Any]], now_ns: int | None) -> None:
        """Note the open blocks of a recording, as of `now_ns`."""

    def note_written(self, recording: str, rows: dict[str, int]) -> None:
        """Note how many rows of each table a recording has written."""


class Leftover(NamedTuple):
    """What was in a ring when somebody looked; `contents` is None where it could not be read.

    `now_ns` is when that was, in Unix time, of a running process.
    """

    ring: Path
    contents: Contents | None
    damage: list[str]
    now_ns: int | None

    @property
    def recording(self) -> str:
        """The recording that its rows belong to."""
        name = owners.recording_of(self.ring)
        is_shared = self.contents is not None and self.contents.span_offset
        return f"{root_of(name)}{schema.WORKERS}" if is_shared else name

    def add_to(self, source: Source) -> None:
        """Add to `source` what is in none of its parts, as a part in a temporary directory of its own."""
        for number, damage in enumerate(self.damage):
            cause = f"{self.ring.name} is damaged: {damage}"
            source.note_loss(f"{self.ring}:{number}", {"cause": cause})
        if self.contents is None:
            return
        name, found = self.recording, self.contents.shifted()
        described = source.recordings.get(name) or _described(found, self.now_ns)
        source.recordings[name] = {**described, "unused": [*(described.get("unused") or ()), *found.unused()]}
        if not self._is_accounted_for(described):
            failures = [*(described.get("failures") or ()), *([{"reason": found.failure}] if found.failure else [])]
            for number, loss in enumerate(found.unreported([])):
                source.note_loss(f"{self.ring}:lost:{number}", records.explained(loss, failures))
        # A running process may have written some of it meanwhile, and ended some blocks.
        own = [part for part in source.parts["samples"] if part.recording == name]
        found = found.without(spans_in([part.file for part in own], found))
        source.note_open(name, found.open_blocks(), self.now_ns)
        written = sum(part.rows for part in own)
        source.note_written(name, {"samples": max(written, found.drained) + found.batch.rows})
        found = found._replace(collections=_new_events(source, name, found))
        if found.batch.rows or found.collections.rows:
            try:
                folder = _made_folder()
                weakref.finalize(source, _remove, folder, os.getpid())
                self._write(source, folder, name, found)
            except OSError as error:
                cause = f"{self.ring.name} cannot be read for lack of a temporary folder: {files.reason(error)}"
                source.note_loss(f"{self.ring}:folder", {"count": found.batch.rows, "cause": cause})

    def _is_accounted_for(self, described: dict[str, Any]) -> bool:
        """Whether its process file has its losses: the agent has written that last, and the ring was to go next."""
        if "workers" in described:
            return owners.recording_of(self.ring) in (described.get("taken") or ())
        return described.get("account") is not None

    def _write(self, source: Source, folder: Path, name: str, found: Contents) -> None:
        anchor_ns = found.anchor_ns or 0
        footer = footers.common(found.process, found.names.process.get("core"), anchor_ns)
        if found.batch.rows:
            part = folder / "samples" / f"{name}-ring.parquet"
            part.parent.mkdir()
            parts.write_samples(
                part,
                found.batch,
                operations=found.operations,
                errors=found.errors,
                unix=lambda readings: readings + anchor_ns,
                process=found.process,
                footer=footer,
            )
            source.add_part("samples", part)
        if found.collections.rows:
            part = folder / "events" / f"{name}-ring.parquet"
            part.parent.mkdir()
            events = [
                {**event, "start": event["start"] + anchor_ns, "process": found.process}
                for event in events_of(found.collections)
            ]
            parts.write_rows(part, "events", events, footer)
            source.add_part("events", part)


def _made_folder() -> Path:
    """A temporary folder, in memory where there is no other. Raises OSError."""
    try:
        return Path(tempfile.mkdtemp(prefix="quantum-pulse-"))
    except OSError:
        return Path(tempfile.mkdtemp(prefix="quantum-pulse-", dir=places.MEMORY))


def _new_events(source: Source, name: str, found: Contents) -> Batch:
    """The garbage collections that are not in parts yet. They have no numbers: their times distinguish them."""
    own = [part.file for part in source.parts["events"] if part.recording == name]
    collections = found.collections
    if not own or not collections.rows:
        return collections
    known = {(start // _SAME_NS, duration) for start, duration in events_in(own)}
    starts = ((collections.columns["start"] + (found.anchor_ns or 0)) // _SAME_NS).tolist()
    is_new = [
        not known.intersection((start + near, duration) for near in (-1, 0, 1))
        for start, duration in zip(starts, collections.columns["duration"].tolist(), strict=True)
    ]
    return collections.where(np.array(is_new, np.bool_))


def look(capture: Path) -> list[Leftover]:
    """What is in the rings of `capture`, of processes that live and that do not."""
    found = []
    for ring in places.rings_of(capture, (schema.RING_SUFFIX,)):
        now_ns = time.time_ns() if owners.is_alive(ring) else None
        try:
            content = contents.read(ring)
            leftover = Leftover(ring, content, content.damage, now_ns)
        except (OSError, ValueError) as error:
            leftover = Leftover(ring, None, [files.reason(error)], now_ns)
        # Else its recording has just ended: all that it held is in parts, which are read after this.
        if os.path.lexists(ring):
            found.append(leftover)
    return found


def _described(found: Contents, now_ns: int | None) -> dict[str, Any]:
    """What a process file would say, where the agent has not written one yet."""
    state = "killed" if now_ns is None else "recording"
    anchor = {"clock_anchor_ns": found.anchor_ns, "stopped_ns": None}
    return {"account": None, "rows": None, **anchor, **found.names.process, "pid": found.process, "state": state}


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # a forked child has the object too
        shutil.rmtree(folder, ignore_errors=True)
