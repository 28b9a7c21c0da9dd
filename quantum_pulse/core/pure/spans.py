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
import time
import weakref
from contextvars import Context, ContextVar, Token
from types import FrameType
from typing import Any, NamedTuple

from quantum_pulse.core import contract
from quantum_pulse.core.pure import attributes
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


class Visit(NamedTuple):
    """The last task that recorded in a context. If the context is copied, that task does it, as far as can be known."""

    task: int  # 0: code outside of tasks
    context: weakref.ref[Context]
    copied_by: int  # the task that made the context by copying another
    copied_from: weakref.ref[Context] | None

    def is_of_another(self, entry: Open) -> bool:
        """Whether a task that takes turns with the present one, in one context, holds the span open; or one that took
        turns with the task which copied their context.

        What a task has left open that is done encloses the others: it did so on purpose, as a test's setUp does.
        """
        if entry.owner is None or (entry.is_open and _is_done(entry.owner())):
            return False
        if entry.context is self.context:
            return entry.task != self.task
        return entry.context is self.copied_from and entry.task != self.copied_by


def _is_done(task: asyncio.Task[Any] | None) -> bool:
    return task is None or task.done()


class Open:
    """A span that has been entered and not left."""

    __slots__ = (
        "below",
        "context",
        "cpu",
        "encloses",
        "failure",
        "frame",
        "home",
        "is_abandoned",
        "is_held",
        "is_open",
        "owner",
        "parent",
        "probe_id",
        "session",
        "slot",
        "span",
        "start",
        "step",
        "task",
        "thread",
        "values",
        "weight",
    )

    below: Open | None
    context: weakref.ref[Context]  # that it was opened in
    frame: FrameType | None  # of the generator that holds it open, if one does
    cpu: int | None  # CPU time of the thread when it was entered, ns; None: it is not recorded
    encloses: bool  # also while its generator is suspended
    failure: int  # number of the error that the program has declared; 0: none
    home: int  # task or thread that opened it
    is_abandoned: bool  # closed from another task or thread, or for good: it encloses nothing any more
    is_held: bool  # by a Block
    is_open: bool
    owner: weakref.ref[Any] | None  # the task that opened it, if one did
    parent: int
    probe_id: int
    session: Session
    slot: int | None  # where readers of the file find it
    span: int
    start: int
    task: int
    step: object  # of the task or caller that runs its frame; what it was when it was entered
    thread: int  # that entered it
    values: dict[int, int] | None  # of attributes, by their places; None: none was set
    weight: int  # 0: it is not recorded


_local = threading.local()
_top: ContextVar[Open | None] = ContextVar("quantum_pulse_top", default=None)
_visit: ContextVar[Visit | None] = ContextVar("quantum_pulse_visit", default=None)
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


def _current_task() -> asyncio.Task[Any] | None:
    loop = asyncio._get_running_loop()
    return None if loop is None else asyncio.current_task(loop)


def _task_number(task: asyncio.Task[Any] | None) -> int:
    global _last_task
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


def _current_context() -> Context:
    # Python hands out copies only; but a token refers to the context that it was made in.
    token = _set(_visit, _visit.get())
    return next(found for found in gc.get_referents(token) if isinstance(found, Context))


def _visit_of(task: int) -> Visit:
    """Note that `task` records in the present context."""
    last = _visit.get()
    if last is not None and last.task == task:
        return last
    context = _current_context()
    if last is None:
        visit = Visit(task, weakref.ref(context), 0, None)
    elif last.context() is context:
        visit = last._replace(task=task)
    else:
        visit = Visit(task, weakref.ref(context), last.task, last.context)
    _set(_visit, visit)
    return visit


def _encloses_nothing(entry: Open, visit: Visit, *, is_foreign: bool) -> bool:
    if is_foreign and visit.is_of_another(entry):
        # A generator that is running works for whoever resumed it.
        return entry.frame is None or entry.encloses or _is_suspended(entry)
    if entry.is_open:
        return _is_suspended(entry, is_foreign=is_foreign)
    # What another task or thread had open when this one was created stays the parent, also once it is closed.
    return entry.is_abandoned or not is_foreign


def _is_context_manager(frame: FrameType) -> bool:
    # Other generators may be between, as a decorated one does.
    caller = frame.f_back
    while caller is not None and caller.f_code not in _CONTEXT_MANAGERS and caller.f_code.co_flags & _GENERATOR:
        caller = caller.f_back
    return caller is not None and caller.f_code in _CONTEXT_MANAGERS


def _is_muted(session: Session, probe: Any) -> bool:
    return session.muted == contract.ALL or (session.muted == contract.DETAILS and probe.probe_detail)


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
    entry.weight = 0 if _is_muted(session, probe) else count.weight_of_next(probe.probe_every)
    entry.session = session
    entry.probe_id = probe_id
    task = _current_task()
    entry.task = _task_number(task)
    entry.owner = None if task is None else weakref.ref(task)
    entry.thread = thread.id
    entry.home = entry.task or -thread.id
    visit = _visit_of(entry.task)
    entry.context = visit.context
    top = _top.get()
    if top is not None and top.session is not session:
        top = None
    # What was closed elsewhere is forgotten here.
    while top is not None and not top.is_open and _encloses_nothing(top, visit, is_foreign=top.home != entry.home):
        top = top.below
    entry.below = top
    while top is not None and _encloses_nothing(top, visit, is_foreign=top.home != entry.home):
        top = top.below
    entry.parent = 0 if top is None else top.span
    entry.frame = None
    entry.cpu = entry.step = None
    entry.failure = 0
    entry.values = None
    entry.encloses = entry.is_open = entry.is_abandoned = entry.is_held = False
    entry.span = entry.parent
    entry.slot = None
    if entry.weight > 0 and not session.begin(thread, count, entry, keeps_slot=keeps_slot):
        return None
    return entry


