"""Positions in SQLite, shared by several threads."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from quantum_pulse.demo.operations import Engine

#: A commit waits for the disk (synchronous=FULL), so there is one for so many fills: the tail of STORE. While one
#: thread commits, the others wait for the ledger: the tail of LEDGER_LOCK.
FILLS_BETWEEN_COMMITS: Final = 50

_SCHEMA: Final = """
create table positions (
    symbol text primary key, quantity integer not null, money integer not null, fills integer not null
) without rowid
"""
_UPSERT: Final = """
insert into positions values (?, ?, ?, 1) on conflict (symbol) do update set
    quantity = quantity + excluded.quantity, money = money + excluded.money, fills = fills + 1
"""


class Fill(NamedTuple):
    """A trade: `quantity` is negative for a sale; `money` is what was paid or received, in cents."""

    symbol: str
    quantity: int
    money: int


class Ledger:
    """The database at `path`, a new one. One connection, one thread at a time; a context manager that closes it."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._uncommitted = 0
        # Autocommit: transactions begin and end where we say so.
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for statement in ("pragma journal_mode = wal", "pragma synchronous = full", _SCHEMA, "begin"):
            self._connection.execute(statement)

    def store(self, fill: Fill, calls: Counter[Engine]) -> None:
        """Add `fill` to its position. `calls` is where the blocks are counted. Raises sqlite3.Error."""
        calls[Engine.STORE] += 1
        with Engine.STORE:
            calls[Engine.LEDGER_LOCK] += 1
            with Engine.LEDGER_LOCK:
                self._lock.acquire()
            try:
                calls[Engine.SQL_UPSERT] += 1
                with Engine.SQL_UPSERT:
                    self._connection.execute(_UPSERT, fill)
                self._uncommitted += 1
                if self._uncommitted == FILLS_BETWEEN_COMMITS:
                    calls[Engine.SQL_COMMIT] += 1
                    with Engine.SQL_COMMIT:
                        self._connection.execute("commit")
                    self._connection.execute("begin")
                    self._uncommitted = 0
            finally:
                self._lock.release()

    def fills(self) -> int:
        """How many fills the positions are made of."""
        with self._lock:
            return int(self._connection.execute("select coalesce(sum(fills), 0) from positions").fetchone()[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if error is None:
                self._connection.execute("commit")
            self._connection.close()
