"""What the recorder asks of a core. Two exist: `_native` (C) and `pure` (Python), tested by the same tests.

A core holds the clock, the open spans of every execution context, and the rings. It knows operations as numbers;
names, files and threads of our own are the recorder's.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self


class Batch(NamedTuple):
    """Finished samples copied out of the rings: one buffer a column, `rows` entries each.

    Columns are those of ``schema.RING_COLUMNS`` and ``thread`` (int64). `start` is in ns on the core's clock.
    """

    rows: int
    columns: dict[str, bytes]


class Loss(NamedTuple):
    """Samples that finished but found no room: `samples` of them between two clock readings (ns)."""

    operation: int
    thread: int
    samples: int
    first_ns: int
    last_ns: int


class Account(NamedTuple):
    """Per operation and thread: `started` = rows committed + still open + `lost`."""

    operation: int
    thread: int
    started: int
    committed: int
    lost: int


class Probe(Protocol):
    """A place in a program that is timed: a context manager that can be entered many times at once."""

    probe_id: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Core(Protocol):
    """One per process. All calls but the probes' own come from the recorder, one at a time."""

    NAME: str
    Probe: type[Any]

    def now(self) -> int:
        """Nanoseconds on the monotonic clock that samples are taken with."""

    def start(
        self, ring_path: str, budget_bytes: int, on_error_name: Callable[[int, str], None], wake_fd: int = -1
    ) -> None:
        """Create the ring file and begin to record. Raises OSError when the disk gives no room.

        `on_error_name` is told the number of each type of exception before the first sample that carries it. A byte
        is written to `wake_fd`, which must not block, when it is time to drain: half of the rings, or
        schema.WAKE_SEGMENTS of them, are in use.
        """

    def stop(self) -> None:
        """Record no more. What stands in the rings can still be drained."""

    def close(self) -> None:
        """Give up the rings and the mapping. The file is the recorder's to delete."""

    def drain(self) -> Batch | None:
        """Copy all finished rows not yet drained, oldest first; None when there are none."""

    def release(self) -> None:
        """The drained rows are durable: give their space back."""

    def losses(self) -> list[Loss]:
        """Losses since the last call."""

    def account(self) -> list[Account]:
        """Totals since `start`."""

    def add(self, probe: Any, start_ns: int, duration_ns: int, error: type[BaseException] | None) -> None:
        """A sample of `probe` that was measured elsewhere with `now`: a child of what is innermost here."""

    def plain_attributes(self, metaclass: type) -> None:
        """Make attributes of the classes of `metaclass` as cheap as those of any class, if that can be done."""

    def timed(self, probe: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        """A callable that runs `function` inside `probe`."""
