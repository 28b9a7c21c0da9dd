"""The recorder's clock beside CLOCK_MONOTONIC for a minute: how far apart they are, and what each costs to read."""

from __future__ import annotations

import os
import time
from collections import Counter

from quantum_pulse.core import core
from tests.perf.race import race, table

SECONDS = float(os.environ.get("CLOCK_SECONDS", "60"))
LOOPS = 50_000


def monotonic() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def main() -> None:
    now, late, early, apart = core.now, 0, 0, Counter[int]()
    latest = turns_back = 0
    end = monotonic() + int(SECONDS * 1e9)
    while (before := monotonic()) < end:
        reading = now()
        after = monotonic()
        # Only what is outside of the two readings around it is certainly wrong.
        late, early = max(late, before - reading), max(early, reading - after)
        turns_back += reading < latest
        latest = reading
        if after - before < 1000:
            apart[abs(reading - (before + after) // 2) // 50 * 50] += 1
    count = apart.total()
    print(f"\n{count:,} readings of the {core.clock()} in {SECONDS:.0f} s, each between two of CLOCK_MONOTONIC\n")
    rows = [
        ("late, or early, by at most (bar: 1,000 ns)", f"{late} ns, {early} ns"),
        ("turned back", f"{turns_back} times"),
        ("within 50 ns of the middle of the two", f"{apart[0] / count:.3%}"),
        ("furthest from the middle of the two", f"{max(apart)} to {max(apart) + 50} ns"),
    ]
    print(table(("", "the recorder's clock"), rows))
    spent = race({"core.now": _reads(now), "time.perf_counter_ns": _reads(time.perf_counter_ns)}, LOOPS)
    print(f"\na reading from Python: {', '.join(f'{name} {ns:.0f} ns' for name, ns in spent.items())}")


def _reads(clock):
    def contender(turns: range) -> None:
        for _ in turns:
            clock()

    return contender
