"""Find a capture on disk, check that it is readable, and list its content."""

from __future__ import annotations

import copy
import errno
import os
import stat
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse import files, plausible, ranges, records, schema
from quantum_pulse.core.contract import CAUSES, OVERWRITTEN
from quantum_pulse.errors import CaptureError, EmptyCaptureError, FormatVersionError, NotACaptureError
from quantum_pulse.reading.criteria import EVERYTHING, Selection
from quantum_pulse.records import LOSS_COLUMNS
from quantum_pulse.rings import owners, places

if TYPE_CHECKING:
    import pandas as pd


#: The tables whose rows are of operations.
_WITH_OPERATIONS: Final = ("samples", schema.ROLLED_UP)


class Part(NamedTuple):
    """A sound Parquet file of a capture. `footer` is quantum_pulse's JSON in its metadata.

    Samples started from `first_ns` to `last_ns`, Unix time; None when unknown.
    """

    path: Path
    rows: int
    footer: dict[str, Any]
    first_ns: int | None
    last_ns: int | None
    #: To read from: also after the part was merged into a larger one, which happens while its process records.
    file: Path
    #: Name of the capture that it belongs to.
    capture: str = ""
    #: What of it is wanted; its rows and its footer are of everything in it.
    within: Selection = EVERYTHING

    @property
    def recording(self) -> str:
        """Name of the recording that it is of. Spans are unique in the recordings of a capture."""
        return recording_of(self.path)

    @property
    def origin(self) -> str:
        """Capture and recording: what spans are unique in, whatever is read together."""
        return f"{self.capture}/{self.recording}"


def recording_of(part: Path) -> str:
    """Name of the recording that wrote the file `part`."""
    return part.stem.rpartition("-")[0]


class File(NamedTuple):
    """A file as it is now: a name may come again."""

    path: Path
    inode: int
    bytes: int
    written_ns: int

    @classmethod
    def at(cls, path: Path) -> File:
        """The file `path`. Raises OSError."""
        status = path.stat()
        return cls(path, status.st_ino, status.st_size, status.st_mtime_ns)


