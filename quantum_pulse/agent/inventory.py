"""What one host has in a capture: parts, rollup files and recordings, as far as expiry must know."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from quantum_pulse import ranges, records, schema
from quantum_pulse.agent import summaries
from quantum_pulse.agent.ended import STATES
from quantum_pulse.agent.summaries import Part
from quantum_pulse.directories import TEMPORARY, Entry, Folder

PARQUET: Final = ".parquet"


class Piece(NamedTuple):
    """A part of one of the tables in schema.RECORDED that could be read."""

    table: str
    entry: Entry
    part: Part
    #: Names of the parts that it was made of.
    merged: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its file name."""
        return self.entry.name

    @property
    def recording(self) -> str:
        """Name of the recording that wrote it."""
        return recording_of(self.name)

    @property
    def number(self) -> int:
        """Its place among the parts of the recording, as they were written."""
        return number_of(self.name)

    @property
    def last_ns(self) -> int:
        """When its last row started, Unix time; when it was written, where it does not say."""
        return self.entry.modified_ns if self.part.last_ns is None else self.part.last_ns


class Filed(NamedTuple):
    """A rollup file: what its footer says."""

    entry: Entry
    part: Part
    footer: dict[str, Any]

    @property
    def name(self) -> str:
        """Its file name."""
        return self.entry.name

    @property
    def interval_ns(self) -> int:
        """The interval of all of its rows."""
        return int(self.footer["interval_ns"])


class ProcessState(NamedTuple):
    """What a process file says of its recording; `moment_ns` is when that ended, or else began, if it says so."""

    has_ended: bool = False
    moment_ns: int | None = None


class Inventory(NamedTuple):
    """What there is at one moment. `unreadable` are parts and rollup files that could not be read."""

    pieces: list[Piece]
    filed: list[Filed]
    unreadable: list[str]
    #: Recordings with a part, readable or not; with a ring; with a process file, and what that says.
    with_parts: set[str]
    with_rings: set[str]
    processes: dict[str, ProcessState]
    #: Left by a run that was killed, in the folder of rollups.
    temporary: list[str]
    next_number: int

    @property
    def going(self) -> set[str]:
        """Recordings that are running, or that somebody must yet recover."""
        return self.with_rings | {name for name, process in self.processes.items() if not process.has_ended}

    @property
    def bytes(self) -> int:
        """What all of it takes on disk, but for what is not readable."""
        return sum(piece.entry.bytes for piece in self.pieces) + sum(one.entry.bytes for one in self.filed)


class Lookout:
    """Takes inventories, and remembers what files say that have not changed."""

    def __init__(self, is_own: Callable[[str], bool], prefix: str) -> None:
        """`is_own` says whether a recording is of this host; `prefix` begins the names of its rollup files."""
        self._is_own = is_own
        self._prefix = prefix
        self._known: dict[tuple[str, Entry], Piece | Filed] = {}
        self._known_processes: dict[Entry, ProcessState] = {}

    def look(self, root: Folder) -> Inventory:
        """What is in the capture `root` now. Raises OSError for a folder that cannot be read."""
        found = Inventory([], [], [], set(), set(), {}, [], 1)
        seen: dict[tuple[str, Entry], Piece | Filed] = {}
        processes: dict[Entry, ProcessState] = {}
        own: dict[str, bool] = {}

        def is_own(recording: str) -> bool:
            if recording not in own:
                own[recording] = bool(recording) and self._is_own(recording)
            return own[recording]

        for table in schema.RECORDED:
            with _opened(root, table) as folder:
                for entry in _parts(folder):
                    if is_own(recording_of(entry.name)):
                        found.with_parts.add(recording_of(entry.name))
                        self._note(found, seen, (table, entry), folder)
        numbers = [0]
        with _opened(root, schema.ROLLED_UP) as folder:
            for entry in [] if folder is None else folder.files():
                if entry.name.startswith(f".{self._prefix}-") and entry.name.endswith(TEMPORARY):
                    found.temporary.append(entry.name)
                elif entry.name.startswith(f"{self._prefix}-") and entry.name.endswith(PARQUET):
                    numbers.append(number_of(entry.name))
                    self._note(found, seen, (schema.ROLLED_UP, entry), folder)
        self._known = seen
        with _opened(root, schema.RINGS) as folder:
            # Names only, since a ring may be a link to one in memory.
            for name in [] if folder is None else folder.names():
                for suffix in (schema.RING_SUFFIX, schema.NAMES_SUFFIX):
                    if name.endswith(suffix):
                        found.with_rings.add(name.removesuffix(suffix))
        with _opened(root, schema.PROCESSES) as folder:
            for entry in [] if folder is None else folder.files():
                name = entry.name.removesuffix(".json")
                if name != entry.name and not name.startswith(".") and is_own(name):
                    state = self._known_processes.get(entry) or _process(folder, entry.name)
                    found.processes[name] = processes[entry] = state
        self._known_processes = processes
        return found._replace(next_number=max(numbers) + 1)

    def _note(
        self,
        found: Inventory,
        seen: dict[tuple[str, Entry], Piece | Filed],
        key: tuple[str, Entry],
        folder: Folder | None,
    ) -> None:
        """Take a file into the inventory; it is read unless it is known."""
        content = self._known[key] if key in self._known or folder is None else _read(folder, *key)
        if content is not None:
            seen[key] = content
        if isinstance(content, Piece):
            found.pieces.append(content)
        elif isinstance(content, Filed):
            found.filed.append(content)
        else:
            found.unreadable.append(f"{key[0]}/{key[1].name}")


def recording_of(name: str) -> str:
    """Name of the recording that wrote the part `name`."""
    return name.removesuffix(PARQUET).rpartition("-")[0]


def number_of(name: str) -> int:
    """The number in the name of a part, 0 where there is none."""
    with contextlib.suppress(ValueError):
        return int(name.removesuffix(PARQUET).rpartition("-")[2])
    return 0


@contextlib.contextmanager
def _opened(root: Folder, name: str) -> Iterator[Folder | None]:
    folder = root.inside(name)
    if folder is None:
        yield None
        return
    with folder:
        yield folder


def _parts(folder: Folder | None) -> list[Entry]:
    """The parts in a folder, but for those that are being written."""
    entries = [] if folder is None else folder.files()
    return [entry for entry in entries if entry.name.endswith(PARQUET) and not entry.name.startswith(".")]


def _read(folder: Folder, table: str, entry: Entry) -> Piece | Filed | None:
    """What the file says of itself; None where it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with folder.open(entry.name) as file:
            metadata = pq.read_metadata(file)
        part = Part(metadata.num_rows, *ranges.whole_range(metadata, table))
        if table == schema.ROLLED_UP:
            # Those that are added up are read again then.
            content = {**summaries.footer(metadata), "histograms": None, "operations": None}
            return Filed(entry, part, content)
        return Piece(table, entry, part, tuple(records.footer(metadata).get("merged", ())))
    except (OSError, pa.ArrowException, ValueError, MemoryError, OverflowError):
        return None


def _process(folder: Folder | None, name: str) -> ProcessState:
    """What a process file says; of one that makes no sense nothing."""
    if folder is None:
        return ProcessState()
    try:
        content = records.checked_process(folder.read_json(name))
    except (OSError, ValueError):
        return ProcessState()
    return ProcessState(content.get("state") in STATES, content.get("stopped_ns") or content.get("started_ns"))
