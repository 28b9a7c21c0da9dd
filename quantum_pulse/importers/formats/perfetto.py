"""Traces of Perfetto in Protocol Buffers, as far as they hold track events.

The format: protos/perfetto/trace in Perfetto's repository, and "Track events" and "Clock synchronization" in its
documentation. Packets of a writer form a sequence: names are said once and then numbered, and clocks may count from the
packet before.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, NamedTuple

from quantum_pulse.errors import TraceError
from quantum_pulse.importers import account, wire
from quantum_pulse.importers.formats import Format
from quantum_pulse.importers.pairing import Begin, Pairs
from quantum_pulse.importers.sink import Open, Sink
from quantum_pulse.importers.wire import Field

#: Fields of a trace and of its packets.
_PACKET: Final = 1
_CLOCKS, _TIMESTAMP, _SEQUENCE, _EVENT, _INTERNED, _FLAGS, _IS_CLEARED = 6, 8, 10, 11, 12, 13, 41
_IS_DROPPED, _THREAD, _COMPRESSED, _CLOCK, _DEFAULTS, _TRACK = 42, 44, 50, 58, 59, 60
#: Of events.
_DELTA_US, _CATEGORY_IIDS, _LEGACY, _TYPE, _NAME_IID, _UUID, _ABSOLUTE_US, _CATEGORIES, _NAME = (
    1, 3, 6, 9, 10, 11, 16, 22, 23,
)  # fmt: skip
_CATEGORY_NAMES, _EVENT_NAMES = 1, 2
_BEGIN, _END, _INSTANT, _COUNTER = 1, 2, 3, 4
_STATE_IS_CLEARED: Final = 1
#: Clocks that have a number: wall time, and what times are of unless a trace says otherwise.
_REALTIME, _BOOTTIME = 1, 6
#: Clocks from here on are of a sequence.
_OWN_CLOCKS: Final = range(64, 128)


class _Track(NamedTuple):
    """A row of the timeline: of a thread, of a process, or one of its own."""

    parent: int = 0
    process: int | None = None
    thread: int | None = None
    name: str = ""


class _OwnClock(NamedTuple):
    """A clock of a sequence, as the last packet left it."""

    #: Its last reading as a time of the trace's clock.
    at_ns: int
    #: The reading itself, and what one of its units is.
    reading: int
    unit_ns: int
    is_incremental: bool


class _Sequence:
    """What packets of a writer say for those that follow."""

    def __init__(self) -> None:
        self.names: dict[int, dict[int, str]] = {_CATEGORY_NAMES: {}, _EVENT_NAMES: {}}
        self.clock: int | None = None
        self.track: int | None = None
        self.clocks: dict[int, _OwnClock] = {}
        self.is_dropped = False

    def clear(self) -> None:
        """The writer begins anew."""
        for names in self.names.values():
            names.clear()
        self.clock = self.track = None


def recognise(head: bytes) -> int:
    """Whether it begins with a packet that has one of the fields of packets."""
    if head[:1] != b"\x0a":
        return 0
    length, at, shift = 0, 1, 0
    while at < min(len(head), 6):
        length |= (head[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if head[at - 1] < 0x80:
            break
    known = {_CLOCKS, _TIMESTAMP, _SEQUENCE, _EVENT, _INTERNED, _FLAGS, _IS_CLEARED, _COMPRESSED, _CLOCK, _DEFAULTS,
             _TRACK, 2, 33, 35, 36, 45, 79, 89}  # fmt: skip
    try:
        found = {number for number, _ in wire.fields(head[at : at + length])}
    except TraceError:
        return 0
    # Field 2 alone may be a scope of OTLP, which has no other of these.
    return 3 if found and found <= known | {3, 87, 98} and found & {_SEQUENCE, _TIMESTAMP, _TRACK, _CLOCKS} else 0


def read(opened: Callable[[], BinaryIO], sink: Sink) -> None:
    """Read a trace."""
    reader = _Reader(sink)
    with opened() as file:
        try:
            for number, value in wire.Reader(file).fields():
                if number == _PACKET:
                    reader.take(wire.content(value))
        except wire.TruncatedError:
            sink.account.events += 1
            sink.refuse(account.CUT_OFF)
    reader.finish()


class _Reader:
    """Takes packets, in the order of the file."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._pairs = Pairs(sink)
        self._sequences: dict[int, _Sequence] = {}
        self._tracks: dict[int, _Track] = {}
        self._places: dict[int, tuple[int, int, int]] = {}
        self._main_clock = _BOOTTIME
        #: What to add to a reading of a clock for that of the main one.
        self._offsets: dict[int, int] = {}
        self._has_wall_time = False
        self._tasks = 0

    def take(self, message: bytes) -> None:
        """Take in a packet."""
        fields = list(wire.fields(message))
        packet: dict[int, Field] = dict(fields)
        if _COMPRESSED in packet:
            for inner in _unpacked(wire.content(packet[_COMPRESSED])):
                self.take(inner)
            return
        self._sink.account.events += 1
        sequence = self._sequence(packet)
        if _CLOCKS in packet:
            self._set_clocks(wire.content(packet[_CLOCKS]), sequence)
        at = self._time(packet, sequence)
        if _TRACK in packet:
            self._describe(wire.content(packet[_TRACK]))
        if _EVENT not in packet:
            self._sink.refuse(account.NAMES_ONLY if _TRACK in packet else account.OTHER_RECORD)
            return
        try:
            self._take_event(wire.content(packet[_EVENT]), at, sequence)
        except TraceError:
            self._sink.refuse(account.MALFORMED)

    def finish(self) -> None:
        """The trace has ended."""
        self._pairs.finish()
        self._sink.flush()
        dropped = sum(sequence.is_dropped for sequence in self._sequences.values())
        if dropped:
            self._sink.notes.append(f"the trace says that packets of {dropped} of its writers were dropped")

    def _sequence(self, packet: dict[int, Field]) -> _Sequence:
        """The sequence that a packet is of, with what the packet says for it."""
        sequence = self._sequences.setdefault(wire.integer(packet.get(_SEQUENCE, 0)), _Sequence())
        if wire.integer(packet.get(_FLAGS, 0)) & _STATE_IS_CLEARED or packet.get(_IS_CLEARED):
            sequence.clear()
        sequence.is_dropped |= bool(packet.get(_IS_DROPPED))
        if _DEFAULTS in packet:
            defaults = dict(wire.fields(wire.content(packet[_DEFAULTS])))
            if _CLOCK in defaults:
                sequence.clock = wire.integer(defaults[_CLOCK])
            event = dict(wire.fields(wire.content(defaults.get(_EVENT, b""))))
            if _UUID in event:
                sequence.track = wire.integer(event[_UUID])
        if _THREAD in packet:
            # How writers named their thread before there were tracks.
            thread = dict(wire.fields(wire.content(packet[_THREAD])))
            pid, tid = (wire.signed(thread.get(number, 0)) for number in (1, 2))
            sequence.track = -1 - len(self._tracks)
            self._tracks[sequence.track] = _Track(process=pid, thread=tid)
        for kind, value in wire.fields(wire.content(packet.get(_INTERNED, b""))):
            if kind in sequence.names:
                entry = dict(wire.fields(wire.content(value)))
                sequence.names[kind][wire.integer(entry.get(1, 0))] = wire.text(entry.get(2, b""))
        return sequence

    # ---- clocks -----------------------------------------------------------------------------------------------------

    def _set_clocks(self, message: bytes, sequence: _Sequence) -> None:
        """Learn how clocks relate: all of them were read at one moment."""
        readings: dict[int, dict[int, Field]] = {}
        for number, value in wire.fields(message):
            if number == 1:
                clock = dict(wire.fields(wire.content(value)))
                readings[wire.integer(clock.get(1, 0))] = clock
            elif number == 2:
                self._main_clock = wire.integer(value)
        known = {number: wire.integer(clock.get(2, 0)) for number, clock in readings.items()}
        # Where the main clock was not read, one that is known to it.
        main_ns = known.get(self._main_clock)
        if main_ns is None:
            related = next((number for number in known if number in self._offsets), None)
            main_ns = next(iter(known.values()), 0) if related is None else known[related] + self._offsets[related]
        for number, reading in known.items():
            if number in _OWN_CLOCKS:
                unit = wire.integer(readings[number].get(4, 1)) or 1
                is_incremental = bool(readings[number].get(3))
                sequence.clocks[number] = _OwnClock(main_ns, reading * unit, unit, is_incremental)
            else:
                self._offsets[number] = main_ns - reading
        if _REALTIME in known and not self._has_wall_time:
            self._sink.base_ns = -self._offsets[_REALTIME]
            self._has_wall_time = True

    def _time(self, packet: dict[int, Field], sequence: _Sequence) -> int | None:
        """The time of a packet on the main clock; None where it has none."""
        if _TIMESTAMP not in packet:
            return None
        reading = wire.integer(packet[_TIMESTAMP])
        given = packet.get(_CLOCK, sequence.clock)
        clock = self._main_clock if given is None else wire.integer(given)
        own = sequence.clocks.get(clock)
        if own is not None:
            now = own.reading * own.is_incremental + reading * own.unit_ns
            at = own.at_ns + now - own.reading
            if own.is_incremental:
                sequence.clocks[clock] = own._replace(at_ns=at, reading=now)
            return at
        return reading + self._offsets.get(clock, 0)

    # ---- events -----------------------------------------------------------------------------------------------------

    def _describe(self, message: bytes) -> None:
        """Learn what a track is."""
        fields = dict(wire.fields(message))
        uuid = wire.integer(fields.get(1, 0))
        process = dict(wire.fields(wire.content(fields.get(3, b""))))
        thread = dict(wire.fields(wire.content(fields.get(4, b""))))
        owner = thread.get(1, process.get(1))
        self._tracks[uuid] = _Track(
            wire.integer(fields.get(5, 0)),
            None if owner is None else wire.signed(owner),
            None if 2 not in thread else wire.signed(thread[2]),
            wire.text(process.get(6, fields.get(2, b""))),
        )
        self._places.pop(uuid, None)
        if owner is not None and 2 not in thread:
            self._sink.processes[self._sink.process(wire.signed(owner))].title = self._tracks[uuid].name

    def _place(self, uuid: int) -> tuple[int, int, int]:
        """Process, thread and task of a track: one that is of no thread is a task."""
        found = self._places.get(uuid)
        if found is None:
            track = self._tracks.get(uuid, _Track())
            owner, seen = track, {uuid}
            while owner.process is None and owner.parent not in seen and owner.parent in self._tracks:
                seen.add(owner.parent)
                owner = self._tracks[owner.parent]
            place = self._sink.process("trace" if owner.process is None else owner.process)
            if track.thread is not None:
                found = place, track.thread, 0
            else:
                self._tasks += 1
                found = place, owner.thread or 0, self._tasks
            self._places[uuid] = found
        return found

    def _take_event(self, message: bytes, at: int | None, sequence: _Sequence) -> None:
        event: dict[int, Field] = dict(wire.fields(message))
        kind = wire.integer(event.get(_TYPE, 0))
        if kind not in (_BEGIN, _END):
            reason = {_INSTANT: account.INSTANT, _COUNTER: account.COUNTER}.get(kind, account.OTHER_RECORD)
            self._sink.refuse(reason)
            return
        if _ABSOLUTE_US in event:
            at = 1000 * wire.signed(event[_ABSOLUTE_US])
        uuid = wire.integer(event[_UUID]) if _UUID in event else sequence.track or 0
        if at is None:
            self._sink.refuse(account.NO_TIME)
        elif kind == _END:
            self._pairs.end(uuid, at)
        else:
            name = _named(event, _NAME, _NAME_IID, sequence.names[_EVENT_NAMES])
            if not name:
                self._sink.refuse(account.NO_NAME)
                # Its end comes, and must not end another one.
                self._pairs.skip(uuid)
                return
            category = _named(event, _CATEGORIES, _CATEGORY_IIDS, sequence.names[_CATEGORY_NAMES])
            place, thread, task = self._place(uuid)
            operation = self._sink.operations.number(category, name)
            self._pairs.begin(uuid, Begin(Open(place, thread, task, operation, at)))


def _named(event: dict[int, Field], text: int, iid: int, names: dict[int, str]) -> str:
    """A name that is said, or that was said before and has a number."""
    if text in event:
        return wire.text(event[text])
    return names.get(wire.integer(event.get(iid, 0)), "")


def _unpacked(content: bytes) -> Iterator[bytes]:
    """Packets that are compressed together."""
    packer = zlib.decompressobj()
    try:
        text = packer.decompress(content, wire.MOST_BYTES)
    except zlib.error as error:
        raise TraceError(f"packets cannot be unpacked: {error}") from None
    if packer.unconsumed_tail:
        raise TraceError(f"packets unpack to more than {wire.MOST_BYTES:,} bytes")
    return (wire.content(value) for number, value in wire.fields(text) if number == _PACKET)


FORMAT: Final = Format(4, "perfetto", "traces of Perfetto, as far as they hold track events", recognise, read)
