"""How recording scales with threads that run at the same time, on a Python without the interpreter lock.

Threads that do nothing but enter and leave a block, of one operation, so that they share all that they can. Without an
agent, which would need a processor of its own: the rings keep the latest samples. ``python -m tests.perf parallel``
with a free-threaded interpreter; elsewhere it says what the interpreter lock leaves of it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quantum_pulse.core import contract, core
from tests.perf.race import table

LOOPS = 200_000
ROUNDS = 9
BUDGET = 64 << 20
BAR = 1.8


class Probe(core.Probe):  # type: ignore[misc]  # the base is chosen at run time
    """An operation of the benchmark's own."""


def blocks(probe: Any) -> None:
    for _ in range(LOOPS):
        with probe:
            pass


def nothing(probe: Any) -> None:
    for _ in range(LOOPS):
        pass


def slowest_ns(work: Callable[[Any], None], probe: Any, threads: int) -> float:
    """Nanoseconds of a turn in the slowest of so many threads at once."""
    ready, spent = threading.Barrier(threads), []

    def run() -> None:
        ready.wait()
        start = time.perf_counter_ns()
        work(probe)
        spent.append((time.perf_counter_ns() - start) / LOOPS)

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return max(spent)


def measure(counts: list[int]) -> dict[int, tuple[float, float]]:
    """Nanoseconds of a block, and of an empty turn, by the number of threads: the best of several rounds each."""
    probe = Probe()
    probe.probe_id = 0
    found = {count: (float("inf"), float("inf")) for count in counts}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        core.start(f"{folder}/parallel.ring", BUDGET, on_full=contract.OVERWRITE)
        try:
            for _ in range(ROUNDS):
                for count in counts:
                    block, empty = slowest_ns(blocks, probe, count), slowest_ns(nothing, probe, count)
                    found[count] = min(found[count][0], block), min(found[count][1], empty)
        finally:
            core.stop()
            core.close()
    return found


def main() -> None:
    is_locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    processors = len(os.sched_getaffinity(0))
    counts = [count for count in (1, 2, 4, 8, 16) if count <= max(processors, 2)]
    found = measure(counts)
    alone, empty_alone = found[1]
    lock = "with" if is_locked else "without"
    print(f"\n{core.NAME} core, Python {sys.version.split()[0]} {lock} the interpreter lock, {processors} processors\n")
    rows = [
        (count, f"{block:.0f}", f"{count * alone / block:.2f}", f"{count * empty_alone / empty:.2f}")
        for count, (block, empty) in found.items()
    ]
    print(table(("threads", "ns a block", "blocks a second, of one thread's", "the same of empty turns"), rows))
    if not is_locked:
        ratio = 2 * alone / found[2][0]
        print(f"\ntwo threads / one thread: {ratio:.2f} (bar: at least {BAR})")
