"""A disk that takes nothing and says nothing, as one that a network has lost: a file system that is frozen."""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import quantum_pulse as qp
from quantum_pulse.recorder.recover import recover
from tests.faults import account

CHILD = """
import json, logging, sys, time
import quantum_pulse as qp
from quantum_pulse.recorder import writer

logging.basicConfig()
writer.LONGEST_STOP_S = 2.0

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

recorder = qp.start(sys.argv[1], ring_folder=sys.argv[2])
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
    """A file system of its own, and ways to freeze and thaw it."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with open(image, "wb") as file:
        file.truncate(64 * 2**20)
    for command in (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(folder)]):
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"needs {command[0]}")
        if done.returncode != 0:
            pytest.skip("file systems can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def frozen(folder):
    subprocess.run(["fsfreeze", "--freeze", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", str(folder)], check=True)


def test_the_program_goes_on_and_nothing_is_lost(disk, tmp_path):
    rings = tmp_path / "memory"
    rings.mkdir()
    capture = disk / "capture"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(capture), str(rings)],
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
    assert "the disk took no data for 2 s" in said
    balance = result["account"]
    assert balance["started"] == result["done"]
    assert balance["started"] == balance["written"] + balance["open"] + balance["lost"] + balance["pending"]
    assert balance["lost"] == 0
    # What hung may have been written after all when the disk came back; no sample is there twice.
    samples = account.check(capture)
    assert len(samples) == result["done"]
    assert set(samples["error"].dropna()) == {"ArithmeticError"}
    assert list(rings.iterdir()) == []


KILLED = """
import os, signal, sys
import quantum_pulse as qp

class Killed(qp.Operation):
    STEP = qp.op("A step")

qp.start(sys.argv[1], ring_folder=sys.argv[2])
for number in range(5000):
    with Killed.STEP:
        pass
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(tmp_path):
    """A capture whose rings stand in a folder of their own, left by a process that was killed."""
    (tmp_path / "memory").mkdir()
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "capture"), str(tmp_path / "memory")], check=False)
    return tmp_path / "capture", tmp_path / "memory"


def test_rings_in_a_folder_of_their_own_are_recovered(killed):
    capture, rings = killed
    assert len(qp.open(capture).samples()) == 5000
    assert len(list(rings.iterdir())) == 2
    assert len(account.check(capture)) == 5000
    assert list(rings.iterdir()) == []


def test_rings_that_went_with_the_machine_are_missed(killed):
    capture, rings = killed
    for path in rings.iterdir():
        path.unlink()
    (found,) = recover(capture)
    assert found.samples == 0
    assert any("No such file" in damage for damage in found.damage)
    assert not (capture / "rings").exists()


def test_rings_whose_capture_is_gone_are_told(killed, tmp_path, caplog):
    capture, rings = killed
    with qp.record(tmp_path / "another", ring_folder=rings):
        assert not caplog.records, "it is there, so it may be recovered"
    moved = capture.rename(tmp_path / "moved")
    with qp.record(tmp_path / "another", ring_folder=rings):
        (said,) = [record.getMessage() for record in caplog.records]
    assert f"{rings} holds 4 MB of rings whose captures were deleted or moved, such as quantum_pulse-" in said
    assert len(account.check(moved)) == 5000, "links go with it"
    caplog.clear()
    with qp.record(tmp_path / "another", ring_folder=rings):
        assert not caplog.records


@pytest.mark.parametrize("line", [b"[" * 10**5, b"1", b"[]", b"", b"{}", b'{"namespace": 1, "link": 1}', b"\xff"])
def test_what_others_leave_in_a_folder_of_rings_hinders_no_recording(tmp_path, caplog, line):
    memory = tmp_path / "memory"
    memory.mkdir()
    (memory / "quantum_pulse-1-2.names").write_bytes(b"00000000 " + line + b"\n")
    (memory / "quantum_pulse-1-3.names").mkdir()
    with qp.record(tmp_path / "capture", ring_folder=memory) as recorder:
        assert recorder.is_recording
    assert not caplog.records


def test_no_file_of_others_is_deleted_through_a_link(killed, tmp_path):
    capture, _ = killed
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (ring,) = (capture / "rings").glob("*.ring")
    ring.unlink()
    ring.symlink_to(precious)
    recover(capture)
    assert precious.read_text() == "kept"
    assert not ring.is_symlink()


def test_a_recording_with_rings_elsewhere_leaves_nothing_there(tmp_path, monkeypatch):
    class Elsewhere(qp.Operation):
        STEP = qp.op("A step")

    rings = tmp_path / "memory"
    rings.mkdir()
    monkeypatch.setenv("QUANTUM_PULSE_RINGS", str(rings))
    with qp.record(tmp_path / "capture"), Elsewhere.STEP:
        assert len(list(rings.iterdir())) == 2
        assert all(path.is_symlink() for path in Path(tmp_path / "capture" / "rings").iterdir())
    assert list(rings.iterdir()) == []
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
            assert not any(path.is_symlink() for path in (tmp_path / "capture" / "rings").iterdir())
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("QUANTUM_PULSE_RINGS must be a folder that exists and can be written to, as /dev/shm, not '")


def test_a_folder_that_takes_no_files(tmp_path):
    # /proc is a folder that root may write to, and yet no file can be made in it.
    with pytest.raises(qp.QuantumPulseError, match=r"no rings can be made in /proc|can be written to, as /dev/shm"):
        qp.start(tmp_path / "capture", ring_folder="/proc")
