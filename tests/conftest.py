"""Which tests run when, and what each must leave behind: nothing of a recording.

Marks that follow from the file are given here: `alone` to what measures time or takes a resource of the whole machine,
and so runs by itself, `browser` to what needs one, and `thorough` to what takes long beside what it tells while one
works, so that ``make quick`` leaves it out. `slow` stands at the test: only ``make test-all`` runs it.
"""

import contextlib
import functools
import gc
import importlib.util
import os
import sys
import threading
import time
from pathlib import Path

import hypothesis
import pytest

from tests import browser

# How long an example takes says more of what else runs than of the code.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

HERE = Path(__file__).parent
#: Files and folders of tests that share the machine with no other test.
ALONE = (
    "agent/test_cgroups.py",
    "agent/test_procfs.py",
    "core/test_clock.py",
    "faults/test_full.py",
    "faults/test_hanging.py",
    "notebook/test_pulse.py",
    "recorder/test_clock_steps.py",
    "recorder/test_footprint.py",
    "recorder/test_live.py",
    "recorder/test_overhead.py",
)
#: Those that look at very many cases, of what rarely changes.
THOROUGH = (
    "core/test_handover.py",
    "core/test_protocol_model.py",
    "reading/test_depth.py",
    "reading/test_versions.py",
)
#: Those in which a page is opened.
IN_BROWSERS = ("explorer/test_lab.py", "notebook/test_corpus.py", "notebook/test_in_browsers.py", "view/test_report.py")
#: Those that record only to have something to read. A thread of theirs writes it, so that no process has to be started
#: for each recording, which imports pyarrow; the tests of `recorder`, `agent` and `faults` are about that process.
READERS = ("analysis", "diagnosis", "explorer/test_explorer.py", "export", "facade", "reading", "view")
#: Of those, what stops or kills the agent, which must not be the process of the tests.
WITH_AGENTS = ("reading/test_unfinished.py",)
READING = "reading"
CORES = ("quantum_pulse.core._native", "quantum_pulse.core.pure")


#: So long may an agent stay after the last test, in seconds: it lingers for two of them.
AGENTS_END_S = 15


@functools.cache
def _marks(path):
    """The marks that follow from a test's file."""

    def is_in(places):
        return any(path.is_relative_to(HERE / place) for place in places)

    marked = {"alone": ALONE, "thorough": THOROUGH, "browser": IN_BROWSERS, READING: READERS}
    found = {name for name, places in marked.items() if is_in(places)}
    return found - {READING} if is_in(WITH_AGENTS) else found


def pytest_configure():
    """What tests start imports the package that they import, be it installed elsewhere, and `tests`."""
    package = importlib.util.find_spec("quantum_pulse").submodule_search_locations[0]
    before = os.environ.get("PYTHONPATH")
    places = [str(Path(package).parent), str(HERE.parent), *([before] if before else [])]
    os.environ["PYTHONPATH"] = os.pathsep.join(places)


def pytest_collection_modifyitems(items):
    lack = browser.lack()
    for item in items:
        marks = _marks(item.path)
        if READING in marks:
            item.fixturenames.insert(0, "in_thread")  # before fixtures that record
        for name in marks - {READING}:
            item.add_marker(name)
        if "browser" in marks and lack:
            item.add_marker(pytest.mark.skip(reason=lack))


def _is_ring(name):
    # The kernel marks the name of a file that is gone.
    return name.removesuffix(" (deleted)").endswith((".ring", ".names", "agent.lock", "agent.wake"))


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


@pytest.fixture(scope="session", autouse=True)
def _no_agent_is_left_behind(tmp_path_factory):
    """Agents end by themselves, soon after what they serve; in memory that processes share nothing is left."""
    from quantum_pulse.rings import places

    seen, known = set(), places.Place.__init__

    def noted(self, *arguments, **options):
        known(self, *arguments, **options)
        seen.update({self.control, self.rings})

    places.Place.__init__ = noted
    yield
    places.Place.__init__ = known
    base = tmp_path_factory.getbasetemp()
    # Also of captures that only other processes have recorded into.
    for manifest in base.rglob("capture.json"):
        place = places.Place(str(manifest.parent))
        seen.update({place.control, place.rings})
    give_up = time.monotonic() + AGENTS_END_S
    while left := _agents(base) + [f"the folder {folder}" for folder in sorted(seen) if Path(folder).is_dir()]:
        if time.monotonic() > give_up:
            pytest.fail("the tests left behind " + "; ".join(left), pytrace=False)
        time.sleep(0.05)


def _agents(base):
    """Agents of captures in the folders of this run; others may run meanwhile."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_text(errors="replace").split("\0")
            if any("quantum_pulse.agent" in word for word in words) and any(
                Path(word).is_relative_to(base) for word in words
            ):
                found.append(f"the agent {process.name} of {words[5]}")
    return found


@pytest.fixture
def small_parts(monkeypatch, in_thread):
    """Parts stay as they were written, so that a capture has several."""
    from quantum_pulse.agent import agent, merging

    monkeypatch.setattr(merging.Merger, "_merge", lambda *_: None)
    # And there is one for each flush.
    monkeypatch.setattr(agent.Agent, "_is_due", lambda *_: False)


@pytest.fixture
def in_thread(monkeypatch):
    """Recordings of this process are written by a thread of it, so that what writes can be changed."""
    from quantum_pulse.recorder import launching

    begin = launching.Launcher.__init__

    def without_process(self, place, *, is_thread):
        begin(self, place, is_thread=True)

    monkeypatch.setattr(launching.Launcher, "__init__", without_process)
