"""Requests that are slow by memory, and by the start of the program."""

from __future__ import annotations

import gc
import re
import time
from collections import deque

from tests.corpus.registry import cause, program
from tests.corpus.running import Run, Service, request


class Session:
    """Refers to itself, so that only the collector frees it."""

    def __init__(self) -> None:
        self.owner = self


def observe_collections(run: Run) -> None:
    """Plant each garbage collection, as long as it takes."""
    began = [0]

    def observe(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            began[0] = time.time_ns()
        else:
            run.truth.add(began[0], time.time_ns() - began[0])

    gc.callbacks.append(observe)


@program("garbage collection", cause("garbage collection"))
def garbage(run: Run) -> None:
    """Each request leaves sessions behind that refer to themselves, and live for a while."""
    observe_collections(run)
    sessions: deque[Session] = deque(maxlen=60_000)
    sessions.extend(Session() for _ in range(60_000))
    for call in run.calls():
        with request(call):
            run.serve()
            sessions.extend(Session() for _ in range(100))


@program("collections on purpose", cause("garbage collection"))
def collections(run: Run) -> None:
    """The program collects once in a hundred requests, over many objects that stay."""
    observe_collections(run)
    staying = [Session() for _ in range(50_000)]
    for call in run.calls():
        with request(call):
            run.serve()
            if run.often(0.015):
                gc.collect()
    staying.clear()


@program("garbage collection and cache misses", cause("garbage collection"), cause("child: Service.LOAD"))
def garbage_and_misses(run: Run) -> None:
    observe_collections(run)
    staying = [Session() for _ in range(20_000)]
    for call in run.calls():
        with request(call):
            run.serve()
            if run.often(0.008):
                gc.collect()
            if run.often(0.01):
                with Service.LOAD, run.truth.planted():
                    run.hash(800)
    staying.clear()


@program("start-up", cause("start-up"))
def start_up(run: Run) -> None:
    """The first requests compile the patterns that the later ones find."""
    compiled: dict[int, re.Pattern[str]] = {}
    for call in run.calls():
        with request(call):
            run.serve()
            key = run.random.randrange(40)
            if key not in compiled:
                with run.truth.planted():
                    compiled[key] = re.compile("|".join(f"({number}[a-z]+{key})" for number in range(100)))
            compiled[key].match("39x")
