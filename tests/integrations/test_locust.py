"""Requests of a real load test by Locust."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import quantum_pulse as qp
from quantum_pulse.integrations import locust
from tests.integrations.upstream import served

ROOT = Path(__file__).parents[2]
LOCUSTFILE = """
from locust import HttpUser, constant, events, task
from quantum_pulse.integrations import locust

@events.init.add_listener
def record(environment, **_):
    assert locust.instrument(locust.instrument(environment)) is environment

@events.quitting.add_listener
def count(environment, **_):
    entries = environment.stats.entries.values()
    print("REQUESTS", sum(one.num_requests for one in entries), sum(one.num_failures for one in entries))
    print("LONGEST", max(one.max_response_time for one in entries))
    environment.process_exit_code = 0

class Customer(HttpUser):
    wait_time = constant(0.01)

    @task
    def plain(self):
        self.client.get("/plain", name="/plain")

    @task
    def fails(self):
        self.client.get("/fails")
"""


def test_requests_of_a_load_test(tmp_path):
    (tmp_path / "locustfile.py").write_text(LOCUSTFILE)
    with served() as url:
        test = subprocess.run(
            [
                *(sys.executable, "-m", "locust", "--headless", "--only-summary", "--host", url),
                *("--users", "3", "--spawn-rate", "3", "--run-time", "2"),
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "QUANTUM_PULSE": str(tmp_path / "capture")},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    lines = dict(line.split(" ", 1) for line in test.stdout.splitlines() if line.startswith(("REQUESTS", "LONGEST")))
    assert lines, test.stderr
    sent, failed = map(int, lines["REQUESTS"].split())
    samples = qp.open(tmp_path / "capture").samples()
    assert set(samples["operation"]) == {"LoadClient.REQUEST"}
    assert len(samples) == sent > 10
    assert samples["error"].notna().sum() == failed > 0
    assert set(samples["error"].dropna()) == {"HTTPError"}
    assert {(one["method"], one["name"]) for one in samples["attributes"]} == {("GET", "/plain"), ("GET", "/fails")}
    assert samples["duration_ns"].max() / 1e6 == pytest.approx(float(lines["LONGEST"]), abs=1e-3)


def test_what_is_no_environment():
    with pytest.raises(TypeError, match="Environment"):
        locust.instrument(qp)
