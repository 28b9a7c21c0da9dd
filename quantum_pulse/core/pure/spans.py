"""The hot path: a span begins, a span ends.

Open spans are a linked list whose top is a context variable, so that a new task inherits exactly what was open when it
was created.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import sys
import threading
import weakref
from contextvars import ContextVar
from types import FrameType
from typing import Any

from quantum_pulse.core.pure.accounts import Count
from quantum_pulse.core.pure.rings import Session, Thread, now

_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
# A generator behind @contextmanager encloses the block of its `with`, so what runs there is inside its spans. Any
# other suspended generator encloses nothing.
_CONTEXT_MANAGERS = (
    contextlib._GeneratorContextManager.__enter__.__code__,
    contextlib._AsyncGeneratorContextManager.__aenter__.__code__,
)


#: Whether a frame of another thread may be running while this one looks at it.
_CAN_RUN_NOW = not getattr(sys, "_is_gil_enabled", lambda: True)()


class Open:
    """A span that has been entered and not left."""

    __slots__ = (
        "below",
        "encloses",
        "frame",
        "home",
        "is_abandoned",
        "is_held",
        "is_open",
        "parent",
        "probe_id",
        "session",
        "slot",
        "span",
        "start",
        "task",
        "thread",
        "weight",
    )

    below: Open | None
    frame: FrameType | None  # of the generator that holds it open, if one does
    encloses: bool  # also while its generator is suspended
    home: int  # task or thread that opened it
    is_abandoned: bool  # closed from another task or thread, or for good: it encloses nothing any more
    is_held: bool  # by a Block
    is_open: bool
    parent: int
    probe_id: int
    session: Session
    slot: int | None  # that tells of it to readers of the file
    span: int
    start: int
    task: int
    thread: int  # that entered it
    weight: int  # 0: it is not recorded


_local = threading.local()
_top: ContextVar[Open | None] = ContextVar("quantum_pulse_top", default=None)
_task_numbers = threading.RLock()
_last_task = 0
_tasks: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


def _renew_lock() -> None:
    global _task_numbers
    _task_numbers = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)  # whoever held it is not there


def this_thread(session: Session) -> Thread:
    thread: Thread | None = getattr(_local, "thread", None)
    if thread is None or thread.session is not session:
        thread = _local.thread = Thread(session)
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
        with _task_numbers:
            _last_task += 1
            number = _last_task
        _tasks[task] = number
    return number


def _is_suspended(entry: Open, *, is_foreign: bool = False) -> bool:
    """Whether a generator holds the span open and is not running; `is_foreign`: in another task or thread."""
    if entry.frame is None or entry.encloses:
        return False
    if is_foreign:
        if _CAN_RUN_NOW and entry.thread != threading.get_native_id():
            return False  # it may be at work at this moment, and then its frame must not be looked at
        # An async generator may well be at work while its frame waits, and that cannot be seen from here.
        return entry.frame.f_back is None and not entry.frame.f_code.co_flags & inspect.CO_ASYNC_GENERATOR
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame is entry.frame:
            return False
        frame = frame.f_back
    return True


def _encloses_nothing(entry: Open, *, is_foreign: bool) -> bool:
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


def new_entry(session: Session, thread: Thread, probe: Any, *, keeps_slot: bool) -> Open | None:
    """A span of the current context, numbered and counted, as a child of what is innermost.

    None for what is not recorded at all; of weight 0, with the number of its parent, for what sampling leaves out.
    `keeps_slot`: it is open from now on, rather than over.
    """
    if probe.probe_detail and session.production:
        return None
    probe_id = probe.probe_id
    count = thread.counts.get(probe_id) or thread.counts.setdefault(probe_id, Count())
    entry = Open()
    entry.weight = count.weight_of_next(probe.probe_every)
    entry.session = session
    entry.probe_id = probe_id
    entry.task = _task_number()
    entry.thread = thread.id
    entry.home = entry.task or -thread.id
    top = _top.get()
    if top is not None and top.session is not session:
        top = None
    # What was closed elsewhere is forgotten here.
    while top is not None and not top.is_open and _encloses_nothing(top, is_foreign=top.home != entry.home):
        top = top.below
    entry.below = top
    while top is not None and _encloses_nothing(top, is_foreign=top.home != entry.home):
        top = top.below
    entry.parent = 0 if top is None else top.span
    entry.frame = None
    entry.encloses = entry.is_open = entry.is_abandoned = entry.is_held = False
    entry.span = entry.parent
    entry.slot = None
    if entry.weight > 0 and not session.begin(thread, count, entry, keeps_slot=keeps_slot):
        return None
    return entry


def _set_top(entry: Open | None) -> None:
    # Before 3.12 a collection may begin in the middle of the change, and what it runs may set the variable too.
    is_enabled = gc.isenabled()
    if is_enabled and sys.version_info < (3, 12):
        gc.disable()
    try:
        _top.set(entry)
    finally:
        if is_enabled:
            gc.enable()


def enter(session: Session, probe: Any, caller: FrameType) -> None:
    entry = new_entry(session, this_thread(session), probe, keeps_slot=True)
    if entry is None:
        return
    if caller.f_code.co_flags & _GENERATOR:
        entry.frame = caller
        entry.encloses = _is_context_manager(caller)
        session.by_frame.setdefault(caller, []).append(entry)
    _open(session, entry)


def _open(session: Session, entry: Open) -> None:
    entry.is_open = True
    _set_top(entry)
    entry.start = now()
    session.slots.begin(entry.slot, entry.start)


def leave(session: Session, probe: Any, caller: FrameType, kind: type[BaseException] | None) -> None:
    end = now()
    if probe.probe_detail and session.production:
        return
    entry = _find(session, probe.probe_id, caller)
    if entry is None:
        return
    entry.is_abandoned = entry.home != (_task_number() or -this_thread(session).id)
    _close(session, entry, end, kind)


def _close(session: Session, entry: Open, end: int, kind: type[BaseException] | None) -> None:
    entry.is_open = False
    top = _top.get()
    home = entry.home
    while top is not None and top.home == home and not top.is_open:
        top = top.below
    _set_top(top)
    if entry.weight > 0:
        thread = this_thread(session)
        if entry.thread != thread.id:
            session.move_start(thread, entry)
        if session.commit(thread, entry, end, 0 if kind is None else session.error_number(kind)):
            session.slots.free(entry.slot)  # last: for a moment it is known twice, rather than not at all


def hold(session: Session, probe: Any) -> Open | None:
    """Open a span that is left by `let_go`, in whatever context."""
    entry = new_entry(session, this_thread(session), probe, keeps_slot=True)
    if entry is not None:
        entry.is_held = True
        _open(session, entry)
    return entry


def let_go(entry: Open, kind: type[BaseException] | None) -> None:
    end = now()
    entry.is_abandoned = True
    _close(entry.session, entry, end, kind)


def rename(entry: Open, probe: Any) -> None:
    """An open span becomes one of `probe`, and of the thread that says so."""
    session = entry.session
    thread = this_thread(session)
    if entry.weight > 0:
        session.rename(thread, entry, probe.probe_id)
    entry.probe_id, entry.thread = probe.probe_id, thread.id


def _find(session: Session, probe_id: int, caller: FrameType) -> Open | None:
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
        if top.is_open and top.probe_id == probe_id and top.frame is None and not top.is_held:
            return top
        top = top.below
    return None
