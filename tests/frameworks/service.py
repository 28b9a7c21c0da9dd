"""A service for the tests: an ASGI application with a request and a background loop that lives as long as it does."""

import asyncio
import os

import quantum_pulse as qp


class Service(qp.Operation):
    REQUEST = qp.op("A request")
    CONSUMER = qp.op("A loop that runs until the service ends")


async def consume():
    with Service.CONSUMER:
        while True:
            await asyncio.sleep(0.05)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        task = asyncio.create_task(consume())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    with Service.REQUEST:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
