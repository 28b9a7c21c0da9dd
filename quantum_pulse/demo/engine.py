"""The engine as a whole: desks read feeds and decide, a gateway sends orders, keepers store what was filled.

Each desk is a thread with its own feed, books and portfolio. The gateway is a thread with an event loop. Two threads
share the ledger. All of it is one Python process, and so one interpreter lock, beside the exchange.

The engine counts its calls itself, beside each measured block. A program needs nothing of the kind: here it is what the
capture is checked against.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from quantum_pulse.demo import feed, market, orders, risk
from quantum_pulse.demo.crew import Crew
from quantum_pulse.demo.operations import Engine
from quantum_pulse.demo.store import Fill, Ledger

DESKS: Final = 2
KEEPERS: Final = 2

#: How far a price must be from its average, in cents, before a desk bets on its return.
_STRETCH: Final = 3.5
#: The part of the messages during which the exchange is audited, if there is an incident.
_INCIDENT: Final = (0.55, 0.65)


@dataclass(frozen=True, slots=True)
class ClockCheck:
    """A second opinion on one sample: two readings of the clock, immediately around the same block.

    `start_ns` is a reading of time.perf_counter_ns(). Exactly one sample of `operation` (as recorded, `Class.MEMBER`)
    lies on the thread with the native id `thread` between `start_ns` and `start_ns + duration_ns`.
    """

    operation: str
    start_ns: int
    duration_ns: int
    thread: int


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the engine has done, by its own account. `calls` has the recorded name of each operation, `Class.MEMBER`."""

    calls: dict[str, int]
    seconds: float
    orders: int
    fills: int
    clock_checks: list[ClockCheck] = field(repr=False)


def run(
    *, messages: int, progress: Callable[[int], object] = lambda _: None, checks: int = 0, incident: bool = False
) -> DemoResult:
    """Handle `messages` messages of the feeds to the end: every order answered, every fill stored.

    `progress` is called in this thread with the number of messages handled since the last time. `checks` is how many
    messages, evenly spread, are timed a second time (see ClockCheck). With an `incident` the exchange is slow for a
    while: auditors sit in. Raises ValueError for a number out of range, ExchangeError when the exchange fails, and
    whatever else goes wrong in a thread.
    """
    if messages < 1 or checks < 0:
        raise ValueError(f"messages must be at least 1 and checks at least 0, not {messages} and {checks}")
    reports: SimpleQueue[int] = SimpleQueue()
    fills: SimpleQueue[Fill | None] = SimpleQueue()
    crew = Crew()

    def show_progress() -> None:
        done = sum(reports.get() for _ in range(reports.qsize()))
        if done:
            progress(done)

    def end_keepers() -> None:
        for _ in range(KEEPERS):
            fills.put(None)

    with (
        tempfile.TemporaryDirectory(prefix="quantum-pulse-demo-") as folder,
        Ledger(Path(folder) / "positions.sqlite") as ledger,
        orders.venue() as exchange,
        contextlib.closing(orders.Gateway(exchange.port, fills.put, crew)) as gateway,
        crew,
    ):
        incidents = Incident(exchange, messages) if incident else None

        def report(done: int) -> None:
            reports.put(done)
            if incidents is not None:
                incidents.add(done)

        desks = [
            Desk(number, _share(messages, number), _share(checks, number), gateway, crew, report)
            for number in range(DESKS)
        ]
        keepers = [Keeper(ledger, fills, gateway, crew) for _ in range(KEEPERS)]
        crew.on_stop(gateway.cancel)
        crew.on_stop(end_keepers)

        started = time.perf_counter()
        keeping = [crew.start(keeper.run, "keeper") for keeper in keepers]
        sending = crew.start(gateway.run, "gateway")
        crew.join(*[crew.start(desk.run, "desk") for desk in desks], meanwhile=show_progress)
        gateway.finish()
        crew.join(sending)
        end_keepers()
        crew.join(*keeping)
        seconds = time.perf_counter() - started
        if ledger.fills() != gateway.fills:
            raise RuntimeError(f"{gateway.fills} fills, and {ledger.fills()} in the ledger")
    show_progress()

    counted = [desk.calls for desk in desks] + [gateway.calls] + [keeper.calls for keeper in keepers]
    calls = sum(counted, Counter[Engine]())
    return DemoResult(
        calls={str(operation): calls[operation] for operation in Engine if calls[operation]},
        seconds=seconds,
        orders=gateway.acks,
        fills=gateway.fills,
        clock_checks=sorted((check for desk in desks for check in desk.clock_checks), key=lambda one: one.start_ns),
    )


