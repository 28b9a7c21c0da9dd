"""From the bytes of a packet to books of what is offered at which price."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Container, Iterator
from typing import Any, Final

from quantum_pulse.demo.operations import Engine

#: Levels that a book keeps, each side; as many as a full message has.
KEPT_LEVELS: Final = 100


class InvalidMessage(Exception):  # noqa: N818 - it says what the message is
    """A message that makes no sense, and why."""


@Engine.FEED_PACKET
def lines(packet: bytes) -> Iterator[bytes]:
    """The messages of `packet`, one after the other."""
    yield from packet.split(b"\n")


@Engine.PARSE
def parse(line: bytes) -> Any:
    """The content of a message. Raises json.JSONDecodeError."""
    return json.loads(line)


def validate(message: Any, symbols: Container[str]) -> None:
    """Raise InvalidMessage unless `message` is about one of `symbols`, has prices, and the bids are below the asks."""
    if message["symbol"] not in symbols:
        raise InvalidMessage(f"unknown symbol {message['symbol']!r}")
    bids, asks = message["bids"], message["asks"]
    if not bids or not asks:
        raise InvalidMessage("a side is empty")
    if any(price <= 0 or size <= 0 for price, size in bids) or any(price <= 0 or size <= 0 for price, size in asks):
        raise InvalidMessage("a price or a size is not positive")
    if bids[0][0] >= asks[0][0]:
        raise InvalidMessage(f"crossed: bid {bids[0][0]}, ask {asks[0][0]}")


class Book:
    """What is bid and asked for one symbol, in cents, as far as the feed has said. The best comes last on both sides.

    Asks are kept with their sign turned, so that both sides work alike.
    """

    def __init__(self) -> None:
        self._bids: list[tuple[int, int]] = []
        self._asks: list[tuple[int, int]] = []
        self._average = 0.0

    def update(self, message: Any) -> None:
        """Take over the levels of a valid `message`; what it contradicts is dropped."""
        _merge(self._bids, [(price, size) for price, size in reversed(message["bids"])])
        _merge(self._asks, [(-price, size) for price, size in reversed(message["asks"])])
        self._average += (self.middle - self._average) / 16 if self._average else self.middle

    @property
    def middle(self) -> float:
        """The price between the best bid and the best ask, in cents."""
        return (self._bids[-1][0] - self._asks[-1][0]) / 2

    @property
    def stretch(self) -> float:
        """How far the price is above its own recent average, in cents; negative below."""
        return self.middle - self._average


def _merge(side: list[tuple[int, int]], levels: list[tuple[int, int]]) -> None:
    """Put `levels` in the place of all that is as good as the worst of them; the worst comes first in both."""
    del side[bisect_left(side, (levels[0][0], 0)) :]
    side += levels
    del side[:-KEPT_LEVELS]
