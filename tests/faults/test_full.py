"""Disks that are full, and folders that go away: the host goes on, and what could not be written is known."""

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

import quantum_pulse as qp
from quantum_pulse.agent.recover import recover
from quantum_pulse.errors import RecordingError
from tests import agents
from tests.faults import account, disks
from tests.faults.account import check
from tests.faults.disks import MEGABYTE
from tests.faults.program import running

KINDS = ["tmpfs", "ext4", "xfs", "btrfs"]
#: Copies what it changes, so that a full disk takes no change: no rings there.
REFUSED = ["btrfs"]


@pytest.fixture(params=KINDS)
def disk(request, tmp_path):
    """A small file system of each kind."""
    with disks.mounted(request.param, tmp_path / "disk") as folder:
        yield folder


@pytest.fixture(params=[kind for kind in KINDS if kind not in REFUSED])
def disk_for_rings(request, tmp_path):
    with disks.mounted(request.param, tmp_path / "disk") as folder:
        yield folder


def record_until(program, condition, most=20_000_000):
    """Record until what the program says of itself is so."""
    while not condition(found := program.tell("work", 20_000)):
        assert found["done"] < most, found
    return found


def record_until_lost(program):
    """Record until nothing can be written and samples are lost for that; some may have been lost before."""
    before = record_until(program, lambda found: found["failure"])["account"]["lost"]
    return record_until(program, lambda found: found["account"]["lost"] > before and found["failure"])


def go_through_a_full_disk(program, disk):
    """The disk becomes full, and has room again: nothing but samples that found no room in the rings is missing."""
    record_until(program, lambda found: found["account"]["written"] > 0)
    fillers = disks.fill(disk)
    found = record_until_lost(program)
    assert "No space left" in found["failure"]
    assert found["account"]["pending"] > 0, "the rings hold what they can"
    assert program.tell("flush")["took_s"] < 10, "nobody waits for a disk that is full"
    full = program.tell("work", 100_000)
    disks.make_room(disk, fillers)
    give_up = time.monotonic() + 30
    while program.tell("flush")["failure"]:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    program.tell("work", 10_000)
    found = program.tell("flush")
    assert (found["account"]["pending"], found["failure"]) == (0, "")
    assert found["account"]["written"] >= full["account"]["written"] + full["account"]["pending"], "it goes on"
    final = program.tell("stop")
    assert final["account"]["pending"] == 0
    assert program.end() == ""
    return final["account"]


def assert_losses_say_why(capture, lost):
    """Each loss is there once, with when and why it came to that."""
    losses = qp.open(capture).losses()
    assert losses["count"].sum() == lost > 0
    assert losses["cause"].str.fullmatch(r"rings full; nothing could be written from 20.* UTC.*: No space left.*").all()
    assert losses["start"].notna().all()


def test_a_disk_that_becomes_full(disk):
    with running(disk / "capture", 8 * MEGABYTE) as program:
        told = go_through_a_full_disk(program, disk)
    assert_losses_say_why(disk / "capture", told["lost"])
    assert len(check(disk / "capture", lost=True)) == told["written"]


def test_rings_on_the_disk_that_becomes_full(disk_for_rings):
    """The mapping is written to where the disk has no room: the program must not get SIGBUS."""
    rings = disk_for_rings / "rings"
    rings.mkdir()
    with running(disk_for_rings / "capture", 256 * MEGABYTE, rings) as program:
        told = go_through_a_full_disk(program, disk_for_rings)
    assert len(check(disk_for_rings / "capture", lost=True)) == told["written"]
    assert not [path for path in rings.rglob("*") if path.is_file()]


def test_rings_of_the_python_core_on_the_disk_that_becomes_full(tmp_path):
    with disks.mounted("ext4", tmp_path / "disk") as disk:
        rings = disk / "rings"
        rings.mkdir()
        with running(disk / "capture", 4 * MEGABYTE, rings, QUANTUM_PULSE_CORE="python") as program:
            told = go_through_a_full_disk(program, disk)
        assert len(check(disk / "capture", lost=True)) == told["written"]


@pytest.mark.parametrize("kind", REFUSED)
def test_no_rings_where_a_full_disk_takes_no_change_of_a_file(tmp_path, monkeypatch, caplog, kind):
    with disks.mounted(kind, tmp_path / "disk") as folder:
        with pytest.raises(RecordingError, match=f"ring_folder must not be on {kind}, where a full disk would end"):
            qp.start(tmp_path / "capture", ring_folder=folder)
        monkeypatch.setenv("QUANTUM_PULSE_RINGS", str(folder))
        with qp.record(tmp_path / "capture"):
            assert not list(folder.rglob("*.ring"))
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"QUANTUM_PULSE_RINGS must not be on {kind}" in said


