"""The oldest parts of a capture expire, and rollups of them stay: what ``keep=`` asks for.

Each step leaves a capture that counts every call once, wherever the process is killed: a rollup file names the parts
and the process files that it replaces, and is on the disk before they are deleted. Readers leave out what a rollup
file names, and the next run deletes it.
"""

from __future__ import annotations

import logging
import platform
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from quantum_pulse import files, records, schema
from quantum_pulse.agent import compaction, rollups, summaries
from quantum_pulse.agent.ended import Ended
from quantum_pulse.agent.inventory import Inventory, Lookout, Piece
from quantum_pulse.agent.summaries import Part, Summary
from quantum_pulse.directories import Folder
from quantum_pulse.keep import Keep

logger = logging.getLogger("quantum_pulse")

#: One rollup file replaces at most so many parts, and is written once it has so many rows.
_MOST_PARTS: Final = 64
_MANY_ROWS: Final = 1 << 15
#: Process files that a run folds at most.
_MOST_FOLDED: Final = 1000


class Expired(NamedTuple):
    """What a run has done: the parts that it deleted, and how many process files it folded.

    `bytes` is what the host has in the capture now, `unreadable` what cannot expire because it cannot be read.
    """

    parts: tuple[Path, ...]
    folded: int
    bytes: int
    unreadable: tuple[str, ...]


