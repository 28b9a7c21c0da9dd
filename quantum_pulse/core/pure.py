"""The core in Python: the oracle of the native one, and what runs where no compiler was.

Plainness comes before speed here. Open spans are a linked list whose top is a context variable, so that a new task
inherits exactly what was open when it was created.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import gc
import inspect
import mmap
import os
import random
import struct
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from pathlib import Path
from types import FrameType
from typing import Any, Self

from quantum_pulse import schema
from quantum_pulse.core import contract
from quantum_pulse.core.contract import Account, Batch, Loss

NAME = "python"

now = time.perf_counter_ns

#: All bits of a 32-bit word.
_WORD = 0xFFFFFFFF
_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
# A generator behind @contextmanager encloses the block of its `with`, so what runs there is inside its spans. Any
# other suspended generator encloses nothing.
_CONTEXT_MANAGERS = (
    contextlib._GeneratorContextManager.__enter__.__code__,
    contextlib._AsyncGeneratorContextManager.__aenter__.__code__,
)


class _Open:
    """A span that has been entered and not left."""

    __slots__ = (
        "below",
        "encloses",
        "frame",
        "home",
        "is_abandoned",
        "is_open",
        "parent",
        "probe_id",
        "session",
        "span",
        "start",
        "task",
        "weight",
    )

    below: _Open | None
    frame: FrameType | None  # of the generator that holds it open, if one does
    encloses: bool  # also while its generator is suspended
    home: int  # task or thread that opened it
    is_abandoned: bool  # closed from another task or thread
    is_open: bool
    parent: int
    probe_id: int
    session: _Session
    span: int
    start: int
    task: int
    weight: int  # 0: it is not recorded


class _Mapped:
    """Views into the mapping, which cannot be closed before they are released."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._views = [memoryview(memory)]
        self.fields: dict[str, memoryview] = {}

    def view(self, offset: int, code: str, count: int) -> memoryview:
        part = self._views[0][offset : offset + count * struct.calcsize(code)]
        result: memoryview = part.cast(code)  # type: ignore[call-overload]  # one of the codes of `schema`
        self._views += [part, result]
        return result

    def add_fields(self, base: int, fields: tuple[tuple[str, str, int], ...]) -> None:
        for name, code, offset in fields:
            self.fields[name] = self.view(base + offset, code, 1)

    def close(self) -> None:
        for view in reversed(self._views):
            view.release()
        self._views.clear()


class _Segment(_Mapped):
    """A segment of the ring file and its columns."""

    def __init__(self, memory: mmap.mmap, index: int) -> None:
        super().__init__(memory)
        base = schema.RING_HEADER_BYTES + index * schema.SEGMENT_BYTES
        self.add_fields(base, schema.SEGMENT_FIELDS)
        self.columns: dict[str, memoryview] = {}
        offset = base + schema.SEGMENT_HEADER_BYTES
        for name, code in schema.RING_COLUMNS:
            self.columns[name] = self.view(offset, code, schema.SEGMENT_ROWS)
            offset += schema.SEGMENT_ROWS * struct.calcsize(code)
        self.written = 0
        self.drained = 0
        self.full = False
        self.thread = 0

    def finish(self) -> None:
        """Nobody will add to it."""
        self.full = True
        if self._views:
            self.fields["state"][0] = 2


class _Count:
    """What a thread did with a probe. Only the thread writes it, but for `reported`."""

    __slots__ = ("chosen", "committed", "first_loss", "last_loss", "left", "lost", "reported", "started")

    def __init__(self) -> None:
        self.started = self.committed = self.lost = 0
        self.reported = 0  # of the lost
        self.first_loss = self.last_loss = 0  # of those not reported, ns
        self.left = 0  # calls in the present round of sampling that are still to come
        self.chosen = 0  # the one of them that is recorded, counted from the end

    def weight_of_next(self, every: int) -> int:
        """How many calls the next sample stands for; 0: it is not recorded."""
        if every <= 1:
            return 1
        if self.left == 0:
            self.left = every
            self.chosen = random.randint(1, every)
        self.left -= 1
        return every if self.left + 1 == self.chosen else 0


