"""Find a capture on disk, check that it can be read, and list what is in it."""

from __future__ import annotations

import json
import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from quantum_pulse import schema
from quantum_pulse.errors import CaptureError, EmptyCaptureError, FormatVersionError, NotACaptureError

if TYPE_CHECKING:
    import pandas as pd

LOSS_COLUMNS = ("operation", "thread", "start", "end", "count", "cause")


class Part(NamedTuple):
    """A sound Parquet file of a capture. `footer` is our JSON in its metadata.

    Samples started from `first_ns` to `last_ns`, Unix time; None when unknown.
    """

    path: Path
    rows: int
    footer: dict[str, Any]
    first_ns: int | None
    last_ns: int | None
    #: To read from: also after the part was merged into a larger one, which happens while its process records.
    file: Path

    @property
    def recording(self) -> str:
        """Tells apart the recordings of a capture: spans are unique in each."""
        return self.path.stem.rpartition("-")[0]


class Source:
    """The files of a capture as they stood when it was opened, and what is wrong with some of them."""

    def __init__(self, path: Path, manifest: dict[str, Any], processes: list[dict[str, Any]]) -> None:
        self.path = path
        self.manifest = manifest
        self.processes = processes
        self.parts: dict[str, list[Part]] = {table: [] for table in schema.TABLES}
        self._bad: dict[Path, dict[str, Any]] = {}

    def report_bad(self, path: Path, error: BaseException, rows: int | None = None) -> None:
        """Note that the part `path` is left out, and why. `rows` is how many samples stood in it, if that is known."""
        reason = " ".join(str(error).split()) or type(error).__name__
        shown = path.relative_to(self.path) if path.is_relative_to(self.path) else path.name
        self._bad[path] = {"count": rows, "cause": f"{shown} cannot be read: {reason}"}

    def note_loss(self, key: str, loss: dict[str, Any]) -> None:
        """Note a loss that stands in no file: a dictionary with some of LOSS_COLUMNS. `key` tells it apart."""
        self._bad[Path(key)] = loss

    def add_part(self, table: str, path: Path) -> None:
        """Take in the part `path` of `table`; one that cannot be read is noted. Raises FormatVersionError."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            metadata = pq.read_metadata(path)
            file = self._held(path) if _may_vanish(path, metadata.num_rows) else path
            footer = json.loads((metadata.metadata or {})[schema.FOOTER_KEY.encode()])
            version = footer["format"]
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
            if isinstance(error, KeyError):
                error = ValueError(f"no {error} in its footer, so it was not written by quantum_pulse")
            self.report_bad(path, error)
            return
        _check_version(version, path)
        self.parts[table].append(Part(path, metadata.num_rows, footer, *_whole_range(metadata), file))

    def _held(self, path: Path) -> Path:
        """Another name of the file `path`, which lasts as long as this object. Raises OSError."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, descriptor)
        return Path(f"/proc/self/fd/{descriptor}")

    def add_table(self, table: str) -> None:
        """Take in all parts of `table` that stand in the directory now. Raises FormatVersionError."""
        # A part that is being written has a name that begins with a dot until it is whole.
        files = sorted((self.path / table).glob("[!.]*.parquet"))
        for file in files:
            self.add_part(table, file)
        if not all(map(os.path.lexists, files)):
            # Some were merged meanwhile, into one that is not among them.
            for file in files:
                self._bad.pop(file, None)
            self.parts[table].clear()
            self.add_table(table)
            return
        merged = {name for part in self.parts[table] for name in part.footer.get("merged", ())}
        self.parts[table] = [part for part in self.parts[table] if part.path.name not in merged]

    def check_not_empty(self) -> None:
        """Raise EmptyCaptureError when nothing was recorded and nothing was lost."""
        if any(part.rows for part in self.parts["samples"]) or self.losses():
            return
        still = any(process.get("state") == "recording" for process in self.processes)
        why = (
            "nothing has been written yet; recorder.flush() writes what has finished"
            if still
            else "no operation ran while it was recorded; put `with YourEnum.MEMBER:` around what should be measured"
        )
        raise EmptyCaptureError(f"{self.path} is a capture without samples: {why}")

    def sound(self, table: str) -> list[Part]:
        """The parts of `table` but for those that have turned out to be unreadable."""
        return [part for part in self.parts[table] if part.path not in self._bad]

    def definitions(self) -> list[dict[str, Any]]:
        """Definitions of the operations in the capture, as the footers hold them; the newest of a name comes last."""
        found: dict[str, dict[str, Any]] = {}
        for part in self.parts["samples"]:
            for definition in part.footer.get("operations", ()):
                text = json.dumps(definition, sort_keys=True)
                found.pop(text, None)
                found[text] = definition
        return list(found.values())

    def losses(self) -> list[dict[str, Any]]:
        """One dictionary with the keys of LOSS_COLUMNS a loss; what is not known is None. Times are Unix ns."""
        found: dict[tuple[Any, ...], dict[str, Any]] = {}

        # A finished process repeats in its own file the losses that stand in the footers of its parts.
        def note(process: Any, loss: dict[str, Any]) -> None:
            row = {name: loss.get(name) for name in LOSS_COLUMNS}
            found[(process, *row.values())] = row

        for part in self.parts["samples"]:
            for loss in part.footer.get("losses", ()):
                note(part.footer.get("process"), loss)
        for process in self.processes:
            listed = 0
            for loss in process.get("losses") or ():
                note(process.get("pid"), loss)
                listed += loss.get("count") or 0
            for damage in process.get("damage") or ():
                note(process.get("pid"), {"cause": f"rings of process {process.get('pid')} were damaged: {damage}"})
            unlisted = ((process.get("account") or {}).get("lost") or 0) - listed
            if unlisted > 0:
                cause = f"process {process.get('pid')} could not write them (state: {process.get('state')})"
                times = {"start": process.get("started_ns"), "end": process.get("stopped_ns")}
                note(process.get("pid"), {**times, "count": unlisted, "cause": cause})
        for path, loss in self._bad.items():
            note(str(path), loss)
        return list(found.values())


