"""What the reader of a format hands the events of a trace to."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse import schema
from quantum_pulse.importers import account
from quantum_pulse.importers.account import Account, Reason
from quantum_pulse.importers.names import Operations
from quantum_pulse.importers.rows import DTYPES, Rows, rows_of
from quantum_pulse.importers.sorting import Runs

if TYPE_CHECKING:
    import numpy.typing as npt

#: Larger than any process or thread that Linux numbers (PID_MAX_LIMIT): those that have no number are given one.
FIRST_NUMBER: Final = 1 << 22
_MOST_PROCESS: Final = (1 << 31) - 1
#: Calls that are collected one by one until they are columns.
_TOGETHER: Final = 1 << 14
#: Different names of errors; later ones are one.
_MOST_ERRORS: Final = 1000
OTHER_ERRORS: Final = "(other)"
#: Rows of metrics or events that are in memory.
_MOST_ROWS: Final = 1 << 14
#: Unfinished calls that the capture names.
MOST_UNFINISHED: Final = 10_000


class Process:
    """A process of the trace."""

    def __init__(self, pid: int, numbers: Iterator[int]) -> None:
        """`numbers` are for threads that have none."""
        self.pid = pid
        #: What the trace calls it.
        self.title = ""
        self.host: str | None = None
        self._numbers = numbers
        self._threads: dict[Hashable, int] = {}

    def thread(self, given: Hashable) -> int:
        """The number of a thread: what the trace gives, if that is a number, or else one of our own."""
        if type(given) is int and -(1 << 63) <= given < 1 << 63:
            return given
        found = self._threads.get(given)
        if found is None:
            found = self._threads[given] = next(self._numbers)
        return found


class Open(NamedTuple):
    """A call that the trace begins and does not end."""

    place: int
    thread: int
    task: int
    kind: int
    start: int


class Sink:
    """Takes in the events of a trace.

    A reader counts each event in ``account.events`` and calls, for each, one of `add`, `call` and `refuse`. Times are
    in ns on any clock; `base_ns`, which may be set at any time, is what is added to them for Unix time.
    """

    def __init__(self, folder: Path) -> None:
        self.account = Account()
        self.operations = Operations()
        self.errors: list[str] = [""]
        self.processes: list[Process] = []
        self.base_ns = 0
        #: Whether spans and parents of the trace are those of a capture that was exported, or names of calls in
        #: several processes; if neither, calls are nested by their times.
        self.has_own_spans = False
        self.has_named_parents = False
        #: The earliest start and the latest end.
        self.first_ns = schema.MOST_NS
        self.last_ns = -schema.MOST_NS
        self.unfinished: list[Open] = []
        #: What else whoever imports should know.
        self.notes: list[str] = []
        self.runs = Runs(folder, self._keys)
        self._error_numbers: dict[str, int] = {"": 0}
        self._places: dict[Hashable, int] = {}
        self._pids: set[int] = set()
        self._thread_numbers = itertools.count(FIRST_NUMBER)
        self._collected: dict[str, list[int]] = {name: [] for name in DTYPES}
        #: Rows of metrics and of events that wait, by table and process, and what writes them once they are many.
        self.rows: dict[tuple[str, int], list[dict[str, Any]]] = {}
        self.write_rows: Callable[[str, int, list[dict[str, Any]]], object] = lambda *_: None

    def _keys(self, rows: Rows) -> tuple[npt.NDArray[Any], ...]:
        """What rows are sorted by: recordings follow each other, and within each the calls as they began."""
        if self.has_own_spans:
            return rows["place"], rows["span"]
        if self.has_named_parents:
            return rows["start"], -rows["duration"]
        return rows["place"], rows["start"], -rows["duration"]

    def process(self, given: Hashable, pid: object = None, *, may_share: bool = False) -> int:
        """The number of the process that the trace calls `given`; `pid` is its process id, if that is another.

        `may_share`: whether another process may have that id, as on another host.
        """
        found = self._places.get(given)
        if found is None:
            wanted = given if pid is None else pid
            is_free = type(wanted) is int and 0 <= wanted <= _MOST_PROCESS and (may_share or wanted not in self._pids)
            number = wanted if is_free and isinstance(wanted, int) else self._next_pid()
            self._pids.add(number)
            found = self._places[given] = len(self.processes)
            self.processes.append(Process(number, self._thread_numbers))
            if isinstance(given, str):
                self.processes[-1].title = given
        return found

    def _next_pid(self) -> int:
        number = FIRST_NUMBER + len(self.processes)
        while number in self._pids:
            number += 1
        return number

    def error(self, name: str) -> int:
        """The number of an error by its name, 0 for none."""
        found = self._error_numbers.get(name)
        if found is None:
            if len(self.errors) > _MOST_ERRORS:
                name = OTHER_ERRORS
            found = self._error_numbers.get(name)
            if found is None:
                found = self._error_numbers[name] = len(self.errors)
                self.errors.append(name)
        return found

    def refuse(self, reason: Reason, events: int = 1) -> None:
        """Count events that are no samples."""
        self.account.refuse(reason, events)

    def call(self, *, place: int, thread: int, task: int = 0, kind: int, error: int = 0, weight: int = 1,
             start: int, duration: int, span: int = 0, parent: int = 0) -> None:  # fmt: skip
        """Take in one call."""
        collected = self._collected
        for name, value in (
            ("place", place), ("thread", thread), ("task", task), ("kind", kind), ("error", error), ("weight", weight),
            ("start", start), ("duration", duration), ("span", span), ("parent", parent),
        ):  # fmt: skip
            collected[name].append(value)
        if len(collected["start"]) >= _TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Take in what `call` has collected."""
        if self._collected["start"]:
            collected, self._collected = self._collected, {name: [] for name in DTYPES}
            self._take(rows_of({name: collected[name] for name in DTYPES}))

    def add(self, columns: dict[str, Sequence[int] | npt.NDArray[Any]]) -> None:
        """Take in calls, all events of one kind of record; see DTYPES. Columns that are missing are 0."""
        self.flush()
        self._take(rows_of(columns))  # type: ignore[arg-type]

    def _take(self, rows: Rows) -> None:
        rows = self._within_limits(rows)
        self.account.samples += len(rows)
        if len(rows):
            self.first_ns = min(self.first_ns, int(rows["start"].min()))
            self.last_ns = max(self.last_ns, int((rows["start"] + rows["duration"]).max()))
            self.runs.add(rows)

    def _within_limits(self, rows: Rows) -> Rows:
        """The rows that a capture can hold; others are refused."""
        import numpy as np

        is_negative = rows["duration"] < 0
        if is_negative.any():
            self.refuse(account.NEGATIVE, int(is_negative.sum()))
            rows = rows.take(~is_negative)
        highest = np.abs(rows["start"]) + rows["duration"]
        is_beyond = (highest > schema.MOST_NS) | (rows["weight"] < 1) | (rows["task"] < 0)
        if is_beyond.any():
            self.refuse(account.OUT_OF_RANGE, int(is_beyond.sum()))
            rows = rows.take(~is_beyond)
        return rows

    def add_row(self, table: str, place: int, row: dict[str, Any]) -> None:
        """Take in a row of `metrics` or `events`, which may be added to until the next one is taken in."""
        rows = self.rows.setdefault((table, place), [])
        if len(rows) >= _MOST_ROWS:
            self.write_rows(table, place, rows)
            rows.clear()
        rows.append(row)

    def open(self, call: Open) -> None:
        """Take in a call that has not ended when the trace ends."""
        self.refuse(account.OPEN)
        if len(self.unfinished) < MOST_UNFINISHED:
            self.unfinished.append(call)
