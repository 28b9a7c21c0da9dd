"""Requests that httpx sends, to a real server."""

import asyncio

import httpx as client_library
import pytest

import quantum_pulse as qp
from quantum_pulse.integrations import httpx
from tests.integrations.upstream import served


class HttpxOrders(qp.Operation):
    ORDER = qp.op()


@pytest.fixture(scope="module")
def url():
    with served() as address:
        yield address


def requests_of(path):
    samples = qp.open(path).samples()
    assert qp.open(path).unfinished().empty
    return samples[samples["operation"] == "HttpClient.REQUEST"].sort_values("start"), samples


def test_requests_of_a_client(tmp_path, url):
    with qp.record(tmp_path / "capture"), httpx.instrument(client_library.Client(base_url=url)) as client:
        assert httpx.instrument(client) is client, "and not twice"
        with HttpxOrders.ORDER:
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
    assert [given.get("status") for given in calls["attributes"]] == ["200", "200", "503", "200", "200", None]
    assert {(given["method"], given["host"]) for given in calls["attributes"]} == {("GET", "127.0.0.1")}
    assert calls["parent"].iloc[0] == samples["span"][samples["operation"] == "HttpxOrders.ORDER"].iloc[0]
    assert (calls["duration_ns"].iloc[3:5] > 45e6).all(), "up to the last byte, also of a stream"


def test_requests_of_an_asynchronous_client(tmp_path, url):
    async def order(client):
        with HttpxOrders.ORDER:
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
    orders = set(samples["span"][samples["operation"] == "HttpxOrders.ORDER"])
    assert set(calls["parent"]) == {*orders, 0}
    assert (calls["duration_ns"].iloc[:10] > 45e6).all()


def test_what_is_no_client():
    with pytest.raises(TypeError, match="Client"):
        httpx.instrument(client_library)
