"""Spans of OpenTelemetry in Protocol Buffers: a request of OTLP, or several that each follow their length.

The format: opentelemetry-proto, trace/v1/trace.proto and collector/trace/v1/trace_service.proto. The Collector's file
exporter writes the length of each request before it, as four bytes with the highest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

from quantum_pulse.errors import TraceError
from quantum_pulse.importers import account, wire
from quantum_pulse.importers.formats import Format
from quantum_pulse.importers.sink import Sink
from quantum_pulse.importers.spans import EXCEPTION, EXCEPTION_TYPE, Span, Spans
from quantum_pulse.importers.wire import Field

#: Field of a request, and in it of a resource's spans; the later one of scopes was in use before version 0.15.
_RESOURCE_SPANS: Final = 1
_RESOURCE: Final = 1
_SCOPE_SPANS: Final = (2, 1000)
_ATTRIBUTES: Final = 1
_SCOPE, _SPANS = 1, 2
_TRACE_ID, _SPAN_ID, _PARENT_ID, _NAME, _START, _END, _SPAN_ATTRIBUTES, _EVENTS, _STATUS = (
    1, 2, 4, 5, 7, 8, 9, 11, 15,
)  # fmt: skip
_CODE: Final = 3
_STRING, _BOOL, _INT, _DOUBLE = 1, 2, 3, 4
#: A request begins with this byte: field 1, a message.
_FIRST: Final = 0x0A


def recognise(head: bytes) -> int:
    """Whether its first field is that of spans of a resource, and the first one in that is a resource or scope."""
    length = int.from_bytes(head[:4], "big")
    body = head[4:] if head[:1] == b"\0" and 0 < length <= wire.MOST_BYTES else head
    try:
        number, value = next(iter(_first_fields(body)))
        inner = next(iter(_first_fields(wire.content(value))))
    except (StopIteration, TraceError):
        return 0
    return 2 if number == _RESOURCE_SPANS and inner[0] in (_RESOURCE, *_SCOPE_SPANS) else 0


def _first_fields(message: bytes) -> Iterator[tuple[int, Field]]:
    """The first field of a message that may be cut off."""
    if message[:1] and message[0] & 7 == 2:
        length, at, shift = 0, 1, 0
        while at < len(message):
            length |= (message[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if message[at - 1] < 0x80:
                yield message[0] >> 3, message[at : at + length]
                return


def read(opened: Callable[[], BinaryIO], sink: Sink) -> None:
    """Read a trace."""
    spans = Spans(sink)
    with opened() as file:
        is_delimited = file.read(1) != bytes([_FIRST])
    with opened() as file:
        reader = wire.Reader(file)
        try:
            if is_delimited:
                for request in reader.messages():
                    for number, value in wire.fields(request):
                        if number == _RESOURCE_SPANS:
                            _read_resource(sink, spans, wire.content(value))
            else:
                for number, value in reader.fields():
                    if number == _RESOURCE_SPANS:
                        _read_resource(sink, spans, wire.content(value))
        except wire.TruncatedError:
            sink.account.events += 1
            sink.refuse(account.CUT_OFF)
    sink.flush()


def _read_resource(sink: Sink, spans: Spans, message: bytes) -> None:
    """The spans of a resource, which may be described after them."""
    fields = list(wire.fields(message))
    resource = next((wire.content(value) for number, value in fields if number == _RESOURCE), b"")
    spans.resource(_attributes(resource, _ATTRIBUTES))
    for number, value in fields:
        if number in _SCOPE_SPANS:
            inner = list(wire.fields(wire.content(value)))
            scope = next((wire.content(value) for number, value in inner if number == _SCOPE), b"")
            spans.scope(next((wire.text(value) for number, value in wire.fields(scope) if number == 1), ""))
            for number, span in inner:
                if number == _SPANS:
                    sink.account.events += 1
                    _add(sink, spans, wire.content(span))


def _add(sink: Sink, spans: Spans, message: bytes) -> None:
    found: dict[int, Field] = {}
    attributes: dict[str, Any] = {}
    exception = ""
    try:
        for number, value in wire.fields(message):
            if number == _SPAN_ATTRIBUTES:
                attributes |= _attribute(wire.content(value))
            elif number == _EVENTS:
                exception = _exception(wire.content(value)) or exception
            else:
                found[number] = value
        status = dict(wire.fields(wire.content(found.get(_STATUS, b"")))).get(_CODE, 0)
        span = Span(
            wire.text(found.get(_NAME, b"")),
            wire.content(found.get(_TRACE_ID, b"")),
            wire.content(found.get(_SPAN_ID, b"")),
            wire.content(found.get(_PARENT_ID, b"")),
            wire.integer(found.get(_START, 0)),
            wire.integer(found.get(_END, 0)),
            wire.integer(status),
            attributes,
            exception,
        )
    except TraceError:
        sink.refuse(account.MALFORMED)
        return
    spans.add(span)


def _exception(event: bytes) -> str:
    """The type of the exception that an event of a span records, if it does."""
    name = next((wire.text(value) for number, value in wire.fields(event) if number == 2), "")
    return str(_attributes(event, 3).get(EXCEPTION_TYPE, "")) if name == EXCEPTION else ""


def _attributes(message: bytes, field: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in wire.fields(message):
        if number == field:
            found |= _attribute(wire.content(value))
    return found


def _attribute(message: bytes) -> dict[str, Any]:
    """A key and its value, where that is a text or a number."""
    pair = dict(wire.fields(message))
    for number, value in wire.fields(wire.content(pair.get(2, b""))):
        key = wire.text(pair.get(1, b""))
        if number == _STRING:
            return {key: wire.text(value)}
        if number == _BOOL:
            return {key: bool(wire.integer(value))}
        if number == _INT:
            return {key: wire.signed(value)}
        if number == _DOUBLE:
            return {key: wire.double(value)}
    return {}


FORMAT: Final = Format(6, "otlp", "spans of OpenTelemetry in Protocol Buffers", recognise, read)
