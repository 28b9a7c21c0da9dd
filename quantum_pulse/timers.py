"""Time work that is done in pieces, without the pauses between them."""

from __future__ import annotations

from quantum_pulse.core import core

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from quantum_pulse.operations import Operation


class PausableTimer:
    """Time an operation in pieces and record it as one sample, without the pauses.

    A timer begins paused. `resume` and `pause` it as often as needed; `finish` records one
    sample of the operation. Its duration is the active time, and its start is that of the
    first `resume`. As a context manager, a timer resumes when the block is entered and
    finishes when it is left; an exception that leaves the block becomes the error of the
    sample.

    Usually made by `Operation.timer`.

    Parameters
    ----------
    operation : Operation
        The operation to record a sample of.
    elapsed : Operation, optional
        Another operation, which gets a sample of the same work with the pauses included.

    Raises
    ------
    TypeError
        If `operation` or `elapsed` is not a member of an `Operation` enum.
    ValueError
        If `elapsed` is `operation` itself.

    See Also
    --------
    Operation.timer : Make a timer for an operation.

    Notes
    -----
    A timer belongs to one task or thread at a time. A timer that is never resumed, or never
    finished, records nothing. A second `pause` or `resume` in a row changes nothing.

    Examples
    --------
    >>> class Feed(qp.Operation):
    ...     PARSE = qp.op("Parse one message")
    >>> with qp.record("captures/feed"):
    ...     with Feed.PARSE.timer() as timer:
    ...         header = "price=1"  # timed
    ...         timer.pause()
    ...         stored = header.upper()  # not timed
    ...         timer.resume()
    ...         price = header.split("=")  # timed
    >>> qp.last().stats()["count"].to_dict()
    {('Feed', 'Feed.PARSE'): 1}
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
        """Start or continue timing.

        Does nothing while the timer runs, and after `finish`.

        Examples
        --------
        >>> class Feed(qp.Operation):
        ...     PARSE = qp.op("Parse one message")
        >>> timer = Feed.PARSE.timer()
        >>> timer.active_ns
        0
        >>> timer.resume()
        >>> timer.active_ns > 0
        True
        """
        if self._is_finished or self._resumed_ns is not None:
            return
        self._resumed_ns = core.now()
        if self._first_ns is None:
            self._first_ns = self._resumed_ns

    def pause(self) -> None:
        """Stop timing until the next `resume`.

        Does nothing while the timer is paused, and after `finish`.

        Examples
        --------
        >>> class Feed(qp.Operation):
        ...     PARSE = qp.op("Parse one message")
        >>> timer = Feed.PARSE.timer()
        >>> timer.resume()
        >>> timer.pause()
        >>> timer.active_ns == timer.active_ns
        True
        """
        if self._resumed_ns is not None:
            self._end_ns = core.now()
            self._active_ns += self._end_ns - self._resumed_ns
            self._resumed_ns = None

    def finish(self) -> None:
        """Record the sample, and end the timer.

        Pauses first if the timer runs. Outside a recording nothing is recorded. A second call
        does nothing.

        Examples
        --------
        >>> class Feed(qp.Operation):
        ...     PARSE = qp.op("Parse one message")
        >>> with qp.record("captures/feed"):
        ...     timer = Feed.PARSE.timer()
        ...     timer.resume()
        ...     timer.finish()
        >>> len(qp.last().samples())
        1
        """
        self._finish(None)

    @property
    def active_ns(self) -> int:
        """Active time so far, without the pauses, in nanoseconds."""
        running = 0 if self._resumed_ns is None else core.now() - self._resumed_ns
        return self._active_ns + running

    @property
    def elapsed_ns(self) -> int:
        """Time since the first `resume`, with the pauses, in nanoseconds.

        It ends with the last `pause` once the timer is finished, and is 0 before the first
        `resume`.
        """
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
