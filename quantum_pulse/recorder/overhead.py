"""What recording costs, measured where it records: the clock, and a sample of nothing.

A probe of our own is entered and left in a loop while the core writes into a small ring of its own, before the
recording begins; so nothing of it is in the host's data, and no process has to be started. It is done once a process,
by the thread that starts the first recording: 1 ms with the native core, 3 with the Python one, on a quiet machine.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import struct
import threading
import time

from quantum_pulse import schema
from quantum_pulse.core import core
from quantum_pulse.rings.places import Place

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, NamedTuple

    from quantum_pulse.core._native import Probe
else:
    from quantum_pulse.tuples import NamedTuple

    Probe = core.Probe

#: Samples in a round, and rounds, of which the quickest counts: all else is somebody else's time.
LOOPS: Final = 50
ROUNDS: Final = 4
CLOCK_READS: Final = 300
_BUDGET: Final = schema.RING_HEADER_BYTES + 8 * schema.SEGMENT_BYTES


class Overhead(NamedTuple):
    """Times in ns. All readings of the clock are multiples of `clock_resolution_ns`.

    `sample_ns` is what ``with member: pass`` takes in a recording; `inside_ns` is the part of that which is in the
    sample's own duration. What encloses the sample has all of it in its duration.
    """

    clock_resolution_ns: float
    clock_read_ns: float
    sample_ns: float
    inside_ns: float


_known: Overhead | None = None
_is_measured = False


def measure_once(place: Place) -> None:
    """Measure what a recording stores, unless this process has done so. Only while nothing is recorded."""
    global _known, _is_measured
    if not _is_measured:
        _is_measured = True
        with contextlib.suppress(OSError, ValueError), place.opened():
            _known = measure(place.rings)


def known() -> dict[str, float] | None:
    """What was measured; None where that was not possible."""
    return _known and _known._asdict()


def measure(folder: str) -> Overhead:
    """Measure now, with a ring in `folder`. Only while nothing is recorded.

    Raises OSError where there is no room for half a MB, and ValueError where the core recorded nothing.
    """
    now = core.now
    readings = [now() for _ in range(CLOCK_READS)]
    steps = [later - earlier for earlier, later in itertools.pairwise(readings)]
    empty_ns = _turn_ns(_nothing)
    read_ns = _turn_ns(_read) - empty_ns
    sample_ns, inside_ns = _sample_ns(folder)
    return Overhead(float(math.gcd(*steps)), max(read_ns, 0.0), max(sample_ns - empty_ns, inside_ns), inside_ns)


def _sample_ns(folder: str) -> tuple[float, float]:
    """A turn of the loop over a sample, and the median duration of the samples."""

    class Plain(Probe):
        pass

    probe = Plain()
    probe.probe_id = 0
    # Hidden, as what has not become a ring yet.
    ring = f"{folder}/.{os.getpid()}-overhead{schema.RING_SUFFIX}.tmp"
    try:
        core.start(ring, _BUDGET)
        turn_ns = _turn_ns(_block, probe)
        core.stop()
        own = _durations(ring, threading.get_native_id())
    finally:
        core.stop()
        core.close()
        with contextlib.suppress(OSError):
            os.unlink(ring)
    if not own:
        raise ValueError("the core has recorded nothing")
    return turn_ns, float(sorted(own)[len(own) // 2])


def _durations(ring: str, thread: int) -> list[int]:
    """Durations of operation 0 in `thread`: other threads may have entered operations of the host meanwhile."""
    with open(ring, "rb") as file:
        data = memoryview(file.read())
    fields = {name: struct.unpack_from(code, data, offset)[0] for name, code, offset in schema.RING_FIELDS}
    found: list[int] = []
    for number in range(fields["used"]):
        base = schema.segments_at(fields["limit"]) + number * schema.SEGMENT_BYTES
        segment = {name: struct.unpack_from(code, data, base + at)[0] for name, code, at in schema.SEGMENT_FIELDS}
        if segment["thread"] != thread or segment["state"] not in (schema.OWNED, schema.FULL):
            continue
        columns, at = {}, base + schema.SEGMENT_HEADER_BYTES
        for name, code in schema.RING_COLUMNS:
            columns[name] = struct.unpack_from(f"={segment['written']}{code}", data, at)
            at += schema.SEGMENT_ROWS * struct.calcsize(code)
        pairs = zip(columns["operation"], columns["duration"], strict=True)
        found += [duration for operation, duration in pairs if operation == 0]
    return found


def _turn_ns(body: Callable[..., None], *arguments: Any) -> float:
    """A turn of the loop in `body`, in the quickest of the rounds."""
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter_ns()
        body(*arguments)
        times.append(time.perf_counter_ns() - begin)
    return min(times) / LOOPS


def _nothing() -> None:
    for _ in range(LOOPS):
        pass


def _read() -> None:
    now = core.now
    for _ in range(LOOPS):
        now()


def _block(probe: Any) -> None:
    for _ in range(LOOPS):
        with probe:
            pass
