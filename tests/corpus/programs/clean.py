"""Programs in which nothing is planted: what is slow there is so by chance, and by what else the machine does."""

from __future__ import annotations

import asyncio
import threading
import time

from tests.corpus.programs.loops import arriving
from tests.corpus.registry import program
from tests.corpus.running import Background, Call, Run, request


@program("clean, one thread")
def one_thread(run: Run) -> None:
    for call in run.calls():
        with request(call):
            run.serve()


@program("clean, three threads and reports")
def three_threads(run: Run) -> None:
    """Reports run beside the requests, and need nothing that these need."""

    def serve() -> None:
        for call in run.calls(0.002):
            with request(call):
                run.serve()

    def report() -> None:
        while not run.is_over:
            with Background.REPORT:
                threading.Event().wait(0.008)
            time.sleep(0.1)

    with run.beside(report), run.beside(serve, 3):
        pass


@program("clean, event loop")
def event_loop(run: Run) -> None:
    async def serve(call: Call) -> None:
        with request(call):
            run.serve()
            await asyncio.sleep(0.001)

    asyncio.run(arriving(run, serve))


@program("clean, durations that vary widely")
def wide(run: Run) -> None:
    """A tail that is as long as that of many services, by the sizes of what requests work on."""
    for call in run.calls():
        factor = min(run.random.lognormvariate(0, 0.8), 30)
        with request(call):
            for _ in range(max(round(factor), 1)):
                run.serve()
