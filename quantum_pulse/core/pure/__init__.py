"""The core in Python: the oracle of the native one, and what runs where no compiler was. Plainness before speed."""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any, Self

from quantum_pulse import schema
from quantum_pulse.core import contract
from quantum_pulse.core.contract import Account, Loss, Progress
from quantum_pulse.core.pure import attributes, spans
from quantum_pulse.core.pure.attributes import set_refusal as set_refusal
from quantum_pulse.core.pure.rings import Session, now
from quantum_pulse.core.pure.rings import fence as fence

NAME = "python"
_NOTHING = object()
_NO_VALUES: dict[int, int | str] = {}

_session: Session | None = None  # while recording
_latest: Session | None = None  # until closed
_last_span = 0  # of the recordings before


class Probe:
    """A place in a program that is timed. See the contract."""

    probe_id = -1
    probe_every = 1
    probe_detail = False
    probe_cpu_time = False
    _spec: tuple[attributes.Declared, ...] = ()

    @property
    def probe_attributes(self) -> tuple[Any, ...]:
        """Names of the attributes; set to what is declared."""
        return tuple(one.name for one in self._spec)

    @probe_attributes.setter
    def probe_attributes(self, declared: tuple[tuple[str, int, dict[Any, str] | None, bool], ...]) -> None:
        if not isinstance(declared, tuple) or len(declared) > schema.MOST_ATTRIBUTES:
            raise TypeError(f"the attributes of a probe are a tuple of at most {schema.MOST_ATTRIBUTES}")
        self._spec = tuple(attributes.Declared(*one) for one in declared)
        if declared:
            attributes.specs[self.probe_id] = self._spec

    def __call__(self, *functions: Any, **values: Any) -> Any:
        if len(functions) == 1 and not values:
            return self._decorated(functions[0], self)  # type: ignore[attr-defined]  # see the contract
        if functions:
            raise TypeError(
                f"{self} takes attributes by keyword, or one function to decorate; to decorate one with attributes, "
                f"call {self}(...) first and then the result"
            )
        return Attributed(self, attributes.read_values(self.probe_id, self._spec, values))

    def __enter__(self) -> Self:
        session = _session
        if session is not None:
            try:
                spans.enter(session, self, sys._getframe(1), _NO_VALUES)
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


class Attributed:
    """A probe with values of its attributes. See the contract."""

    __slots__ = ("_probe", "_values")

    def __init__(self, probe: Probe, values: dict[int, int | str]) -> None:
        self._probe = probe
        self._values = values

    def __enter__(self) -> Probe:
        session = _session
        if session is not None:
            try:
                spans.enter(session, self._probe, sys._getframe(1), self._values)
            except ValueError:  # as above
                if session is _latest:
                    raise
        return self._probe

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any, /) -> None:
        session = _session
        if session is not None:
            try:
                spans.leave(session, self._probe, sys._getframe(1), kind)
            except ValueError:  # as above
                if session is _latest:
                    raise

    def __call__(self, function: Any, /) -> Any:
        return self._probe._decorated(function, self)  # type: ignore[attr-defined]  # see the contract

    def __repr__(self) -> str:
        return f"<{self._probe} with attributes>"


def annotate(*, error: str | BaseException | object | None = _NOTHING, **values: Any) -> None:
    """Describe the innermost open block of this execution context.

    Where no block is open, and where nothing is recorded, it does nothing.

    Parameters
    ----------
    error : str, BaseException or None, optional
        What failed, such as ``"http 502"``, or an exception, whose type is named. The call then
        counts as failed, whether or not an exception leaves the block. None takes it back.
    **attributes : str, int, float, bool, enum member or None
        Values of attributes that the operation of the block declares. They replace earlier ones.

    Raises
    ------
    TypeError
        For an attribute that the operation does not declare, or a value of another type.

    See Also
    --------
    op : Declare the attributes of an operation.

    Examples
    --------
    >>> class Api(qp.Operation):
    ...     REQUEST = qp.op("One request", attributes={"status": int})
    >>> with qp.record("captures/api"):
    ...     with Api.REQUEST:
    ...         qp.annotate(status=502, error="http 502")
    >>> qp.open("captures/api").stats()["errors"].item()
    1
    """
    session = _session
    entry = None if session is None else spans.innermost(session)
    if session is None or entry is None:
        return
    _describe(session, entry, error, values)


