"""The market data feed: packets of JSON messages, the same ones for the same seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

#: Names made up for the purpose.
# fmt: off
SYMBOLS: Final = (
    "ACRE", "AMBR", "BIRK", "BOLT", "CLAY", "CORK", "DUNE", "ECHO",
    "ELMS", "FERN", "FLNT", "GALE", "GLOW", "HAZL", "HIVE", "IRIS",
    "JADE", "KELP", "KITE", "LARK", "LOOM", "MINT", "MOSS", "NOVA",
    "OAKS", "OPAL", "PINE", "QUAY", "REED", "SAGE", "TIDE", "WREN",
)
# fmt: on

MESSAGES_PER_PACKET: Final = 50
#: Levels of a full book, each side. A message with the full book is about a hundred times as long as one with a quote:
#: the tail of PARSE and UPDATE_BOOK.
DEPTH_LEVELS: Final = 100
_DEPTH_SHARE: Final = 0.01
_BROKEN_SHARE: Final = 0.015


def packets(*, seed: int, messages: int, symbols: Sequence[str] = SYMBOLS) -> Iterator[bytes]:
    """Packets with `messages` messages about `symbols` in all, one message a line.

    Prices are whole cents. About one message in a hundred holds the full book, the others the best bid and ask. Every
    sixty-seventh or so is broken, as it happens with real feeds: cut off, crossed, or about an unknown symbol.
    """
    source = random.Random(seed)
    prices = {symbol: source.randrange(2_000, 40_000) for symbol in symbols}
    for first in range(0, messages, MESSAGES_PER_PACKET):
        numbers = range(first, min(first + MESSAGES_PER_PACKET, messages))
        yield b"\n".join(_message(source, number, prices) for number in numbers)


def _message(source: random.Random, number: int, prices: dict[str, int]) -> bytes:
    symbol = source.choice(list(prices))
    price = max(prices[symbol] + source.choice((-3, -2, -1, 0, 0, 1, 2, 3)), 1_000)
    prices[symbol] = price
    bid, ask = price - source.randint(1, 2), price + source.randint(1, 2)
    levels = DEPTH_LEVELS if source.random() < _DEPTH_SHARE else 1
    content: dict[str, Any] = {
        "sequence": number,
        "symbol": symbol,
        "bids": [[bid - level, source.randint(1, 90) * 100] for level in range(levels)],
        "asks": [[ask + level, source.randint(1, 90) * 100] for level in range(levels)],
    }
    if source.random() >= _BROKEN_SHARE:
        return json.dumps(content).encode()
    match source.randrange(3):
        case 0:
            return json.dumps(content).encode()[:-7]
        case 1:
            content["bids"], content["asks"] = content["asks"], content["bids"]
        case _:
            content["symbol"] = "????"
    return json.dumps(content).encode()
