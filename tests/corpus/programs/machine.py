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

#: Where the controller is, in version 1 and 2 of control groups, with what sets a quota of 25 of 50 ms.
_QUOTAS = (
    ("/sys/fs/cgroup/cpu", {"cpu.cfs_period_us": "50000", "cpu.cfs_quota_us": "25000"}),
    ("/sys/fs/cgroup", {"cpu.max": "25000 50000"}),
)
_NEIGHBOUR = """
import os, time
os.sched_setaffinity(0, {core})
while os.getppid() == {parent}:
    until = time.monotonic() + 0.1
    while time.monotonic() < until:
        pass
    time.sleep(0.5)
"""


@program("CPU quota", cause("throttling"))
def cpu_quota(run: Run) -> None:
    """Half of a core; for 0.3 s in each second, requests come without a pause, and need all of one."""
    run.truth.unknown()
    with _limited():
        for call in run.calls(0):
            with request(call):
                run.serve()
            if run.passed * run.seconds % 1 > 0.3:
                time.sleep(0.002)


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """This process is in a control group with a quota during the block."""
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
            (root / "cgroup.procs").write_text(str(os.getpid()))
            folder.rmdir()
        return
    raise ImpossibleError("no control group with a quota can be made here")


@program("noisy neighbour", cause("run queue"))
def noisy_neighbour(run: Run) -> None:
    """Another process computes on the same core for 0.1 s, every 0.6 s."""
    run.truth.unknown()
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    code = _NEIGHBOUR.format(core={core}, parent=os.getpid())
    neighbour = subprocess.Popen([sys.executable, "-c", code])
    try:
        for call in run.calls():
            with request(call):
                run.serve()
    finally:
        neighbour.kill()
        neighbour.wait()
