"""Chrome's trace events in JSON, which many tools write.

"Trace Event Format", D. Sinclair and others, Chromium, 2016. Times are decimal microseconds. The wall time of their
zero is in no standard place: it is looked for under the names that quantum_pulse, PyTorch and VizTracer give it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from itertools import compress
from typing import Any, BinaryIO, Final

from quantum_pulse import metrics, schema
from quantum_pulse.importers import account, times
from quantum_pulse.importers.formats import Format
from quantum_pulse.importers.jsonstream import EACH, CutOffError, Found, Path, walk
from quantum_pulse.importers.pairing import Begin, Pairs
from quantum_pulse.importers.sink import Open, Sink

EVENTS: Final = "traceEvents"
#: Where the events are, and the wall time of the times' zero in ns.
_LISTS: Final = ((EACH,), (EVENTS, EACH))
_BASES: Final[tuple[Path, ...]] = (
    ("baseTimeNanoseconds",),
    ("viztracer_metadata", "baseTimeNanoseconds"),
    ("otherData", "ts_0_unix_ns"),
)
_INSTANTS: Final = frozenset("iInR")
_FLOWS: Final = frozenset("stf")
#: Of async events, nested ones and those of the older kind.
_BEGINS: Final = frozenset("bS")
_ENDS: Final = frozenset("eF")
_METRICS: Final = frozenset(metrics.NAMES)
_INTERVAL: Final = "interval_ns"
_INTEGERS: Final = frozenset(metric.name for metric in metrics.METRICS if metric.type == "int64")
#: What calls are as tuples on their way to columns; the last ones only of those that quantum_pulse has exported.
_COLUMNS: Final = ("place", "thread", "kind", "ts", "dur", "span", "parent", "task", "weight", "error")
#: Different descriptions of calls that are looked up at once.
_MOST_KNOWN: Final = 1 << 16
_NO_METRICS: Final = {metric.name: None if metric.nullable else 0 for metric in metrics.METRICS}
#: The category of rows of the table `events` in what quantum_pulse exports.
OWN_EVENTS: Final = "events"


def recognise(head: bytes) -> int:
    """Whether it is JSON that has events, or a list of objects that have a phase."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"{"):
        return 2 if b'"traceEvents"' in start else 0
    return 1 if start.startswith(b"[") and (b'"ph"' in start or start[1:].lstrip()[:1] in (b"]", b"")) else 0


def read(opened: Callable[[], BinaryIO], sink: Sink) -> None:
    """Read a trace."""
    reader = _Reader(sink)
    with opened() as file:
        try:
            for found in walk(file, {*_LISTS, *_BASES}):
                reader.take(found)
        except CutOffError as error:
            # The format allows a list without its end.
            sink.account.events += error.is_within
            sink.refuse(account.CUT_OFF, int(error.is_within))
    reader.finish()


class _Reader:
    """Takes events, many at a time, and puts those that are calls into columns."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._pairs = Pairs(sink)
        #: Place, thread and kind of calls by what their events say of them.
        self._known: dict[tuple[Any, Any, Any, Any], tuple[int, int, int]] = {}
        self._tracks: dict[tuple[Any, Any], tuple[int, int]] = {}
        self._tasks: dict[Hashable, int] = {}
        self._last_task = 0
        #: Threads by their number in the trace, where quantum_pulse has exported it.
        self._own_threads: dict[tuple[Any, Any], int] = {}
        #: The row of metrics that values go to, by process.
        self._metrics_rows: dict[int, dict[str, Any]] = {}

    def take(self, found: Found) -> None:
        """Take in events, or the time of the clock's zero."""
        if found.values is None:
            return
        if found.path in _BASES:
            base = times.nanosecond(found.values[0], 9)
            if base is not None:
                self._sink.base_ns = base
            return
        self._sink.account.events += len(found.values)
        calls: list[tuple[Any, ...]] = []
        known = self._known
        for event in found.values:
            try:
                if event["ph"] == "X":
                    key = event.get("cat", ""), event["name"], event.get("pid", 0), event.get("tid", 0)
                    call = known.get(key) or self._learn(key)
                    if self._sink.has_own_spans:
                        calls += self._own_call(call, event)
                    else:
                        calls.append((*call, event["ts"], event["dur"]))
                else:
                    self._take_other(event["ph"], event)
            except (KeyError, TypeError, AttributeError, ValueError):
                self._sink.refuse(_why_refused(event))
        if calls:
            self._add(calls)

    def _learn(self, key: tuple[Any, Any, Any, Any]) -> tuple[int, int, int]:
        """Place, thread and kind of calls that an event describes by its category, name, process and thread."""
        kind, (place, thread) = self._kind(*key[:2]), self._track(key[2:])
        if len(self._known) < _MOST_KNOWN:
            self._known[key] = place, thread, kind
        return place, thread, kind

    def _own_call(self, call: tuple[int, int, int], event: dict[str, Any]) -> list[tuple[Any, ...]]:
        """A call that quantum_pulse has exported; none where it is a row of `events`."""
        place, thread, kind = call
        args = event["args"]
        if "span" not in args and event["cat"] == OWN_EVENTS:
            self._add_event(place, event)
            return []
        task, weight = args.get("task", 0), args.get("weight", 1)
        if task:
            thread = args["thread"]
        span, parent = args["span"], args.get("parent", 0)
        _check_integers(span, parent, task, thread, weight)
        error = self._sink.error(args["error"]) if "error" in args else 0
        return [(place, thread, kind, event["ts"], event["dur"], span, parent, task, weight, error)]

    def _add(self, calls: list[tuple[Any, ...]]) -> None:
        """Hand calls on as columns."""
        columns: dict[str, Sequence[Any]] = dict(zip(_COLUMNS, zip(*calls, strict=True), strict=False))
        start, is_time = times.nanoseconds(columns.pop("ts"))
        duration, is_length = times.nanoseconds(columns.pop("dur"))
        is_right = is_time & is_length
        if not is_right.all():
            self._sink.refuse(account.NO_TIME, int((~is_right).sum()))
            start, duration = start[is_right], duration[is_right]
            columns = {name: list(compress(values, is_right.tolist())) for name, values in columns.items()}
        self._sink.add({**columns, "start": start, "duration": duration})

    def _kind(self, category: Any, name: Any) -> int:
        if not isinstance(category, str) or not isinstance(name, str):
            raise TypeError
        return self._sink.operations.number(category, name, is_member=self._sink.has_own_spans)

    def _track(self, key: tuple[Any, Any]) -> tuple[int, int]:
        """Place and thread by a process and a thread as the trace calls them."""
        found = self._tracks.get(key)
        if found is None:
            place = self._sink.process(key[0])
            thread = self._own_threads.get(key)
            found = self._tracks[key] = place, self._sink.processes[place].thread(key[1]) if thread is None else thread
        return found

    def _take_other(self, phase: str, event: dict[str, Any]) -> None:
        sink = self._sink
        if phase == "M":
            self._name(event)
            sink.refuse(account.NAMES_ONLY)
        elif phase == "C":
            self._count(event)
        elif phase in _INSTANTS:
            sink.refuse(account.INSTANT)
        elif phase in _FLOWS:
            sink.refuse(account.FLOW)
        elif phase in ("B", "E"):
            key = event.get("pid", 0), event.get("tid", 0)
            place, thread = self._track(key)
            if phase == "B":
                self._begin(key, place, thread, 0, event)
            else:
                self._pairs.end(key, _ns(event["ts"]))
        elif phase in _BEGINS or phase in _ENDS:
            self._take_async(phase in _BEGINS, event)
        else:
            sink.refuse(account.OTHER_RECORD)

    def _take_async(self, is_begin: bool, event: dict[str, Any]) -> None:
        """Calls of a task that is named by an id: what runs at once has different ones."""
        local = (event.get("id2") or {}).get("local")
        given = event.get("id", (event.get("id2") or {}).get("global") if local is None else local)
        # Of ids in `id2` the local ones are of their process; so are all without one.
        process = event.get("pid", 0) if local is not None or "id" not in event else None
        key = "async", event.get("cat", ""), event.get("scope"), given, process
        if not is_begin:
            self._pairs.end(key, _ns(event["ts"]), self._kind(event.get("cat", ""), event["name"]))
            if not self._pairs.is_open(key):
                self._tasks.pop(key, None)
            return
        track = event.get("pid", 0), event.get("tid", 0)
        place, thread = self._track(track)
        task = self._tasks.get(key)
        if task is None:
            self._last_task += 1
            task = self._tasks[key] = self._last_task
        self._begin(key, place, thread, task, event)

    def _begin(self, key: Hashable, place: int, thread: int, task: int, event: dict[str, Any]) -> None:
        """A call begins."""
        try:
            call = Open(place, thread, task, self._kind(event.get("cat", ""), event["name"]), _ns(event["ts"]))
        except (KeyError, TypeError, ValueError):
            # Its end comes, and must not end another one.
            self._pairs.skip(key)
            raise
        self._pairs.begin(key, Begin(call))

    def _name(self, event: dict[str, Any]) -> None:
        """The name of a process or thread; of what quantum_pulse has exported also its numbers and the time."""
        what, args = event.get("name"), event.get("args")
        if not isinstance(args, dict):
            return
        if what == "process_name":
            place = self._sink.process(event.get("pid", 0), args.get("process"), may_share=True)
            if isinstance(args.get("name"), str):
                self._sink.processes[place].title = args["name"]
            base = times.nanosecond(args.get("ts_0_unix_ns"), 9)
            if base is not None:
                self._sink.base_ns = base
                self._sink.has_own_spans = True
        elif what == "thread_name" and type(args.get("thread")) is int:
            self._own_threads[event.get("pid", 0), event.get("tid", 0)] = args["thread"]

    # ---- what else quantum_pulse exports ----------------------------------------------------------------------------

    def _count(self, event: dict[str, Any]) -> None:
        """A value of a metric: a row begins with its interval."""
        name = event["name"]
        if not self._sink.has_own_spans or (name not in _METRICS and name != _INTERVAL):
            self._sink.refuse(account.COUNTER)
            return
        place, value = self._sink.process(event["pid"]), event["args"]["value"]
        if name == _INTERVAL:
            interval_ns = int(value)
            row = {**_NO_METRICS, "time": _ns(event["ts"]) + interval_ns, _INTERVAL: interval_ns}
            self._metrics_rows[place] = row
            self._sink.add_row("metrics", place, row)
        else:
            number = int(value) if name in _INTEGERS else float(value)
            if math.isfinite(number):
                self._metrics_rows[place][name] = number
        self._sink.refuse(account.ROW_OF_METRICS)

    def _add_event(self, place: int, event: dict[str, Any]) -> None:
        """A row of the table `events`."""
        args = event["args"]
        if event["name"] not in schema.EVENT_KINDS:
            raise ValueError
        value = args.get("value")
        row = {
            "event": event["name"],
            "start": _ns(event["ts"]),
            "duration_ns": _ns(event["dur"]),
            "thread": args["thread"],
            "generation": args.get("generation"),
            "collected": args.get("collected"),
            "value": None if value is None else float(value),
        }
        self._sink.add_row("events", place, row)
        self._sink.refuse(account.ROW_OF_EVENTS)

    def finish(self) -> None:
        """The trace has ended."""
        self._pairs.finish()
        self._sink.flush()


def _ns(value: Any) -> int:
    found = times.nanosecond(value)
    if found is None:
        raise ValueError
    return found


def _check_integers(*values: Any) -> None:
    if any(type(value) is not int or not -(1 << 62) <= value <= 1 << 62 for value in values):
        raise ValueError


def _why_refused(event: Any) -> account.Reason:
    """What is wrong with an event that cannot be taken in."""
    if not isinstance(event, dict) or not isinstance(event.get("ph"), str):
        return account.MALFORMED
    if "name" not in event and event["ph"] != "E":
        return account.NO_NAME
    wanted = ("ts", "dur") if event["ph"] == "X" else ("ts",)
    if any(times.nanosecond(event.get(key)) is None for key in wanted):
        return account.NO_TIME
    return account.MALFORMED


FORMAT: Final = Format(1, "chrome", "Chrome's trace events in JSON, as many tools write them", recognise, read)
