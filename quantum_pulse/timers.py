"""Time work that is done in pieces, without the pauses between them."""

from __future__ import annotations

import sys
import threading

from quantum_pulse.core import core

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from quantum_pulse.core._native import Attributed, AttributeValue
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
    **attributes
        Values of attributes that the operation declares. Those that `elapsed` declares too are its own as well.

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

    CPU time is that of the active time. It is null if that moved to another thread, or ran in an event loop, whose
    other tasks might have used the thread.

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

    __slots__ = (
        "_active_ns",
        "_attributes",
        "_cpu",
        "_elapsed",
        "_end_ns",
        "_failure",
        "_first_ns",
        "_is_finished",
        "_operation",
        "_resumed_ns",
    )

    def __init__(self, operation: Operation, elapsed: Operation | None = None, **attributes: AttributeValue) -> None:
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
        self._failure: str | type[BaseException] | None = None
        self._attributes: dict[str, Any] = {}
        if attributes:
            self._set(attributes)
        self._cpu = _CpuTime() if operation.probe_cpu_time or core.times_cpu() else None

    def annotate(self, *, error: str | BaseException | None = None, **attributes: AttributeValue) -> None:
        """Say what is known of the work, as `quantum_pulse.annotate` does of a block.

        Parameters
        ----------
        error : str or exception, optional
            What failed, such as ``"http 502"``, or an exception, whose type is named.
        **attributes
            Values of attributes that the operation declares. Those given before are replaced.

        Raises
        ------
        TypeError
            If the operation does not declare an attribute, or a value is of another type.

        Examples
        --------
        >>> class Feed(qp.Operation):
        ...     PARSE = qp.op("Parse one message", attributes={"kind": str})
        >>> with qp.record("captures/feed"):
        ...     with Feed.PARSE.timer() as timer:
        ...         timer.annotate(kind="trade")
        >>> qp.last().samples()["attributes"].tolist()
        [{'kind': 'trade'}]
        """
        if error is not None and not isinstance(error, BaseException) and not (isinstance(error, str) and error):
            raise TypeError(f"annotate(): error must be a text that says what failed, or an exception, not {error!r}")
        self._set(attributes)
        if error is not None:
            self._failure = type(error) if isinstance(error, BaseException) else error

    def _set(self, attributes: dict[str, Any]) -> None:
        together = {**self._attributes, **attributes}
        for operation in (self._operation, self._elapsed):  # which refuse what is wrong
            if operation is not None:
                _with_attributes(operation, together, is_shared=operation is self._elapsed)
        self._attributes = together

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
        if self._cpu is not None:
            self._cpu.resume()
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
            if self._cpu is not None:
                self._cpu.pause()

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
            failure = error if self._failure is None else self._failure
            cpu_ns = None if self._cpu is None else self._cpu.within(self._active_ns)
            timing = _with_attributes(self._operation, self._attributes)
            core.add(timing, self._first_ns, self._active_ns, failure, cpu_ns)
            if self._elapsed is not None:
                timing = _with_attributes(self._elapsed, self._attributes, is_shared=True)
                core.add(timing, self._first_ns, self.elapsed_ns, failure)


def _with_attributes(operation: Operation, given: dict[str, Any], *, is_shared: bool = False) -> Operation | Attributed:
    """`operation` with values of its attributes; `is_shared`: of those that it declares."""
    if is_shared:
        declared = operation.probe_attributes
        given = {name: value for name, value in given.items() if name in declared}
    return operation(**given) if given else operation


class _CpuTime:
    """CPU time of a thread between resuming and pausing."""

    __slots__ = ("_resumed_ns", "_thread", "_total_ns")

    def __init__(self) -> None:
        self._total_ns: int | None = 0
        self._resumed_ns = 0
        self._thread = 0

    def resume(self) -> None:
        self._thread = threading.get_ident()
        self._resumed_ns = core.cpu_now()

    def pause(self) -> None:
        if self._thread != threading.get_ident() or _others_take_turns():
            self._total_ns = None
        elif self._total_ns is not None:
            self._total_ns += core.cpu_now() - self._resumed_ns

    def within(self, active_ns: int) -> int | None:
        """What was used of the active time. Reading both clocks takes time on its own."""
        return None if self._total_ns is None else min(self._total_ns, active_ns)


def _others_take_turns() -> bool:
    """Whether other tasks or greenlets may have run on this thread, which cannot be seen from here."""
    events = sys.modules.get("asyncio.events")
    return (events is not None and events._get_running_loop() is not None) or "gevent" in sys.modules
