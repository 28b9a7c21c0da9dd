"""What a recording takes in of others that have ended, and what it leaves for whoever asks."""

import errno
import fcntl
import json
import os
import subprocess
import sys

import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.recorder import recover
from tests.faults import account

LEAVES = """
import os, sys
import quantum_pulse as qp

class Swept(qp.Operation):
    STEP = qp.op()

qp.start(sys.argv[1])
for _ in range(int(sys.argv[2])):
    with Swept.STEP:
        pass
os.kill(os.getpid(), 9)
"""


def leave(capture, samples=1000):
    """A killed process leaves a ring. Returns it."""
    before = {*(capture / "rings").glob("*.ring")}
    done = subprocess.run([sys.executable, "-c", LEAVES, str(capture), str(samples)], check=False)
    assert done.returncode == -9
    (ring,) = {*(capture / "rings").glob("*.ring")} - before
    return ring


def sweep(capture):
    return recover.sweep(capture, capture / "rings" / "none.ring", 5)


def check_left_alone(capture, ring):
    before = {path: path.stat().st_mtime_ns for path in capture.rglob("*")}
    assert ring in before
    sweep(capture)
    assert {path: path.stat().st_mtime_ns for path in capture.rglob("*")} == before


def test_what_was_left_is_taken_in_once(tmp_path):
    leave(tmp_path)
    leave(tmp_path, 0)
    assert not sweep(tmp_path)
    assert not (tmp_path / "rings").exists()
    assert len(account.processes(tmp_path)) == 1, "nothing is kept of one that recorded nothing"
    assert not sweep(tmp_path)
    assert len(account.check(tmp_path)) == 1000


def test_where_there_are_no_locks_the_number_of_a_process_says_nothing(tmp_path, monkeypatch):
    # As of a process in another container, which is not to be seen here and may well live.
    ring = leave(tmp_path)

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    check_left_alone(tmp_path, ring)


def test_where_the_journal_cannot_be_read(tmp_path):
    ring = leave(tmp_path)
    names = ring.with_suffix(schema.NAMES_SUFFIX)
    names.rename(tmp_path / "elsewhere")
    check_left_alone(tmp_path, ring)


def test_rings_of_another_host_are_left_alone(tmp_path):
    # Locks on a file system that several share may hold on one of them only.
    ring = leave(tmp_path)
    file = tmp_path / "processes" / f"{ring.stem}.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "host": "elsewhere"}))
    check_left_alone(tmp_path, ring)


@pytest.mark.parametrize("magic", [b"QPRING02", bytes(8)])
def test_what_is_not_known_is_left_alone_and_spoils_no_other(tmp_path, magic):
    rings = sorted([leave(tmp_path), leave(tmp_path)])
    with open(rings[0], "r+b") as file:
        file.write(magic)
    sweep(tmp_path)
    assert [ring.exists() for ring in rings] == [True, False]
    check_left_alone(tmp_path, rings[0])


def test_rows_under_a_header_that_counts_nothing_are_kept(tmp_path):
    ring = leave(tmp_path)
    with open(ring, "r+b") as file:
        file.seek(16)
        file.write(bytes(16))
    sweep(tmp_path)
    assert len(qp.open(tmp_path).samples()) == 1000


def test_what_is_large_takes_no_memory_of_a_program_that_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(recover, "LARGEST_SWEPT", schema.SEGMENT_BYTES)
    ring = leave(tmp_path)
    check_left_alone(tmp_path, ring)
    assert len(recover.recover(tmp_path)) == 1
    assert len(account.check(tmp_path)) == 1000


def test_the_recorder_goes_on_where_one_cannot_be_taken_in(tmp_path, monkeypatch):
    rings = sorted([leave(tmp_path), leave(tmp_path)])
    taken_in = recover._recover

    def failing(capture, ring):
        if ring == rings[0]:
            raise OverflowError
        return taken_in(capture, ring)

    monkeypatch.setattr(recover, "_recover", failing)
    sweep(tmp_path)
    assert [ring.exists() for ring in rings] == [True, False]
