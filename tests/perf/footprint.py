"""What recording costs beside the samples: import, start and stop, memory, and what the agent takes.

``python -m tests.perf footprint``; ROUNDS=15 in the environment is how often each is done.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.perf.race import table

ROUNDS = int(os.environ.get("ROUNDS", "15"))

_IMPORT = "import quantum_pulse"

_LIFE = """
import json, os, sys, time

def rss():
    with open("/proc/self/smaps_rollup") as file:
        fields = dict(line.split(":", 1) for line in file if ":" in line and "-" not in line.split(":")[0])
    return (int(fields["Private_Clean"].split()[0]) + int(fields["Private_Dirty"].split()[0])) * 1024

before = rss()
import quantum_pulse as qp

class Work(qp.Operation):
    STEP = qp.op()

began = time.perf_counter()
recorder = qp.start(sys.argv[1])
with Work.STEP:
    pass
start = time.perf_counter() - began
time.sleep(float(sys.argv[2]))
for _ in range(1000):
    with Work.STEP:
        pass
memory = rss() - before
from quantum_pulse.rings.places import Place
pid = Place(sys.argv[1]).agent_pid()
agent = 0
if pid:
    for line in open(f"/proc/{pid}/smaps_rollup"):
        if line.startswith("Pss:"):
            agent = int(line.split()[1]) * 1024
threads = len(os.listdir("/proc/self/task"))
began = time.perf_counter()
qp.stop()
stop = time.perf_counter() - began
print(json.dumps({"start": start, "stop": stop, "memory": memory, "agent": agent, "threads": threads}))
"""


def elapsed(code: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
    return time.perf_counter() - begin


def life(seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        output = subprocess.run(
            [sys.executable, "-c", _LIFE, str(Path(folder) / "capture"), str(seconds)],
            check=True,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        ).stdout
        time.sleep(0.1)  # the agent has not ended; it lets go of the capture before `stop` returns
    found: dict[str, float] = json.loads(output)
    return found


def main() -> None:
    elapsed(_IMPORT)
    bare = [elapsed("pass") for _ in range(ROUNDS)]
    loaded = [elapsed(_IMPORT) for _ in range(ROUNDS)]
    short, at_once = ([life(seconds) for _ in range(ROUNDS)] for seconds in (0.5, 0.0))

    def shown(values: list[float]) -> tuple[str, str]:
        return f"{min(values) * 1000:.1f} ms", f"{statistics.median(values) * 1000:.1f} ms"

    rows = [
        ("import, beyond a bare interpreter", *shown([one - min(bare) for one in loaded])),
        ("start until the first sample", *shown([one["start"] for one in short])),
        ("stop of a recording of 0.5 s", *shown([one["stop"] for one in short])),
        ("stop of one that has just begun", *shown([one["stop"] for one in at_once])),
    ]
    print(table(("", "best", "median"), rows))
    memory, agent = (sorted(one[key] for one in short)[ROUNDS // 2] / 2**20 for key in ("memory", "agent"))
    threads = short[0]["threads"]
    print(f"\nprivate memory of the program: {memory:.1f} MB; the agent: {agent:.0f} MB (PSS); threads: {threads}")


if __name__ == "__main__":
    main()
