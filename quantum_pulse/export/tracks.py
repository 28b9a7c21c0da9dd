"""Assign the samples of a trace to tracks, so that overlapping samples of a track are nested.

Viewers draw a track as a stack: of two events that overlap, the shorter must lie within the longer, or it is dropped or
drawn wrong. Samples of one thread need not be like that. Tasks take turns, a suspended generator stays open while
others run, and a timer that was paused has its active time for a duration. So each task has a track, and a
sample that does not fit on a track is put on a further lane of it.
"""

from __future__ import annotations

import heapq
from typing import Final, NamedTuple

#: So many tasks of a recording have a track of their own. The others share one, lane beside lane: viewers do not bear
#: a hundred thousand tracks.
MOST_TASKS: Final = 100


class Track(NamedTuple):
    """A thread, or a task where that is not 0."""

    thread: int
    task: int


#: Of all tasks beyond MOST_TASKS.
OTHER_TASKS: Final = Track(0, 0)


class _Lane:
    """Samples that enclose each other or follow each other. Times in ns."""

    __slots__ = ("_lane_of", "ends", "is_queued", "last_ns", "reached_ns", "spans")

    def __init__(self, lane_of: dict[int, int]) -> None:
        self._lane_of = lane_of
        #: Those that are open at `last_ns`, the outermost first.
        self.ends: list[int] = []
        self.spans: list[int] = []
        self.last_ns = -(1 << 63)
        #: When all of them have ended.
        self.reached_ns = -(1 << 63)
        #: Whether it has its entry in one of the queues of `_Lanes`.
        self.is_queued = False

    def advance(self, start_ns: int) -> None:
        """Close what has ended by `start_ns`."""
        while self.ends and self.ends[-1] <= start_ns:
            self.ends.pop()
            self._lane_of.pop(self.spans.pop(), None)

    def takes(self, start_ns: int, end_ns: int) -> bool:
        """Whether a sample would lie within the innermost that is open, if there is one."""
        if start_ns < self.last_ns:
            return False
        self.advance(start_ns)
        return not self.ends or end_ns <= self.ends[-1]

    def put(self, span: int, start_ns: int, end_ns: int) -> None:
        self.advance(start_ns)
        self.ends.append(end_ns)
        self.spans.append(span)
        self.last_ns = start_ns
        self.reached_ns = max(self.reached_ns, end_ns)


class _Lanes:
    """The lanes of a track."""

    def __init__(self, *, is_shared: bool) -> None:
        self._lanes: list[_Lane] = []
        #: Of the samples that may still be open.
        self._lane_of: dict[int, int] = {}
        self._is_shared = is_shared
        #: Each lane has an entry in one of these: with a time at which something on it ends, or when nothing is open.
        #: They are brought up to date as they are met.
        self._busy: list[tuple[int, int]] = []
        self._free: list[int] = []
        self._now_ns = -(1 << 63)
        #: Operation -> the lane on which it was outermost last: it would be hard to follow if it changed.
        self._usual: dict[int, int] = {}

    def place(self, span: int, parent: int, kind: int, start_ns: int, end_ns: int) -> int:
        """The number of the lane for a sample."""
        number = self._inside_parent(parent, start_ns, end_ns)
        if number is None:
            number = self._idle(kind, start_ns)
            if number is None and parent and not self._is_shared:
                # What encloses it is not in the selection: whatever runs around it on its track encloses that.
                taking = (place for place, lane in enumerate(self._lanes) if lane.takes(start_ns, end_ns))
                number = next(taking, None)
            if number is None:
                number = len(self._lanes)
                self._lanes.append(_Lane(self._lane_of))
            self._usual[kind] = number
        self._lanes[number].put(span, start_ns, end_ns)
        self._lane_of[span] = number
        if not self._lanes[number].is_queued:
            self._lanes[number].is_queued = True
            heapq.heappush(self._busy, (end_ns, number))
        return number

    def _inside_parent(self, parent: int, start_ns: int, end_ns: int) -> int | None:
        """The lane on which the sample would lie directly in its parent."""
        number = self._lane_of.get(parent)
        if number is None:
            return None
        lane = self._lanes[number]
        return number if lane.takes(start_ns, end_ns) and lane.spans and lane.spans[-1] == parent else None

    def _idle(self, kind: int, start_ns: int) -> int | None:
        """A lane on which nothing is open, if there is one: the usual one of the operation, or else the first."""
        usual = self._usual.get(kind)
        if usual is not None and self._lanes[usual].reached_ns <= start_ns:
            return usual
        if start_ns < self._now_ns:
            # A timer, which is counted when it ends.
            return next((place for place, lane in enumerate(self._lanes) if lane.reached_ns <= start_ns), None)
        self._now_ns = start_ns
        while self._busy and self._busy[0][0] <= start_ns:
            number = self._busy[0][1]
            reached_ns = self._lanes[number].reached_ns
            if reached_ns > start_ns:
                heapq.heapreplace(self._busy, (reached_ns, number))
            else:
                heapq.heappop(self._busy)
                heapq.heappush(self._free, number)
        while self._free:
            number = heapq.heappop(self._free)
            lane = self._lanes[number]
            if lane.reached_ns <= start_ns:
                lane.is_queued = False
                return number
            heapq.heappush(self._busy, (lane.reached_ns, number))
        return None


class Tracks:
    """The tracks of one recording. Samples must come in the order of their spans."""

    def __init__(self) -> None:
        self._lanes: dict[Track, _Lanes] = {}
        self._tasks = 0

    def place(
        self, thread: int, task: int, span: int, parent: int, kind: int, start_ns: int, end_ns: int
    ) -> tuple[Track, int]:
        """Where to draw a sample of the operation numbered `kind` (0 means no task): a track and the lane of it."""
        track = Track(0, task) if task else Track(thread, 0)
        lanes = self._lanes.get(track)
        if lanes is None:
            if task and self._tasks == MOST_TASKS:
                track = OTHER_TASKS
            elif task:
                self._tasks += 1
            if track not in self._lanes:
                self._lanes[track] = _Lanes(is_shared=track == OTHER_TASKS)
            lanes = self._lanes[track]
        return track, lanes.place(span, parent, kind, start_ns, end_ns)