class Source:
    """The files of a capture as they were when it was opened, and what is wrong with some of them."""

    def __init__(self, path: Path, known: dict[File, Part] | None = None) -> None:
        """`known` are the parts of the capture when it was read before, whose footers are not read again. It is brought
        up to date."""
        self.path = path
        #: How a message names it.
        self.name = str(path)
        self.manifest: dict[str, Any] = {}
        #: By the name that all files of a recording begin with.
        self.recordings: dict[str, dict[str, Any]] = {}
        self.parts: dict[str, list[Part]] = {table: [] for table in schema.TABLES}
        #: What the rings said of blocks that were open, by recording, and until when they were seen open, in Unix ns,
        #: where the process is running.
        self.open: dict[str, tuple[list[dict[str, Any]], int | None]] = {}
        self._written: dict[str, dict[str, int]] = {}
        #: Recordings that have a ring, and those that rows of their rings may go to.
        self._with_rings = {name for ring in places.rings_of(path) for name in _recordings_of(ring)}
        self._damage: dict[Path, dict[str, Any]] = {}
        self._known = known
        self._read: dict[File, Part] = dict(known or ())  # while the tables are listed
        #: What this was restricted to, and what it is a part of: itself unless it was restricted.
        self.within = EVERYTHING
        self._whole: Source | None = None

    @property
    def whole(self) -> Source:
        """The same without any restriction."""
        return self if self._whole is None else self._whole

    def restricted(self, chosen: Selection) -> Source:
        """The same capture, of which only the samples in `chosen` are read, and the metrics and events of that time.

        What recordings say of themselves stays that of the whole.
        """
        found = copy.copy(self)
        # The whole holds the files open.
        found._whole = self.whole
        found.within = self.within & chosen
        found.parts = {table: _restricted(parts, table, found.within) for table, parts in self.whole.parts.items()}
        return found

    @property
    def processes(self) -> list[dict[str, Any]]:
        """What each recording's process file says."""
        return list(self.recordings.values())

    def process_of(self, part: Part) -> dict[str, Any]:
        """What the process file says of the recording that `part` is of; nothing where there is none."""
        return self.recordings.get(part.origin if self.captures else part.recording, {})

    def report_damage(self, path: Path, error: BaseException, rows: int | None = None) -> None:
        """Note that the file `path` is left out, and why. `rows` is how many samples it held, if that is known."""
        shown = path.relative_to(self.path) if path.is_relative_to(self.path) else path.name
        self._damage[path] = {"count": rows, "cause": f"{shown} cannot be read: {files.reason(error)}"}

    def is_damaged(self, path: Path) -> bool:
        """Whether the file `path` is left out because it cannot be read."""
        return path in self._damage

    def note_loss(self, key: str, loss: dict[str, Any]) -> None:
        """Note a loss that is in no file: a dictionary with some of LOSS_COLUMNS. `key` distinguishes it."""
        self._damage[Path(key)] = loss

    def note_open(self, recording: str, blocks: list[dict[str, Any]], now_ns: int | None) -> None:
        """Note the blocks that were open in a ring; `now_ns` is when, of a running process, in Unix time."""
        self.open[recording] = blocks, now_ns

    def note_written(self, recording: str, rows: dict[str, int]) -> None:
        """Note how many rows of each table were in parts of `recording` at some time, as it said itself."""
        self._written[recording] = rows

    def add_part(self, table: str, path: Path) -> None:
        """Take in the part `path` of `table`; one that cannot be read is noted."""
        try:
            files.check(path)
            known = File.at(path)
            part = self._read.get(known)
            if part is not None and part.file == path and self._may_vanish(table, path, part.rows):
                # As it was when an earlier source read it.
                part = self._read[known] = part._replace(file=self._held(path))
        except OSError as error:
            self.report_damage(path, error)
            return
        if part is not None:
            self.parts[table].append(part)
        elif (part := self.add_read(table, path, path, None)) is not None:
            self._read[known] = part

    def add_read(self, table: str, path: Path, file: Path, content: bytes | None) -> Part | None:
        """Take in the part `path` of `table`, and return it; one that cannot be read is noted.

        `file` is where it is read from, and `content` the end of it, with its footer, where that was read already.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            metadata = pq.read_metadata(file if content is None else pa.BufferReader(content))
            footer = records.footer(metadata)
            records.check_version(footer["format"], path)
            if table == schema.ROLLED_UP:
                records.check_rollup_footer(footer)
            if content is None and self._may_vanish(table, path, metadata.num_rows):
                file = self._held(path)
            plausible.check_file(metadata, table)
            times = ranges.whole_range(metadata, table)
        except (OSError, pa.ArrowException, ValueError, MemoryError, OverflowError, FormatVersionError) as error:
            self.report_damage(path, error)
            return None
        part = Part(path, metadata.num_rows, footer, *times, file, self.path.resolve().name)
        self.parts[table].append(part)
        return part

    def fetch(self, parts: Sequence[Part]) -> None:
        """See to it that `parts` can be read; those of this machine can."""

    def _may_vanish(self, table: str, part: Path, rows: int) -> bool:
        """Whether the agent may yet merge `part` into a larger one. Rollup files are few, and are merged as well."""
        return table == schema.ROLLED_UP or (rows <= schema.FINAL_ROWS and recording_of(part) in self._with_rings)

    def _held(self, path: Path) -> Path:
        """Another name of the file `path`, which lasts as long as this object. Raises OSError."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, descriptor)
        return Path(f"/proc/self/fd/{descriptor}")

    def add_table(self, table: str) -> None:
        """Take in all parts of `table` that are in the directory now."""
        if table == schema.ROLLED_UP and not os.path.lexists(self.path / table):
            return  # nothing has expired
        while True:
            # A part that is being written has a name that begins with a dot until it is whole.
            found = self._listed(self.path / table, ".parquet")
            for file in found:
                self.add_part(table, file)
            if not any(map(_is_gone, found)):
                break
            # Some were merged meanwhile, into one that is not among them.
            for file in found:
                self._damage.pop(file, None)
            self.parts[table].clear()
        self.leave_out_merged(table)

    def leave_out_merged(self, table: str) -> None:
        """Leave out the parts that another one holds as well."""
        merged = {name for part in self.parts[table] for name in part.footer.get("merged", ())}
        self.parts[table] = [part for part in self.parts[table] if part.path.name not in merged]

    def add_tables(self) -> None:
        """Take in the parts of all tables, and leave out what rollups replace."""
        while True:
            # Rollups last: what expires meanwhile is then in both, and not in neither.
            for table in schema.TABLES:
                self.parts[table].clear()
                self.add_table(table)
            rollups = self.parts[schema.ROLLED_UP]
            if not rollups or not self._has_expired_since():
                break
        for table in schema.RECORDED:
            self.parts[table] = [part for part in self.parts[table] if not _is_replaced(part, table, rollups)]
        if self._known is not None:
            own = {id(part) for parts in self.parts.values() for part in parts}
            # By their paths: the other names of files end with this object.
            current = {file: part._replace(file=part.path) for file, part in self._read.items() if id(part) in own}
            self._known.clear()
            self._known.update(current)
        self._read.clear()
        for name in {name for part in rollups for name in part.footer["folded"]}:
            self.recordings.pop(name.removesuffix(".json"), None)

    def _has_expired_since(self) -> bool:
        """Whether parts or process files have gone that were listed before the rollups.

        Whether the rollups count them is not known: one that does may not name them any more. Rollups that are listed
        from now on do count them. What has been read is not read again, so that comes to an end however fast parts
        expire.
        """
        folded = [name for name in self.recordings if _is_gone(self.path / schema.PROCESSES / f"{name}.json")]
        for name in folded:
            del self.recordings[name]
        return bool(folded) or any(_is_gone(part.path) for table in schema.RECORDED for part in self.parts[table])

    def add_processes(self) -> None:
        """Take in what recordings say of themselves."""
        for file in self._listed(self.path / schema.PROCESSES, ".json"):
            try:
                self.recordings[file.stem] = records.process(file)
            except FileNotFoundError:
                continue  # it recorded nothing, and was swept away meanwhile
            except (OSError, ValueError) as error:
                # Who recorded is worth knowing, but the samples are readable without it.
                self.report_damage(file, error)

    def add_manifest(self) -> None:
        """Take in the manifest, which parts are readable without. Raises NotACaptureError, FormatVersionError."""
        file = self.path / schema.MANIFEST
        try:
            self.manifest = records.manifest(file)
        except FileNotFoundError as error:
            is_capture = self.recordings or any(self.parts.values()) or self._with_rings
            if not is_capture:
                inside = sorted(str(found.parent) for found in self.path.glob(f"*/{schema.MANIFEST}"))
                hint = f"; captures in it: {', '.join(inside[:5])}" if inside else ""
                raise NotACaptureError(f"{self.path} is not a capture: it has no {schema.MANIFEST}{hint}") from None
            self.report_damage(file, error)
        except (OSError, ValueError) as error:
            self.report_damage(file, error)

    def note_missing(self) -> None:
        """Note what recordings have written and what is not there any more."""
        for name in sorted({part.recording for table in schema.RECORDED for part in self.parts[table]}):
            file = self.path / schema.PROCESSES / f"{name}.json"
            if name not in self.recordings and file not in self._damage:
                self.report_damage(file, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
        for name, process in self.recordings.items():
            self._note_missing_ring(name, process)
            self._written.setdefault(name, process.get("rows") or {})
        for name, rows in self._written.items():
            for table, written in rows.items():
                self._note_missing_rows(name, table, written)

    def _note_missing_rows(self, name: str, table: str, written: int) -> None:
        """A process has written so many rows of `table`; those that are in no part are missing."""
        missing = written - sum(part.rows for part in self.parts.get(table, ()) if part.recording == name)
        missing -= sum(part.footer["expired"].get(name, {}).get(table, 0) for part in self.parts[schema.ROLLED_UP])
        if missing <= 0:
            return
        count = missing if table == "samples" else None
        damaged = [path for path in self._damage if path.parent.name == table and recording_of(path) == name]
        if len(damaged) == 1:
            self._damage[damaged[0]]["count"] = count
        elif count or not damaged:
            process = self.recordings.get(name, {})
            cause = f"{missing} rows of {table} that process {process.get('pid')} wrote are in no part"
            times = {"start": process.get("started_ns"), "end": process.get("stopped_ns")}
            self.note_loss(f"{name}:{table}", {**times, "count": count, "cause": cause})

    def _note_missing_ring(self, name: str, process: dict[str, Any]) -> None:
        """A process that did not end by itself has left a ring; that may have been deleted."""
        file = self.path / schema.PROCESSES / f"{name}.json"
        if process.get("state") != "recording" or name in self._with_rings:
            return
        if Path(f"/proc/{process.get('pid')}").exists() or not _still_records(file):
            return  # it has ended meanwhile, in good order
        cause = f"process {process.get('pid')} ended abnormally, and its rings in {schema.RINGS} are gone"
        self.note_loss(f"{name}:ring", {"start": process.get("started_ns"), "cause": cause})

    def _listed(self, folder: Path, suffix: str) -> list[Path]:
        """The files in `folder` with this suffix, but for hidden ones. A folder that cannot be read is noted."""
        try:
            found = list(folder.iterdir())
        except OSError as error:
            self.report_damage(folder, error)
            return []
        return sorted(file for file in found if file.suffix == suffix and not file.name.startswith("."))

    def check_not_empty(self) -> None:
        """Raise EmptyCaptureError when nothing was recorded and nothing was lost."""
        if self.has_samples() or self.losses():
            return
        still = any(process.get("state") == "recording" for process in self.processes)

        def reached(process: dict[str, Any]) -> tuple[float, float]:
            started = (process.get("account") or {}).get("started") or 0
            return started, (process.get("operations") or {}).get("defined") or 0

        # Of several recordings the one that came furthest says most: workers may have what the program itself has not.
        last = max(self.processes, key=reached, default={})
        running = [
            block["operation"] for blocks, now_ns in self.open.values() if now_ns is not None for block in blocks
        ]
        if running:
            why = f"nothing has finished yet; {', '.join(list(dict.fromkeys(running))[:5])} is running"
        elif still:
            why = "nothing has been written yet; recorder.flush() writes what has finished"
        else:
            why = records.why_nothing(last)
        raise EmptyCaptureError(f"{self.name} is a capture without samples: {why}")

    def check_readable(self) -> None:
        """Raise EmptyCaptureError when there are samples, or were, and none of them is readable."""
        if not any(part.rows for part in self.sound("samples")):
            if self._whole is not None and any(part.rows for part in self._whole.sound("samples")):
                raise EmptyCaptureError(f"{self.path} has samples, but none {self.within.described()}")
            causes = list(dict.fromkeys(str(loss["cause"]) for loss in self.losses()))
            why = f": {'; '.join(causes[:3])}{'; ...' if len(causes) > 3 else ''}" if causes else ""
            raise EmptyCaptureError(f"{self.name} has no readable samples{why}")

    def overwritten_until_ns(self) -> int | None:
        """Since when nothing was overwritten by later samples, Unix time; None where nothing ever was."""
        known = [process.get("whole_from") for process in self.processes]
        known += [loss["end"] for loss in self.losses() if str(loss["cause"]).startswith(CAUSES[OVERWRITTEN])]
        return max((moment for moment in known if moment is not None), default=None)

    def open_spans(self, origin: str) -> list[int]:
        """Spans of the open blocks of the recording `origin` (of a part): their samples are not lost."""
        found = []
        for name, process in self.recordings.items():
            if origin.endswith(f"/{name}") or origin == name:
                found += [block["span"] for block in process.get("unfinished") or ()]
                found += process.get("open_spans") or ()
                found += [block["span"] for block in self.open.get(name, ([], None))[0]]
        return found

    def saves(self) -> list[dict[str, Any]]:
        """For what a flight recorder saved, as footers say, with `process` and the `origin` of the part."""
        return [
            {**sample, "process": part.footer.get("process"), "origin": part.origin}
            for part in self.parts["samples"]
            for sample in part.footer.get("saved_for") or ()
            if self.within.overlaps(noticed := sample.get("noticed_ns"), noticed)
        ]

    def has_samples(self) -> bool:
        """Whether there are samples, or rollups of some that have expired."""
        return any(part.rows for table in ("samples", schema.ROLLED_UP) for part in self.parts[table])

    def sound(self, table: str) -> list[Part]:
        """The parts of `table` but for those that have turned out to be unreadable."""
        return [part for part in self.parts[table] if part.path not in self._damage]

    def definitions(self) -> list[dict[str, Any]]:
        """Definitions of the operations in the capture, as the footers hold them; the newest of a name comes last."""
        whole = self.whole.parts
        rollups = whole[schema.ROLLED_UP]
        unused = [process.get("unused") or () for process in self.processes]
        unused += [part.footer["ended"].get("unused") or () for part in rollups]
        parts = sorted([*rollups, *whole["samples"]], key=lambda part: part.last_ns or 0)
        found: dict[str, list[dict[str, Any]]] = {}
        # What did not run comes first: of an operation that ran at other times its samples decide.
        for definitions in (*unused, *(part.footer.get("operations", ()) for part in parts)):
            for definition in definitions:
                same = found.setdefault(definition["name"], [])
                # Almost always what it was before.
                if not same or same[-1] != definition:
                    same[:] = [*(one for one in same if one != definition), definition]
        return [definition for same in found.values() for definition in same]

    def categories_of(self) -> Mapping[str, str]:
        """Operation -> category, where another one counts than its samples have."""
        return {}

    @property
    def captures(self) -> list[str]:
        """Names of the captures, where they are several."""
        return []

    def by_capture(self) -> list[tuple[str | None, Source]]:
        """Each capture with its name, which is None where there is but this one."""
        return [(None, self)]

    def losses(self) -> list[dict[str, Any]]:
        """One dictionary with the keys of LOSS_COLUMNS a loss; what is not known is None. Times are Unix ns."""
        return [loss for loss in self.whole._all_losses() if self.within.overlaps(loss.get("start"), loss.get("end"))]

    def _all_losses(self) -> list[dict[str, Any]]:
        """Those of the whole."""
        found: dict[tuple[Any, ...], dict[str, Any]] = {}

        # A finished process repeats in its own file the losses that are in the footers of its parts.
        def note(process: Any, loss: dict[str, Any]) -> None:
            row = {name: loss.get(name) for name in LOSS_COLUMNS}
            row["cause"] = row["cause"] or "the recording does not give a cause"
            found[(process, *row.values())] = row

        for part in self.parts["samples"]:
            for loss in part.footer.get("losses", ()):
                note(part.footer.get("process"), loss)
        for process in self.processes:
            listed = 0
            for loss in process.get("losses") or ():
                note(process.get("pid"), records.explained(loss, process.get("failures") or ()))
                listed += loss.get("count") or 0
            for damage in process.get("damage") or ():
                note(process.get("pid"), {"cause": f"rings of process {process.get('pid')} were damaged: {damage}"})
            unlisted = ((process.get("account") or {}).get("lost") or 0) - listed
            if unlisted > 0:
                cause = f"process {process.get('pid')} could not write them (state: {process.get('state')})"
                times = {"start": process.get("started_ns"), "end": process.get("stopped_ns")}
                note(process.get("pid"), {**times, "count": unlisted, "cause": cause})
        for part in self.parts[schema.ROLLED_UP]:
            for loss in part.footer["ended"].get("losses") or ():
                note(part.path.name, loss)
        for path, loss in self._damage.items():
            note(str(path), loss)
        return list(found.values())


def _restricted(parts: Iterable[Part], table: str, within: Selection) -> list[Part]:
    """The parts of `table` that may hold something of it."""
    wanted = within if table in _WITH_OPERATIONS else within.times
    # A row of metrics is of the interval before its time.
    return [
        part._replace(within=wanted)
        for part in parts
        if wanted.overlaps(None if table == "metrics" else part.first_ns, part.last_ns)
    ]


def _is_gone(file: Path) -> bool:
    """Whether it has been deleted; a file that cannot be looked at has not."""
    try:
        file.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _is_replaced(part: Part, table: str, rollups: Iterable[Part]) -> bool:
    """Whether a rollup replaces it, rather than another part that had its name."""
    about = [part.rows, part.first_ns, part.last_ns]
    return any(rollup.footer["replaces"].get(table, {}).get(part.path.name) == about for rollup in rollups)


def _still_records(file: Path) -> bool:
    """Whether a process file says so, now that it is read again."""
    try:
        return bool(files.read_json(file).get("state") == "recording")
    except FileNotFoundError:
        return False  # it recorded nothing, and was swept away
    except (OSError, ValueError):
        return True  # as it said before


def find(path: str | os.PathLike[str], known: dict[File, Part] | None = None) -> Source:
    """Open the capture directory `path` for reading; `known` as `Source` takes it.

    Raises NotACaptureError when `path` does not exist or is not a capture, FormatVersionError when it was written by a
    version that this one does not know. A part that cannot be read is left out and shows up in the losses.
    """
    root = Path(path)
    try:
        is_folder = stat.S_ISDIR(root.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_off = [name for name in ("QUANTUM_PULSE", "QUANTUM_PULSE_LEVEL") if os.environ.get(name) == "off"]
        hint = f"; {is_off[0]}=off is set in the environment, so nothing is recorded" if is_off else ""
        raise NotACaptureError(
            f"{root} does not exist; a capture is a directory that qp.record(path) has written{hint}"
        ) from None
    except (OSError, ValueError) as error:
        raise CaptureError(f"{root} cannot be read: {files.reason(error)}") from error
    if not is_folder:
        where = root.parent.parent if root.suffix == ".parquet" else None
        hint = f"; did you mean {where}?" if where is not None and (where / schema.MANIFEST).exists() else ""
        raise NotACaptureError(f"{root} is a file; a capture is a directory with a {schema.MANIFEST}{hint}")
    source = Source(root, known)
    # Processes first: what one has written by now is then among the parts.
    source.add_processes()
    source.add_tables()
    source.add_manifest()
    return source


def _recordings_of(ring: Path) -> list[str]:
    name = owners.recording_of(ring)
    root, _, worker = name.partition(".")
    return [name, f"{root}{schema.WORKERS}"] if worker else [name]


def loss_frame(source: Source) -> pd.DataFrame:
    """Losses as a DataFrame with LOSS_COLUMNS, and `capture` of several.

    `thread` and `count` are nullable integers, times are UTC.
    """
    import pandas as pd

    columns = [*LOSS_COLUMNS, *(["capture"] if source.captures else [])]
    frame = pd.DataFrame(source.losses(), columns=columns)
    for name in ("start", "end"):
        frame[name] = pd.to_datetime(frame[name].astype("Int64"), unit="ns", utc=True).astype("datetime64[ns, UTC]")
    return frame.astype({"operation": "object", "thread": "Int64", "count": "Int64", "cause": "object"})


def newest(
    folders: Iterable[Path], but: Path | None = None, is_meant: Callable[[Path], bool] = lambda _: True
) -> Path | None:
    """The capture in some folders that was begun or written to last, of those that are meant, `but` one; None where
    there is none."""
    found = {path.parent for folder in folders for path in folder.glob(f"*/{schema.MANIFEST}")}
    return max(filter(is_meant, found - {but}), key=_written, default=None)


def _written(capture: Path) -> float:
    """When something was last added to a capture, Unix time."""
    places = [capture, *(capture / name for name in (*schema.TABLES, schema.RINGS, schema.PROCESSES))]
    return max(place.stat().st_mtime for place in places if place.exists())
