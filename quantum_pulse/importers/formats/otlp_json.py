"""Spans of OpenTelemetry in JSON: requests of OTLP, or one on each line, as the Collector's file exporter writes them.

The format: opentelemetry-proto, "JSON Protobuf Encoding" of the OTLP specification: ids are hexadecimal, 64-bit
integers are texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Final

from quantum_pulse.importers import account
from quantum_pulse.importers.formats import Format
from quantum_pulse.importers.jsonstream import EACH, CutOffError, walk
from quantum_pulse.importers.sink import Sink
from quantum_pulse.importers.spans import ERROR, EXCEPTION, EXCEPTION_TYPE, Span, Spans

_RESOURCE_SPANS: Final = ("resourceSpans", EACH)
_RESOURCE: Final = (*_RESOURCE_SPANS, "resource")
#: The second one is what scopes were called before version 0.15.
_LISTS: Final = tuple((*_RESOURCE_SPANS, name, EACH) for name in ("scopeSpans", "instrumentationLibrarySpans"))
_SCOPES: Final = tuple((*path, name) for path, name in zip(_LISTS, ("scope", "instrumentationLibrary"), strict=True))
_SPANS: Final = tuple((*path, "spans", EACH) for path in _LISTS)
_ERROR_NAME: Final = "STATUS_CODE_ERROR"


def recognise(head: bytes) -> int:
    """Whether it is JSON with spans of resources."""
    return 4 if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and b'"resourceSpans"' in head else 0


def read(opened: Callable[[], BinaryIO], sink: Sink) -> None:
    """Read a trace."""
    spans = Spans(sink)
    with opened() as file:
        try:
            for found in walk(file, {_RESOURCE, *_SCOPES, *_SPANS}):
                if found.path == _RESOURCE_SPANS:
                    spans.resource({})
                elif found.path in _LISTS:
                    spans.scope("")
                elif found.values is None:
                    continue
                elif found.path == _RESOURCE:
                    spans.resource(_attributes(_get(found.values[0], "attributes")))
                elif found.path in _SCOPES:
                    name = _get(found.values[0], "name")
                    spans.scope(name if isinstance(name, str) else "")
                else:
                    sink.account.events += len(found.values)
                    for value in found.values:
                        _add(sink, spans, value)
        except CutOffError as error:
            sink.account.events += error.is_within
            sink.refuse(account.CUT_OFF, int(error.is_within))
    sink.flush()


def _add(sink: Sink, spans: Spans, value: Any) -> None:
    try:
        status = (value.get("status") or {}).get("code", 0)
        span = Span(
            value.get("name"),
            bytes.fromhex(value.get("traceId", "")),
            bytes.fromhex(value.get("spanId", "")),
            bytes.fromhex(value.get("parentSpanId") or ""),
            _time(value.get("startTimeUnixNano")),
            _time(value.get("endTimeUnixNano")),
            ERROR if status in (ERROR, _ERROR_NAME) else 0,
            _attributes(value.get("attributes")),
            _exception(value.get("events")),
        )
    except (TypeError, ValueError, AttributeError):
        sink.refuse(account.MALFORMED)
        return
    spans.add(span)


def _exception(events: Any) -> str:
    """The type of the exception that was recorded last among the events of a span."""
    found = ""
    for event in events if isinstance(events, list) else ():
        if _get(event, "name") == EXCEPTION:
            found = str(_attributes(_get(event, "attributes")).get(EXCEPTION_TYPE, found))
    return found


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _time(value: Any) -> int | None:
    return int(value) if isinstance(value, int | str) else None


def _attributes(pairs: Any) -> Mapping[str, Any]:
    """Attributes as a dictionary; values of other kinds than OTLP's are left out."""
    found = {}
    for pair in pairs if isinstance(pairs, list) else ():
        key, value = _get(pair, "key"), _get(pair, "value")
        if isinstance(key, str) and isinstance(value, dict) and len(value) == 1:
            kind, content = next(iter(value.items()))
            found[key] = int(content) if kind == "intValue" else content
    return found


FORMAT: Final = Format(5, "otlp-json", "spans of OpenTelemetry in JSON", recognise, read)
