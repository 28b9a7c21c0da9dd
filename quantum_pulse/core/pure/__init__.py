"""The core in Python: the oracle of the native one, and what runs where no compiler was. Plainness before speed."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Self

from quantum_pulse import schema
from quantum_pulse.core import contract
from quantum_pulse.core.contract import Account, Batch, Loss
from quantum_pulse.core.pure import spans
from quantum_pulse.core.pure.rings import Session, now

NAME = "python"

_session: Session | None = None  # while recording
_latest: Session | None = None  # until closed


class Probe:
    """A place in a program that is timed. See the contract."""

    probe_id = -1
    probe_every = 1
    probe_detail = False

    def __enter__(self) -> Self:
        session = _session
        if session is not None:
            try:
                spans.enter(session, self, sys._getframe(1))
            except ValueError:  # another thread has closed the rings meanwhile
                if session is _latest:
                    raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any, /) -> None:
        session = _session
        if session is not None:
            try:
                spans.leave(session, self, sys._getframe(1), kind)
            except ValueError:  # as above
                if session is _latest:
                    raise


def add(probe: Any, start_ns: int, duration_ns: int, error: type[BaseException] | None) -> None:
    session = _session
    if session is None:
        return
    try:
        thread = spans.this_thread(session)
        entry = spans.new_entry(session, thread, probe, keeps_slot=False)
        if entry is None or entry.weight == 0:
            return
        entry.start = start_ns
        session.commit(thread, entry, start_ns + duration_ns, 0 if error is None else session.error_number(error))
    except ValueError:  # as in __enter__
        if session is _latest:
            raise


def plain_attributes(metaclass: type) -> None:
    """Only the native core can."""


def timed(probe: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with probe:
            return function(*args, **kwargs)

    return wrapper


def start(
    ring_path: str,
    budget_bytes: int,
    on_error_name: Callable[[int, str], None],
    wake_fd: int = -1,
    on_full: int = contract.DROP,
    production: bool = False,
) -> None:
    global _session, _latest
    if _latest is not None:
        raise RuntimeError("the core is in use")
    _session = _latest = Session(
        ring_path, budget_bytes, on_error_name, wake_fd, on_full, production, spans.last_span()
    )
    if sys.version_info < (3, 12):
        gc.callbacks.insert(0, _keep_variables)


def _keep_variables(phase: str, info: dict[str, int]) -> None:  # noqa: ARG001 - as the collector calls it
    # A collection may begin while CPython copies a context, and it does not count its own use of the variables there:
    # what a finaliser records would free them. Kept until the thread's next collection: nothing says when it is done.
    session = _session
    if session is not None and phase == "start":
        session.kept[threading.get_ident()] = copy_context()


def stop() -> None:
    global _session
    if _session is not None:
        _session.is_recording = False
    _session = None
    with contextlib.suppress(ValueError):
        gc.callbacks.remove(_keep_variables)


def close() -> None:
    global _latest
    session, _latest = _latest, None
    if session is None:
        return
    try:
        for segment in session.segments:
            segment.close()
        session.header.close()
        # A traceback that somebody keeps may hold a view of a segment that was being made: the mapping goes with it.
        with contextlib.suppress(BufferError):
            session.memory.close()
    finally:
        os.close(session.fd)


def forget() -> None:
    """In a forked child: let go of the parent's rings without touching them."""
    global _session, _latest
    stop()
    close()


def clock() -> str:
    return "monotonic"


def _required() -> Session:
    if _latest is None:
        raise RuntimeError("the core is not in use")
    return _latest


def drain(most: int = sys.maxsize) -> Batch | None:
    session = _required()
    parts: dict[str, list[bytes]] = {name: [] for name, _ in schema.RING_COLUMNS}
    threads: list[bytes] = []
    rows = 0
    with session.lock:
        busy = list(session.busy)
    for segment in busy:
        if rows >= most:
            break
        full, begin, end = segment.full, segment.drained, segment.written
        if end > begin:
            for name, column in segment.columns.items():
                parts[name].append(bytes(column[begin:end]))
            threads.append(segment.thread.to_bytes(8, sys.byteorder, signed=True) * (end - begin))
            rows += end - begin
            segment.drained = end
        if end > begin or full:
            session.drained.append((segment, end))
    if not rows:
        return None
    columns = {name: b"".join(chunks) for name, chunks in parts.items()}
    columns["thread"] = b"".join(threads)
    return Batch(rows, columns)


def release() -> None:
    session = _required()
    with session.lock:
        for segment, end in session.drained:
            segment.fields["consumed"][0] = end
            if segment.full and end == segment.written:
                with contextlib.suppress(ValueError):  # overwritten meanwhile
                    session.busy.remove(segment)
                    segment.fields["state"][0] = 0
                    session.free.append(segment)
        session.drained.clear()
        session.is_awake = False
        session.is_hopeless = False
        session.released_ns = now()
        session.wake()


def never_wait() -> None:
    spans.this_thread(_required()).never_waits = True


def watch(probe_id: int, limit_ns: int, on_error: bool) -> None:
    _required().watched[probe_id] = (limit_ns, on_error)


def trips() -> list[tuple[int, int, int, int]]:
    session = _required()
    taken, session.trips = session.trips, []
    return taken


def losses() -> list[Loss]:
    session = _required()
    # Those that are alive first: one that ends meanwhile is then counted here, and not twice.
    living = session.living()
    with session.lock:
        session.settle()
        taken, session.ended.losses = session.ended.losses, {}
    found = [
        Loss(probe_id, thread, samples, first_ns, last_ns, cause)
        for (probe_id, thread, cause), (samples, first_ns, last_ns) in taken.items()
    ]
    for thread in living:
        for probe_id, count in list(thread.counts.items()):
            new = count.lost - count.reported
            if new:
                found.append(Loss(probe_id, thread.id, new, count.first_loss, count.last_loss, contract.NO_ROOM))
                count.reported += new
    return found


def account() -> list[Account]:
    session = _required()
    living = session.living()  # first, as in losses()
    with session.lock:
        session.settle()
        found = [Account(*key, *values) for key, values in list(session.ended.accounts.items())]
    return found + [
        Account(probe_id, thread.id, count.started, count.committed, count.lost)
        for thread in living
        for probe_id, count in list(thread.counts.items())
    ]
