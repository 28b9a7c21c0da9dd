"""Tasks of a real Celery worker."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import quantum_pulse as qp
from quantum_pulse.integrations import celery
from tests import agents

ROOT = Path(__file__).parents[2]
TASKS = """
from celery import Celery
import quantum_pulse as qp
from quantum_pulse.integrations import celery

class Mail(qp.Operation):
    RENDER = qp.op()

app = celery.instrument(Celery("letters", broker="filesystem://", backend="file://results"))
app.conf.broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue"}
app.conf.broker_connection_retry_on_startup = True

@app.task
def send(name):
    with Mail.RENDER:
        return len(name)

@app.task
def fails():
    raise LookupError("no such customer")

@app.task(bind=True, max_retries=2)
def again(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
"""
SEND = """
import letters
sent = [letters.send.delay("a customer") for _ in range(10)] + [letters.fails.delay(), letters.again.delay()]
for one in sent:
    one.get(timeout=100, propagate=False)
"""


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("celery")
    for name in ("queue", "results"):
        (folder / name).mkdir()
    (folder / "letters.py").write_text(TASKS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}
    with open(folder / "log", "wb") as log:
        worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "--quiet", "--app", "letters", "worker", "--concurrency", "2"),
                *("--loglevel", "warning"),
            ],
            cwd=folder, env={**environment, "QUANTUM_PULSE": str(folder / "capture")}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        sender = subprocess.run(
            [sys.executable, "-c", SEND], cwd=folder, env=environment, capture_output=True, timeout=150, check=False
        )
        assert sender.returncode == 0, (sender.stderr, (folder / "log").read_text())
        time.sleep(0.5)
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.wait()
    agents.wait_until_gone(folder / "capture", within_s=30)
    return qp.open(folder / "capture")


def test_each_task_is_a_call_and_encloses_what_it_does(capture):
    samples = capture.samples()
    sends = samples[samples["operation"] == "Tasks.LETTERS__SEND"]
    assert len(sends) == 10
    assert list(sends["attributes"]) == [{"state": "SUCCESS", "retries": "0"}] * 10
    assert sends["error"].isna().all()
    renders = samples[samples["operation"] == "Mail.RENDER"]
    assert set(renders["parent"]) == set(sends["span"])


def test_a_task_that_fails_and_one_that_is_retried(capture):
    samples = capture.samples().sort_values("start")
    (failed,) = samples[samples["operation"] == "Tasks.LETTERS__FAILS"].itertuples()
    assert failed.error == "LookupError"
    assert failed.attributes["state"] == "FAILURE"
    again = samples[samples["operation"] == "Tasks.LETTERS__AGAIN"]
    assert [(one["state"], one["retries"]) for one in again["attributes"]] == [
        ("RETRY", "0"), ("RETRY", "1"), ("SUCCESS", "2"),
    ]  # fmt: skip
    assert again["error"].isna().all()


def test_tasks_have_waited(capture):
    samples = capture.samples()
    waits = samples[samples["operation"] == "Queue.WAIT"]
    assert len(waits) == 14
    assert {one["name"] for one in waits["attributes"]} == {"letters.send", "letters.fails", "letters.again"}
    assert (waits["parent"] == 0).all()
    assert ((waits["duration_ns"] > 0) & (waits["duration_ns"] < 120e9)).all()
    assert capture.unfinished().empty


def test_names_of_tasks_differ_where_tasks_do():
    names = ["a.b", "a__b", "a_b", "A.b", "a-b", "1.a", "é"]
    found = [celery.task_name(name) for name in names]
    assert len(set(found)) == len(names)
    assert all(name.isidentifier() for name in found)


def test_what_is_no_application():
    with pytest.raises(TypeError, match="Celery"):
        celery.instrument(qp)
