"""Commands to a real Redis, of clients and of asynchronous ones."""

import asyncio
import shutil
import subprocess
import time

import pytest
import redis as client_library
import redis.asyncio as asynchronous

import quantum_pulse as qp
from quantum_pulse.integrations import redis

SERVER = shutil.which("redis-server")
needs_server = pytest.mark.skipif(SERVER is None, reason="needs redis-server, which Debian has in redis-server")


class RedisCarts(qp.Operation):
    LOAD = qp.op()


@pytest.fixture(scope="module")
def socket(tmp_path_factory):
    """Path of the socket of a server that keeps nothing."""
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "socket"
    arguments = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen([SERVER, *arguments], stdout=log, stderr=log)
    try:
        give_up = time.monotonic() + 30
        while not path.exists():
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < give_up, "redis-server does not listen"
            time.sleep(0.02)
        yield str(path)
    finally:
        server.terminate()
        server.wait()


def calls(folder):
    """(operation, attributes, error, whether inside of LOAD) of what Redis was sent."""
    samples = qp.open(folder).samples().sort_values("start")
    loads = set(samples["span"][samples["operation"] == "RedisCarts.LOAD"])
    found = samples[samples["operation"].str.startswith("Redis.")]
    return [
        (one.operation, one.attributes, one.error if isinstance(one.error, str) else None, one.parent in loads)
        for one in found.itertuples()
    ]


def command(name, error=None, *, inside=False):
    return ("Redis.COMMAND", {"command": name}, error, inside)


@needs_server
def test_commands_and_pipelines(tmp_path, socket):
    client = client_library.Redis(unix_socket_path=socket)
    assert redis.instrument(client) is redis.instrument(client), "and not twice"
    with qp.record(tmp_path / "capture"), client:
        with RedisCarts.LOAD:
            client.set("tea", 1)
        assert client.get("tea") == b"1"
        with pytest.raises(client_library.ResponseError):
            client.lpush("tea", 2)
        with client.pipeline() as pipeline:
            pipeline.incr("tea")
            pipeline.incr("tea")
            assert pipeline.execute() == [2, 3]
        client.transaction(lambda pipe: pipe.get("tea"), "tea")
    found = calls(tmp_path / "capture")
    assert found[:3] == [command("SET", inside=True), command("GET"), command("LPUSH", "ResponseError")]
    assert found[3] == ("Redis.PIPELINE", {"commands": "2"}, None, False)
    assert found[4:] == [command("WATCH"), command("GET"), ("Redis.PIPELINE", {"commands": "0"}, None, False)]


@needs_server
def test_an_asynchronous_client(tmp_path, socket):
    async def load(client, number):
        with RedisCarts.LOAD:
            await client.set(f"cart-{number}", number)

    async def main():
        async with redis.instrument(asynchronous.Redis(unix_socket_path=socket)) as client:
            await asyncio.gather(*(load(client, number) for number in range(10)))
            async with client.pipeline() as pipeline:
                await pipeline.get("cart-1").get("cart-2").execute()
            with pytest.raises(client_library.ResponseError):
                await client.lpush("cart-1", 2)

    with qp.record(tmp_path / "capture"):
        asyncio.run(main())
    found = calls(tmp_path / "capture")
    assert found[:10] == [command("SET", inside=True)] * 10
    assert found[10:] == [
        ("Redis.PIPELINE", {"commands": "2"}, None, False),
        command("LPUSH", "ResponseError"),
    ]


def test_a_server_that_is_not_there(tmp_path):
    client = redis.instrument(client_library.Redis(unix_socket_path=str(tmp_path / "nothing")))
    with qp.record(tmp_path / "capture"), pytest.raises(client_library.ConnectionError):
        client.get("tea")
    assert calls(tmp_path / "capture") == [command("GET", "ConnectionError")]


def test_what_is_no_client():
    with pytest.raises(TypeError, match=r"redis\.Redis"):
        redis.instrument(client_library)