def test_it_ends_while_the_disk_is_full(disk):
    capture = disk / "capture"
    with running(capture, 8 * MEGABYTE) as program:
        record_until(program, lambda found: found["account"]["written"] > 0)
        fillers = disks.fill(disk)
        record_until_lost(program)
        final = program.tell("stop")
        assert final["took_s"] < 10
        assert final["account"]["pending"] > 0
        said = program.end()
    losses = qp.open(capture).losses()
    assert losses["count"].sum() == final["account"]["lost"]
    assert losses["cause"].str.contains("nothing could be written.*: No space left").all(), "while it is full"
    assert said.count("\n") == 1, said
    assert "No space left" in said
    disks.make_room(disk, fillers)
    samples = check(capture, lost=True)  # the agent goes on trying
    assert len(samples) == final["account"]["written"] + final["account"]["pending"]


def test_killed_with_its_agent_while_the_disk_is_full(disk):
    capture = disk / "capture"
    with running(capture, 8 * MEGABYTE) as program:
        record_until(program, lambda found: found["account"]["written"] > 0)
        fillers = disks.fill(disk)
        found = record_until_lost(program)
        agents.kill(capture)
        program.child.kill()
        program.child.wait()
    with pytest.raises(OSError, match="No space left"):
        recover(capture)
    disks.make_room(disk, fillers)
    samples = check(capture, lost=True)
    assert len(samples) == found["done"] - found["account"]["lost"]


def test_memory_that_is_small(tmp_path):
    """As /dev/shm of a container: like rings of that size, and what is lost costs no more than what is not."""
    with disks.mounted("tmpfs", tmp_path / "memory", 64) as memory:
        with running(tmp_path / "capture", 256 * MEGABYTE, memory) as program:
            program.tell("work", 1000)
            program.tell("flush")
            with agents.stopped(tmp_path / "capture"):
                kept = program.tell("work", 400_000)
                assert kept["account"]["lost"] == 0
                found = record_until(program, lambda found: found["account"]["lost"] > 0)
                lost = program.tell("work", 2_000_000)
            assert found["account"]["started"] > 31 * MEGABYTE / 53, "half of the memory was taken"
            print(
                f"a batch of 500: {1e6 * kept['median_s']:.0f} µs, at most {1e3 * kept['longest_s']:.1f} ms with room; "
                f"{1e6 * lost['median_s']:.0f} µs, at most {1e3 * lost['longest_s']:.1f} ms without"
            )
            assert lost["account"]["lost"] >= 2_000_000 - 1_300_000
            assert lost["median_s"] < 10 * kept["median_s"]
            assert lost["took_s"] < 30
            final = program.tell("stop")
            assert program.end() == ""
        assert final["account"]["pending"] == 0
        assert len(check(tmp_path / "capture", lost=True)) == final["account"]["written"]


HALFWAY = """
import errno, gc, os, sys, time
import quantum_pulse as qp
from quantum_pulse.agent import agent, parts, workers

agent.RETRY_S = agent.LONGEST_RETRY_S = 0.05
gc.disable()
failures = {"left": int(sys.argv[2])}

def failing(function, is_meant):
    # As on a disk that becomes full after the first of several files.
    def write(*args, **kwargs):
        if failures["left"] and is_meant(args):
            failures["left"] -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return function(*args, **kwargs)
    return write

parts.write_rows = failing(parts.write_rows, lambda args: args[1] == "events")
workers.write_json = failing(workers.write_json, lambda args: True)

class Halfway(qp.Operation):
    STEP = qp.op()

def work():
    for _ in range(2000):
        with Halfway.STEP:
            pass

recorder = qp.start(sys.argv[1], writer="thread")
for _ in range(int(sys.argv[3])):
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    os.waitpid(child, 0)
    work()
work()
gc.collect()
end = time.monotonic() + 20
while failures["left"] and time.monotonic() < end:
    recorder.flush()
    time.sleep(0.01)
recorder.flush()
recorder.stop()
assert failures["left"] == 0
"""


@pytest.mark.parametrize("workers", [0, 3])
def test_what_becomes_full_halfway_is_not_written_twice(tmp_path, workers):
    command = [sys.executable, "-c", HALFWAY, str(tmp_path), "4", str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(check(tmp_path)) == 2000 * (1 + 2 * workers)
    assert (qp.open(tmp_path).events()["event"] == "gc").sum() == 1
    assert sum(one["account"]["started"] for one in account.processes(tmp_path).values()) == 2000 * (1 + 2 * workers)


def test_no_room_at_the_start(tmp_path):
    """The kernel's limit on the size of files stands for a quota."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEGABYTE, hard))
    try:
        with pytest.raises(RecordingError, match=r"cannot record into .*: File too large"):
            qp.start(tmp_path / "capture")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert agents.rings(tmp_path / "capture") == []
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

# A thread, and all is imported: Python may be installed where only root may read.
with qp.record(sys.argv[2], writer="thread"):
    work(1)
os.setuid(65534)
recorder = qp.start(sys.argv[1], writer="thread")
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
    assert 1 <= said.count("\n") <= 2, said  # as soon as it is known, and in the end
    assert said.count("Permission denied") == said.count("\n")
    with pytest.raises(PermissionError):
        recover(capture)  # root does nothing there that the owner could not do
    for folder in (capture / "samples", capture / "metrics", capture / "events"):
        os.chown(folder, 65534, 65534)
        folder.chmod(0o755)
    assert len(check(capture)) == account["started"]
