"""Programs of other makers' frameworks: recorded whole, and ended as they end without a recording."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import quantum_pulse as qp
from tests import agents
from tests.recorder.work import assert_balances, processes

HERE = Path(__file__).parent


def begin(command, folder, **environment):
    """Start a program that is recorded into `folder/capture`."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], str(HERE)]),
        "QUANTUM_PULSE": str(folder / "capture"),
        **environment,
    }
    with open(folder / "log", "wb") as log:
        return subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, stdout=log, stderr=log)


def end(program, folder, within_s=30):
    """SIGTERM, as whoever stops services sends it. Returns the exit status."""
    program.send_signal(signal.SIGTERM)
    try:
        return program.wait(within_s)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()
        pytest.fail(f"it hangs: {(folder / 'log').read_text()}")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def ask(port, times, within_s=20):
    """The processes that answered so many requests."""
    give_up, found = time.monotonic() + within_s, []
    while len(found) < times:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                found.append(int(answer.read()))
        except OSError:
            assert time.monotonic() < give_up, "nobody answers"
            time.sleep(0.02)
    return found


def checked(folder):
    """The capture, once its agent has gone: all of its processes ended in good order, with nothing lost."""
    path = folder / "capture"
    agents.wait_until_taken(path)
    for process in processes(path):
        assert process["state"] == "finished", process
        assert_balances(process["account"])
        assert process["account"]["lost"] == process["account"]["pending"] == 0
    capture = qp.open(path)
    assert capture.losses().empty
    return capture


SERVERS = {
    "uvicorn": ["-m", "uvicorn", "service:app", "--host", "127.0.0.1", "--log-level", "warning", "--port"],
    "uvicorn, 2 workers": [
        *("-m", "uvicorn", "service:app", "--host", "127.0.0.1", "--log-level", "warning", "--workers", "2", "--port")
    ],
    "gunicorn": [
        *("-m", "gunicorn", "service:app", "--worker-class", "uvicorn_worker.UvicornWorker", "--workers", "2"),
        *("--log-level", "warning", "--bind"),
    ],
}


@pytest.mark.parametrize("server", SERVERS)
def test_a_service_that_is_stopped(tmp_path, server):
    port = free_port()
    address = f"127.0.0.1:{port}" if server == "gunicorn" else str(port)
    program = begin([*SERVERS[server], address], tmp_path)
    try:
        asked = ask(port, 200)
    finally:
        status = end(program, tmp_path)
    assert status in (0, -signal.SIGTERM)
    samples = checked(tmp_path).samples()
    requests = samples[samples["operation"] == "Service.REQUEST"]
    assert sorted(requests["process"]) == sorted(asked)
    loops = samples[samples["operation"] == "Service.CONSUMER"]
    assert set(loops["process"]) >= set(asked)
    assert loops["process"].is_unique


LOOP = """
import sys
import {imported}
{patch}
import quantum_pulse as qp

class Loop(qp.Operation):
    STEP = qp.op()

with qp.record(sys.argv[1]):
    for _ in range(2_000_000):
        with Loop.STEP:
            pass
"""


@pytest.mark.parametrize(
    ("imported", "patch"),
    [("gevent.monkey", "gevent.monkey.patch_all()"), ("eventlet", "eventlet.monkey_patch()")],
    ids=["gevent", "eventlet"],
)
def test_green_threads_that_never_yield(tmp_path, imported, patch):
    script = LOOP.format(imported=imported, patch=patch)
    command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "capture")]
    subprocess.run(command, check=True, timeout=60)
    assert checked(tmp_path).stats(approximate=True)["count"].sum() == 2_000_000


GREENLETS = """
import contextvars
import sys
import gevent.monkey
gevent.monkey.patch_all()
import gevent
import quantum_pulse as qp

class Green(qp.Operation):
    OUTER = qp.op()
    INNER = qp.op()

def inner():
    with Green.INNER:
        gevent.sleep(0.001)

def outer():
    with Green.OUTER:
        inner()
        gevent.sleep(0.001)

with qp.record(sys.argv[1]):
    gevent.joinall([gevent.spawn(outer) for _ in range(100)])
    with Green.OUTER:
        gevent.joinall([gevent.spawn(inner), gevent.spawn(contextvars.copy_context().run, inner)])
"""


def test_greenlets_have_spans_of_their_own(tmp_path):
    subprocess.run([sys.executable, "-c", GREENLETS, str(tmp_path / "capture")], check=True, timeout=60)
    samples = checked(tmp_path).samples()
    outer = samples[samples["operation"] == "Green.OUTER"].set_index("span")
    inner = samples[samples["operation"] == "Green.INNER"]
    assert (len(outer), len(inner)) == (101, 102)
    assert (outer["parent"] == 0).all()
    # One that is spawned inside a block begins in a context of its own, with no parent; in a copy of the context that
    # spawned it, the block there is its parent.
    parents = inner["parent"].value_counts()
    assert parents.pop(0) == 1
    assert set(parents.index) == set(outer.index)
    assert parents.tolist() == [1] * 101


def test_a_celery_worker_that_is_stopped(tmp_path):
    environment = {"WORK": str(tmp_path)}
    command = ["-m", "celery", "--app", "jobs", "worker", "--concurrency", "2", "--loglevel", "WARNING"]
    program = begin(command, tmp_path, **environment)
    script = "import jobs; print(sum(one.get(timeout=50) for one in [jobs.add.delay(1, 1) for _ in range(50)]))"
    try:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], str(HERE)]), **environment},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    finally:
        status = end(program, tmp_path)
    assert (done.stdout, status) == ("100\n", 0)
    assert checked(tmp_path).samples()["operation"].tolist() == ["Job.ADD"] * 50


LOKY = """
import sys
import joblib
import quantum_pulse as qp
from tests.frameworks import work

if __name__ == "__main__":
    with qp.record(sys.argv[1]):
        joblib.Parallel(n_jobs=2)(joblib.delayed(work.step)(number) for number in range(100))
"""


def test_workers_of_joblib(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(LOKY)
    subprocess.run([sys.executable, script, tmp_path / "capture"], check=True, timeout=60)
    agents.wait_until_taken(tmp_path / "capture")
    samples = qp.open(tmp_path / "capture").samples()
    assert samples["operation"].tolist() == ["Work.STEP"] * 100
