"""Recycled workers, forked one after another, a tenth of them killed: what a fork costs, and what is left behind.

``python -m tests.perf workers``; WORKERS=10000 in the environment is how many.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.perf.race import table

WORKERS = int(os.environ.get("WORKERS", "10000"))

_CHILD = """
import json, os, signal, sys, time
import quantum_pulse as qp

class Work(qp.Operation):
    JOB = qp.op()

def one(number):
    pid = os.fork()
    if pid == 0:
        for _ in range(10):
            with Work.JOB:
                pass
        if number % 10 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    os.waitpid(pid, 0)

def many(count):
    begin = time.perf_counter()
    for number in range(count):
        one(number)
    return (time.perf_counter() - begin) / count

count = int(sys.argv[2])
plain = many(count // 10)
with qp.record(sys.argv[1]):
    recorded = many(count)
    begin = time.perf_counter()
print(json.dumps({"plain": plain, "recorded": recorded, "stop": time.perf_counter() - begin}))
"""

_LOOK = """
import json, sys, time
import quantum_pulse as qp
import pandas, pyarrow.parquet, quantum_pulse.facade, quantum_pulse.reading.statistics
begin = time.perf_counter()
count = int(qp.open(sys.argv[1]).stats(approximate=True)["count"].sum())
print(json.dumps({"look": time.perf_counter() - begin, "samples": count}))
"""


def run(code: str, *arguments: str) -> dict[str, float]:
    output = subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.PIPE).stdout
    found: dict[str, float] = json.loads(output)
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "capture"
        made = run(_CHILD, str(capture), str(WORKERS))
        looked = min((run(_LOOK, str(capture)) for _ in range(3)), key=lambda one: one["look"])
        parts = len(list(capture.glob("*/*.parquet")))
        files = len(list(capture.glob("processes/*.json")))
        killed = 0
        for file in capture.glob("processes/*.json"):
            ended = json.loads(file.read_text()).get("ended")
            killed += ended.get(signal.SIGKILL.name, 0) if isinstance(ended, dict) else ended == signal.SIGKILL.name
    rows = [
        ("a fork, a job and its end, not recorded", f"{made['plain'] * 1000:.2f} ms"),
        ("recorded", f"{made['recorded'] * 1000:.2f} ms"),
        ("stop of the parent", f"{made['stop'] * 1000:.0f} ms"),
        ("parts", f"{parts}"),
        ("process files", f"{files}"),
        ("first look", f"{looked['look'] * 1000:.0f} ms"),
        ("samples of the workers", f"{looked['samples']:,.0f} of {WORKERS * 10:,}"),
        ("workers that are known to have been killed", f"{killed:,}"),
    ]
    print(table((f"{WORKERS:,} workers", ""), rows))


if __name__ == "__main__":
    main()