def _describe(session: Session, entry: spans.Open, error: object, values: dict[str, Any]) -> None:
    """Give an open block values of attributes and, unless it is _NOTHING, what failed."""
    spec = attributes.specs.get(entry.probe_id, ())
    if "error" in (one.name for one in spec):
        values |= {} if error is _NOTHING else {"error": error}
    found = attributes.read_values(entry.probe_id, spec, values)
    with _unless_over(session):
        failure = None if error is _NOTHING else _failure(session, error)
        if entry.weight > 0:
            if found:
                entry.values = {**(entry.values or {}), **attributes.stored(session, entry.probe_id, found)}
            if failure is not None:
                entry.failure = failure


class Block:
    """A block as an object. See the contract."""

    _entry: spans.Open | None = None

    def __init__(self, probe: Probe, /) -> None:
        _check(probe)
        session = _session
        if session is not None:
            with _unless_over(session):
                self._entry = spans.hold(session, probe)

    def become(self, probe: Probe, /) -> None:
        _check(probe)
        entry = self._entry
        if entry is not None and entry.session is _session and entry.probe_id != probe.probe_id:
            with _unless_over(entry.session):
                spans.rename(entry, probe)

    def annotate(self, *, error: str | BaseException | object | None = _NOTHING, **values: Any) -> None:
        entry = self._entry
        if entry is not None and entry.session is _session:
            _describe(entry.session, entry, error, values)

    def end(self, error: type[BaseException] | None = None, /) -> None:
        entry, self._entry = self._entry, None
        if entry is not None and entry.session is _session:
            with _unless_over(entry.session):
                spans.let_go(entry, error)

    def __del__(self) -> None:
        self.end(GeneratorExit)


def _check(probe: object) -> None:
    if not isinstance(probe, Probe):
        raise TypeError(f"a Probe is required, not {probe!r}")


@contextlib.contextmanager
def _unless_over(session: Session) -> Iterator[None]:
    """Another thread may close the rings meanwhile."""
    try:
        yield
    except ValueError:
        if session is _latest:
            raise


def _failure(session: Session, error: object) -> int:
    """The number of an error that a program declares."""
    if error is None:
        return 0
    if isinstance(error, BaseException):
        return session.error_number(type(error))
    if isinstance(error, type) and issubclass(error, BaseException):
        return session.error_number(error)
    if not isinstance(error, str) or not error:
        raise TypeError(f"annotate(): error must be a text that says what failed, an exception, or None, not {error!r}")
    return session.text_number(None, str.__str__(error)[: schema.MOST_TEXT])


def times_cpu() -> bool:
    return _session is not None and _session.cpu_time


def cpu_now() -> int:
    return time.thread_time_ns()


def add(
    probe: Any, start_ns: int, duration_ns: int, error: type[BaseException] | str | None, cpu_ns: int | None = None
) -> None:
    session = _session
    if session is None:
        return
    probe, values = (probe._probe, probe._values) if isinstance(probe, Attributed) else (probe, {})
    try:
        thread = spans.this_thread(session)
        entry = spans.new_entry(session, thread, probe, keeps_slot=False)
        if entry is None or entry.weight == 0:
            return
        entry.start = start_ns
        entry.values = attributes.stored(session, probe.probe_id, values)
        session.commit(thread, entry, start_ns + duration_ns, _failure(session, error), cpu_ns)
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
    ring_path: str | bytes,
    budget_bytes: int,
    wake_fd: int = -1,
    on_full: int = contract.DROP,
    production: bool = False,
    reserve: int = 1,
    on_stall: Callable[[], object] | None = None,
    cpu_time: bool = False,
    most_values: int = contract.MOST_VALUES,
) -> None:
    global _session, _latest
    if _latest is not None:
        raise RuntimeError("the core is in use")
    session = Session(ring_path, budget_bytes, wake_fd, on_full, production, reserve, on_stall, _last_span)
    session.cpu_time, session.most_values = cpu_time, most_values
    _session = _latest = session
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
    session, _session = _session, None
    if session is not None:
        session.end()
    with contextlib.suppress(ValueError):
        gc.callbacks.remove(_keep_variables)