class _Ended:
    """What became of the samples of threads that have ended, and of those that were overwritten."""

    #: Threads that are kept apart; beyond them they are added up as thread 0.
    KEPT_APART = 1024

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.accounts: dict[tuple[int, int], list[int]] = {}  # by probe and thread: started, committed, lost
        self.losses: dict[tuple[int, int, int], list[int]] = {}  # by probe, thread, cause: samples, first, last

    def add(self, probe_id: int, thread: int, started: int, committed: int, lost: int) -> None:
        total = self.accounts.setdefault((probe_id, self._kept(thread)), [0, 0, 0])
        for place, value in enumerate((started, committed, lost)):
            total[place] += value

    def add_loss(self, probe_id: int, thread: int, cause: int, samples: int, first_ns: int, last_ns: int) -> None:
        key = (probe_id, self._kept(thread), cause)
        known = self.losses.get(key, [0, first_ns, last_ns])
        self.losses[key] = [known[0] + samples, min(known[1], first_ns), max(known[2], last_ns)]

    def add_counts(self, thread: int, counts: dict[int, _Count]) -> None:
        for probe_id, count in counts.items():
            self.add(probe_id, thread, count.started, count.committed, count.lost)
            if count.lost > count.reported:
                lost = count.lost - count.reported
                self.add_loss(probe_id, thread, contract.NO_ROOM, lost, count.first_loss, count.last_loss)

    def _kept(self, thread: int) -> int:
        if len(self.threads) < self.KEPT_APART:
            self.threads.add(thread)
        return thread if thread in self.threads else 0


class _Thread:
    """What a thread owns in a recording."""

    __slots__ = ("__weakref__", "counts", "id", "never_waits", "segment", "session")

    def __init__(self, session: _Session) -> None:
        self.id = threading.get_native_id()
        self.segment: _Segment | None = None
        self.counts: dict[int, _Count] = {}
        self.never_waits = False
        self.session = session  # last: what an interrupt leaves without it never counted
        session.threads[id(self)] = weakref.ref(self)

    def __del__(self) -> None:
        # The thread has ended, or records into another recording now. This may run anywhere, so no lock is taken.
        if not hasattr(self, "session"):
            return
        if self.segment is not None:
            self.segment.finish()
        self.session.just_ended.append((self.id, self.counts))
        self.session.threads.pop(id(self), None)


