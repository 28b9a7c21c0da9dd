"""What the programs of the corpus share: requests to serve, ordinary work, and an account of what was planted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import random
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import quantum_pulse as qp

ROUTES = ("/orders", "/items", "/search", "/cart", "/users")
TENANTS = ("acme", *(f"tenant-{number}" for number in range(11)))
SHARDS = tuple(f"shard-{number}" for number in range(16))
SIZES = ("small", "medium", "large")
_BLOCK = bytes(8192)
#: File beside a capture: what was planted, as rows of thread, wall time at the start, and length, in ns.
TRUTH = "planted.json"
#: Exit status of a program that this machine does not permit.
IMPOSSIBLE = 3


class Service(qp.Operation):
    REQUEST = qp.op("One request", attributes={"route": str, "tenant": str, "shard": str, "size": str}, cpu_time=True)
    PARSE = qp.op("Parsing the body")
    QUERY = qp.op("One query")
    RENDER = qp.op("Rendering the answer")
    LOAD = qp.op("Loading what the cache does not have")
    WRITE = qp.op("One insert")
    LOG = qp.op("Writing the log")
    CALL = qp.op("Calling another service")
    RESOLVE = qp.op("Resolving a name")
    READ = qp.op("Reading a file")
    PRICES = qp.op("Prices of the answer")
    STOCK = qp.op("Stock of the answer")


class Background(qp.Operation):
    REPORT = qp.op("A report, beside the requests")
    COMPACT = qp.op("Maintenance of the database, beside the requests")


class ImpossibleError(Exception):
    """This machine does not permit what a program needs."""


class Call(NamedTuple):
    number: int
    route: str
    tenant: str
    shard: str
    size: str


class Truth:
    """How long what was planted held up which thread, and when."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int]] = []
        self.is_known = True

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        """The block is what was planted."""
        began = time.time_ns()
        try:
            yield
        finally:
            self.add(began, time.time_ns() - began)

    def add(self, began_ns: int, length_ns: int) -> None:
        self._rows.append((threading.get_native_id(), began_ns, length_ns))

    def unknown(self) -> None:
        """Nobody can say how much of a call's time the cause took."""
        self.is_known = False

    def write(self, capture: Path) -> None:
        rows = self._rows if self.is_known else None
        capture.with_name(f"{capture.name}.{TRUTH}").write_text(json.dumps(rows), encoding="utf-8")


class Run:
    """One run of a program.

    Parameters
    ----------
    seed
        Of all that is drawn.
    seconds
        How long requests arrive.
    capture
        Beside which the program may have files.
    """

    def __init__(self, seed: int, seconds: float, capture: Path) -> None:
        self.seed = seed
        self.seconds = seconds
        self.truth = Truth()
        self.folder = Path(tempfile.mkdtemp(prefix="corpus-", dir=capture.absolute().parent))
        self._began = time.monotonic()
        self._own = threading.local()

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def is_over(self) -> bool:
        return self.passed >= 1

    @property
    def passed(self) -> float:
        """Which part of the run is over, from 0 to 1."""
        return (time.monotonic() - self._began) / self.seconds

    @property
    def random(self) -> random.Random:
        """Of this thread: what one thread draws does not depend on how fast the others are."""
        if not hasattr(self._own, "random"):
            self._own.random = random.Random(f"{self.seed} {threading.current_thread().name}")
        return self._own.random

    def call(self, number: int = 0) -> Call:
        """A request of random attributes, which are independent of each other; of "acme" come 4 %."""
        draw = self.random
        tenant = TENANTS[0] if draw.random() < 0.04 else draw.choice(TENANTS[1:])
        size = draw.choices(SIZES, (6, 3, 1))[0]
        return Call(number, draw.choice(ROUTES), tenant, draw.choice(SHARDS), size)

    def calls(self, pause_s: float = 0.0003) -> Iterator[Call]:
        """Requests until the run is over, with random pauses in between."""
        self.database()  # Or the first request of a thread would make it, and be slow.
        number = 0
        while not self.is_over:
            yield self.call(number)
            number += 1
            if pause_s:
                time.sleep(self.random.expovariate(1 / pause_s))

    def often(self, probability: float) -> bool:
        return self.random.random() < probability

    def hash(self, rounds: float) -> None:
        """Compute: a round takes a few microseconds."""
        for _ in range(round(rounds)):
            hashlib.sha256(_BLOCK).digest()

    def database(self) -> sqlite3.Connection:
        """A small database in memory, one for each thread."""
        if not hasattr(self._own, "database"):
            self._own.database = sqlite3.connect(":memory:")
            self._own.database.execute("create table items (id integer primary key, name text)")
            self._own.database.executemany("insert into items values (?, ?)", ((n, f"item {n}") for n in range(2000)))
        return self._own.database

    def query(self) -> str:
        with Service.QUERY:
            key = self.random.randrange(2000)
            row = self.database().execute("select name from items where id = ?", (key,)).fetchone()
            self.hash(self._varied(4))
            return row[0]

    def serve(self, *, between: Callable[[], object] = lambda: None) -> None:
        """What every request takes: about a quarter of a millisecond, which varies by a fifth."""
        with Service.PARSE:
            json.loads("[1, 2, 3]")
            self.hash(self._varied(6))
        self.query()
        between()
        with Service.RENDER:
            json.dumps(list(range(20)))
            self.hash(self._varied(8))

    def _varied(self, rounds: float) -> float:
        return rounds * math.exp(self.random.gauss(0, 0.2))

    def beside(self, function: Callable[[], None], count: int = 1) -> contextlib.AbstractContextManager[None]:
        """Threads that run `function` during the block, which ends when they do."""
        return _threads(function, count)


def request(call: Call) -> contextlib.AbstractContextManager[object]:
    """A recorded request."""
    return Service.REQUEST(route=call.route, tenant=call.tenant, shard=call.shard, size=call.size)


@contextlib.contextmanager
def _threads(function: Callable[[], None], count: int) -> Iterator[None]:
    threads = [threading.Thread(target=function, name=f"{function.__name__} {number}") for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()
