"""What the engine measures: each step on the way of a price to an order, a fill and a position on disk."""

from __future__ import annotations

import quantum_pulse as qp

MARKET_DATA = qp.Category("Market data", "From the bytes of the feed to a view of the market", "#2a78d6", 1)
RISK_CONTROL = qp.Category("Risk", "What an order could cost us, before it is sent", "#b5561c", 2)
EXECUTION = qp.Category("Execution", "From the decision to the answer of the exchange", "#1b8a5a", 3)
STORAGE = qp.Category("Storage", "Positions that survive a crash", "#7a5195", 4)


class Engine(qp.Operation):
    """An order-handling engine."""

    FEED_PACKET = qp.op("One packet, from its first message to its last", category=MARKET_DATA)
    FEED_MESSAGE = qp.op("One message, from its bytes to the book", category=MARKET_DATA, priority=1, budget_us=200)
    PARSE = qp.op("Reading the message's JSON", category=MARKET_DATA, priority=2, budget_us=50)
    VALIDATE = qp.op("Refusing messages that make no sense", category=MARKET_DATA, priority=2)
    UPDATE_BOOK = qp.op("Bringing the book up to date", category=MARKET_DATA, priority=2)

    RISK = qp.op("All checks before an order", category=RISK_CONTROL, priority=1, budget_us=250)
    RISK_EXPOSURE = qp.op("How much money is at work", category=RISK_CONTROL)
    RISK_VAR = qp.op("Value at risk over a year of scenarios", category=RISK_CONTROL)

    ORDER_SLOT = qp.op("Waiting until there are not too many open orders", category=EXECUTION, priority=2)
    ORDER = qp.op("One order, from encoding it to its answer", category=EXECUTION, priority=1, budget_us=5_000)
    ENCODE = qp.op("Writing the order as JSON", category=EXECUTION)
    SUBMIT = qp.op("Over the wire to the exchange and back", category=EXECUTION, priority=1)
    ACK_DECODE = qp.op("Reading the exchange's answer", category=EXECUTION)

    STORE = qp.op("One fill into the positions", category=STORAGE, priority=1, budget_us=1_000)
    LEDGER_LOCK = qp.op("Waiting for the other threads that store", category=STORAGE, priority=2)
    SQL_UPSERT = qp.op("Changing the row of the position", category=STORAGE)
    SQL_COMMIT = qp.op("Making the changes durable on disk", category=STORAGE, priority=2, budget_us=20_000)
