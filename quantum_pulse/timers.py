"""Timing what is done in pieces, without the waits between them."""

from __future__ import annotations

from quantum_pulse.core import core

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from quantum_pulse.operations import Operation


class PausableTimer:
    """Times an operation in pieces: `resume` and `pause` as often as needed, then `finish` records one sample.

    It begins paused. The sample's duration is the active time, and its start that of the first `resume`. The time from
    there to the last `pause` is `elapsed_ns`; with ``Op.X.timer(elapsed=Op.Y)`` it becomes a sample of `Op.Y`, so that
    both have statistics. A call that changes nothing, as a second `pause`, does no harm. As a context manager it
    resumes on entering and finishes on leaving, with the exception that left the block, if one did:

    ```python
    with Trading.PRICE_FEED_PARSING.timer() as timer:
        header = parse(data)
        timer.pause()
        await store(header)
        timer.resume()
        parse(rest)
    ```

    A timer belongs to one task or thread at a time. One that is never finished, or never resumed, records nothing.
    """

    __slots__ = ("_active_ns", "_elapsed", "_end_ns", "_first_ns", "_is_finished", "_operation", "_resumed_ns")

    def __init__(self, operation: Operation, elapsed: Operation | None = None) -> None:
        # A quick look first: the error, and what it needs, is for whoever has made a mistake.
        if not (isinstance(operation, core.Probe) and (elapsed is None or isinstance(elapsed, core.Probe))):
            from quantum_pulse.operations import checked

            operation, elapsed = checked(operation), None if elapsed is None else checked(elapsed)
        if elapsed is operation:
            raise ValueError(
                f"{operation}.timer(elapsed={operation}): the time with the pauses needs an operation of its own"
            )
        self._operation = operation
        self._elapsed = elapsed
        self._active_ns = 0
        self._first_ns: int | None = None
        self._resumed_ns: int | None = None
        self._end_ns: int | None = None
        self._is_finished = False

    def resume(self) -> None:
        """Time from here on."""
        if self._is_finished or self._resumed_ns is not None:
            return
        self._resumed_ns = core.now()
        if self._first_ns is None:
            self._first_ns = self._resumed_ns

    def pause(self) -> None:
        """Time no more, until `resume`."""
        if self._resumed_ns is not None:
            self._end_ns = core.now()
            self._active_ns += self._end_ns - self._resumed_ns
            self._resumed_ns = None

    def finish(self) -> None:
        """Record the sample."""
        self._finish(None)

    @property
    def active_ns(self) -> int:
        """Time between resuming and pausing so far, in ns."""
        running = 0 if self._resumed_ns is None else core.now() - self._resumed_ns
        return self._active_ns + running

    @property
    def elapsed_ns(self) -> int:
        """Time since the first `resume`, the pauses included, in ns; up to the last `pause` once it is finished."""
        if self._first_ns is None:
            return 0
        end = self._end_ns if self._is_finished and self._end_ns is not None else core.now()
        return end - self._first_ns

    def __enter__(self) -> Self:
        self.resume()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish(kind)

    def __repr__(self) -> str:
        state = "finished" if self._is_finished else "paused" if self._resumed_ns is None else "running"
        return f"<PausableTimer {self._operation} {state}, {self.active_ns / 1000:.1f} µs active>"

    def _finish(self, error: type[BaseException] | None) -> None:
        if self._is_finished:
            return
        self.pause()
        self._is_finished = True
        if self._first_ns is not None:
            core.add(self._operation, self._first_ns, self._active_ns, error)
            if self._elapsed is not None:
                core.add(self._elapsed, self._first_ns, self.elapsed_ns, error)
