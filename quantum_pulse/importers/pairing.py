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
        self._open: dict[Hashable, list[Begin]] = {}

    def begin(self, key: Hashable, begin: Begin) -> None:
        """A call begins."""
        self._open.setdefault(key, []).append(begin)

    def end(self, key: Hashable, at: int, kind: int | None = None) -> None:
        """The last call that began ends; with `kind`, the last one of that operation, if there is one."""
        begun = self._open.get(key)
        if not begun:
            self._sink.refuse(account.NO_BEGIN)
            return
        place = next((n for n in range(len(begun) - 1, -1, -1) if kind in (None, begun[n].call.kind)), len(begun) - 1)
        begin = begun.pop(place)
        if not begun:
            # Keys of tasks are many, and each is in use for a while only.
            del self._open[key]
        call = begin.call
        self._sink.refuse(account.ENDS_A_CALL)
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

    def is_open(self, key: Hashable) -> bool:
        """Whether a call has begun and not ended."""
        return key in self._open

    def finish(self) -> None:
        """The trace ends."""
        for begun in self._open.values():
            for begin in begun:
                self._sink.open(begin.call)
        self._open.clear()
