"""Django's ASGI handler, which runs synchronous views in a thread."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import quantum_pulse as qp

HERE = Path(__file__).parent
PROGRAM = """
import asyncio
import sys

import apps.django_app
from django.core.asgi import get_asgi_application

import quantum_pulse as qp
from quantum_pulse.integrations import asgi

app = asgi.instrument(get_asgi_application())


async def get(path):
    sent = []
    received = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        if received:
            return received.pop()
        await asyncio.sleep(3600)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "root_path": "", "headers": [],
        "query_string": b"", "asgi": {"version": "3.0"}, "http_version": "1.1",
    }
    await app(scope, receive, send)
    return sent[0]["status"]


with qp.record(sys.argv[1]):
    for path in ("/step", "/shop/tenant/items/tea", "/shop/other/items/salt", "/nowhere", "/error"):
        print(asyncio.run(get(path)))
"""


def test_routes_and_what_is_inside(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "capture")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["200", "200", "200", "404", "500"]
    samples = qp.open(tmp_path / "capture").samples()
    requests = samples[samples["operation"].str.startswith(("Routes.", "Http.UNMATCHED"))]
    assert Counter(requests["operation"]) == {
        "Routes.SHOP__BY_TENANT__ITEMS__BY_ITEM": 2,
        "Routes.STEP": 1,
        "Http.UNMATCHED": 1,
        "Routes.ERROR": 1,
    }
    assert [error for error in requests["error"] if isinstance(error, str)] == ["HTTP 500"]
    steps = samples[samples["operation"] == "Work.STEP"]
    assert len(steps) == 3
    assert set(steps["parent"]) <= set(requests["span"])
