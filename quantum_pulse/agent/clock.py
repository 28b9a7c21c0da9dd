"""Unix time for readings of the core's clock, also after the wall clock was set.

The two clocks are compared now and then. Between two comparisons the difference changes a little, as the wall clock is
slewed, or at once, as somebody sets it or the machine sleeps: then the monotonic clock stands still.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

#: A clock is slewed by 500 ppm at most (adjtimex(2)); what is more, and more than this in ns, is a step.
LARGEST_SLEW: Final = 1e-3
LEAST_STEP_NS: Final = 2_000_000
#: Comparisons that are kept. Of the older ones every second goes when there are more.
MOST_ANCHORS: Final = 4096
#: Time between two comparisons that are kept, in ns.
KEEP_EVERY_NS: Final = 1_000_000_000


class Step(NamedTuple):
    """The wall clock was set forward by `by_ns`, as seen at `at_ns` on the core's clock."""

    at_ns: int
    by_ns: int

    def event(self) -> dict[str, Any]:
        """The step as a row of `events`, on the core's clock."""
        return {
            "event": "clock_step",
            "start": self.at_ns,
            "duration_ns": 0,
            "thread": 0,
            "value": self.by_ns / 1e9,
        }


class Clock:
    """What to add to readings of the core's clock, by the time of the reading."""

    def __init__(self, now: Callable[[], int], wall: Callable[[], int] = time.time_ns) -> None:
        self._now = now
        self._wall = wall
        moment, offset = self._compare()
        self._moments = [moment]
        self._offsets = [offset]
        self._is_step = [False]  # whether the offset changed at once before this one

    @property
    def offset_ns(self) -> int:
        """Unix time less the core's clock, as compared last."""
        return self._offsets[-1]

    def tick(self) -> Step | None:
        """Compare the clocks. Returns a step if there was one since the last time."""
        moment, offset = self._compare()
        passed, change = moment - self._moments[-1], offset - self._offsets[-1]
        is_step = abs(change) > max(LEAST_STEP_NS, passed * LARGEST_SLEW)
        if is_step or passed >= KEEP_EVERY_NS:
            self._moments.append(moment)
            self._offsets.append(offset)
            self._is_step.append(is_step)
            self._thin_out()
        return Step(moment, change) if is_step else None

    def note_start(self, moment_ns: int, offset_ns: int) -> None:
        """Take in a comparison that was made before the first one here."""
        if moment_ns < self._moments[0]:
            change = self._offsets[0] - offset_ns
            passed = self._moments[0] - moment_ns
            self._is_step[0] = abs(change) > max(LEAST_STEP_NS, passed * LARGEST_SLEW)
            self._moments.insert(0, moment_ns)
            self._offsets.insert(0, offset_ns)
            self._is_step.insert(0, False)

    def unix(self, readings: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Unix time in ns for readings of the core's clock in ns."""
        if not len(readings):
            return readings
        last = len(self._moments) - 1
        found = readings + self._offsets[last]
        # Nearly all are later than the last comparison or the one before it, so there is little to do for the others.
        first = max(bisect.bisect_right(self._moments, int(readings.min())) - 1, 0)
        for number in range(first, last):
            begin, end = self._moments[number : number + 2]
            own = np.flatnonzero((readings < end) & ((readings >= begin) | (number == 0)))
            change = 0 if self._is_step[number + 1] else self._offsets[number + 1] - self._offsets[number]
            share = np.clip((readings[own] - begin) / max(end - begin, 1), 0.0, 1.0)
            found[own] = readings[own] + self._offsets[number] + np.round(change * share).astype(np.int64)
        return found

    def unix_of(self, reading: int) -> int:
        """Unix time in ns for one reading."""
        return int(self.unix(np.array([reading], np.int64))[0])

    def _compare(self) -> tuple[int, int]:
        """A moment on the core's clock, and the offset then: the tightest of a few brackets."""
        best: tuple[int, int, int] | None = None
        for _ in range(3):
            before = self._now()
            wall = self._wall()
            after = self._now()
            if best is None or after - before < best[0]:
                best = after - before, before, wall - (before + after) // 2
        assert best is not None
        return best[1], best[2]

    def _thin_out(self) -> None:
        if len(self._moments) <= MOST_ANCHORS:
            return
        kept = [n for n in range(len(self._moments)) if n % 2 == 0 or self._is_step[n] or n > MOST_ANCHORS // 2]
        self._moments = [self._moments[n] for n in kept]
        self._offsets = [self._offsets[n] for n in kept]
        self._is_step = [self._is_step[n] for n in kept]