def _may_vanish(part: Path, rows: int) -> bool:
    """Whether the process that wrote `part` may yet merge it into a larger one."""
    name = part.name.rpartition("-")[0]
    ring = part.parent.parent / schema.RINGS / f"{name}{schema.RING_SUFFIX}"
    # Larger ones are left alone, and there may be more of them than a process may have descriptors.
    return rows <= schema.MERGED_ROWS // 2 and ring.exists()


def find(path: str | os.PathLike[str]) -> Source:
    """Open the capture directory `path` for reading.

    Raises NotACaptureError when `path` does not exist or is no capture, FormatVersionError when it was written by a
    version that this one does not know. A part that cannot be read is left out and shows up in the losses.
    """
    root = Path(path)
    if not root.exists():
        raise NotACaptureError(f"{root} does not exist; a capture is a directory that qp.record(path) has made")
    if not root.is_dir():
        where = root.parent.parent if root.suffix == ".parquet" else None
        hint = f"; did you mean {where}?" if where is not None and (where / schema.MANIFEST).exists() else ""
        raise NotACaptureError(f"{root} is a file; a capture is a directory with a {schema.MANIFEST}{hint}")
    source = Source(root, _manifest(root), _processes(root))
    for table in schema.TABLES:
        source.add_table(table)
    return source


def _manifest(root: Path) -> dict[str, Any]:
    file = root / schema.MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        inside = sorted(str(found.parent) for found in root.glob(f"*/{schema.MANIFEST}"))
        hint = f"; captures in it: {', '.join(inside[:5])}" if inside else ""
        raise NotACaptureError(f"{root} is no capture: it has no {schema.MANIFEST}{hint}") from None
    except (OSError, ValueError) as error:
        raise CaptureError(f"{file} cannot be read, so the format of the capture is unknown: {error}") from error
    version = manifest.get("format") if isinstance(manifest, dict) else None
    _check_version(version, file)
    return dict(manifest)


def _check_version(version: object, file: Path) -> None:
    if isinstance(version, int) and version in schema.HISTORY:
        return
    known = schema.FORMAT_VERSION
    if isinstance(version, int) and version > known:
        raise FormatVersionError(
            f"{file} is of format {version}, and this quantum_pulse reads up to format {known}; "
            "install a newer one (pip install --upgrade quantum_pulse)"
        )
    raise FormatVersionError(f"{file} names the format {version!r}; this quantum_pulse reads formats 1 to {known}")


def _processes(root: Path) -> list[dict[str, Any]]:
    found = []
    for file in sorted((root / schema.PROCESSES).glob("*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            # Who recorded is worth knowing, but the samples stand without it.
            continue
        if isinstance(content, dict):
            found.append(content)
    return found


def _whole_range(metadata: Any) -> tuple[int | None, int | None]:
    """Smallest and largest `start` of a file, in Unix ns, from the statistics of its row groups."""
    ranges = [start_range(metadata, group) for group in range(metadata.num_row_groups)]
    lows = [low for low, _ in ranges if low is not None]
    highs = [high for _, high in ranges if high is not None]
    if not ranges or len(lows) < len(ranges):
        return None, None
    return min(lows), max(highs)


def start_range(metadata: Any, group: int) -> tuple[int | None, int | None]:
    """Smallest and largest `start` of a row group, in Unix ns; None where the file does not say."""
    return integer_range(metadata, group, "start") or (None, None)


def integer_range(metadata: Any, group: int, name: str) -> tuple[int, int] | None:
    """Smallest and largest value of a column of integers or times in a row group; None where the file does not say."""
    content = metadata.row_group(group)
    # By the path in the schema, not by position in a list of names: nested columns of another writer would shift it.
    for number in range(content.num_columns):
        column = content.column(number)
        if column.path_in_schema == name:
            statistics = column.statistics
            if statistics is None or not statistics.has_min_max:
                break
            return int(statistics.min_raw), int(statistics.max_raw)
    return None


def loss_frame(source: Source) -> pd.DataFrame:
    """Losses as a DataFrame with LOSS_COLUMNS: `thread` and `count` are nullable integers, times are UTC."""
    import pandas as pd

    frame = pd.DataFrame(source.losses(), columns=list(LOSS_COLUMNS))
    for name in ("start", "end"):
        frame[name] = pd.to_datetime(frame[name].astype("Int64"), unit="ns", utc=True).astype("datetime64[ns, UTC]")
    return frame.astype({"operation": "object", "thread": "Int64", "count": "Int64", "cause": "object"})