def _set(variable: ContextVar[Any], value: Any) -> Token[Any]:
    # Before 3.12 a collection may begin in the middle of the change, and what it runs may set the variable too.
    is_enabled = gc.isenabled()
    if is_enabled and sys.version_info < (3, 12):
        gc.disable()
    try:
        return variable.set(value)
    finally:
        if is_enabled:
            gc.enable()


def innermost(session: Session) -> Open | None:
    """The innermost block of this context that is open and at work."""
    home = _task_number(_current_task()) or -threading.get_native_id()
    top = _top.get()
    while top is not None and (top.session is not session or not top.is_open or top.home != home or _is_suspended(top)):
        top = top.below
    return top


def _step_of(caller: FrameType) -> object:
    """What runs the frame of a block: a frame that is another one once the block was suspended and resumed.

    A task's own frame is that of its coroutine; each step of the task has a new frame around it. What contextlib runs
    between a generator and the block that it encloses is no step.
    """
    frame: FrameType | None = caller
    while frame is not None and (
        frame.f_code.co_flags & (_GENERATOR | inspect.CO_COROUTINE) or frame.f_code.co_filename == contextlib.__file__
    ):
        frame = frame.f_back
    return frame


def _can_switch() -> bool:
    """Whether another greenlet may run in the midst of any call."""
    greenlet = sys.modules.get("greenlet")
    return greenlet is not None and ("gevent" in sys.modules or greenlet.getcurrent().parent is not None)


def enter(session: Session, probe: Any, caller: FrameType, values: dict[int, int | str]) -> None:
    if values:  # first: it may take a segment
        numbers = attributes.stored(session, probe.probe_id, values)
    entry = new_entry(session, this_thread(session), probe, keeps_slot=True)
    if entry is None:
        return
    if values and entry.weight > 0:
        entry.values = numbers
    if caller.f_code.co_flags & _GENERATOR:
        entry.frame = caller
        entry.encloses = _is_context_manager(caller)
        session.by_frame.setdefault(caller, []).append(entry)
    _open(session, entry, caller if probe.probe_cpu_time or session.cpu_time else None)


def _open(session: Session, entry: Open, cpu_timed: FrameType | None = None) -> None:
    """`cpu_timed`: the frame of the block, where its CPU time is wanted."""
    entry.is_open = True
    _set(_top, entry)
    if cpu_timed is not None and entry.weight > 0:
        entry.step = _step_of(cpu_timed)
        entry.cpu = time.thread_time_ns()
    entry.start = now()
    session.slots.begin(entry.slot, entry.start)


def leave(session: Session, probe: Any, caller: FrameType, kind: type[BaseException] | None) -> None:
    end = now()
    cpu_end = time.thread_time_ns() if probe.probe_cpu_time or session.cpu_time else 0
    if probe.probe_detail and session.production:
        return
    thread = this_thread(session)
    task = _task_number(_current_task())
    _visit_of(task)
    home = task or -thread.id
    entry = _find(session, probe.probe_id, caller, home)
    if entry is None:
        return
    entry.is_abandoned = entry.home != home
    _close(session, entry, end, kind, _cpu_time(entry, thread, caller, end, cpu_end))


def _close(
    session: Session, entry: Open, end: int, kind: type[BaseException] | None, cpu_ns: int | None = None
) -> None:
    entry.is_open = False
    _set(_top, _without(entry, _top.get()))
    if entry.weight > 0:
        thread = this_thread(session)
        if entry.thread != thread.id:
            session.move_start(thread, entry)
        # What the program says of it tells more than a type.
        error = entry.failure or (0 if kind is None else session.error_number(kind))
        if session.commit(thread, entry, end, error, cpu_ns):
            session.slots.free(entry.slot)  # last: for a moment it is known twice, rather than not at all


def _cpu_time(entry: Open, thread: Thread, caller: FrameType, end: int, cpu_end: int) -> int | None:
    """CPU time of the thread in a block, if it is that of the block alone. See the native core."""
    if entry.cpu is None or entry.thread != thread.id or (entry.frame is not None and not entry.encloses):
        return None
    if entry.step is not _step_of(caller) or _can_switch():
        return None
    return min(max(cpu_end - entry.cpu, 0), end - entry.start)  # reading both clocks takes time on its own


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
    entry.values = None  # of attributes that the other probe need not have


def _without(entry: Open, top: Open | None) -> Open | None:
    """The top of the present context's spans once `entry` is closed."""
    above = top
    while above is not None and above is not entry and above.below is not entry:
        above = above.below
    if above is not None and above is not entry:
        above.below = entry.below
    while top is not None and top.home == entry.home and not top.is_open:
        top = top.below
    return top


def _find(session: Session, probe_id: int, caller: FrameType, home: int) -> Open | None:
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
    of_another_task = None
    top = _top.get()
    while top is not None and top.session is session:
        if top.is_open and top.probe_id == probe_id and top.frame is None and not top.is_held:
            if top.home == home:
                return top
            of_another_task = of_another_task or top
        top = top.below
    return of_another_task
