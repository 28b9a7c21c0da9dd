"""Profiles in speedscope's own format: calls that open and close, or stacks that were sampled.

The format: "Importing from custom sources", wiki of speedscope; its types in src/lib/file-format-spec.ts. Each profile
of a file is a thread. Sampled stacks become calls: a frame that stays at its depth from one sample to the next is one
call. So the records of a sampled profile are its calls, not its samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO, Final

from quantum_pulse.importers import account, times
from quantum_pulse.importers.formats import Format
from quantum_pulse.importers.jsonstream import EACH, CutOffError, Found, walk
from quantum_pulse.importers.pairing import Begin, Pairs
from quantum_pulse.importers.sink import Open, Sink

_PROFILE: Final = ("profiles", EACH)
_EVENTS: Final = (*_PROFILE, "events", EACH)
_STACKS: Final = (*_PROFILE, "samples", EACH)
_WEIGHTS: Final = (*_PROFILE, "weights", EACH)
_FRAMES: Final = ("shared", "frames", EACH)
_NAME: Final = ("name",)
#: What a profile says of itself.
_ABOUT: Final = tuple((*_PROFILE, key) for key in ("name", "type", "unit", "startValue"))
#: Unit -> decimal digits below the second.
_DIGITS: Final = {"seconds": 0, "milliseconds": 3, "microseconds": 6, "nanoseconds": 9}
#: The only process of a file.
_PLACE: Final = 0


def recognise(head: bytes) -> int:
    """Whether it is JSON that names the schema."""
    return 4 if b"speedscope.app/file-format-schema" in head else 0


def read(opened: Callable[[], BinaryIO], sink: Sink) -> None:
    """Read a file twice: frames and units may come after what needs them."""
    frames: list[Any] = []
    profiles: list[dict[str, Any]] = []
    title = ""
    try:
        with opened() as file:
            for found in walk(file, {_FRAMES, _NAME, *_ABOUT}):
                if found.path == _FRAMES:
                    frames += found.values or ()
                elif found.path == _NAME and isinstance(found.values[0] if found.values else None, str):
                    title = found.values[0]  # type: ignore[index]
                elif found.path == _PROFILE:
                    profiles.append({})
                elif found.path in _ABOUT and found.values:
                    profiles[-1][found.path[-1]] = found.values[0]
    except CutOffError:
        sink.notes.append("the file is cut off")
    sink.process(title or "speedscope", 0)
    kinds = [_kind(sink, frame) for frame in frames]
    with opened() as file:
        reader: _Profile | None = None
        number = 0
        try:
            for found in walk(file, {_EVENTS, _STACKS, _WEIGHTS}):
                if found.path == _PROFILE:
                    if reader is not None:
                        reader.finish()
                    reader = _Profile(sink, kinds, profiles[number], number + 1)
                    number += 1
                elif reader is not None and found.values is not None:
                    reader.take(found)
        except CutOffError as error:
            sink.account.events += error.is_within
            sink.refuse(account.CUT_OFF, int(error.is_within))
        if reader is not None:
            reader.finish()
    sink.flush()


def _kind(sink: Sink, frame: Any) -> int | None:
    """The operation of a frame; None where it has no name."""
    name = frame.get("name") if isinstance(frame, dict) else None
    return sink.operations.number("", name) if isinstance(name, str) else None


class _Profile:
    """Reads one profile."""

    def __init__(self, sink: Sink, kinds: list[int | None], about: dict[str, Any], thread: int) -> None:
        self._sink = sink
        self._kinds = kinds
        self._thread = thread
        unit = about.get("unit")
        self._digits = _DIGITS.get(unit) if isinstance(unit, str) else None
        if self._digits is None:
            sink.notes.append(f"profile {thread} counts {unit}, not time: its calls are refused")
        self._start = self._ns(about.get("startValue", 0)) or 0
        self._pairs = Pairs(sink)
        self._stacks: list[Any] = []
        self._weights: list[Any] = []

    def _ns(self, value: Any) -> int | None:
        return None if self._digits is None else times.nanosecond(value, self._digits)

    def take(self, found: Found) -> None:
        """Take in events, or what is needed of samples."""
        values = found.values or []
        if found.path == _STACKS:
            self._stacks += values
        elif found.path == _WEIGHTS:
            self._weights += values
        else:
            self._sink.account.events += len(values)
            for event in values:
                self._take(event)

    def _take(self, event: Any) -> None:
        try:
            kind, at, what = self._kinds[event["frame"]], self._ns(event["at"]), event["type"]
            if what not in ("O", "C"):
                raise ValueError
        except (KeyError, TypeError, IndexError, ValueError):
            self._sink.refuse(account.MALFORMED)
            return
        if kind is None or at is None:
            self._sink.refuse(account.NO_NAME if kind is None else account.NO_TIME)
            if what == "O":
                self._pairs.skip(None)
        elif what == "O":
            self._pairs.begin(None, Begin(Open(_PLACE, self._thread, 0, kind, at)))
        else:
            self._pairs.end(None, at, kind)

    def finish(self) -> None:
        """The profile has ended."""
        self._pairs.finish()
        if self._stacks:
            self._take_stacks()

    def _take_stacks(self) -> None:
        """Calls of sampled stacks, the outermost frame first in each."""
        stack: list[tuple[int, int]] = []  # frame, since when
        at = self._start
        for place, frames in enumerate(self._stacks):
            length = self._ns(self._weights[place]) if place < len(self._weights) else None
            if length is None or not isinstance(frames, list):
                self._sink.account.events += 1
                self._sink.refuse(account.NO_TIME if isinstance(frames, list) else account.MALFORMED)
                continue
            same = 0
            while same < min(len(stack), len(frames)) and stack[same][0] == frames[same]:
                same += 1
            self._close(stack, same, at)
            stack += [(frame, at) for frame in frames[same:]]
            at += length
        self._close(stack, 0, at)

    def _close(self, stack: list[tuple[int, int]], depth: int, at: int) -> None:
        while len(stack) > depth:
            frame, since = stack.pop()
            self._sink.account.events += 1
            kind = self._kinds[frame] if type(frame) is int and 0 <= frame < len(self._kinds) else None
            if kind is None:
                self._sink.refuse(account.NO_NAME)
            else:
                self._sink.call(place=_PLACE, thread=self._thread, kind=kind, start=since, duration=at - since)


FORMAT: Final = Format(7, "speedscope", "profiles of speedscope, evented or sampled", recognise, read)
