"""Environments that a program may find itself in: paths that are no text, no folder for temporary files."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import quantum_pulse as qp
from quantum_pulse.agent.recover import recover

PROGRAM = """
import quantum_pulse as qp
class K(qp.Operation):
    A = qp.op()
with K.A:
    pass
print("program goes on")
"""


def run(code, *arguments, cwd=None, **variables):
    environment = {os.fsencode(name): os.fsencode(value) for name, value in {**os.environ, **variables}.items()}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, check=False, env=environment, cwd=cwd
    )


@pytest.mark.parametrize("path", [b"cap\xff", b"\xff\xfe/deep", b"x" * 5000, b"/proc/none", b"/dev/null/x"])
def test_a_path_that_cannot_be_recorded_into_stops_no_program(tmp_path, path):
    done = run(PROGRAM, cwd=tmp_path, QUANTUM_PULSE=path)
    assert (done.returncode, done.stdout) == (0, b"program goes on\n")
    assert done.stderr.count(b"QUANTUM_PULSE=") == 1
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_working_directory_that_is_not_utf_8(tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff"
    Path(os.fsdecode(folder)).mkdir()
    done = run(PROGRAM, cwd=folder, QUANTUM_PULSE="capture")
    assert (done.returncode, done.stdout) == (0, b"program goes on\n")
    assert b"must be valid UTF-8" in done.stderr
    assert not any(Path(os.fsdecode(folder)).iterdir())


SHUT_OUT = """
import os, sys
import quantum_pulse as qp
from quantum_pulse.recorder import recording
recording.LONGEST_WAIT_S = 2.0
class K(qp.Operation):
    A = qp.op()
recorder = qp.start(sys.argv[1], writer="thread")
with K.A:
    pass
recorder.flush()
with K.A:
    pass
os.chmod(os.path.dirname(sys.argv[1]), 0)
if os.geteuid() == 0:
    os.setuid(65534)
qp.stop()
"""


def test_a_capture_that_may_not_be_looked_at_any_more_is_not_called_deleted():
    """The program gave up its rights; what it recorded stays in the rings, and is recovered by whoever has them."""
    with tempfile.TemporaryDirectory(prefix="quantum-pulse-shut-out-") as folder:
        outer = Path(folder) / "outer"
        outer.mkdir()
        Path(folder).chmod(0o755)
        done = run(SHUT_OUT, outer / "capture")
        outer.chmod(0o755)
        said = done.stderr.decode()
        assert done.returncode == 0, said
        assert "deleted" not in said
        assert "Permission denied; the rest is in /dev/shm/" in said
        assert len(recover(outer / "capture")) == 1
        capture = qp.open(outer / "capture")
        assert len(capture.samples()) == 2
        assert capture.losses().empty


RINGS = """
import os, sys, tempfile
import quantum_pulse as qp
from quantum_pulse.rings import places
class K(qp.Operation):
    A = qp.op()
qp.start(sys.argv[1], on_full="overwrite")
for _ in range(10):
    with K.A:
        pass
tempfile.tempdir = "/nowhere"
places.MEMORY = sys.argv[2]
capture = qp.open(sys.argv[1])
print(len(capture.samples()), capture.losses()["cause"].tolist())
"""


def test_rings_are_read_without_a_temporary_folder(tmp_path):
    done = run(RINGS, tmp_path / "a", "/dev/shm")
    assert (done.returncode, done.stdout) == (0, b"10 []\n"), done.stderr


def test_where_nothing_can_be_written_it_is_named(tmp_path):
    done = run(RINGS, tmp_path / "b", "/nowhere")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"0 [")
    assert b"for lack of a temporary folder" in done.stdout
