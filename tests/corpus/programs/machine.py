"""Requests that are slow by what the machine does."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.corpus.registry import cause, program
from tests.corpus.running import ImpossibleError, Run, request

#: Where the controller is, in version 1 and 2 of control groups, with what sets a quota of 12.5 of 50 ms.
_QUOTAS = (
    ("/sys/fs/cgroup/cpu", {"cpu.cfs_period_us": "50000", "cpu.cfs_quota_us": "12500"}),
    ("/sys/fs/cgroup", {"cpu.max": "12500 50000"}),
)

#: By the clock, so that all neighbours compute at the same time.
_NEIGHBOUR = """
import os, time
os.sched_setaffinity(0, {core})
while os.getppid() == {parent}:
    while time.monotonic() % 1.2 < 0.3:
        pass
    time.sleep(1.2 - time.monotonic() % 1.2)
"""


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """This process, and what it starts, are in a control group with a quota during the block."""
    for place, settings in _QUOTAS:
        root, folder = Path(place), Path(place) / f"corpus-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            for name, value in settings.items():
                (folder / name).write_text(value)
            (folder / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            folder.rmdir()
            continue
        try:
            yield
        finally:
            # The agent of the capture was started inside, too.
            for member in (folder / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    (root / "cgroup.procs").write_text(member)
            folder.rmdir()
        return
    raise ImpossibleError("no control group with a quota can be made here")


@program("CPU quota", cause("throttling"), around=limited)
def cpu_quota(run: Run) -> None:
    """A quarter of a core; for 0.3 s in each second, requests come without a pause, and need all of one."""
    run.truth.unknown()
    time.sleep(1)  # The agent starts on the same quota, and what it has not measured yet nobody can explain.
    for call in run.calls(0):
        with request(call):
            run.serve()
        if run.passed * run.seconds % 1 > 0.3:
            time.sleep(0.005)


@program("noisy neighbour", cause("run queue"))
def noisy_neighbour(run: Run) -> None:
    """Three other processes compute on the same core for 0.3 s, every 1.2 s."""
    run.truth.unknown()
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    code = _NEIGHBOUR.format(core={core}, parent=os.getpid())
    neighbours = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    try:
        for call in run.calls(0):
            with request(call):
                run.serve()
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()
