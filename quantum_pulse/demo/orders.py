"""The way to the exchange: a thread with an event loop, in it a task for each session, a TCP connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, Final, NamedTuple

from quantum_pulse.demo import exchange
from quantum_pulse.demo.crew import LOOK_EVERY_S, Crew, Stopped
from quantum_pulse.demo.operations import Engine
from quantum_pulse.demo.store import Fill

SESSIONS: Final = 4
#: Orders that may be on their way, from the decision to the stored position; a desk that wants more has to wait.
OPEN_ORDERS: Final = 32

_ANSWERS_WITHIN_S: Final = 20.0
_ENDS_WITHIN_S: Final = 2.0


class ExchangeError(Exception):
    """The exchange did not start, did not answer, or went away."""


class Order(NamedTuple):
    """What a desk wants: `quantity` is negative for a sale, `price` the worst that is acceptable, in cents."""

    number: int
    symbol: str
    quantity: int
    price: int


class Venue(NamedTuple):
    """An exchange that runs: the port that it listens on, and what it takes instructions from."""

    port: int
    instructions: IO[bytes]

    def audit(self, *, begin: bool) -> None:
        """Let the auditors in, or out: until then each order takes longer."""
        with contextlib.suppress(OSError):  # it has gone; whoever trades there will say so
            self.instructions.write(exchange.BEGIN_AUDIT if begin else exchange.END_AUDIT)
            self.instructions.flush()


@contextlib.contextmanager
def venue() -> Iterator[Venue]:
    """An exchange, in a process of its own, for as long as the context lasts. Raises ExchangeError."""
    process = subprocess.Popen(
        [sys.executable, "-m", "quantum_pulse.demo.exchange"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Ctrl-C is for us: the exchange goes when we have gone.
        process_group=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        has_line, _, _ = select.select([process.stdout], [], [], _ANSWERS_WITHIN_S)
        line = process.stdout.readline() if has_line else b""
        if not line:
            raise ExchangeError("the exchange did not start")
        yield Venue(int(line), process.stdin)
    finally:
        # It ends by itself when its input does.
        with contextlib.suppress(OSError):  # it had ended before, with instructions unread
            process.stdin.close()
        try:
            process.wait(_ENDS_WITHIN_S)
        except BaseException as error:
            process.kill()
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
        finally:
            process.stdout.close()


class Gateway:
    """Takes orders from any thread and hands on what is filled. `run` is a thread's work."""

    def __init__(self, port: int, on_fill: Callable[[Fill], object], crew: Crew) -> None:
        self.calls: Counter[Engine] = Counter()
        self.acks = 0
        self.fills = 0
        self._port = port
        self._on_fill = on_fill
        self._crew = crew
        self._slots = threading.BoundedSemaphore(OPEN_ORDERS)
        self._orders: asyncio.Queue[Order | None] = asyncio.Queue()
        self._loop = asyncio.new_event_loop()

    def submit(self, order: Order, calls: Counter[Engine]) -> None:
        """Send `order` on its way, when there is a place for it. Raises Stopped when the crew stops."""
        calls[Engine.ORDER_SLOT] += 1
        with Engine.ORDER_SLOT:
            while not self._slots.acquire(timeout=LOOK_EVERY_S):
                self._crew.check()
        self._hand_over(order)

    def release(self) -> None:
        """An order is done with: another one may have its place."""
        self._slots.release()

    def finish(self) -> None:
        """No orders come any more: `run` returns when those on their way are answered."""
        for _ in range(SESSIONS):
            self._hand_over(None)

    def run(self) -> None:
        """Answer orders until `finish`. Raises ExchangeError; Stopped when the crew stops."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._sessions())
            except asyncio.CancelledError:
                raise Stopped from None

    def cancel(self) -> None:
        """Make `run` end soon, whatever it waits for."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._cancel_all)

    def close(self) -> None:
        """Give the event loop back, also when `run` never ran."""
        self._loop.close()

    def _hand_over(self, order: Order | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._orders.put_nowait, order)
        except RuntimeError:
            # The loop has ended early; its thread reports why to the crew.
            raise Stopped from None

    def _cancel_all(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    async def _sessions(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(SESSIONS):
                    group.create_task(self._session())
        except ExceptionGroup as errors:
            # One reason is enough: when the exchange goes, it goes for all.
            raise errors.exceptions[0] from None

    async def _session(self) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                while (order := await self._orders.get()) is not None:
                    await self._handle(order, reader, writer)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        except TimeoutError as error:
            raise ExchangeError(f"the exchange did not answer within {_ANSWERS_WITHIN_S:.0f} s") from error
        except (OSError, EOFError) as error:
            raise ExchangeError(f"the exchange went away after {self.acks} orders") from error

    async def _handle(self, order: Order, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls[Engine.ORDER] += 1
        with Engine.ORDER:
            self.calls[Engine.ENCODE] += 1
            with Engine.ENCODE:
                request = {"id": order.number, "symbol": order.symbol, "quantity": order.quantity, "price": order.price}
                line = json.dumps(request).encode() + b"\n"
            self.calls[Engine.SUBMIT] += 1
            answer = await _submit(line, reader, writer)
            self.calls[Engine.ACK_DECODE] += 1
            with Engine.ACK_DECODE:
                ack = json.loads(answer)
                fill = Fill(order.symbol, ack["filled"], ack["money"])
        self.acks += 1
        if fill.quantity:
            self.fills += 1
            self._on_fill(fill)
        else:
            self.release()


@Engine.SUBMIT
async def _submit(line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(line)
    async with asyncio.timeout(_ANSWERS_WITHIN_S):
        return await reader.readuntil(b"\n")
