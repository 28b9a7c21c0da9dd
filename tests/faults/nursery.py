"""Raises children that record, and kills them or their agents: ``python nursery.py FOLDER KILLS SEED WAY``.

Each child counts the blocks that it enters, before each, and those that it has finished, after each, in a mapped file
of its own, which is kept when it dies. What is in the capture in the end must be these numbers, but for one where the
child died between a block and its counting.
"""

import asyncio
import ctypes
import mmap
import os
import random
import signal
import struct
import sys
import threading
import time
from pathlib import Path

import quantum_pulse as qp
from quantum_pulse.rings.places import Place

THREADS = 4
#: Where a child counts how often it has flushed.
FLUSHES = 100
#: Agents that are killed while one child goes on.
KILLS_OF_AGENTS = 10


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
    recorder = qp.start(folder / "capture", budget_bytes=(256 if way == "agent" else 64) * 2**20)
    is_over = threading.Event()
    # A child that lives for long records less, so that nobody has to look at millions of samples.
    blocks, pause_s = (20, 0.005) if way == "agent" else (200 if way == "kill" else 20, 0.0005)

    entered, finished = counters[: len(NAMES)], counters[len(NAMES) :]

    def work(number):
        outer, inner = Work[f"OUTER_{number}"], Work[f"INNER_{number}"]
        outer_place, inner_place = NAMES.index(outer.name), NAMES.index(inner.name)
        while not is_over.is_set():
            for _ in range(blocks):
                entered[outer_place] += 1
                with outer:
                    entered[inner_place] += 1
                    with inner:
                        pass
                    finished[inner_place] += 1
                finished[outer_place] += 1
            time.sleep(pause_s)

    async def task():
        place = NAMES.index("TASK")
        while not is_over.is_set():
            entered[place] += 1
            with Work.TASK:
                await asyncio.sleep(0)
            finished[place] += 1
            await asyncio.sleep(pause_s / 5)

    async def tasks():
        await asyncio.gather(*(task() for _ in range(5)))

    def rotate():
        while not is_over.is_set():
            recorder.flush()
            counters[FLUSHES] += 1
            time.sleep(0.01)

    jobs = [lambda number=number: work(number) for number in range(THREADS)]
    threads = [threading.Thread(target=job, daemon=True) for job in (*jobs, lambda: asyncio.run(tasks()), rotate)]
    for thread in threads:
        thread.start()
    if way == "exit":
        time.sleep(random.random() * 0.2)
        os._exit(7)
    if way == "segfault":
        time.sleep(random.random() * 0.2)
        ctypes.string_at(0)
    give_up = time.monotonic() + 120
    while not (folder / "over").exists() and time.monotonic() < give_up:
        time.sleep(0.01)
    is_over.set()
    for thread in threads:
        thread.join()
    recorder.stop()
    os._exit(0 if (folder / "over").exists() else 9)  # nobody killed it


def wait_for(condition, within_s):
    give_up = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.002)
    return True


def kill_agent(folder, child, within_s=30, is_at_work=False):
    """Kill the agent of a child once there is one, or at a random moment after it has begun to work. Returns whether
    there was one."""
    place = Place(str(folder / "capture"))
    if not wait_for(lambda: place.agent_pid() is not None, within_s):
        return False
    if is_at_work:
        before = flushes(folder)
        if not wait_for(lambda: flushes(folder) > before, within_s):
            return False
        time.sleep(random.random() * 0.3)
    pid = place.agent_pid()
    if pid in (None, child):  # the child does it itself, because it has found that no agent stays
        return False
    os.kill(pid, signal.SIGKILL)
    return wait_for(lambda: place.agent_pid() != pid, within_s)


def flushes(folder):
    with open(folder / "counters", "rb") as file:
        return struct.unpack_from("Q", file.read(), 8 * FLUSHES)[0]


def end(folder, pid, way):
    if way == "kill":
        time.sleep(random.random() * 0.3)
        os.kill(pid, signal.SIGKILL)
    elif way == "agent":
        is_at_work = True
        for _ in range(KILLS_OF_AGENTS):
            # Of two that die before they have done anything, one after the other, the child learns to do without.
            is_at_work = not is_at_work or random.random() < 0.9
            if not kill_agent(folder, pid, is_at_work=is_at_work):
                break
            with open(folder / "agents", "a") as file:
                file.write("killed\n")
        time.sleep(random.random() * 0.1)
        (folder / "over").touch()
    elif way == "both":
        time.sleep(random.random() * 0.6)
        gap = (random.random() - 0.5) * 0.04
        if gap < 0:
            kill_agent(folder, pid, 0.3)
            time.sleep(-gap)
        os.kill(pid, signal.SIGKILL)
        if gap >= 0:
            time.sleep(gap)
            kill_agent(folder, pid, 0.3)


def main():
    root, kills, seed, way = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    random.seed(seed)
    for number in range(-(-kills // KILLS_OF_AGENTS) if way == "agent" else kills):
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
        end(folder, pid, way)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        (folder / "status").write_text(str(status))


if __name__ == "__main__":
    main()
