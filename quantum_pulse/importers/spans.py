"""Spans of OpenTelemetry, whatever their encoding: what the readers of both encodings have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from quantum_pulse import schema
from quantum_pulse.importers import account
from quantum_pulse.importers.sink import Sink

#: Status of a span that failed.
ERROR: Final = 2
_NO_SPAN: Final = 0
#: Attributes of a resource that tell processes apart, and what the process is called.
_IDENTITY: Final = ("service.namespace", "service.name", "service.instance.id", "host.name", "process.pid")
_ERROR_TYPE: Final = "error.type"
#: An event of a span that an exception was recorded in, and its attribute of the exception's type.
EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
_DEFAULT_ERROR: Final = "Error"


class Span(NamedTuple):
    """A span. Ids are bytes, times are Unix ns, None where the trace has none."""

    name: str | None
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    start_ns: int | None
    end_ns: int | None
    status: int
    attributes: Mapping[str, Any]
    #: Type of the exception that was recorded last.
    exception: str = ""


class Spans:
    """Takes spans, resource after resource."""

    def __init__(self, sink: Sink) -> None:
        sink.has_named_parents = True
        self._sink = sink
        self._resource: Mapping[str, Any] = {}
        #: The process of that resource, once it has a span.
        self._place: int | None = None
        self._scope = ""

    def resource(self, attributes: Mapping[str, Any]) -> None:
        """Spans that follow are of a process with these attributes."""
        self._resource, self._place = attributes, None

    def _process(self) -> int:
        """The number of the process that spans are of."""
        if self._place is not None:
            return self._place
        attributes = self._resource
        identity = tuple(str(attributes[key]) for key in _IDENTITY if key in attributes)
        pid = attributes.get("process.pid")
        # Of several hosts processes may have one number: then the later one has a number of its own.
        self._place = self._sink.process(identity, pid if type(pid) is int else "process")
        process = self._sink.processes[self._place]
        process.title = str(attributes.get("service.name", ""))
        process.host = str(attributes["host.name"]) if "host.name" in attributes else None
        return self._place

    def scope(self, name: str) -> None:
        """Spans that follow are of the instrumentation `name`."""
        self._scope = name

    def add(self, span: Span) -> None:
        """Take in a span."""
        refused = _why_refused(span)
        if refused is not None:
            self._sink.refuse(refused)
            return
        assert span.start_ns is not None
        assert span.end_ns is not None
        thread = span.attributes.get("thread.id")
        error = ""
        if span.status == ERROR:
            error = span.exception or span.attributes.get(_ERROR_TYPE) or _DEFAULT_ERROR
        self._sink.call(
            place=self._process(),
            thread=thread if type(thread) is int and 0 <= thread < schema.MOST_NS else 0,
            kind=self._sink.operations.number(self._scope, span.name or ""),
            error=self._sink.error(str(error)),
            start=span.start_ns,
            duration=span.end_ns - span.start_ns,
            span=_number(span.trace_id, span.span_id),
            parent=_number(span.trace_id, span.parent_id),
        )


def _why_refused(span: Span) -> account.Reason | None:
    if not span.name:
        return account.NO_NAME
    if not span.start_ns or not span.end_ns:
        return account.NO_TIME
    if max(span.start_ns, span.end_ns) > schema.MOST_NS:
        return account.OUT_OF_RANGE
    return None


def _number(trace_id: bytes, span_id: bytes) -> int:
    """A span by 64 bits. Ids of spans are random; those of their traces make sure where a tool counts them."""
    if not any(span_id):
        return _NO_SPAN
    whole = int.from_bytes(span_id[:8].rjust(8, b"\0"), "little")
    for first in range(0, len(trace_id[:16]), 8):
        whole ^= int.from_bytes(trace_id[first : first + 8], "little") * 0x9E3779B97F4A7C15
    whole &= (1 << 64) - 1
    return (whole if whole < 1 << 63 else whole - (1 << 64)) or 1
