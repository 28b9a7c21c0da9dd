"""After every test: nothing of a recording may be left behind."""

import contextlib
import gc
import os
import sys
import threading
from pathlib import Path

import pytest

CORES = ("quantum_pulse.core._native", "quantum_pulse.core.pure")


def _is_ring(name):
    # The kernel marks the name of a file that is gone.
    return name.removesuffix(" (deleted)").endswith((".ring", ".names"))


def _open_files():
    found = []
    for link in Path("/proc/self/fd").iterdir():
        # The directory's own descriptor is in the list and closed by now.
        with contextlib.suppress(OSError):
            found.append(str(link.readlink()))
    return [name for name in found if _is_ring(name)]


def _mappings():
    # Address, permissions, offset, device, inode, then the name, which may hold spaces.
    lines = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text(errors="replace").splitlines()]
    return sorted({line[5] for line in lines if len(line) == 6 and _is_ring(line[5])})


def _collection_hooks():
    return [hook for hook in gc.callbacks if str(getattr(hook, "__module__", "")).startswith("quantum_pulse")]


def _leaks():
    found = []
    session = sys.modules.get("quantum_pulse.recorder.session")
    recorder = session.active() if session is not None else None
    if recorder is not None:
        found.append(f"a running recording: {recorder!r}")
    found += [
        f"a thread: {thread.name}" for thread in threading.enumerate() if thread.name.startswith("quantum-pulse-")
    ]
    found += [f"an open file: {name}" for name in _open_files()]
    found += [f"a mapped file: {name}" for name in _mappings()]
    found += [f"a hook in the garbage collector: {hook!r}" for hook in _collection_hooks()]
    return found


def _clean_up():
    session = sys.modules.get("quantum_pulse.recorder.session")
    recorder = session.active() if session is not None else None
    if recorder is not None:
        recorder.stop()
    for name in CORES:
        if name in sys.modules:
            sys.modules[name].stop()
            sys.modules[name].close()
    for hook in _collection_hooks():
        gc.callbacks.remove(hook)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind():
    # A forked child that went on into the rest of the run would end here, as a test that passed.
    pid = os.getpid()
    yield
    if os.getpid() != pid:
        os._exit(70)
    leaks = _leaks()
    if leaks:
        _clean_up()
        pytest.fail("the test left behind " + "; ".join(leaks), pytrace=False)


@pytest.fixture
def small_parts(monkeypatch):
    """Parts stay as they were written, so that a capture has several."""
    from quantum_pulse.recorder import merging

    monkeypatch.setattr(merging.Merger, "_merge", lambda *_: None)