class Expiry:
    """Keeps what one host has recorded into a capture within a bound. No two at once for one host.

    Parameters
    ----------
    capture
        The directory of the capture.
    keep
        The bound: an age of samples, or bytes on disk of all parts and rollups of this host.
    is_own
        Whether the recording of that name is of this host, as `recorded_by` says; another host expires the others.
    host
        Name of the host, which rollup files are named after; by default that of this machine.
    """

    def __init__(self, capture: Path, keep: Keep, is_own: Callable[[str], bool], host: str | None = None) -> None:
        self.capture = capture
        self.keep = keep
        self.host = platform.node() if host is None else host
        self._prefix = _prefix(self.host)
        self._lookout = Lookout(is_own, self._prefix)
        self._refused: set[str] = set()

    def run(self, now_ns: int) -> Expired:
        """Expire what is due at `now_ns`, Unix time. Harmless when repeated.

        Raises
        ------
        OSError
            As the disk does. Nothing is lost or counted twice; the next run goes on.
        """
        with Folder.at(self.capture) as root:
            self._clean(root, self._lookout.look(root))
            found = self._lookout.look(root)
            deleted = self._expire(root, found, self._due(found, now_ns))
            folded = self._fold(root, self._lookout.look(root), now_ns)
            self._compact(root)
            left = self._lookout.look(root)
            unreadable = (*left.unreadable, *sorted(self._refused))
            return Expired(tuple(self.capture / name for name in deleted), folded, left.bytes, unreadable)

    # ---- after a run that was killed ---------------------------------------------------------------------------------

    def _clean(self, root: Folder, found: Inventory) -> None:
        """Delete what another file replaces."""
        _delete(root, schema.ROLLED_UP, found.temporary)
        _delete(root, schema.ROLLED_UP, {name for one in found.filed for name in one.footer.get("merged", ())})
        for table in schema.RECORDED:
            own = [piece for piece in found.pieces if piece.table == table]
            # Before the part that names them expires: else they would count again.
            _delete(root, table, {name for piece in own for name in piece.merged} & {piece.name for piece in own})
            _delete(root, table, [piece.name for piece in own if _is_replaced(piece, found)])
        _delete(root, schema.PROCESSES, {name for one in found.filed for name in one.footer["folded"]})

    # ---- parts -------------------------------------------------------------------------------------------------------

    def _due(self, found: Inventory, now_ns: int) -> list[Piece]:
        """The parts that expire, the oldest first."""
        fixed = {_path(piece.table, piece.name) for piece in _needed_by_recovery(found)} | self._refused
        if self.keep.age_ns is None:
            fixed |= {_path(piece.table, piece.name) for piece in _newest(found.pieces)}
        movable = [piece for piece in found.pieces if _path(piece.table, piece.name) not in fixed]
        movable.sort(key=lambda piece: (piece.last_ns, piece.table, piece.name))
        if self.keep.age_ns is not None:
            return [piece for piece in movable if piece.last_ns < now_ns - self.keep.age_ns]
        most = self.keep.bytes or 0
        # Of a small bound, rollups must not leave less than their share to the samples.
        rolled_up = min(sum(one.entry.bytes for one in found.filed), int(most * compaction.SHARE_OF_CAPTURE))
        due, too_much = [], sum(piece.entry.bytes for piece in found.pieces) + rolled_up - most
        for piece in movable:
            if too_much <= 0:
                break
            due.append(piece)
            too_much -= piece.entry.bytes
        return due

    def _expire(self, root: Folder, found: Inventory, due: Iterable[Piece]) -> list[str]:
        """Put rollups in the place of the parts `due`; their paths in the capture."""
        number, deleted, group, rows = found.next_number, list[str](), list[tuple[Piece, Summary]](), 0

        def replace() -> None:
            nonlocal number, group, rows
            if group:
                self._replace(root, number, group)
                deleted.extend(f"{piece.table}/{piece.name}" for piece, _ in group)
                number, group, rows = number + 1, [], 0

        for piece in due:
            summary = self._summary(root, piece)
            if summary is not None:
                group.append((piece, summary))
                rows += summary.rows.num_rows
            if rows >= _MANY_ROWS or len(group) >= _MOST_PARTS:
                replace()
        replace()
        return deleted

    def _replace(self, root: Folder, number: int, group: Sequence[tuple[Piece, Summary]]) -> None:
        replaces: dict[str, dict[str, Part]] = {}
        for piece, _ in group:
            replaces.setdefault(piece.table, {})[piece.name] = piece.part
        own = [summary for _, summary in group]
        whole = summaries.added(own, rollups.MINUTE_NS, {piece.recording for piece, _ in group})
        whole = whole._replace(whole=rollups.combined([whole.rows], rollups.WHOLE), replaces=replaces)
        self._write(root, number, whole)
        for table, names in replaces.items():
            _delete(root, table, names)
        logger.debug("%d parts have expired", len(group))

    def _summary(self, root: Folder, piece: Piece) -> Summary | None:
        """What stays of a part; None where it cannot be read, so that it stays itself."""
        import pyarrow as pa

        expired = {piece.recording: {piece.table: piece.part.rows}}
        if piece.table != "samples":
            return summaries.nothing()._replace(expired=expired)
        try:
            with root.existing(piece.table) as folder:
                rows, operations = summaries.of_part(folder, piece.name)
        except (OSError, pa.ArrowException, ValueError, KeyError, OverflowError, MemoryError) as error:
            # Errors of the system may pass. pyarrow raises OSError for damage as well, without a number.
            if not isinstance(error, OSError) or error.errno is None:
                self._refused.add(_path(piece.table, piece.name))
            logger.debug("%s is kept: %s", piece.name, error)
            return None
        until_ns = None if piece.part.last_ns is None else piece.part.last_ns + 1
        return summaries.nothing()._replace(rows=rows, until_ns=until_ns, operations=operations, expired=expired)

    # ---- recordings --------------------------------------------------------------------------------------------------

    def _fold(self, root: Folder, found: Inventory, now_ns: int) -> int:
        """Add up the process files of recordings that ended before what is kept, and of which nothing is left."""
        if self.keep.age_ns is not None:
            horizon_ns = now_ns - self.keep.age_ns
        else:
            horizon_ns = max((one.footer["until_ns"] or 0 for one in found.filed), default=0)
        is_left = found.with_parts | found.going
        due = [
            recording
            for recording, process in sorted(found.processes.items())
            if recording not in is_left and process.moment_ns is not None and process.moment_ns < horizon_ns
        ]
        if not due:
            return 0
        ended, names = Ended(), list[str]()
        with root.existing(schema.PROCESSES) as folder:
            for recording in due[:_MOST_FOLDED]:
                name = f"{recording}.json"
                try:
                    process = records.checked_process(folder.read_json(name))
                except ValueError:
                    continue  # it was damaged just now
                ended = ended.plus(Ended.of_process(process, _expired_rows(found, recording)))
                names.append(name)
        if names:
            self._write(root, found.next_number, summaries.nothing()._replace(ended=ended, folded=names))
            _delete(root, schema.PROCESSES, names)
        return len(names)

    # ---- rollup files ------------------------------------------------------------------------------------------------

    def _compact(self, root: Folder) -> None:
        """Merge rollup files, and make the oldest coarser, until they are few and small enough."""
        import pyarrow as pa

        while True:
            found = self._lookout.look(root)
            movable = [one for one in found.filed if _path(schema.ROLLED_UP, one.name) not in self._refused]
            step = compaction.next_step(movable, self.keep.bytes)
            if step is None:
                return
            names = [one.name for one in step.files]
            kept = found.with_parts | found.going | set(found.processes)
            try:
                with root.existing(schema.ROLLED_UP) as folder:
                    own = [summaries.read(folder, name) for name in names]
                whole = summaries.added(own, step.interval_ns, kept)
            except (pa.ArrowException, ValueError, OverflowError) as error:
                # They can be read one by one, as far as they can be read at all.
                self._refused.update(_path(schema.ROLLED_UP, name) for name in names)
                logger.debug("%s are kept: %s", ", ".join(names), error)
                continue
            self._write(root, found.next_number, whole._replace(merged=names))
            _delete(root, schema.ROLLED_UP, names)

    def _write(self, root: Folder, number: int, summary: Summary) -> None:
        with root.made(schema.ROLLED_UP) as folder:
            summaries.write(folder, f"{self._prefix}-{number:06d}.parquet", summary, self.host)


