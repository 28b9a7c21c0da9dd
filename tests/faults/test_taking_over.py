"""What an agent takes over that a killed program and its agent have left, and what it leaves alone."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import quantum_pulse as qp
from quantum_pulse.agent.recover import recover
from quantum_pulse.rings.names import journal_of
from quantum_pulse.rings.places import Place
from tests import agents
from tests.faults import account

LEAVES = """
import os, sys
import quantum_pulse as qp
from tests import agents

class Left(qp.Operation):
    STEP = qp.op()

qp.start(sys.argv[1])
agents.kill(sys.argv[1])
for _ in range(int(sys.argv[2])):
    with Left.STEP:
        pass
os.kill(os.getpid(), 9)
"""


def leave(capture, samples=1000):
    """A program that was killed after its agent leaves a ring. Returns it."""
    before = set(agents.rings(capture))
    done = subprocess.run([sys.executable, "-c", LEAVES, str(capture), str(samples)], check=False)
    assert done.returncode == -9
    (ring,) = set(agents.rings(capture)) - before
    return ring


def have_agent_look(capture):
    """An agent serves the capture for a while."""
    with qp.record(capture) as recorder:
        recorder.flush()


def endings(capture):
    """How recordings ended: None where nobody knows, because the process had gone before anybody looked."""
    return sorted(str(process["ended"]) for process in account.processes(capture).values())


def test_what_was_left_is_taken_over_once(tmp_path):
    leave(tmp_path)
    leave(tmp_path, 0)
    have_agent_look(tmp_path)
    agents.wait_until_taken(tmp_path)
    assert endings(tmp_path) == ["None", "None", "stop"]
    before = account.processes(tmp_path)
    have_agent_look(tmp_path)
    assert {name: account.processes(tmp_path)[name] for name in before} == before
    assert len(account.check(tmp_path)) == 1000


def test_an_agent_that_goes_on_takes_over_at_once(tmp_path):
    with qp.record(tmp_path) as recorder:
        recorder.flush()
        script = LEAVES.replace("agents.kill(sys.argv[1])", "")
        done = subprocess.run([sys.executable, "-c", script, str(tmp_path), "1000"], check=False)
        assert done.returncode == -9
        agents.wait_for_rings(tmp_path, 1)
        (ring,) = agents.rings(tmp_path)  # its own
        assert ring.name.startswith(str(os.getpid()))
        assert len(qp.open(tmp_path).samples()) == 1000
    assert len(account.check(tmp_path)) == 1000


def test_where_the_journal_is_gone(tmp_path):
    journal_of(leave(tmp_path)).unlink()
    have_agent_look(tmp_path)
    agents.wait_until_taken(tmp_path)
    (process,) = [one for one in account.processes(tmp_path).values() if one["ended"] is None]
    assert any("names cannot be read" in damage for damage in process["damage"])
    assert process["account"] == {"started": 1000, "written": 0, "pending": 0, "open": 0, "lost": 1000}


def test_rings_of_another_host_are_left_alone(tmp_path):
    # Its memory is not to be seen here, and a folder of that name may be something else.
    ring = leave(tmp_path)
    (link,) = (tmp_path / "rings").iterdir()
    there = link.rename(link.with_name(f"elsewhere.{link.suffix}"))
    before = [(path, path.stat().st_mtime_ns) for path in there.iterdir() if path.suffix in (".ring", ".names")]
    target = there.readlink()
    elsewhere = target.rename(target.with_name(f"{target.name}-elsewhere"))
    there.unlink()
    there.symlink_to(elsewhere)
    have_agent_look(tmp_path)
    assert [(path, path.stat().st_mtime_ns) for path, _ in before] == before
    assert endings(tmp_path) == ["stop"]
    recover(tmp_path)  # whoever asks for it knows
    assert endings(tmp_path) == ["None", "stop"]
    assert not (there / ring.name).exists()
    for path in elsewhere.iterdir():
        path.unlink()
    elsewhere.rmdir()
    there.unlink(missing_ok=True)


@pytest.mark.parametrize("magic", [b"QPRING02", bytes(8)])
def test_what_is_not_known_is_left_alone_and_spoils_no_other(tmp_path, magic):
    rings = sorted([leave(tmp_path), leave(tmp_path)])
    with open(rings[0], "r+b") as file:
        file.write(magic)
    have_agent_look(tmp_path)
    assert agents.rings(tmp_path) == [rings[0]]
    assert journal_of(rings[0]).exists()
    (found,) = recover(tmp_path)
    assert any("does not begin with" in damage for damage in found.damage)


def test_rows_under_a_header_that_counts_nothing_are_kept(tmp_path):
    ring = leave(tmp_path)
    with open(ring, "r+b") as file:
        file.seek(64)
        file.write(bytes(16))
    have_agent_look(tmp_path)
    agents.wait_until_taken(tmp_path)
    assert len(qp.open(tmp_path).samples()) == 1000


DIES_EARLY = """
import os, sys
import quantum_pulse as qp
from quantum_pulse.recorder import overhead, recording

def die(*_, **__):
    os.kill(os.getpid(), 9)

name = sys.argv[2]
module = overhead if name == "measure" else os if name == "replace" else recording.core
setattr(module, name, die)
qp.start(sys.argv[1])
"""


@pytest.mark.parametrize("where", ["measure", "start", "replace", "launch"])
def test_a_program_that_dies_while_it_begins_leaves_nothing(tmp_path, where):
    capture = tmp_path / "capture"
    done = subprocess.run([sys.executable, "-c", DIES_EARLY, str(capture), where], check=False)
    assert done.returncode == -9
    place = Place(str(capture))
    recover(capture)
    assert not (capture / "rings").exists()
    assert not Path(place.control).exists()


def test_rings_are_taken_over_by_one_at_a_time(tmp_path):
    leave(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        found = [one for own in pool.map(lambda _: recover(tmp_path), range(8)) for one in own]
    assert [one.samples for one in found] == [1000]
    assert len(account.check(tmp_path)) == 1000


def test_no_file_of_others_is_deleted_through_a_link(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    ring = leave(tmp_path / "capture")
    ring.unlink()
    ring.symlink_to(precious)
    have_agent_look(tmp_path / "capture")
    recover(tmp_path / "capture")
    assert precious.read_text() == "kept"
    assert not ring.is_symlink()
