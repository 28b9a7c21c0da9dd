"""A program that records and does what it is told, line by line: ``python program.py CAPTURE BUDGET RING_FOLDER``."""

import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

BATCH = 500


def main():
    import quantum_pulse as qp
    from quantum_pulse.core import core

    logging.basicConfig()

    class Full(qp.Operation):
        STEP = qp.op("A step")

    def work(samples):
        """Record so many. Returns how long each batch took."""
        times = []
        for _ in range(samples // BATCH):
            begin = time.perf_counter()
            for _ in range(BATCH):
                with Full.STEP:
                    pass
            times.append(time.perf_counter() - begin)
        return times

    recorder = qp.start(sys.argv[1], budget_bytes=int(sys.argv[2]), ring_folder=sys.argv[3] or None)
    done = 0
    print("ready", flush=True)
    for line in sys.stdin:
        command, _, number = line.partition(" ")
        times = [0.0]
        begin = time.perf_counter()
        if command == "work":
            times = work(int(number))
            done += int(number)
        elif command.strip() == "flush":
            recorder.flush()
        elif command.strip() == "stop":
            recorder.stop()
        answer = {
            "done": done,
            "took_s": time.perf_counter() - begin,
            "median_s": sorted(times)[len(times) // 2],
            "longest_s": max(times),
            "account": recorder.account(),
            "failure": core.progress().failure if recorder.is_recording else None,
        }
        print(json.dumps(answer), flush=True)


class Program:
    """The program, as a test talks to it."""

    def __init__(self, child):
        self.child = child
        self.done = 0

    def tell(self, *words):
        """Have it do something. Returns what it says of itself then."""
        self.child.stdin.write(" ".join(map(str, words)) + "\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        assert line, f"it has ended with {self.child.wait()}: {self.child.stderr.read()}"
        answer = json.loads(line)
        account = answer["account"]
        assert account["started"] == answer["done"]
        assert account["started"] == account["written"] + account["open"] + account["lost"] + account["pending"]
        return answer

    def end(self):
        """Let it end. Returns what it has written to stderr."""
        _, said = self.child.communicate(timeout=60)
        assert self.child.returncode == 0, said
        return said


@contextlib.contextmanager
def running(capture, budget, ring_folder="", **variables):
    """The program, while the block runs."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__)), str(capture), str(budget), str(ring_folder)]
    environment = {**os.environ, **variables}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment) as child:
        try:
            assert child.stdout.readline() == "ready\n", child.stderr.read()
            yield Program(child)
        finally:
            child.kill()


if __name__ == "__main__":
    main()
