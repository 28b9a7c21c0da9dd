"""An exchange on the loopback interface, in a process of its own: ``python -m quantum_pulse.demo.exchange``.

It prints its port and answers orders, a JSON object a line, until its standard input ends or its last client leaves.
An order is filled at once as far as the book goes; the rest of it is cancelled. A line on its standard input says what
the auditors want, see BEGIN_AUDIT.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import json
import os
import random
import sys
from typing import Any, Final

#: Every so many orders there is an auction, in which the exchange looks through all of its books. Orders that arrive
#: meanwhile wait: that is the tail of SUBMIT.
ORDERS_BETWEEN_AUCTIONS: Final = 500
#: From one of these lines on standard input to the other the auditors sit in: no order passes without a seal over all
#: books, and each waits for it.
BEGIN_AUDIT: Final = b"audit\n"
END_AUDIT: Final = b"done\n"
#: Resting orders of a new book, each side.
_DEPTH: Final = 150


class Side:
    """Resting orders of one side, as a heap of (badness, quantity); the badness of an ask is its price."""

    def __init__(self, sign: int, price: int, source: random.Random) -> None:
        self._sign = sign
        self._source = source
        self.orders: list[tuple[int, int]] = []
        for _ in range(_DEPTH):
            self.refill(price)

    def refill(self, price: int) -> None:
        """Add a resting order near `price`, as market makers do."""
        badness = self._sign * price + self._source.randint(0, 15)
        heapq.heappush(self.orders, (badness, self._source.randint(1, 20) * 100))

    def take(self, quantity: int, limit: int) -> tuple[int, int]:
        """Trade up to `quantity` at `limit` or better. Returns the quantity and the money."""
        filled = money = 0
        while filled < quantity and self.orders and self.orders[0][0] <= self._sign * limit:
            badness, resting = heapq.heappop(self.orders)
            traded = min(quantity - filled, resting)
            if traded < resting:
                heapq.heappush(self.orders, (badness, resting - traded))
            filled += traded
            money += traded * self._sign * badness
        return filled, money

    def settle(self) -> None:
        """Put the book into strict order and forget what is far from the best price."""
        self.orders.sort()
        del self.orders[_DEPTH:]


class Exchange:
    """The books of all symbols. Buyers trade with the asks, sellers with the bids."""

    def __init__(self, seed: int = 20) -> None:
        self._source = random.Random(seed)
        self._books: dict[str, tuple[Side, Side]] = {}
        self._orders = 0
        self._seal = ""
        self.is_audited = False

    def handle(self, order: Any) -> dict[str, Any]:
        """The answer to `order`: how much of it was filled, and for how much money in cents."""
        quantity, price = order["quantity"], order["price"]
        book = self._books.get(order["symbol"])
        if book is None:
            book = self._books[order["symbol"]] = (Side(1, price, self._source), Side(-1, price, self._source))
        side = book[quantity < 0]
        filled, money = side.take(abs(quantity), price)
        side.refill(price)
        self._orders += 1
        if self._orders % ORDERS_BETWEEN_AUCTIONS == 0:
            self._auction()
        if self.is_audited:
            self._add_seal()
        return {"id": order["id"], "filled": filled if quantity > 0 else -filled, "money": money}

    def _auction(self) -> None:
        for book in self._books.values():
            for side in book:
                side.settle()
        self._add_seal()

    def _add_seal(self) -> None:
        """A seal over all books, and over all seals before it, for whoever audits the exchange."""
        books = {symbol: [side.orders for side in book] for symbol, book in self._books.items()}
        self._seal = hashlib.sha256((self._seal + json.dumps(books)).encode()).hexdigest()


class _Session(asyncio.Protocol):
    """A client's connection."""

    clients = 0

    def __init__(self, exchange: Exchange, ended: asyncio.Event) -> None:
        self._exchange = exchange
        self._ended = ended
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        _Session.clients += 1

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            answer = self._exchange.handle(json.loads(line))
            self._transport.write(json.dumps(answer).encode() + b"\n")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        _Session.clients -= 1
        if not _Session.clients:
            self._ended.set()


async def serve() -> None:
    """Listen on a free port of the loopback interface and print it. Returns when nobody needs the exchange any more."""
    ended = asyncio.Event()
    exchange = Exchange()
    loop = asyncio.get_running_loop()

    def on_input() -> None:
        # Whoever started us holds the other end; when they die, however they die, it closes.
        said = os.read(sys.stdin.fileno(), 4096)
        if not said:
            ended.set()
        for line in said.splitlines(keepends=True):
            exchange.is_audited = line == BEGIN_AUDIT

    loop.add_reader(sys.stdin.fileno(), on_input)
    server = await loop.create_server(lambda: _Session(exchange, ended), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    loop.remove_reader(sys.stdin.fileno())
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