def close() -> None:
    global _latest, _last_span
    session, _latest = _latest, None
    if session is not None:
        session.end()
        _last_span = session.last_span
        session.close()


def _outlive_interpreter() -> None:
    """Keep the mapping from being closed by an interpreter that ends together with the main one.

    That would release the interpreter lock, and CPython ends the thread that asks for it again: the process hangs.
    """
    if _latest is not None and sys.is_finalizing():
        cycle: list[Any] = [_latest.memory]
        cycle.append(cycle)
        gc.freeze()  # no collection takes it apart


def forget() -> None:
    """In a forked child: let go of the parent's rings without touching them."""
    if _latest is not None:
        _latest.renew_locks()
    stop()
    close()


def note_collection(phase: str, info: dict[str, int]) -> None:
    session = _session
    if session is None:
        return
    if phase == "start":
        session.collection_began_ns = now()
        return
    start, session.collection_began_ns = session.collection_began_ns, 0
    if start:
        try:
            thread = spans.this_thread(session)
            session.note_collection(thread, start, now(), info["generation"], info["collected"])
        except ValueError:  # as in __enter__
            if session is _latest:
                raise


def launch(arguments: tuple[bytes, ...], environment: tuple[bytes, ...]) -> None:
    # By way of a second process that ends at once, so that the program is nobody's child; its own start does the same.
    child = os.posix_spawn(
        arguments[0],
        [arguments[0], b"-I", b"-S", b"-c", _LAUNCHER, *arguments],
        dict(entry.split(b"=", 1) for entry in environment),
        file_actions=[(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in range(3)],
        setsid=True,
        setsigmask=(),
        setsigdef=range(1, 32),
    )
    with contextlib.suppress(ChildProcessError):  # the host has waited for it
        os.waitpid(child, 0)


#: Run by the process in between: `launch` is for Python programs.
_LAUNCHER = b"""
import os, sys
if os.fork() == 0:
    os.chdir("/")
    os.closerange(3, 65536)
    os.execv(sys.argv[1], sys.argv[1:])
os._exit(0)
"""


atexit.register(_outlive_interpreter)


def clock() -> str:
    return "monotonic"


def _required() -> Session:
    if _latest is None:
        raise RuntimeError("the core is not in use")
    return _latest


def ask(stopped: bool = False) -> int:
    session = _required()
    with _unless_closed():
        if stopped:
            session.header["stopped"] = 1
        number = session.header["asked"] = session.header["asked"] + 1
        session.wake()
    return number


def progress() -> Progress:
    session = _required()
    with _unless_closed():
        header = session.header
        begin = schema.RING_FAILURE_OFFSET
        text = session.memory[begin : begin + header["failure_bytes"]]
        return Progress(
            header["answered"],
            bool(header["finished"]),
            header["drained_rows"],
            header["seen_ns"],
            header["lost"],
            text.decode("utf-8", "replace"),
        )


@contextlib.contextmanager
def _unless_closed() -> Iterator[None]:
    """Another thread may close the rings meanwhile: then the core is not in use."""
    try:
        yield
    except ValueError:
        raise RuntimeError("the core is not in use") from None


def watch(probe_id: int, limit_ns: int, on_error: bool) -> None:
    _required().watched[probe_id] = (limit_ns, on_error)


def losses() -> list[Loss]:
    session = _required()
    # Those that are alive first: one that ends meanwhile is then counted here, and not twice.
    living = session.living()
    with session.lock:
        session.settle()
        ended = list(session.ended.losses.items())
    found = [
        Loss(probe_id, thread, samples, first_ns, last_ns, cause)
        for (probe_id, thread, cause), (samples, first_ns, last_ns) in ended
    ]
    return found + [
        Loss(probe_id, thread.id, count.lost, count.first_loss, count.last_loss, contract.NO_ROOM)
        for thread in living
        for probe_id, count in thread.counts.copy().items()
        if count.lost
    ]


def account() -> list[Account]:
    session = _required()
    living = session.living()  # first, as in losses()
    with session.lock:
        session.settle()
        found = [Account(*key, *values) for key, values in list(session.ended.accounts.items())]
    return found + [
        count.account(probe_id, thread.id) for thread in living for probe_id, count in thread.counts.copy().items()
    ]