def recorded_by(host: str, capture: Path) -> Callable[[str], bool]:
    """A function that says whether a recording in `capture` is of `host`, by its process file."""
    known: dict[str, bool] = {}

    def is_own(recording: str) -> bool:
        if recording not in known:
            try:
                known[recording] = files.read_json(capture / schema.PROCESSES / f"{recording}.json").get("host") == host
            except (OSError, ValueError):
                return False  # as long as it does not say
        return known[recording]

    return is_own


def _path(table: str, name: str) -> str:
    """A part by its path in the capture."""
    return f"{table}/{name}"


def _prefix(host: str) -> str:
    """What the names of a host's rollup files begin with: readable, and different for each host."""
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", host).strip("-.")[:40] or "host"
    return f"{readable}-{zlib.crc32(host.encode('utf-8', 'surrogateescape')):08x}"


def _delete(root: Folder, table: str, names: Iterable[str]) -> None:
    """Delete files in a folder of the capture, those that are there. Raises OSError."""
    names = sorted(names)
    if names:
        with root.existing(table) as folder:
            for name in names:
                folder.delete(name)


def _is_replaced(piece: Piece, found: Inventory) -> bool:
    """Whether a rollup file replaces it, rather than another part that had its name."""
    replaced = (one.footer["replaces"].get(piece.table, {}).get(piece.name) for one in found.filed)
    return any(part is not None and Part(*part) == piece.part for part in replaced)


def _needed_by_recovery(found: Inventory) -> Iterator[Piece]:
    """The last samples of each running recording: they say which rows of its ring have been written."""
    by_recording: dict[str, list[Piece]] = {}
    going = found.going
    for piece in found.pieces:
        if piece.table == "samples" and piece.recording in going:
            by_recording.setdefault(piece.recording, []).append(piece)
    for own in by_recording.values():
        yield max(own, key=lambda piece: piece.number)
        yield max(own, key=lambda piece: piece.last_ns)


def _newest(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """The newest part of each table."""
    for table in schema.RECORDED:
        own = [piece for piece in pieces if piece.table == table]
        if own:
            yield max(own, key=lambda piece: (piece.last_ns, piece.name))


def _expired_rows(found: Inventory, recording: str) -> dict[str, int]:
    """How many rows of a recording have expired, by table."""
    rows: dict[str, int] = {}
    for one in found.filed:
        for table, count in one.footer["expired"].get(recording, {}).items():
            rows[table] = rows.get(table, 0) + count
    return rows
