"""Requests that httpx sends, to a real server."""

import asyncio
import http.server
import threading
import time

import httpx as client_library
import pytest

import quantum_pulse as qp
from quantum_pulse.integrations import httpx


class Checkout(qp.Operation):
    ORDER = qp.op()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/moved":
            self.answer(302, b"", Location="/plain")
        elif self.path == "/fails":
            self.answer(503, b"no")
        elif self.path == "/slow":
            self.send_response(200)
            self.send_header("Content-Length", "10")
            self.end_headers()
            for _ in range(10):
                time.sleep(0.005)
                self.wfile.write(b"x")
        else:
            self.answer(200, b"plain")

    def answer(self, status, body, **fields):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **fields}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def url():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def requests_of(path):
    samples = qp.open(path).samples()
    assert qp.open(path).unfinished().empty
    return samples[samples["operation"] == "HttpClient.REQUEST"].sort_values("start"), samples


def test_requests_of_a_client(tmp_path, url):
    with qp.record(tmp_path / "capture"), httpx.instrument(client_library.Client(base_url=url)) as client:
        assert httpx.instrument(client) is client, "and not twice"
        with Checkout.ORDER:
            assert client.get("/plain").text == "plain"
        client.get("/moved", follow_redirects=True)
        assert client.get("/fails").status_code == 503
        assert client.get("/slow").text == "x" * 10
        with client.stream("GET", "/slow") as response:
            assert b"".join(response.iter_bytes()) == b"x" * 10
        with pytest.raises(client_library.ReadTimeout):
            client.get("/slow", timeout=0.001)
    calls, samples = requests_of(tmp_path / "capture")
    assert [error for error in calls["error"] if isinstance(error, str)] == ["HTTP 503", "ReadTimeout"]
    assert len(calls) == 6
    assert calls["parent"].iloc[0] == samples["span"][samples["operation"] == "Checkout.ORDER"].iloc[0]
    assert (calls["duration_ns"].iloc[3:5] > 45e6).all(), "up to the last byte, also of a stream"


def test_requests_of_an_asynchronous_client(tmp_path, url):
    async def order(client):
        with Checkout.ORDER:
            assert (await client.get("/slow")).text == "x" * 10
        async with client.stream("GET", "/slow") as response:
            assert b"".join([part async for part in response.aiter_bytes()]) == b"x" * 10

    async def main():
        async with httpx.instrument(client_library.AsyncClient(base_url=url)) as client:
            await asyncio.gather(*(order(client) for _ in range(5)))
            with pytest.raises(client_library.ReadTimeout):
                await client.get("/slow", timeout=0.001)

    with qp.record(tmp_path / "capture"):
        asyncio.run(main())
    calls, samples = requests_of(tmp_path / "capture")
    assert len(calls) == 11
    assert [error for error in calls["error"] if isinstance(error, str)] == ["ReadTimeout"]
    orders = set(samples["span"][samples["operation"] == "Checkout.ORDER"])
    assert set(calls["parent"]) == {*orders, 0}
    assert (calls["duration_ns"].iloc[:10] > 45e6).all()


def test_what_is_no_client():
    with pytest.raises(TypeError, match="Client"):
        httpx.instrument(client_library)
