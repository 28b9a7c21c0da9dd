"""How long the explorer makes one wait: until its first page stands, and for each step, kernel side.

``python -m tests.perf exploring`` looks at 10 million samples; ``EXPLORING_SAMPLES=100000000`` at as many. Each step is
timed to when its page stands, and to when nothing of it is left to be read. The files are in the page cache.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import quantum_pulse as qp
from tests.perf.race import table
from tests.perf.statistics import flat, write

SAMPLES = int(os.environ.get("EXPLORING_SAMPLES", 10_000_000))


def wait(explorer: Any, started: float) -> float:
    """Seconds until all that is to be known here is known."""
    worker = explorer._worker
    if worker is not None:
        worker.join()
    return time.perf_counter() - started


def main() -> None:
    qp.open(Path(__file__).parents[2] / "sample_data" / "engine").explore()  # imports
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        write(Path(folder) / "capture", SAMPLES, flat)
        rows = []
        started = time.perf_counter()
        explorer: Any = qp.open(Path(folder) / "capture").explore()
        rows.append(("all operations", time.perf_counter() - started, wait(explorer, started)))
        model = explorer._model
        begin, length = model.begin_ns, model.end_ns - model.begin_ns
        steps = {
            "the most frequent operation": {"to": f"op-{model.names.index('Bench.OP_00')}"},
            "a tenth of its time": {"begin": str(begin + length // 2), "end": str(begin + length * 6 // 10)},
            "a thousandth of its time": {"begin": str(begin + length // 2), "end": str(begin + length * 501 // 1000)},
            "a call": {"to": "call-3"},
            "back": {"to": "back"},
            "a rare operation": {"to": "step-0"},
        }
        for name, asked in steps.items():
            if name == "a rare operation":
                explorer._on_message(explorer.widget, asked, None)
                asked = {"to": f"op-{model.names.index('Bench.OP_40')}"}
            started = time.perf_counter()
            explorer._on_message(explorer.widget, asked, None)
            rows.append((name, time.perf_counter() - started, wait(explorer, started)))
        shown = [(name, f"{first:.2f} s", f"{whole:.2f} s") for name, first, whole in rows]
        print(table((f"{SAMPLES:,} samples", "page stands", "all of it"), shown))
        print(f"\nlargest memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
