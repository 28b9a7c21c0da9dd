"""A disk that takes nothing and says nothing, as one that a network has lost: a file system that is frozen."""

import contextlib
import json
import signal
import subprocess
import sys
import time

import pytest

import quantum_pulse as qp
from quantum_pulse.agent.recover import recover
from tests import agents
from tests.faults import account, disks

CHILD = """
import json, logging, sys, time
import quantum_pulse as qp
from quantum_pulse.recorder import recording

logging.basicConfig()
recording.LONGEST_WAIT_S = 2.0

class Hung(qp.Operation):
    STEP = qp.op("A step")

class Late(qp.Operation):
    STEP = qp.op("Defined, and failing, while the disk hangs")

def work(operation, seconds):
    done, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        with operation:
            done += 1
    return done

recorder = qp.start(sys.argv[1])
done = work(Hung.STEP, 0.2)
recorder.flush()
print("ready", flush=True)
sys.stdin.readline()
done += work(Hung.STEP, 1)
try:
    with Late.STEP:
        raise ArithmeticError
except ArithmeticError:
    done += 1
begin = time.monotonic()
recorder.stop()
print(json.dumps({"done": done, "stop_s": time.monotonic() - begin, "account": recorder.account()}), flush=True)
"""


@pytest.fixture
def disk(tmp_path):
    """A file system of its own."""
    with disks.mounted("ext4", tmp_path / "disk", 64) as folder:
        yield folder


@contextlib.contextmanager
def frozen(folder):
    subprocess.run(["fsfreeze", "--freeze", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", str(folder)], check=True)


def test_the_program_goes_on_and_nothing_is_lost(disk, tmp_path):
    capture = disk / "capture"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(capture)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout.readline() == "ready\n"
        with frozen(disk):
            begin = time.monotonic()
            child.stdin.write("\n")
            child.stdin.flush()
            result = json.loads(child.stdout.readline())
            assert time.monotonic() - begin < 20, "it did not wait for the disk"
        said = child.stderr.read()
    assert child.returncode == 0
    assert result["stop_s"] < 10
    assert said.count("\n") == 1, said
    assert "nothing has been written for 2 s" in said
    balance = result["account"]
    assert balance["started"] == result["done"]
    assert balance["started"] == balance["written"] + balance["open"] + balance["lost"] + balance["pending"]
    assert balance["lost"] == 0
    # What hung may have been written after all when the disk came back; no sample is there twice.
    samples = account.check(capture)
    assert len(samples) == result["done"]
    assert set(samples["error"].dropna()) == {"ArithmeticError"}


KILLED = """
import os, signal, sys
import quantum_pulse as qp
from tests import agents

class Killed(qp.Operation):
    STEP = qp.op("A step")

qp.start(sys.argv[1], ring_folder=sys.argv[2])
agents.kill(sys.argv[1])
for number in range(5000):
    with Killed.STEP:
        pass
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(tmp_path):
    """A capture whose rings stand in a folder of their own, left by a process that was killed after its agent."""
    (tmp_path / "memory").mkdir()
    command = [sys.executable, "-c", KILLED, str(tmp_path / "capture"), str(tmp_path / "memory")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    return tmp_path / "capture", tmp_path / "memory"


def files_in(folder):
    return [path for path in folder.rglob("*") if not path.is_dir()]


def test_rings_in_a_folder_of_their_own_are_recovered(killed):
    capture, rings = killed
    assert len(qp.open(capture).samples()) == 5000
    assert len(files_in(rings)) == 2
    assert len(account.check(capture)) == 5000
    assert files_in(rings) == []


def test_rings_that_went_with_the_machine_are_missed(killed):
    capture, rings = killed
    for path in files_in(rings):
        path.unlink()
    assert recover(capture) == []
    assert not (capture / "rings").exists()


def test_rings_are_recovered_after_the_capture_was_moved(killed, tmp_path):
    capture, _ = killed
    moved = capture.rename(tmp_path / "moved")
    assert len(account.check(moved)) == 5000, "links go with it"


def test_a_recording_with_rings_elsewhere_leaves_nothing_there(tmp_path, monkeypatch):
    class Elsewhere(qp.Operation):
        STEP = qp.op("A step")

    rings = tmp_path / "memory"
    rings.mkdir()
    monkeypatch.setenv("QUANTUM_PULSE_RINGS", str(rings))
    with qp.record(tmp_path / "capture"), Elsewhere.STEP:
        assert len(files_in(rings)) == 2
        (link,) = (tmp_path / "capture" / "rings").iterdir()
        assert link.readlink().is_relative_to(rings)
    assert files_in(rings) == []
    agents.wait_until_taken(tmp_path / "capture")
    agents.wait_until_gone(tmp_path / "capture")
    assert not list(rings.rglob("capture-*"))
    assert len(qp.open(tmp_path / "capture").samples()) == 1


def test_a_folder_that_is_none(tmp_path, monkeypatch, caplog):
    for wrong in ("none", "", 5):
        with pytest.raises(
            qp.QuantumPulseError,
            match=f"ring_folder must be a folder that exists and can be written to, as /dev/shm, not {wrong!r}",
        ):
            qp.start(tmp_path / "capture", ring_folder=wrong)
    # Set by whoever runs the program, who may not be its author: nothing breaks.
    monkeypatch.setenv("QUANTUM_PULSE_RINGS", str(tmp_path / "nowhere"))
    for _ in range(2):
        with qp.record(tmp_path / "capture"):
            (link,) = (tmp_path / "capture" / "rings").iterdir()
            assert not link.readlink().is_relative_to(tmp_path)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("QUANTUM_PULSE_RINGS must be a folder that exists and can be written to, as /dev/shm, not '")


def test_a_folder_that_takes_no_files(tmp_path):
    # /proc is a folder that root may write to, and yet no file can be made in it.
    with pytest.raises(qp.QuantumPulseError, match=r"cannot record into .*|can be written to, as /dev/shm"):
        qp.start(tmp_path / "capture", ring_folder="/proc")
