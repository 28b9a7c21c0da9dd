"""A program that does nothing but record: how much is written, what is lost, and what the writing costs the program.

``python -m tests.perf sustained``; SECONDS=30 in the environment is the length of each run. The program is on one core
and the agent on another, where there are two. What writing costs is seen beside a run in which the agent stands still
and the rings overwrite.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

import quantum_pulse as qp
from tests.perf.stalls import agent_of

SECONDS = float(os.environ.get("SECONDS", "30"))
TURNS = range(1000)


class Tight(qp.Operation):
    BLOCK = qp.op("An empty block")


def work(until: float, counts: list[int]) -> None:
    member, done = Tight.BLOCK, 0
    while time.perf_counter() < until:
        for _ in TURNS:
            with member:
                pass
        done += len(TURNS)
    counts.append(done)


def child(threads: int, seconds: float, paused: bool) -> None:
    """Record, and print what came of it as JSON. `paused`: nothing is written meanwhile, as the rings overwrite."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        counts: list[int] = []
        capture = Path(folder) / "capture"
        recorder = qp.start(capture, on_full="overwrite" if paused else "drop")
        agent = agent_of(capture)
        os.sched_setaffinity(agent, cores[1:] or cores)
        time.sleep(1.0)  # until it has loaded what it needs
        if paused:
            os.kill(agent, signal.SIGSTOP)
        started = time.perf_counter()
        crew = [threading.Thread(target=work, args=(started + seconds, counts)) for _ in range(threads)]
        for thread in crew:
            thread.start()
        process, highest = psutil.Process(agent), 0
        while any(thread.is_alive() for thread in crew):
            time.sleep(0.5)
            highest = max(highest, process.memory_full_info().uss)
        elapsed = time.perf_counter() - started
        os.kill(agent, signal.SIGCONT)
        recorder.stop()
        account = recorder.account()
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
        parts = len(list(Path(folder).rglob("samples/*.parquet")))
        print(
            json.dumps(
                {
                    "calls": sum(counts),
                    "seconds": elapsed,
                    "stop": time.perf_counter() - started - elapsed,
                    "written": account["written"],
                    "lost": account["lost"],
                    "bytes": size,
                    "parts": parts,
                    "highest": highest,
                }
            )
        )


def run(threads: int, seconds: float, *, paused: bool) -> dict[str, float]:
    code = f"from tests.perf.sustained import child; child({threads}, {seconds}, {paused})"
    output = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE).stdout
    result: dict[str, float] = json.loads(output)
    return result


def main() -> None:
    print("| threads | seconds | written a second | lost | bytes a sample | agent's memory | stop | writing / paused |")
    print("| --: | --: | --: | --: | --: | --: | --: | --: |", flush=True)
    for threads, seconds in ((1, SECONDS), (4, SECONDS), (16, 5.0)):
        alone = run(threads, seconds / 3, paused=True)
        found = run(threads, seconds, paused=False)
        rate = found["written"] / found["seconds"]
        slower = (alone["calls"] / alone["seconds"]) / (found["calls"] / found["seconds"])
        size = found["bytes"] / found["written"]
        print(
            f"| {threads} | {seconds:.0f} | {rate / 1e6:.2f} million | {found['lost']:,.0f} | {size:.1f} | "
            f"{found['highest'] / 2**20:.0f} MB | {found['stop']:.1f} s | {slower:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
