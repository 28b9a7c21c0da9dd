"""Put the begin and the end of a call together, where a trace has an event for each."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from quantum_pulse.importers import account
from quantum_pulse.importers.sink import Open, Sink


class Begin(NamedTuple):
    """The begin of a call."""

    call: Open
    error: int = 0
    weight: int = 1
    span: int = 0
    parent: int = 0


class Pairs:
    """Calls that have begun, by what their ends name: the last one that began ends first."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        #: None for a call that was refused.
        self._open: dict[Hashable, list[Begin | None]] = {}

    def begin(self, key: Hashable, begin: Begin) -> None:
        """A call begins."""
        self._open.setdefault(key, []).append(begin)

    def end(self, key: Hashable, at: int, kind: int | None = None) -> None:
        """The last call that began ends; with `kind`, the last one of that operation, if there is one."""
        begun = self._open.get(key)
        if not begun:
            self._sink.refuse(account.NO_BEGIN)
            return
        begin = begun.pop(_last_of(begun, kind))
        if not begun:
            # Keys of tasks are many, and each is in use for a while only.
            del self._open[key]
        self._sink.refuse(account.ENDS_A_CALL)
        if begin is None:
            return
        call = begin.call
        self._sink.call(
            place=call.place,
            thread=call.thread,
            task=call.task,
            kind=call.kind,
            error=begin.error,
            weight=begin.weight,
            start=call.start,
            duration=at - call.start,
            span=begin.span,
            parent=begin.parent,
        )

    def skip(self, key: Hashable) -> None:
        """A call begins that cannot be a sample: its end is to end no other one."""
        self._open.setdefault(key, []).append(None)

    def is_open(self, key: Hashable) -> bool:
        """Whether a call has begun and not ended."""
        return key in self._open

    def finish(self) -> None:
        """The trace ends."""
        for begun in self._open.values():
            for begin in begun:
                if begin is not None:
                    self._sink.open(begin.call)
        self._open.clear()


def _last_of(begun: list[Begin | None], kind: int | None) -> int:
    """Where the call is that ends: the last one of that operation, or else the last one."""
    for place in range(len(begun) - 1, -1, -1):
        begin = begun[place]
        if kind is None or (begin is not None and begin.call.kind == kind):
            return place
    return len(begun) - 1
