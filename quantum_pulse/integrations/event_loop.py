"""How late an asyncio event loop is: what each of its callbacks waits for, whoever has blocked it."""

from __future__ import annotations

import asyncio
import contextvars

from quantum_pulse import arguments
from quantum_pulse.core import core
from quantum_pulse.operations import Operation, op

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Self


class EventLoop(Operation):
    """What is recorded of an event loop."""

    DELAY = op("From when a callback is due to when the loop runs it", category="Event loop")


def instrument(interval_s: float = 0.05, *, loop: asyncio.AbstractEventLoop | None = None) -> DelayProbe:
    """Record, at an interval, how much later than it was due the event loop runs a callback.

    Parameters
    ----------
    interval_s
        Seconds from one callback to the next, more than 0 and less than an hour. A loop that is blocked for longer
        than that is seen each time; one that is blocked for a tenth of it, one time out of ten.
    loop
        By default the loop that is running.

    Returns
    -------
    DelayProbe
        A context manager whose `stop` ends it. It ends with the loop in any case.

    Raises
    ------
    RuntimeError
        When no loop is running and none is given.
    ValueError
        For an interval out of range.

    Examples
    --------
    >>> import asyncio
    >>> async def main():
    ...     with event_loop.instrument(interval_s=0.01):
    ...         await asyncio.sleep(0.1)
    >>> asyncio.run(main())
    """
    arguments.between(interval_s, "interval_s", 0, 3600)
    return DelayProbe(asyncio.get_running_loop() if loop is None else loop, interval_s)


class DelayProbe:
    """A callback that comes again and again, and records how late it is. See `instrument`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interval_s: float) -> None:
        self._loop = loop
        self._interval_s = interval_s
        # Of its own: it is part of no call that happens to start it.
        self._context = contextvars.Context()
        self._due_s = loop.time() + interval_s
        self._due_ns = core.now() + round(interval_s * 1e9)
        self._handle = loop.call_at(self._due_s, self._run, context=self._context)

    def _run(self) -> None:
        now_ns = core.now()
        # A loop may run what is due within the resolution of its clock, which is too early, and not late.
        core.add(EventLoop.DELAY, min(self._due_ns, now_ns), max(now_ns - self._due_ns, 0), None)
        # From now on: after a long delay, one callback for each interval that was missed would tell nothing more.
        self._due_s = self._loop.time() + self._interval_s
        self._due_ns = core.now() + round(self._interval_s * 1e9)
        self._handle = self._loop.call_at(self._due_s, self._run, context=self._context)

    def stop(self) -> None:
        """Record no more."""
        self._handle.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
