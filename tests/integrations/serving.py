"""Real servers with the applications of `apps`, recorded into a capture."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import quantum_pulse as qp
from tests import agents
from tests.integrations.client import Client

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent

ASGI = ("starlette", "fastapi", "litestar")
WSGI = ("flask", "django")
FRAMEWORKS = (*ASGI, *WSGI)


def command(framework, port, *, recycles=0):
    """How the application is served; `recycles`: a worker ends after so many requests."""
    target = f"apps.{framework}_app:app"
    if framework in ASGI and not recycles:
        return ["-m", "uvicorn", target, "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    return [
        *("-m", "gunicorn", target, "--bind", f"127.0.0.1:{port}", "--log-level", "error"),
        *(("--worker-class", "uvicorn_worker.UvicornWorker") if framework in ASGI else ("--worker-class", "gthread")),
        *(() if framework in ASGI else ("--threads", "4")),
        *(("--max-requests", str(recycles), "--workers", "2") if recycles else ()),
    ]


class Service:
    """A server that is recorded into `folder/capture`."""

    def __init__(self, framework, folder, **options):
        self.folder = folder
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
            "QUANTUM_PULSE": str(folder / "capture"),
        }
        with open(folder / "log", "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command(framework, self.port, **options)],
                cwd=folder, env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        self._wait_until_it_listens()

    def _wait_until_it_listens(self, within_s=60):
        give_up = time.monotonic() + within_s
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                return
            except OSError:
                assert self._process.poll() is None, self.log
                assert time.monotonic() < give_up, self.log
                time.sleep(0.05)

    @property
    def log(self):
        return (self.folder / "log").read_text()

    def client(self):
        return Client(self.port)

    def terminate(self):
        self._process.send_signal(signal.SIGTERM)

    def end(self, within_s=30):
        """Wait for the end after SIGTERM. Returns the capture, once its agent has gone."""
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it hangs: {self.log}")
        finally:
            self.kill()
        agents.wait_until_gone(self.folder / "capture")
        capture = qp.open(self.folder / "capture")
        assert capture.losses().empty
        return capture

    def kill(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
