"""Raises children that record, and kills them: ``python nursery.py FOLDER KILLS SEED [WAY]``.

Each child counts the blocks that it enters, before each, and those that it has finished, after each, in a mapped file
of its own, which is kept when it dies. What is recovered must be these numbers, but for one where the child died
between a block and its counting.
"""

import asyncio
import ctypes
import mmap
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import pyarrow.parquet  # noqa: F401 - so that the children need not, and write parts early

import quantum_pulse as qp

THREADS = 4


class Work(qp.Operation):
    OUTER_0 = qp.op()
    OUTER_1 = qp.op()
    OUTER_2 = qp.op()
    OUTER_3 = qp.op()
    INNER_0 = qp.op()
    INNER_1 = qp.op()
    INNER_2 = qp.op()
    INNER_3 = qp.op()
    TASK = qp.op()


NAMES = [member.name for member in Work]


def child(folder, way):
    with open(folder / "counters", "wb") as file:
        file.truncate(4096)
    with open(folder / "counters", "r+b") as file:
        counters = memoryview(mmap.mmap(file.fileno(), 4096)).cast("Q")
    recorder = qp.start(folder / "capture", budget_bytes=64 * 2**20)

    entered, finished = counters[: len(NAMES)], counters[len(NAMES) :]

    def work(number):
        outer, inner = Work[f"OUTER_{number}"], Work[f"INNER_{number}"]
        outer_place, inner_place = NAMES.index(outer.name), NAMES.index(inner.name)
        while True:
            for _ in range(200):
                entered[outer_place] += 1
                with outer:
                    entered[inner_place] += 1
                    with inner:
                        pass
                    finished[inner_place] += 1
                finished[outer_place] += 1
            time.sleep(0.0005)

    async def task():
        place = NAMES.index("TASK")
        while True:
            entered[place] += 1
            with Work.TASK:
                await asyncio.sleep(0)
            finished[place] += 1
            await asyncio.sleep(0.0001)

    async def tasks():
        await asyncio.gather(*(task() for _ in range(5)))

    def rotate():
        while True:
            recorder.flush()
            time.sleep(0.01)

    jobs = [lambda number=number: work(number) for number in range(THREADS)]
    for job in (*jobs, lambda: asyncio.run(tasks()), rotate):
        threading.Thread(target=job, daemon=True).start()
    if way == "exit":
        time.sleep(random.random() * 0.2)
        os._exit(7)
    if way == "segfault":
        time.sleep(random.random() * 0.2)
        ctypes.string_at(0)
    time.sleep(60)
    os._exit(9)  # nobody killed it


def main():
    root, kills, seed, way = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    random.seed(seed)
    for number in range(kills):
        folder = root / f"{number:04d}"
        folder.mkdir()
        seeds = random.random()
        pid = os.fork()
        if pid == 0:
            try:
                random.seed(seeds)
                child(folder, way)
            finally:
                os._exit(8)
        if way == "kill":
            time.sleep(random.random() * 0.3)
            os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        (folder / "status").write_text(str(status))


if __name__ == "__main__":
    main()
