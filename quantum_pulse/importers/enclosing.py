"""Find the call around each call where a trace does not name it: the innermost of its thread that lasts as long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]

_NOBODY: Final = -1


class _Calls(NamedTuple):
    """Arrays of one length."""

    thread: Integers
    task: Integers
    span: Integers
    end: Integers
    #: What a call around it must reach.
    need: Integers

    def take(self, chosen: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> _Calls:
        return _Calls(*(column[chosen] for column in self))

    def begins_track(self) -> npt.NDArray[np.bool_]:
        """Whether each is of another track than the one before it."""
        import numpy as np

        differs = np.ones(len(self.span), np.bool_)
        differs[1:] = (self.thread[1:] != self.thread[:-1]) | (self.task[1:] != self.task[:-1])
        return differs


class Enclosing:
    """The parents of calls that come in the order of their starts, of two that start together the longer one first.

    A call lies in the latest one before it on its track, a thread or a task, that ends with it or later. So calls that
    overlap and do not enclose each other are siblings. Of what has passed only those calls are kept that a later one
    may lie in: as many as the track is deep.
    """

    def __init__(self) -> None:
        import numpy as np

        self._open = _Calls(*[np.zeros(0, np.int64)] * 5)

    def parents(
        self, thread: Integers, task: Integers, span: Integers, start: Integers, duration: Integers
    ) -> Integers:
        """The span of the parent of each call, 0 where there is none."""
        import numpy as np

        if not len(span):
            return span
        # A call without a duration at the very end of another one comes after it.
        new = _Calls(thread, task, span, start + duration, start + duration + (duration == 0))
        calls = _Calls(*(np.concatenate(pair) for pair in zip(self._open, new, strict=True)))
        order = np.lexsort((calls.task, calls.thread))
        calls = calls.take(order)
        above = _latest_that_lasts(calls)
        found = np.empty_like(above)
        found[order] = np.where(above == _NOBODY, 0, calls.span[above])
        before = len(self._open.span)
        self._open = _not_outlasted(calls.take(calls.end > start[-1]))
        return found[before:]


def _latest_that_lasts(calls: _Calls) -> Integers:
    """For each call the latest one before it on its track that does not end before what it needs, or -1.

    All that lies between a call and its candidate ends too early for it. So does what lies between the candidate and
    that one's own candidate, which is the next to try: with each round the ways are half as long.
    """
    import numpy as np

    candidate = np.arange(len(calls.span)) - 1
    candidate[calls.begins_track()] = _NOBODY
    waiting = np.flatnonzero(candidate != _NOBODY)
    waiting = waiting[calls.end[candidate[waiting]] < calls.need[waiting]]
    while len(waiting):
        candidate[waiting] = candidate[candidate[waiting]]
        waiting = waiting[candidate[waiting] != _NOBODY]
        waiting = waiting[calls.end[candidate[waiting]] < calls.need[waiting]]
    return candidate


def _not_outlasted(calls: _Calls) -> _Calls:
    """The calls that end later than all after them on their track."""
    import numpy as np

    if len(calls.span) < 2:
        return calls
    _, rank = np.unique(calls.end, return_inverse=True)
    # Counted down, so that the largest from the back begins anew with each track.
    track = np.cumsum(calls.begins_track())
    height = rank + (track[-1] - track) * len(rank)
    largest_after = np.append(np.maximum.accumulate(height[:0:-1])[::-1], _NOBODY)
    return calls.take(height > largest_after)
