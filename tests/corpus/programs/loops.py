"""Requests of an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from tests.corpus.registry import cause, program
from tests.corpus.running import Background, Call, Run, Service, request


async def arriving(run: Run, serve: Callable[[Call], Awaitable[None]], pause_s: float = 0.0006) -> None:
    """Each request is a task of its own, and begins when it arrives, whatever else runs."""
    run.database()
    tasks = set()
    while not run.is_over:
        task = asyncio.ensure_future(serve(run.call()))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await asyncio.sleep(run.random.expovariate(1 / pause_s))
    await asyncio.gather(*tasks)


@program("blocking call in an event loop", cause("concurrent: Background.REPORT", "event loop"))
def blocking_call(run: Run) -> None:
    """A report blocks the loop for 10 ms every 200 ms."""

    async def report() -> None:
        while not run.is_over:
            await asyncio.sleep(0.2)
            with Background.REPORT, run.truth.planted():
                time.sleep(0.01)

    async def serve(call: Call) -> None:
        with request(call):
            await asyncio.sleep(0.001)
            run.serve()

    async def both() -> None:
        await asyncio.gather(report(), arriving(run, serve))

    asyncio.run(both())


@program("one of two tasks", cause("child: Service.STOCK"))
def slow_task(run: Run) -> None:
    """A request waits for two tasks; one of them is slow at times, the other takes longer than usual at others."""
    run.truth.unknown()

    async def prices() -> None:
        with Service.PRICES:
            await asyncio.sleep(0.001)

    async def stock() -> None:
        with Service.STOCK:
            await asyncio.sleep(0.012 if run.often(0.02) else 0.001)

    async def serve(call: Call) -> None:
        with request(call):
            run.serve()
            async with asyncio.TaskGroup() as group:
                group.create_task(prices())
                group.create_task(stock())

    asyncio.run(arriving(run, serve))


@program("burst of arrivals", cause("burst"))
def bursts(run: Run) -> None:
    """Requests wait for one place; every 300 ms twenty come at once."""
    run.truth.unknown()

    async def many() -> None:
        place = asyncio.Semaphore(1)

        async def serve(call: Call) -> None:
            with request(call):
                async with place:
                    run.serve()
                    await asyncio.sleep(0)

        async def burst() -> None:
            while not run.is_over:
                await asyncio.sleep(0.3)
                await asyncio.gather(*(serve(run.call()) for _ in range(20)))

        await asyncio.gather(burst(), arriving(run, serve))

    asyncio.run(many())


@program("a connection pool of two", cause("concurrent: Background.REPORT"))
def small_pool(run: Run) -> None:
    """Requests need one of two connections; reports keep both for 10 ms every 200 ms."""
    run.truth.unknown()

    async def many() -> None:
        connections = asyncio.Semaphore(2)

        async def report() -> None:
            async with connections:
                with Background.REPORT:
                    await asyncio.sleep(0.01)

        async def reports() -> None:
            while not run.is_over:
                await asyncio.sleep(0.2)
                await asyncio.gather(report(), report())

        async def serve(call: Call) -> None:
            with request(call):
                run.serve()
                async with connections:
                    run.query()

        await asyncio.gather(reports(), arriving(run, serve))

    asyncio.run(many())