class _Session:
    """One recording: the mapping, the segments and the account."""

    def __init__(
        self,
        path: str,
        budget: int,
        on_error_name: Callable[[int, str], None],
        wake_fd: int,
        on_full: int,
        production: bool,
    ) -> None:
        self.on_full = on_full
        self.production = production
        self.is_hopeless = False  # waiting was in vain
        self.released_ns = now()  # when room was made last
        # A collection may begin in any critical section, and what it runs may record: in the same thread.
        self.lock = threading.RLock()
        self.limit = max(1, (budget - schema.RING_HEADER_BYTES) // schema.SEGMENT_BYTES)
        size = schema.RING_HEADER_BYTES + self.limit * schema.SEGMENT_BYTES
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(self.fd, size)
            os.posix_fallocate(self.fd, 0, schema.RING_HEADER_BYTES + schema.SEGMENT_BYTES)
            self.memory = mmap.mmap(self.fd, size)
        except BaseException:
            os.close(self.fd)
            Path(path).unlink()
            raise
        self.header = _Mapped(self.memory)
        self.header.add_fields(0, schema.RING_FIELDS)
        self.header.fields["process"][0] = os.getpid()
        self.header.fields["first_span"][0] = self.header.fields["last_span"][0] = _last_span
        self.memory[: len(schema.RING_MAGIC)] = schema.RING_MAGIC
        self.on_error_name = on_error_name
        self.error_numbers: dict[str, int] = {}  # by name of the type
        self.last_error = 0
        self.segments: list[_Segment] = []
        self.unused = list(range(self.limit - 1, -1, -1))  # where no segment was yet, the first one last
        self.free: list[_Segment] = []
        self.busy: list[_Segment] = []  # in the order taken
        self.drained: list[tuple[_Segment, int]] = []
        self.sequence = 0
        self.wake_fd = wake_fd
        self.wake_at = max(1, min(self.limit // 2, schema.WAKE_SEGMENTS))
        if on_full == contract.OVERWRITE:
            self.wake_at = self.limit + 1  # they are to be full
        self.is_awake = False  # whoever drains; until it has released
        self.by_frame: dict[FrameType, list[_Open]] = {}
        self.threads: dict[int, weakref.ref[_Thread]] = {}
        self.just_ended: collections.deque[tuple[int, dict[int, _Count]]] = collections.deque()
        self.ended = _Ended()
        self.kept: dict[int, Context] = {}  # by thread
        self.watched: dict[int, tuple[int, bool]] = {}  # by probe: limit in ns, whether errors count
        self.trips: list[tuple[int, int, int, int]] = []

    def take(self, thread: int) -> _Segment | None:
        """A segment to fill, or None when the budget or the disk is used up."""
        with self.lock:
            # Once more where a collection in between took what had become free.
            while not self.free:
                if not self.extend() and not (self.on_full == contract.OVERWRITE and self.overwrite()):
                    return None
            segment = self.free.pop()
            self.sequence += 1
            segment.written = segment.drained = 0
            segment.full = False
            segment.thread = thread
            values = {"written": 0, "inverse": _WORD, "consumed": 0, "thread": thread, "sequence": self.sequence}
            for field, value in values.items():
                segment.fields[field][0] = value
            segment.fields["state"][0] = 1
            self.busy.append(segment)
            self.wake()
            return segment

    def extend(self) -> bool:
        """A segment that was never used becomes free."""
        if not self.unused:
            return False
        index = self.unused.pop()
        offset = schema.RING_HEADER_BYTES + index * schema.SEGMENT_BYTES
        try:
            os.posix_fallocate(self.fd, offset, schema.SEGMENT_BYTES)
        except OSError:
            self.unused.append(index)
            return False
        segment = _Segment(self.memory, index)
        self.segments.append(segment)
        self.free.append(segment)
        return True

    def overwrite(self) -> bool:
        """The oldest full segment that is not being written to disk becomes free."""
        for segment in self.busy.copy():
            consumed = segment.fields["consumed"][0]
            if not segment.full or segment.drained != consumed:
                continue
            try:
                self.busy.remove(segment)
            except ValueError:  # taken by what a collection in between recorded
                continue
            # Whoever reads the file, also in this moment, must not find what is lost now.
            segment.fields["state"][0] = 0
            self.sequence += 1
            segment.fields["sequence"][0] = self.sequence
            self.header.fields["lost"][0] += segment.written - consumed
            found: dict[int, list[int]] = {}
            for row in range(consumed, segment.written):
                start = segment.columns["start"][row]
                end = start + segment.columns["duration"][row]
                known = found.setdefault(segment.columns["operation"][row], [0, start, end])
                known[:] = known[0] + 1, min(known[1], start), max(known[2], end)
            for probe_id, (samples, first, last) in found.items():
                self.ended.add(probe_id, segment.thread, 0, -samples, samples)
                self.ended.add_loss(probe_id, segment.thread, contract.OVERWRITTEN, samples, first, last)
            self.free.append(segment)
            return True
        return False

    def take_patiently(self, thread: _Thread) -> _Segment | None:
        """A segment as `take` gives it, after a pause where rings fill up, and a wait where that was asked for."""
        if thread.segment is not None:  # once a segment: not for each sample that is lost when there is none
            self.brake(thread)
        segment = self.take(thread.id)
        give_up = now() + contract.LONGEST_WAIT_NS
        while segment is None and self.on_full == contract.WAIT and not thread.never_waits and not self.is_hopeless:
            if self is not _session:
                break
            if now() > give_up:
                self.is_hopeless = True
            time.sleep(0.0002)
            segment = self.take(thread.id)
        return segment

    def living(self) -> list[_Thread]:
        return [thread for reference in self.threads.copy().values() if (thread := reference()) is not None]

    def brake(self, thread: _Thread) -> None:
        room = len(self.free) + len(self.unused)
        if self.on_full == contract.OVERWRITE or thread.never_waits or self.limit < contract.BRAKE_SEGMENTS:
            return
        if now() - self.released_ns > contract.LONGEST_BRAKING_NS:
            return
        half = self.limit // 2
        if room < half:
            time.sleep((1 - room / half) ** 2 * contract.BRAKE_NS / 1e9)

    def settle(self) -> None:
        """Take the counts of threads that have ended over."""
        while self.just_ended:
            self.ended.add_counts(*self.just_ended.popleft())

    def wake(self) -> None:
        if self.wake_fd >= 0 and not self.is_awake and len(self.busy) >= self.wake_at:
            self.is_awake = True
            with contextlib.suppress(OSError):
                os.write(self.wake_fd, b"\0")

    def commit(self, thread: _Thread, entry: _Open, end: int, error: int) -> None:
        count = thread.counts.get(entry.probe_id) or thread.counts.setdefault(entry.probe_id, _Count())
        segment = thread.segment
        if segment is None or segment.written == schema.SEGMENT_ROWS:
            if segment is not None:
                segment.finish()
            before = segment
            segment = self.take_patiently(thread)
            if thread.segment is not before and thread.segment is not None:
                thread.segment.finish()  # of what a collection recorded meanwhile
            thread.segment = segment
            if segment is None:
                if count.lost == count.reported:
                    count.first_loss = entry.start
                count.last_loss = end
                count.lost += 1
                self.header.fields["lost"][0] += 1
                return
        row = segment.written
        columns = segment.columns
        columns["start"][row] = entry.start
        columns["duration"][row] = end - entry.start
        columns["span"][row] = entry.span
        columns["parent"][row] = entry.parent
        columns["task"][row] = entry.task
        columns["operation"][row] = entry.probe_id
        columns["error"][row] = error
        columns["weight"][row] = entry.weight
        count.committed += 1
        segment.written = row + 1
        # Last, so that whoever reads the file of a killed process finds whole rows only.
        segment.fields["inverse"][0] = _WORD ^ (row + 1)
        segment.fields["written"][0] = row + 1
        if entry.probe_id in self.watched:
            self.look_at(entry, end - entry.start, error)

    def look_at(self, entry: _Open, duration: int, error: int) -> None:
        limit, on_error = self.watched[entry.probe_id]
        if (0 < limit < duration) or (on_error and error):
            if len(self.trips) < 16:
                self.trips.append((entry.probe_id, entry.span, duration, error))
            if len(self.trips) == 1 and self.wake_fd >= 0:
                with contextlib.suppress(OSError):
                    os.write(self.wake_fd, b"\0")

    def error_number(self, kind: type[BaseException]) -> int:
        # By name, and asked of `type`: a metaclass may have ideas of its own about hashes and names.
        name = _type_name(kind)
        number = self.error_numbers.get(name)
        if number is None:
            # Others find it only once the recorder knows it. Two threads may number one name twice: no harm.
            self.last_error = number = self.last_error + 1
            try:
                self.on_error_name(number, name)
            except Exception:  # noqa: BLE001 - never the host's trouble
                return 0
            self.error_numbers[name] = number
        return number


_type_name: Callable[[type], str] = type.__dict__["__name__"].__get__
_session: _Session | None = None  # while recording
_latest: _Session | None = None  # until closed
_local = threading.local()
_top: ContextVar[_Open | None] = ContextVar("quantum_pulse_top", default=None)
_last_span = 0
_last_task = 0
_tasks: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


def _this_thread(session: _Session) -> _Thread:
    thread: _Thread | None = getattr(_local, "thread", None)
    if thread is None or thread.session is not session:
        thread = _local.thread = _Thread(session)
    return thread


def _task_number() -> int:
    global _last_task
    loop = asyncio._get_running_loop()
    if loop is None:
        return 0
    task = asyncio.current_task(loop)
    if task is None:
        return 0
    number = _tasks.get(task)
    if number is None:
        _last_task += 1
        number = _tasks[task] = _last_task
    return number


def _is_suspended(entry: _Open, *, is_foreign: bool = False) -> bool:
    """Whether a generator holds the span open and is not running; `is_foreign`: in another task or thread."""
    if entry.frame is None or entry.encloses:
        return False
    if is_foreign:
        # An async generator may well be at work while its frame waits, and that cannot be seen from here.
        return entry.frame.f_back is None and not entry.frame.f_code.co_flags & inspect.CO_ASYNC_GENERATOR
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame is entry.frame:
            return False
        frame = frame.f_back
    return True


def _encloses_nothing(entry: _Open, *, is_foreign: bool) -> bool:
    if entry.is_open:
        return _is_suspended(entry, is_foreign=is_foreign)
    # What another task or thread had open when this one was created stays the parent, also once it is closed.
    return entry.is_abandoned or not is_foreign


def _is_context_manager(frame: FrameType) -> bool:
    # Other generators may stand between, as a decorated one does.
    caller = frame.f_back
    while caller is not None and caller.f_code not in _CONTEXT_MANAGERS and caller.f_code.co_flags & _GENERATOR:
        caller = caller.f_back
    return caller is not None and caller.f_code in _CONTEXT_MANAGERS


def _new_entry(session: _Session, thread: _Thread, probe: Any) -> _Open | None:
    """A span of the current context, numbered and counted, as a child of what is innermost.

    None for what is not recorded at all; of weight 0, with the number of its parent, for what sampling leaves out.
    """
    global _last_span
    if probe.probe_detail and session.production:
        return None
    probe_id = probe.probe_id
    count = thread.counts.get(probe_id) or thread.counts.setdefault(probe_id, _Count())
    entry = _Open()
    entry.weight = count.weight_of_next(probe.probe_every)
    entry.session = session
    entry.probe_id = probe_id
    entry.task = _task_number()
    entry.home = entry.task or -thread.id
    top = _top.get()
    if top is not None and top.session is not session:
        top = None
    entry.below = top
    while top is not None and _encloses_nothing(top, is_foreign=top.home != entry.home):
        top = top.below
    entry.parent = 0 if top is None else top.span
    entry.frame = None
    entry.encloses = entry.is_open = entry.is_abandoned = False
    entry.span = entry.parent
    if entry.weight > 0:
        _last_span += 1
        entry.span = _last_span
        session.header.fields["last_span"][0] = _last_span
        count.started += 1
    return entry


def _set_top(entry: _Open | None) -> None:
    # Before 3.12 a collection may begin in the middle of the change, and what it runs may set the variable too.
    is_enabled = gc.isenabled()
    if is_enabled and sys.version_info < (3, 12):
        gc.disable()
    try:
        _top.set(entry)
    finally:
        if is_enabled:
            gc.enable()


def _enter(session: _Session, probe: Any, caller: FrameType) -> None:
    entry = _new_entry(session, _this_thread(session), probe)
    if entry is None:
        return
    if caller.f_code.co_flags & _GENERATOR:
        entry.frame = caller
        entry.encloses = _is_context_manager(caller)
        session.by_frame.setdefault(caller, []).append(entry)
    entry.is_open = True
    _set_top(entry)
    entry.start = now()


def _exit(session: _Session, probe: Any, caller: FrameType, kind: type[BaseException] | None) -> None:
    end = now()
    if probe.probe_detail and session.production:
        return
    entry = _find(session, probe.probe_id, caller)
    if entry is None:
        return
    entry.is_open = False
    entry.is_abandoned = entry.home != (_task_number() or -_this_thread(session).id)
    top = _top.get()
    home = entry.home
    while top is not None and top.home == home and not top.is_open:
        top = top.below
    _set_top(top)
    if entry.weight > 0:
        session.commit(_this_thread(session), entry, end, 0 if kind is None else session.error_number(kind))


def _find(session: _Session, probe_id: int, caller: FrameType) -> _Open | None:
    if caller.f_code.co_flags & _GENERATOR:
        # By frame, because a generator may be closed from another context than the one that started it.
        held = session.by_frame.get(caller, [])
        for index in range(len(held) - 1, -1, -1):
            if held[index].probe_id == probe_id:
                entry = held.pop(index)
                if not held:
                    del session.by_frame[caller]
                return entry
        return None
    top = _top.get()
    while top is not None and top.session is session:
        if top.is_open and top.probe_id == probe_id and top.frame is None:
            return top
        top = top.below
    return None


class Probe:
    """A place in a program that is timed. See the contract."""

    probe_id = -1
    probe_every = 1
    probe_detail = False

    def __enter__(self) -> Self:
        session = _session
        if session is not None:
            try:
                _enter(session, self, sys._getframe(1))
            except ValueError:  # another thread has closed the rings meanwhile
                if session is _latest:
                    raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any, /) -> None:
        session = _session
        if session is not None:
            try:
                _exit(session, self, sys._getframe(1), kind)
            except ValueError:  # as above
                if session is _latest:
                    raise


def add(probe: Any, start_ns: int, duration_ns: int, error: type[BaseException] | None) -> None:
    session = _session
    if session is None:
        return
    try:
        thread = _this_thread(session)
        entry = _new_entry(session, thread, probe)
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
    _session = _latest = _Session(ring_path, budget_bytes, on_error_name, wake_fd, on_full, production)
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


def _required() -> _Session:
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
    _this_thread(_required()).never_waits = True


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
