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
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from quantum_pulse import schema
from quantum_pulse.core import core

#: Samples in a round, and rounds, of which the quickest counts: all else is somebody else's time.
LOOPS: Final = 50
ROUNDS: Final = 4
CLOCK_READS: Final = 300
_BUDGET: Final = schema.RING_HEADER_BYTES + 8 * schema.SEGMENT_BYTES


class Overhead(NamedTuple):
    """Times in ns. All readings of the clock are multiples of `clock_resolution_ns`.

    `sample_ns` is what ``with member: pass`` takes in a recording; `inside_ns` is the part of that which stands in the
    sample's own duration. What encloses the sample has all of it in its duration.
    """

    clock_resolution_ns: float
    clock_read_ns: float
    sample_ns: float
    inside_ns: float


_known: Overhead | None = None


def measured(folder: Path) -> Overhead | None:
    """What a recording stores; None where it could not be measured. Only while nothing is recorded."""
    global _known
    if _known is None:
        with contextlib.suppress(OSError, ValueError):
            _known = measure(folder)
    return _known


def measure(folder: Path) -> Overhead:
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


def _sample_ns(folder: Path) -> tuple[float, float]:
    """A turn of the loop over a sample, and the median duration of the samples."""

    class Probe(core.Probe):  # type: ignore[misc]  # the base is chosen at run time
        pass

    probe = Probe()
    probe.probe_id = 0
    # Hidden, as what has not become a ring yet: whoever recovers a killed process clears it away.
    ring = folder / f".{os.getpid()}-overhead{schema.RING_SUFFIX}.tmp"
    try:
        core.start(str(ring), _BUDGET, lambda *_: None, -1)
        turn_ns = _turn_ns(_block, probe)
        core.stop()
        batch = core.drain()
    finally:
        core.stop()
        core.close()
        ring.unlink(missing_ok=True)
    if batch is None:
        raise ValueError("the core has recorded nothing")
    durations = memoryview(batch.columns["duration"]).cast("q").tolist()
    operations = memoryview(batch.columns["operation"]).cast("I").tolist()
    threads = memoryview(batch.columns["thread"]).cast("q").tolist()
    # Other threads may have entered operations of the host meanwhile.
    here = (0, threading.get_native_id())
    own = [duration for duration, *where in zip(durations, operations, threads, strict=True) if tuple(where) == here]
    if not own:
        raise ValueError("the core has recorded nothing")
    return turn_ns, float(sorted(own)[len(own) // 2])


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
