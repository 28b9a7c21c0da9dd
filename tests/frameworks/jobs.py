"""A Celery application for the tests. Its broker is a folder, `WORK` in the environment."""

import os
from pathlib import Path

import celery

import quantum_pulse as qp

WORK = Path(os.environ["WORK"])
for name in ("queue", "results"):
    (WORK / name).mkdir(exist_ok=True)


class Job(qp.Operation):
    ADD = qp.op("Adding")


app = celery.Celery("jobs", broker="filesystem://", backend=f"file://{WORK / 'results'}")
app.conf.broker_transport_options = {"data_folder_in": str(WORK / "queue"), "data_folder_out": str(WORK / "queue")}
app.conf.broker_connection_retry_on_startup = True


@app.task
def add(a, b):
    with Job.ADD:
        return a + b
