"""Traces of VizTracer: Chrome's trace events, of which those of functions have the category `fee`."""

from __future__ import annotations

from typing import Final

from quantum_pulse.importers.formats import Format, chrome


def recognise(head: bytes) -> int:
    """Whether it is JSON with events of VizTracer, or what it says of itself."""
    return (
        3
        if chrome.recognise(head)
        and (b'"viztracer_metadata"' in head or b'"cat": "FEE"' in head or b'"cat":"FEE"' in head)
        else 0
    )


FORMAT: Final = Format(3, "viztracer", "traces of VizTracer", recognise, chrome.read)
