"""Disks that are full, and folders that go away: the host goes on, and what could not be written is known."""

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import quantum_pulse as qp
from quantum_pulse.errors import RecordingError
from tests.faults.account import check

MEGABYTE = 2**20

FILL = """
import json, logging, sys, time
from pathlib import Path
import quantum_pulse as qp
from quantum_pulse.recorder import writer

writer.LONGEST_RETRY_S = 1.0
logging.basicConfig()

class Full(qp.Operation):
    STEP = qp.op("A step")

recorder = qp.start(sys.argv[1], budget_bytes=int(sys.argv[2]))
done = 0
end = time.monotonic() + float(sys.argv[3])
while time.monotonic() < end or done < int(sys.argv[4]):
    for _ in range(1000):
        with Full.STEP:
            pass
    done += 1000
    if done % 100_000 == 0:
        recorder.flush()
account = recorder.account()
recorder.stop()
print(json.dumps({"done": done, "account": recorder.account()}))
"""


@pytest.fixture
def small(tmp_path):
    """A file system of 12 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("file systems can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(capture, budget=64 * MEGABYTE, seconds=3.0, least=0):
    """Record for so long, and at least so many samples, however busy the machine is."""
    command = [sys.executable, "-c", FILL, str(capture), str(budget), str(seconds), str(least)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_a_disk_that_becomes_full(small, tmp_path):
    result, said = fill(small / "capture")
    account = result["account"]
    assert result["done"] > 100_000, "the host went on"
    assert account["started"] == account["written"] + account["open"] + account["lost"] + account["pending"]
    assert said.count("\n") <= 1, said
    if account["pending"]:
        assert "No space left" in said
    shutil.copytree(small / "capture", tmp_path / "elsewhere")  # there is no room to recover it where it is
    samples = check(tmp_path / "elsewhere", lost=account["lost"])
    assert len(samples) == account["written"] + account["pending"]


def test_what_did_not_fit_is_recovered_when_there_is_room(small):
    filler = small / "filler"
    result, said = fill(small / "capture", 2 * MEGABYTE, 0.5)
    assert (result["account"]["pending"], said) == (0, "")
    before = len(qp.open(small / "capture").samples())
    filler.write_bytes(b"x" * (os.statvfs(small).f_bavail * os.statvfs(small).f_frsize - 4 * MEGABYTE - 120_000))
    result, said = fill(small / "capture", 64 * MEGABYTE, 3.0, 6_000_000)
    account = result["account"]
    assert account["pending"] > 0
    assert "No space left" in said
    filler.unlink()
    samples = check(small / "capture", lost=account["lost"])
    assert len(samples) == before + account["written"] + account["pending"]


def test_no_room_at_the_start(tmp_path):
    """The kernel's limit on the size of files stands for a quota."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEGABYTE, hard))
    try:
        with pytest.raises(RecordingError, match=r"cannot record into .*: File too large"):
            qp.start(tmp_path / "capture")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "capture").rglob("*.ring"))
    with qp.record(tmp_path / "capture"):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_no_permission(tmp_path):
    tmp_path.chmod(0o755)
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            os.setuid(65534)
            try:
                qp.start(tmp_path / "capture")
            except RecordingError as error:
                code = 0 if "Permission denied" in str(error) else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not Path(tmp_path / "capture").exists()


READ_ONLY = """
import json, logging, os, sys
import quantum_pulse as qp

logging.basicConfig()

class ReadOnly(qp.Operation):
    STEP = qp.op("A step")

def work(times):
    for _ in range(times):
        with ReadOnly.STEP:
            pass

with qp.record(sys.argv[2]):
    work(1)  # all is imported: Python may be installed where only root may read
os.setuid(65534)
recorder = qp.start(sys.argv[1])
work(1000)
recorder.flush()
print("ready", flush=True)
sys.stdin.readline()
work(500)
recorder.flush()
done = 1500
for _ in range(1000):
    work(1)
    done += 1
recorder.stop()
print(json.dumps({"done": done, "account": recorder.account()}))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to take permissions away from somebody else")
def test_a_folder_that_becomes_read_only(tmp_path):
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    capture = tmp_path / "capture"
    capture.mkdir()
    os.chown(capture, 65534, 65534)
    command = [sys.executable, "-c", READ_ONLY, str(capture), str(tmp_path / "first")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as child:
        assert child.stdout.readline() == "ready\n", child.stderr.read()
        for folder in (capture / "samples", capture / "metrics", capture / "events"):
            os.chown(folder, 0, 0)
            folder.chmod(0o555)
        output, said = child.communicate("\n", timeout=60)
    assert child.returncode == 0, said
    result = json.loads(output)
    account = result["account"]
    assert result["done"] == 2500, "the host went on"
    assert account["started"] == account["written"] + account["open"] + account["lost"] + account["pending"]
    assert account["written"] == 1000
    assert account["pending"] == account["started"] - 1000 >= 500, "what had ended stays in the rings"
    assert said.count("\n") == 1, said
    assert "Permission denied" in said
    assert len(check(capture)) == account["started"]
