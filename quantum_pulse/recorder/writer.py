"""The writing thread: rings to Parquet parts. The only place where a recording service loads pyarrow."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import schema
from quantum_pulse.core import contract
from quantum_pulse.operations import registry
from quantum_pulse.recorder import closing, parts, recover
from quantum_pulse.recorder.imports import importing
from quantum_pulse.recorder.merging import Merger

if TYPE_CHECKING:
    from quantum_pulse.core.contract import Batch, Core
    from quantum_pulse.recorder.metrics import MetricsSampler

logger = logging.getLogger("quantum_pulse")

#: What the trace tells of a loss.
LOSS_SHOWN: Final = ("count", "operation", "thread", "cause")

#: A part is written when the core asks for it because its rings fill, and at least this often, in seconds. The rings
#: outlive the process, so there is no hurry.
LONGEST_WAIT_S: Final = 5.0
#: Rows that are written as one part, but for one segment more. About 150 bytes of memory each, while it is written.
LARGEST_BATCH: Final = 1 << 20
#: Time between two saves of a flight recorder that are made because of a sample, in seconds.
SHORTEST_SAVE_S: Final = 1.0
#: Errors of a disk that may pass, how often it is tried again, and for how long, in seconds.
PASSING: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EAGAIN)
RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 10.0
#: Time after which no further ring of a process that was killed is taken in, before it looks at its own again.
SWEEP_S: Final = 0.2
#: How long `finish` waits for the disk before it gives the rest up, in seconds.
LONGEST_STOP_S: Final = 30.0


class Writer:
    """Drains core and sampler into parts until told to finish. A failure stops the recording, never the host."""

    def __init__(
        self,
        core: Core,
        capture: Path,
        ring: Path,
        anchor_ns: int,
        errors: list[str],
        sampler: MetricsSampler,
        note: Callable[[dict[str, Any]], None],
        *,
        keeps: bool = False,
    ) -> None:
        """`note` keeps what whoever finds the rings of a killed process should know.

        `keeps`: samples stay in the rings until somebody asks, or the core has found one worth it.
        """
        self.failure: BaseException | None = None
        self.all_losses: list[dict[str, Any]] = []
        self.has_forked = False
        self.rows = dict.fromkeys(schema.TABLES, 0)  # in parts
        self._core = core
        self._capture = capture
        self._name = ring.stem
        self._process = os.getpid()
        self._anchor_ns = anchor_ns
        self._errors = errors
        self._sampler = sampler
        self._note = note
        self._ring = ring
        self._keeps = keeps
        self._trips: list[tuple[int, int, int, int]] = []  # found, and not saved yet
        self._saved_at = -math.inf  # on the monotonic clock, in seconds
        self._held: tuple[Batch | None, list[dict[str, Any]]] | None = None  # drained, and not written yet
        self._part = 0
        self._merger: Merger | None = Merger(self._path)
        self._written = 0
        # A pipe, because a byte can be written to it from anywhere: the hot path, a signal handler, a finaliser.
        self._wake_reading, self.wake_fd = os.pipe()
        os.set_blocking(self._wake_reading, False)
        os.set_blocking(self.wake_fd, False)
        self._state = threading.Condition()
        self._asked = 0
        self._answered = 0
        self._finishing = False
        self._conclude: Callable[[], None] = lambda: None
        # A daemon, because a disk that hangs must not keep the interpreter from exiting.
        self._thread = threading.Thread(target=self._run, name="quantum-pulse-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def flush(self) -> None:
        """Return when all that was finished at the call stands in parts."""
        with self._state:
            self._asked += 1
            ticket = self._asked
            self._wake()
            # With a timeout, because a thread that ends in this moment answers nobody any more.
            while self._answered < ticket and self._thread.is_alive():
                self._state.wait(0.1)

    def finish(self, conclude: Callable[[], None]) -> None:
        """Write the rest, call `conclude` and end the thread, within a bounded time. What `conclude` does is left out
        where the disk hangs."""
        self._conclude = conclude
        self._finishing = True
        self._wake()
        self._thread.join(LONGEST_STOP_S)
        if self._thread.is_alive():
            self._fail(TimeoutError(f"the disk took no data for {LONGEST_STOP_S:.0f} s"))
        elif self.failure is not None:
            conclude()

    def close(self) -> None:
        """Give up the pipe; nobody must use it any more."""
        # A thread that hangs in the disk may come back to it, and the number could be another file's by then.
        if not self._thread.is_alive():
            os.close(self._wake_reading)
            os.close(self.wake_fd)

    def abandon(self) -> None:
        """In a forked child, where the thread does not exist."""
        os.close(self._wake_reading)
        os.close(self.wake_fd)

    def account(self) -> dict[str, int]:
        """started = written + pending + open + lost, in samples."""
        totals = self._core.account()
        started = sum(row.started for row in totals)
        committed = sum(row.committed for row in totals)
        lost = sum(row.lost for row in totals)
        unwritten = committed - self._written
        # After a failure the rest still stands in the ring, where there is one: it can be recovered.
        is_gone = self.failure is not None and not self._ring.exists()
        return {
            "started": started,
            "written": self._written,
            "pending": 0 if is_gone else unwritten,
            "open": started - committed - lost,
            "lost": lost + (unwritten if is_gone else 0),
        }

    def accounts(self) -> list[dict[str, Any]]:
        """The account by operation and thread: `started` = `ended` + `open` + `lost`. Those that ended are in parts, or
        pending. Thread 0 stands for threads that ended long ago."""
        totals: dict[tuple[int, int], list[int]] = {}
        for operation, thread, *numbers in self._core.account():
            total = totals.setdefault((operation, thread), [0, 0, 0])
            total[:] = map(sum, zip(total, numbers, strict=True))
        return [
            {
                "operation": registry[operation].name,
                "thread": thread,
                "started": started,
                "ended": ended,
                "open": started - ended - lost,
                "lost": lost,
            }
            for (operation, thread), (started, ended, lost) in sorted(totals.items())
        ]

    def _run(self) -> None:
        try:
            self._core.never_wait()  # for itself
            while True:
                self._sleep()
                finishing, ticket = self._finishing, self._asked
                self._trips += self._core.trips()
                is_worth_it = self._trips and time.monotonic() >= self._saved_at + SHORTEST_SAVE_S
                if not self._keeps or finishing or ticket != self._answered or is_worth_it:
                    self._write_patiently()
                    self._answer(ticket)
                    self._merge(finishing)
                if self.has_forked:
                    self._sweep()
                if finishing:
                    self._conclude()
                    return
        except BaseException as error:  # noqa: BLE001 - whatever it is, the host goes on
            closing.let_exec_pass(error)
            self._fail(error)
            self._answer(self._asked)

    def _sweep(self) -> None:
        self.has_forked = False  # first: it may fork again meanwhile
        try:
            if recover.sweep(self._capture, self._ring, SWEEP_S):
                self.has_forked = True
        except Exception as error:  # noqa: BLE001 - for tidiness only
            logger.debug("what forked processes left stays: %s", error)

    def _merge(self, finishing: bool) -> None:
        """Make larger parts. That is for comfort only: what goes wrong ends nothing but this, and rings come first."""
        try:
            if self._merger is not None and finishing:
                self._merger.finish()
            elif self._merger is not None and not self._is_woken():
                self._merger.merge()
        except Exception as error:  # noqa: BLE001 - the disk's errors, pyarrow's, and those of a damaged part
            logger.debug("parts are not merged any more: %s", error)
            self._merger = None

    def _sleep(self) -> None:
        """Until somebody wakes the thread, or it is time."""
        self._is_woken(LONGEST_WAIT_S if not self._trips else SHORTEST_SAVE_S / 10)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_reading, 4096)

    def _is_woken(self, within_s: float = 0) -> bool:
        poll = select.poll()  # select() knows no descriptor above 1,023, and a service may have more
        poll.register(self._wake_reading, select.POLLIN)
        return bool(poll.poll(within_s * 1000))

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is full, so the thread will wake
            os.write(self.wake_fd, b"\0")

    def _answer(self, ticket: int) -> None:
        with self._state:
            self._answered = ticket
            self._state.notify_all()

    def _fail(self, error: BaseException) -> None:
        """The breaker: recording ends for good, and says so once."""
        if self.failure is not None:
            return
        self.failure = error
        self._core.stop()
        logger.error("recording into %s has stopped, the program goes on: %s", self._capture, error)

    def _write_patiently(self) -> None:
        """Write; while the disk is full, try again for a while. Samples go on into the rings meanwhile."""
        give_up = time.monotonic() + LONGEST_RETRY_S
        while True:
            try:
                self._write()
                return
            except OSError as error:
                if error.errno not in PASSING or self._finishing or time.monotonic() > give_up:
                    raise
            time.sleep(RETRY_S)

    def _write(self) -> None:
        with importing():
            parts.load()
        while True:
            if self._held is None:
                losses = self._take_losses()
                self.all_losses += losses
                self._held = self._drain(), losses
            batch, losses = self._held
            if batch is not None:
                self._write_samples(batch, losses)
                self._written += batch.rows
            self._held = None
            self._core.release()
            if batch is None or batch.rows < LARGEST_BATCH:
                break
        metrics, events = self._sampler.take()
        self._write_rows("metrics", metrics, "time")
        self._write_rows("events", events, "start")
        if batch is not None or metrics or events:
            self._note({"written": self.rows})

    def _drain(self) -> Batch | None:
        begin = time.perf_counter()
        batch = self._core.drain(LARGEST_BATCH)
        if batch is not None:
            logger.debug("drained %d samples in %.1f ms", batch.rows, (time.perf_counter() - begin) * 1000)
        return batch

    def _write_samples(self, batch: Batch, losses: list[dict[str, Any]]) -> None:
        footer = {**self.footer(), "losses": losses}
        if self._keeps:
            footer["saved_for"], self._trips = [self._described(trip) for trip in self._trips], []
            self._saved_at = time.monotonic()
        path = self._path("samples")
        parts.write_samples(
            path,
            batch,
            operations=registry.all(),
            errors=self._errors,
            anchor_ns=self._anchor_ns,
            process=self._process,
            footer=footer,
        )
        self._note_part("samples", path, batch.rows)

    def _write_rows(self, table: str, rows: list[dict[str, Any]], clock_column: str) -> None:
        if not rows:
            return
        for row in rows:
            row[clock_column] += self._anchor_ns
            row["process"] = self._process
        path = self._path(table)
        parts.write_rows(path, table, rows, self.footer())
        self._note_part(table, path, len(rows))

    def _described(self, trip: tuple[int, int, int, int]) -> dict[str, Any]:
        probe_id, span, duration_ns, error = trip
        name, kind = registry[probe_id].name, self._errors[error] or None
        logger.info("saved because of %s: %.1f µs%s", name, duration_ns / 1000, f", {kind}" if kind else "")
        return {"operation": name, "span": span, "duration_ns": duration_ns, "error": kind}

    def _note_part(self, table: str, path: Path, rows: int) -> None:
        self.rows[table] += rows
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("wrote %s/%s: %d rows, %d bytes", table, path.name, rows, path.stat().st_size)
        if self._merger is not None:
            self._merger.add(table, path, rows)

    def _path(self, table: str) -> Path:
        self._part += 1
        return self._capture / table / f"{self._name}-{self._part:06d}.parquet"

    def footer(self) -> dict[str, Any]:
        """What the footers of all parts have in common."""
        return {
            "format": schema.FORMAT_VERSION,
            "process": self._process,
            "core": self._core.NAME,
            "clock_anchor_ns": self._anchor_ns,
        }

    def _take_losses(self) -> list[dict[str, Any]]:
        losses = [
            {
                "operation": registry[loss.operation].name,
                "thread": loss.thread,
                "count": loss.samples,
                "start": loss.first_ns + self._anchor_ns,
                "end": loss.last_ns + self._anchor_ns,
                "cause": contract.CAUSES[loss.cause],
            }
            for loss in self._core.losses()
        ]
        for loss in losses:
            logger.debug("lost %d samples of %s, thread %d: %s", *map(loss.get, LOSS_SHOWN))
        return losses
