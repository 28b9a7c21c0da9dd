"""What a row of system metrics costs: CPU time of the process that takes it, by threads of the observed process."""

from __future__ import annotations

import statistics
import time

from quantum_pulse.agent.procfs import Machine, ProcessMetrics
from tests.agent.children import Child
from tests.perf.race import table

INTERVAL_S = 0.1
ROWS = 100
THREADS = (1, 20, 500)
#: The rows of idle threads take least; a thread that sleeps for 5 ms each time runs in every interval.
WORK = {"idle": "60", "busy": "0.005"}


def main() -> None:
    rows = []
    for count in THREADS:
        for kind, pause in WORK.items():
            child = Child()
            # As programs with many threads mostly do, they wait.
            child.run(f"def work():\n while True: time.sleep({pause})\nrest = start({count - 1}, work)")
            try:
                resting, warm = _cost_us(child.pid, INTERVAL_S), _cost_us(child.pid, 0.003)
            finally:
                child.close()
            share = f"{resting * 1e-6 / INTERVAL_S:.2%}"
            rows.append((f"{count} threads, {kind}", f"{warm:.0f} µs", f"{resting:.0f} µs", share))
    print(table(("", "one after the other", "every 100 ms, caches cold", "of a core, bar: 1 %"), rows))


def _cost_us(pid: int, pause_s: float) -> float:
    """Median CPU time of a row."""
    observed = ProcessMetrics(pid, time.monotonic_ns, machine=Machine())
    spent = []
    for _ in range(ROWS):
        time.sleep(pause_s)
        before = time.thread_time_ns()
        observed.sample(0, 0)
        spent.append(time.thread_time_ns() - before)
    observed.close()
    return statistics.median(spent) / 1000
