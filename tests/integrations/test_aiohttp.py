"""Requests that aiohttp sends, to a real server."""

import asyncio

import aiohttp as client_library
import pytest

import quantum_pulse as qp
from quantum_pulse.integrations import aiohttp
from tests.integrations.upstream import served


class AiohttpOrders(qp.Operation):
    ORDER = qp.op()


@pytest.fixture(scope="module")
def url():
    with served() as address:
        yield address


def recorded(tmp_path, url, program, **options):
    """The samples of a program that is given a session."""

    async def main():
        async with aiohttp.instrument(client_library.ClientSession(url, **options)) as session:
            assert aiohttp.instrument(session) is session, "and not twice"
            await program(session)

    with qp.record(tmp_path / "capture"):
        asyncio.run(main())
    capture = qp.open(tmp_path / "capture")
    assert capture.unfinished().empty
    samples = capture.samples().sort_values("start")
    return samples[samples["operation"] == "HttpClient.REQUEST"], samples


def errors(calls):
    return [error if isinstance(error, str) else None for error in calls["error"]]


def test_requests_of_a_session(tmp_path, url):
    async def program(session):
        with AiohttpOrders.ORDER:
            async with session.get("/plain") as response:
                assert await response.text() == "plain"
        async with session.get("/moved") as response:
            assert response.status == 200
            await response.read()
        async with session.get("/fails") as response:
            await response.read()
        async with session.get("/slow") as response:
            assert b"".join([part async for part in response.content.iter_chunked(4)]) == b"x" * 10

    calls, samples = recorded(tmp_path, url, program)
    assert errors(calls) == [None, None, "HTTP 503", None]
    assert list(calls["attributes"]) == [
        {"method": "GET", "host": "127.0.0.1", "status": status} for status in ("200", "200", "503", "200")
    ]
    assert calls["parent"].iloc[0] == samples["span"][samples["operation"] == "AiohttpOrders.ORDER"].item()
    assert calls["duration_ns"].iloc[3] > 45e6, "up to the last byte"


def test_concurrent_requests_have_their_own_parents(tmp_path, url):
    async def order(session):
        with AiohttpOrders.ORDER:
            async with session.get("/slow") as response:
                await response.read()

    async def program(session):
        await asyncio.gather(*(order(session) for _ in range(5)))

    calls, samples = recorded(tmp_path, url, program)
    assert len(calls) == 5
    assert set(calls["parent"]) == set(samples["span"][samples["operation"] == "AiohttpOrders.ORDER"])


def test_requests_that_fail_are_named(tmp_path, url):
    brief = client_library.ClientTimeout(total=0.02)

    async def whole(session):
        async with session.get("/slow", timeout=brief) as response:
            await response.read()

    async def by_parts(session):
        async with session.get("/slow", timeout=brief) as response:
            async for _ in response.content.iter_any():
                pass

    async def program(session):
        for read in (whole, by_parts):
            with pytest.raises(TimeoutError):
                await read(session)
        with pytest.raises(client_library.ClientConnectorError):
            await session.get("http://127.0.0.1:1/")
        with pytest.raises(client_library.ClientResponseError):
            await session.get("/fails", raise_for_status=True)

    calls, _ = recorded(tmp_path, url, program)
    assert [one is not None for one in errors(calls)] == [True] * 4
    assert ["Timeout" in one for one in errors(calls)] == [True, True, False, False]
    assert errors(calls)[2:] == ["ClientConnectorError", "HTTP 503"]
    assert calls["attributes"].iloc[3]["status"] == "503"


def test_what_a_program_does_not_read_to_its_end(tmp_path, url):
    async def program(session):
        async with session.get("/slow"):
            pass
        with pytest.raises(KeyError):
            async with session.get("/slow"):
                raise KeyError("of the program")
        await session.get("/slow")  # and does not look at it, while the rest arrives
        await asyncio.sleep(0.3)

    calls, _ = recorded(tmp_path, url, program)
    assert errors(calls) == [None, None, None]
    assert calls["duration_ns"].iloc[2] > 45e6


def test_what_is_no_session():
    with pytest.raises(TypeError, match="ClientSession"):
        aiohttp.instrument(client_library)
