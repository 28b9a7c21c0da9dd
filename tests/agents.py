"""The agents of captures, for tests that stop or kill them."""

import contextlib
import os
import shutil
import signal
import time

from quantum_pulse.rings.places import Place, rings_of


def pid_of(capture):
    """The process of the agent of `capture`, which is waited for."""
    place = Place(str(capture))
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        pid = place.agent_pid()
        if pid is not None:
            return pid
        time.sleep(0.005)
    raise AssertionError(f"no agent serves {capture}")


def _other_process(capture):
    pid = pid_of(capture)
    assert pid != os.getpid(), "a thread of the tests writes this capture"
    return pid


def kill(capture):
    """Kill the agent, and wait until it is gone."""
    pid = _other_process(capture)
    os.kill(pid, signal.SIGKILL)
    while Place(str(capture)).has_agent():
        time.sleep(0.001)


@contextlib.contextmanager
def stopped(capture):
    """The agent stands still during the block, as on a machine without a processor to spare."""
    pid = _other_process(capture)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def rings(capture):
    """The ring files of a capture, wherever they are."""
    return rings_of(capture, (".ring",))


def journals(capture):
    """The journals beside them."""
    return [ring.with_name(f"{ring.name.removesuffix('.ring')}.names") for ring in rings_of(capture, (".names",))]


def move_rings_into(capture):
    """Have the rings in a folder in the capture, as without shared memory: then a copy of the capture has them too."""
    for link in list((capture / "rings").iterdir()):
        folder, target = link.readlink(), link.with_name(f"{link.name}-moved")
        link.unlink()
        target.mkdir()
        for path in folder.iterdir():
            if path.suffix in (".ring", ".names"):
                shutil.move(path, target / path.name)
            else:
                path.unlink()
        folder.rmdir()


def wait_for_rings(capture, count, within_s=10):
    """Until no more rings than that are left: those of processes that have ended are taken over."""
    give_up = time.monotonic() + within_s
    while len(rings_of(capture, (".ring",))) > count:
        assert time.monotonic() < give_up, f"{capture} still has {rings_of(capture)}"
        time.sleep(0.01)


def wait_until_taken(capture, within_s=30):
    """Until nothing of a recording is in rings, and the agent has left the capture."""
    give_up = time.monotonic() + within_s
    while (capture / "rings").exists():
        assert time.monotonic() < give_up, f"{capture} still has {rings_of(capture)}"
        time.sleep(0.01)


def wait_until_gone(capture, within_s=10):
    """Until the agent has taken over everything and ended."""
    give_up = time.monotonic() + within_s
    while rings_of(capture) or Place(str(capture)).has_agent():
        assert time.monotonic() < give_up, f"{capture} still has {rings_of(capture)}"
        time.sleep(0.01)
