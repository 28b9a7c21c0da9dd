"""QUANTUM_PULSE in the environment: whole processes recorded, or nothing at all, without a line changed."""

import os
import subprocess
import sys

import pytest

import quantum_pulse as qp
from quantum_pulse.errors import RecordingError

DEFINE = """
import multiprocessing, os, sys, time
import quantum_pulse as qp

class Env(qp.Operation):
    STEP = qp.op("A step")
    CHILD = qp.op("A step of a child")

def work(count, operation=Env.STEP):
    for _ in range(count):
        with operation:
            pass

def child(count):
    work(count, Env.CHILD)
"""


def run(script, value, *arguments):
    environment = {**os.environ, "QUANTUM_PULSE": str(value)}
    command = [sys.executable, "-W", "error", "-c", DEFINE + script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def counts(path):
    return qp.open(path).stats()["count"].droplevel("category").to_dict()


def test_a_whole_process(tmp_path):
    done = run("work(100)", tmp_path / "capture")
    assert (done.returncode, done.stderr) == (0, "")
    assert counts(tmp_path / "capture") == {"Env.STEP": 100}


def test_a_directory_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("here first")
    done = run("work(100)\nprint('went on')", tmp_path / "file")
    assert (done.returncode, done.stdout) == (0, "went on\n")
    assert "is a file; a capture is a directory" in done.stderr


def test_a_path_that_is_not_text(tmp_path):
    """A directory may have any bytes for a name. Parquet files cannot be opened in this one."""
    path = os.fsencode(tmp_path) + b"/caf\xe9"
    command = [sys.executable, "-W", "error", "-c", f"{DEFINE}\nwork(10)\nprint('went on')"]
    environment = {**os.environb, b"QUANTUM_PULSE": path}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, b"went on\n")
    assert b"caf\\xe9: path must be valid UTF-8, not " in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RecordingError, match="path must be valid UTF-8"):
        qp.start(os.fsdecode(path))


def test_a_program_that_records_itself(tmp_path):
    script = "work(10)\nwith qp.record(sys.argv[1]): work(20)"
    done = run(script, tmp_path / "capture", str(tmp_path / "own"))
    assert done.returncode == 0
    assert "the program records into" in done.stderr
    assert counts(tmp_path / "capture") == {"Env.STEP": 10}
    assert counts(tmp_path / "own") == {"Env.STEP": 20}


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_pools_of_processes(tmp_path, method):
    program = tmp_path / "program.py"
    program.write_text(
        f"{DEFINE}\n"
        "if __name__ == '__main__':\n"
        "    work(10)\n"
        f"    with multiprocessing.get_context({method!r}).Pool(3) as pool:\n"
        "        pool.map(child, [100] * 20)\n"
        "        pool.close()\n"
        "        pool.join()\n"
        "    work(5)\n"
    )
    environment = {**os.environ, "QUANTUM_PULSE": str(tmp_path / "capture")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)], env=environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert counts(tmp_path / "capture") == {"Env.STEP": 15, "Env.CHILD": 2000}
    samples = qp.open(tmp_path / "capture").samples()
    assert not samples.duplicated(["process", "span"]).any()
    if method != "forkserver":  # the server ends without a word; it has recorded nothing
        assert not (tmp_path / "capture" / "rings").exists()


def test_a_worker_without_work_says_nothing(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        f"{DEFINE}\n"
        "if __name__ == '__main__':\n"
        "    work(10)\n"
        "    worker = multiprocessing.get_context('spawn').Process(target=time.sleep, args=(1.2,))\n"
        "    worker.start()\n"
        "    worker.join()\n"
    )
    environment = {**os.environ, "QUANTUM_PULSE": str(tmp_path / "capture")}
    done = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert counts(tmp_path / "capture") == {"Env.STEP": 10}


def test_a_fork_that_is_killed(tmp_path):
    script = """
import signal
work(10)
pid = os.fork()
if pid == 0:
    child(50)
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(pid, 0)
work(10)
"""
    done = run(script, tmp_path / "capture")
    assert (done.returncode, done.stderr) == (0, "")
    assert counts(tmp_path / "capture") == {"Env.STEP": 20, "Env.CHILD": 50}


def test_off(tmp_path):
    script = """
with qp.record(sys.argv[1]) as recorder:
    work(10)
    recorder.flush()
    assert recorder.stats().empty
    assert recorder.account()["started"] == 0
qp.start(sys.argv[1])
qp.stop()
print(repr(recorder))
"""
    done = run(script, "off", str(tmp_path / "capture"))
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "capture").exists()


def test_off_has_the_columns_of_a_table(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTUM_PULSE", "off")
    with qp.record(tmp_path / "capture") as recorder:
        off = recorder.stats()
    monkeypatch.delenv("QUANTUM_PULSE")

    class Real(qp.Operation):
        STEP = qp.op()

    with qp.record(tmp_path / "capture"), Real.STEP:
        pass
    real = qp.open(tmp_path / "capture").stats()
    assert (list(off.columns), off.index.names) == (list(real.columns), real.index.names)