class Incident:
    """Lets auditors into the exchange and out again, as so much of the work is done."""

    def __init__(self, exchange: orders.Venue, messages: int) -> None:
        self._exchange = exchange
        self._steps = [(round(share * messages), begin) for share, begin in zip(_INCIDENT, (True, False), strict=True)]
        self._handled = 0
        self._lock = threading.Lock()

    def add(self, messages: int) -> None:
        """So many more messages are handled. May be called by any thread."""
        with self._lock:
            self._handled += messages
            if self._steps and self._handled >= self._steps[0][0]:
                self._exchange.audit(begin=self._steps.pop(0)[1])


class Desk:
    """One feed and those who trade on it. `run` is a thread's work."""

    def __init__(
        self,
        number: int,
        messages: int,
        checks: int,
        gateway: orders.Gateway,
        crew: Crew,
        report: Callable[[int], object],
    ) -> None:
        self.calls: Counter[Engine] = Counter()
        self.clock_checks: list[ClockCheck] = []
        self._number = number
        self._messages = messages
        self._checks = checks
        self._gateway = gateway
        self._crew = crew
        self._report = report
        symbols = feed.SYMBOLS[number::DESKS]
        self._books = {symbol: market.Book() for symbol in symbols}
        self._rows = {symbol: row for row, symbol in enumerate(symbols)}
        self._portfolio = risk.Portfolio(len(symbols), seed=number)

    def run(self) -> None:
        """Handle all messages of the feed. Raises Stopped when the crew stops."""
        handled = 0
        for packet in feed.packets(seed=self._number, messages=self._messages, symbols=list(self._books)):
            before = handled
            self.calls[Engine.FEED_PACKET] += 1
            for line in market.lines(packet):
                self._crew.check()
                symbol = self._read(line, handled)
                handled += 1
                if symbol is not None:
                    self._decide(symbol, handled)
            self._report(handled - before)

    def _read(self, line: bytes, index: int) -> str | None:
        """Handle one message. Returns the symbol that it was about, None if the message was broken."""
        symbol = None
        self.calls[Engine.FEED_MESSAGE] += 1
        start = time.perf_counter_ns()
        try:
            with Engine.FEED_MESSAGE:
                symbol = self._update(line)
        except (json.JSONDecodeError, market.InvalidMessage):
            pass  # recorded as errors of the operations that they left
        duration = time.perf_counter_ns() - start
        if index * self._checks // self._messages < (index + 1) * self._checks // self._messages:
            thread = threading.get_native_id()
            self.clock_checks.append(ClockCheck(str(Engine.FEED_MESSAGE), start, duration, thread))
        return symbol

    def _update(self, line: bytes) -> str:
        self.calls[Engine.PARSE] += 1
        message = market.parse(line)
        self.calls[Engine.VALIDATE] += 1
        with Engine.VALIDATE:
            market.validate(message, self._books)
        symbol: str = message["symbol"]
        self.calls[Engine.UPDATE_BOOK] += 1
        with Engine.UPDATE_BOOK:
            self._books[symbol].update(message)
        return symbol

    def _decide(self, symbol: str, number: int) -> None:
        """Bet on the return of the price to its average, within the limits."""
        book = self._books[symbol]
        if abs(book.stretch) < _STRETCH:
            return
        quantity = -100 if book.stretch > 0 else 100
        try:
            self._portfolio.reserve(self._rows[symbol], quantity, book.middle, self.calls)
        except risk.LimitBreached:
            return
        order = orders.Order(number * DESKS + self._number, symbol, quantity, round(book.middle))
        self._gateway.submit(order, self.calls)


class Keeper:
    """Stores fills until it is handed None. `run` is a thread's work."""

    def __init__(self, ledger: Ledger, fills: SimpleQueue[Fill | None], gateway: orders.Gateway, crew: Crew) -> None:
        self.calls: Counter[Engine] = Counter()
        self._ledger = ledger
        self._fills = fills
        self._gateway = gateway
        self._crew = crew

    def run(self) -> None:
        """Store all fills. Raises sqlite3.Error; Stopped when the crew stops."""
        while (fill := self._fills.get()) is not None:
            self._crew.check()
            self._ledger.store(fill, self.calls)
            self._gateway.release()


def _share(total: int, desk: int) -> int:
    return total // DESKS + (desk < total % DESKS)
