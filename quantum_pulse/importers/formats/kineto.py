"""Traces of PyTorch's profiler: Chrome's trace events, written by Kineto.

Streams of a GPU are threads of a process that is the device, and their calls overlap. Times count from
`baseTimeNanoseconds`, where the trace has it.
"""

from __future__ import annotations

from typing import Final

from quantum_pulse.importers.formats import Format, chrome


def recognise(head: bytes) -> int:
    """Whether it is JSON that says what Kineto says before the events."""
    is_object = head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
    return 3 if is_object and b'"schemaVersion"' in head and b'"deviceProperties"' in head else 0


FORMAT: Final = Format(2, "kineto", "traces of PyTorch's profiler", recognise, chrome.read)
