"""System metrics beside the samples: a thread that looks at the process and the machine, and a hook for collections."""

from __future__ import annotations

import gc
import logging
import os
import resource
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from quantum_pulse import metrics
from quantum_pulse.recorder import closing
from quantum_pulse.recorder.imports import importing

logger = logging.getLogger("quantum_pulse")

#: Rows and events that are kept when nobody takes them.
LONGEST_QUEUE: Final = 100_000
#: How long `stop` waits for the last look, in seconds.
LONGEST_STOP_S: Final = 5.0

PRESSURE: Final = Path("/proc/pressure")


class _Counters(NamedTuple):
    """Readings that only grow; a row holds their growth. None where the system does not tell."""

    time_ns: int
    cpu_s: float
    minor_faults: int
    major_faults: int
    voluntary_switches: int
    involuntary_switches: int
    disk_read_bytes: int | None
    disk_write_bytes: int | None
    net_sent_bytes: int | None
    net_received_bytes: int | None
    pressure_cpu_us: int | None
    pressure_memory_us: int | None
    pressure_io_us: int | None
    gc_collections: int
    gc_pause_ns: int


class MetricsSampler:
    """A row of schema.METRICS every `interval_s` seconds, the last when stopped; a row of schema.EVENTS a collection.

    Times are readings of `now`, in ns. The column `process` is the writer's to fill in. What cannot be read becomes
    None or, if nothing can, ends the metrics with one message: the samples do not depend on them.
    """

    def __init__(self, now: Callable[[], int], interval_s: float) -> None:
        self._now = now
        self._interval_s = min(interval_s, threading.TIMEOUT_MAX)
        self._rows: deque[dict[str, Any]] = deque(maxlen=LONGEST_QUEUE)
        self._collections = _Collections(now)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="quantum-pulse-metrics", daemon=True)

    def start(self) -> None:
        self._collections.watch()
        self._thread.start()

    def stop(self) -> None:
        """End the thread after a last row, within a bounded time."""
        self._collections.unwatch()
        self._stopping.set()
        self._thread.join(LONGEST_STOP_S)

    def abandon(self) -> None:
        """In a forked child, where the thread does not exist: take the hook away."""
        self._collections.unwatch()

    def take(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Rows of metrics and rows of events since the last call, oldest first."""
        return _drain(self._rows), _drain(self._collections.events)

    def peek(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What `take` would give, as it goes on to."""
        return list(self._rows.copy()), list(self._collections.events.copy())

    def _run(self) -> None:
        try:
            with importing():
                import psutil

            process = psutil.Process()
            psutil.cpu_percent()  # counts from here, for this thread
            before = self._counters(process)
            stopping = False
            while not stopping:
                stopping = self._stopping.wait(self._interval_s)
                after = self._counters(process)
                self._rows.append(_row(before, after, process, psutil.cpu_percent()))
                before = after
        except Exception as error:  # noqa: BLE001 - metrics are an extra, whatever is wrong with them
            closing.let_exec_pass(error)
            logger.warning("system metrics have stopped, samples go on: %s", error)

    def _counters(self, process: Any) -> _Counters:
        import psutil

        usage = resource.getrusage(resource.RUSAGE_SELF)
        try:
            disk = process.io_counters()
        except (psutil.Error, AttributeError, OSError):
            disk = None
        # nowrap would keep the history of each interface under a lock; counters of 64 bits do not wrap.
        net = psutil.net_io_counters(nowrap=False)
        return _Counters(
            self._now(),
            usage.ru_utime + usage.ru_stime,
            usage.ru_minflt,
            usage.ru_majflt,
            usage.ru_nvcsw,
            usage.ru_nivcsw,
            disk and disk.read_bytes,
            disk and disk.write_bytes,
            net and net.bytes_sent,
            net and net.bytes_recv,
            _pressure_us("cpu"),
            _pressure_us("memory"),
            _pressure_us("io"),
            self._collections.count,
            self._collections.pause_ns,
        )


def _row(before: _Counters, after: _Counters, process: Any, cpu_machine_percent: float) -> dict[str, Any]:
    interval_ns = max(after.time_ns - before.time_ns, 1)
    with process.oneshot():
        row: dict[str, Any] = {
            **dict.fromkeys(metrics.NAMES),
            "time": after.time_ns,
            "interval_ns": interval_ns,
            "cpu_process_percent": (after.cpu_s - before.cpu_s) / (interval_ns / 1e9) * 100,
            "cpu_machine_percent": cpu_machine_percent,
            "rss_bytes": process.memory_info().rss,
            "threads": process.num_threads(),
            "load_1m": os.getloadavg()[0],
            "gc_pause_us": (after.gc_pause_ns - before.gc_pause_ns) / 1000,
        }
    for name, old, new in zip(_Counters._fields, before, after, strict=True):
        if name not in ("time_ns", "cpu_s", "gc_pause_ns"):
            # An interface that goes away takes its count along.
            row[name] = None if new is None or old is None else max(int(new - old), 0)
    return row


def _pressure_us(kind: str) -> int | None:
    """Total of PSI's `some` line, in µs; None where the kernel does not have it, or has it switched off."""
    try:
        text = (PRESSURE / kind).read_text()
        return int(text.partition("total=")[2].split(maxsplit=1)[0])
    except (OSError, ValueError, IndexError):
        return None


class _Collections:
    """The hook in the garbage collector. It runs in the thread that is held up."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.events: deque[dict[str, Any]] = deque(maxlen=LONGEST_QUEUE)
        self.count = 0
        self.pause_ns = 0
        self._now = now
        self._start: int | None = None

    def watch(self) -> None:
        gc.callbacks.append(self._on_collection)

    def unwatch(self) -> None:
        if self._on_collection in gc.callbacks:
            gc.callbacks.remove(self._on_collection)

    def _on_collection(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._start = self._now()
            return
        start, self._start = self._start, None
        if start is None:  # began before the recording did
            return
        duration = self._now() - start
        self.count += 1
        self.pause_ns += duration
        self.events.append(
            {
                "event": "gc",
                "start": start,
                "duration_ns": duration,
                "thread": threading.get_native_id(),
                "generation": info["generation"],
                "collected": info["collected"],
                "value": None,
            }
        )


def _drain(queue: deque[dict[str, Any]]) -> list[dict[str, Any]]:
    taken = []
    # Others may append meanwhile; what came after the call can wait for the next one.
    for _ in range(len(queue)):
        taken.append(queue.popleft())
    return taken
