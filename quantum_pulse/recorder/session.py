"""The recording of this process: how it starts and stops, what happens at exit and in a forked child."""

from __future__ import annotations

import atexit
import os
import sys

from quantum_pulse import core as cores
from quantum_pulse import folders, importing, tracing
from quantum_pulse.core import contract
from quantum_pulse.errors import RecordingError
from quantum_pulse.operations import Operation, registry
from quantum_pulse.recorder import logs, options, recording
from quantum_pulse.recorder.off import Off
from quantum_pulse.recorder.recording import INHERITED, Recorder

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any, Final, Literal, ParamSpec, TypeVar

    _P = ParamSpec("_P")
    _R = TypeVar("_R")

core = cores.core

#: Environment variable: a directory to record the whole process into, or `off`.
ENVIRONMENT: Final = "QUANTUM_PULSE"
OFF: Final = "off"

_active: Recorder | None = None
_last_path: str | None = None
_said_fallback = False
_is_from_environment = False
_is_off = False  # what was started last records nothing


def start(
    path: str | os.PathLike[str],
    *,
    if_exists: Literal["append", "replace", "error"] = "append",
    budget_bytes: int = options.DEFAULT_BUDGET_BYTES,
    metrics_interval_s: float = options.DEFAULT_METRICS_INTERVAL_S,
    level: options.Level | None = None,
    on_full: options.OnFull | None = None,
    save_on: Mapping[Operation | type[Operation], options.Trigger] | None = None,
    save_last_s: float | None = None,
    ring_folder: str | os.PathLike[str] | None = None,
    writer: options.Writer = "agent",
    keep: str | None = None,
    cpu_time: bool = False,
    attribute_values: int = contract.MOST_VALUES,
    sampling: Mapping[Operation | type[Operation] | str, int] | None = None,
) -> Recorder:
    """Record all operations of this process into a capture directory, until `stop`.

    Samples go to ring buffers in shared memory. The agent, a process of its own, writes them
    to the capture and samples system metrics. It serves all processes that record into the
    capture on this host. Processes that this one starts, by fork, spawn or exec, record into
    the same capture.

    Parameters
    ----------
    path : path-like
        Directory of the capture. It is created if it does not exist.
    if_exists : {"append", "replace", "error"}, default "append"
        What to do if `path` holds a capture already: add a recording to it, delete it first,
        or raise.
    budget_bytes : int, default 268435456
        The most memory that the ring buffers take, in bytes. It is allocated as it is needed.
    metrics_interval_s : float, default 0.1
        Time between two samples of the system metrics, in seconds.
    level : {"full", "production", "off"}, optional
        "production" leaves out operations of ``op(detail=True)``, and "off" records nothing.
        By default it is the value of the environment variable ``QUANTUM_PULSE_LEVEL``, else
        "full".
    on_full : {"drop", "wait", "overwrite"}, optional
        What to do when the rings are full, for example because the disk is slower than the
        program. "drop" loses the newest samples and counts them. "wait" makes the program wait
        for room, for at most 5 s. "overwrite" makes a flight recorder: nothing is written until
        `Recorder.flush`, `Recorder.snapshot` or the end, and the newest samples replace the
        oldest. By default it is "drop".
    save_on : mapping, optional
        What makes a flight recorder flush by itself: operations, or whole enums, mapped to the
        microseconds that a call may take, to "error", or to both, as in
        ``{Trading.SUBMIT: 500, Feed: (2000, "error")}``. It flushes at most once a second; while
        the condition persists, the interval doubles with each flush, up to ten minutes.
        `Capture.saves` lists what caused each flush.
    save_last_s : float, optional
        How much `save_on` saves: what ended in this many seconds before the call that triggered
        it, or later. Older samples stay in the rings. By default everything in them is saved.
    ring_folder : path-like, optional
        Folder of the ring buffers. By default it is the value of ``QUANTUM_PULSE_RINGS``, else
        shared memory (``/dev/shm``), where no disk can block the program. It must not be on
        btrfs, zfs, bcachefs or nilfs2, where a full disk would kill the program.
    writer : {"agent", "thread"}, default "agent"
        Who writes: the agent, or a thread of this process. If no process can be started, a
        thread writes as well, and a warning says so.
    keep : str, optional
        Bound of the capture: an age such as "30d" or "12h", or a size on disk such as "20GB".
        The oldest samples expire. Rollups keep the number of calls and errors and the
        distribution of durations of each operation and minute; ``Capture.stats(approximate=True)``
        and `Capture.timeline` read them. By default nothing expires.
    cpu_time : bool, default False
        Whether to record the CPU time of the thread in the blocks of all operations, not only of
        those with ``op(cpu_time=True)``. It costs two system calls per block.
    attribute_values : int, default 1000
        How many different texts of an attribute are kept apart. Later ones are recorded as
        "(other)"; `Capture.attributes` counts them.
    sampling : mapping, optional
        Records one of so many calls, chosen at random, whose weight represents the others:
        operations, enums, or names of operations, enums or categories, mapped to numbers, as in
        ``{Trading.PARSE: 100, "Database": 10}``. What is said of an operation takes precedence over
        what is said of its enum, and that over its category and ``op(sample_every=)``.

    Returns
    -------
    Recorder
        The recording, which is also a context manager that stops it.

    Raises
    ------
    RecordingError
        If a recording is running, if `path` or `ring_folder` is unusable, or if an option is
        invalid.
    TypeError
        If `path` is not a path, or a key of `save_on` is not an operation.

    See Also
    --------
    record : The same as a context manager.
    stop : Stop the recording.
    last : Open the capture that was recorded last.

    Notes
    -----
    An invalid environment variable breaks no program: it is logged once, and counts as not set. Where
    `level`, `on_full`, `keep` or `sampling` is not given, the file or the profile that
    ``QUANTUM_PULSE_CONFIG`` names sets it.

    Examples
    --------
    >>> class Trading(qp.Operation):
    ...     SUBMIT = qp.op("Submit an order", budget_us=100)
    >>> recorder = qp.start("captures/monday", if_exists="replace", keep="30d")
    >>> for _ in range(1000):
    ...     with Trading.SUBMIT:
    ...         pass
    >>> qp.stop()
    >>> recorder.account()["written"]
    1000
    """
    given = (budget_bytes, metrics_interval_s, level, on_full, save_on, ring_folder, writer, keep, save_last_s)
    asked = _Asked(if_exists, *given, cpu_time, attribute_values, sampling)
    return _start(path, asked)


class _Asked:
    """Arguments of `start`, as they were given."""

    def __init__(self, if_exists: str, *given: Any) -> None:
        self.if_exists = if_exists
        self.given = given


def _start(path: str | os.PathLike[str], asked: _Asked) -> Recorder:
    global _active, _last_path, _is_from_environment, _is_off
    target = folders.target(path)
    if not isinstance(asked.if_exists, str) or asked.if_exists not in ("append", "replace", "error"):
        raise RecordingError(f"if_exists must be 'append', 'replace' or 'error', not {asked.if_exists!r}")
    chosen = options.checked(*asked.given)
    _is_off = os.environ.get(ENVIRONMENT) == OFF or chosen.level == "off"
    if _is_off:
        return Off(target, chosen)
    with recording.lock:
        _end_implicit(target)
        if _active is not None:
            raise RecordingError(f"already recording into {_active.path}; stop that recording first (qp.stop())")
        _warn_of_fallback()
        try:
            folders.prepare(target, asked.if_exists)
            _active = Recorder(target, chosen, _release)
            _last_path = target
        except OSError as error:
            raise RecordingError(f"cannot record into {target}: {error.strerror or error}") from error
        return _active


def _end_implicit(target: str) -> None:
    """End a recording that nobody in this process asked for."""
    global _is_from_environment
    if _active is not None and _is_from_environment:
        logs.warning("%s=%s ends here: the program records into %s itself", ENVIRONMENT, _active.path, target)
        _active.stop()
    elif _active is not None and (_active._is_inherited or _active._is_implicit):
        _active.stop()
    _is_from_environment = False
    _forget_inherited()


def _warn_of_fallback() -> None:
    global _said_fallback
    if cores.FALLBACK_REASON is None or _said_fallback:
        return
    _said_fallback = True
    import warnings

    warnings.warn(
        "quantum_pulse records with its Python core, at 4 µs a sample rather than 0.15, because the native "
        f"one cannot be used ({cores.FALLBACK_REASON})",
        RuntimeWarning,
        stacklevel=_level_of_caller(),
    )


def _takes_what(function: Callable[_P, _R]) -> Callable[[Callable[..., _R]], Callable[_P, _R]]:
    """Give the decorated function the parameters of `function`, for type checkers and for `inspect.signature`."""

    def decorate(decorated: Callable[..., _R]) -> Callable[_P, _R]:
        vars(decorated)["__wrapped__"] = function
        return decorated

    return decorate


@_takes_what(start)
def record(*arguments: Any, **given: Any) -> Recorder:
    """Record the operations of a block of code.

    It is `start` under a name that reads well in a ``with`` statement, and takes the same
    parameters.

    Parameters
    ----------
    path : path-like
        Directory of the capture. It is created if it does not exist.
    if_exists, budget_bytes, metrics_interval_s, level, on_full : optional
        Options of `start`, by keyword.
    save_on, save_last_s, ring_folder, writer, keep, cpu_time, attribute_values, sampling : optional
        Options of `start`, by keyword.

    Returns
    -------
    Recorder
        The recording, which stops at the end of the block.

    Raises
    ------
    RecordingError
        As `start`.
    TypeError
        As `start`.

    See Also
    --------
    start : Record until `stop`, with the description of each option.

    Examples
    --------
    >>> class Trading(qp.Operation):
    ...     SUBMIT = qp.op("Submit an order", budget_us=100)
    >>> with qp.record("captures/monday", level="production") as recorder:
    ...     with Trading.SUBMIT:
    ...         pass
    >>> recorder
    <Recorder ...captures/monday stopped>
    """
    return start(*arguments, **given)


def stop() -> None:
    """Stop the running recording, and wait until everything is written.

    What has finished is written, and what is still open is counted; see `Capture.unfinished`.

    Raises
    ------
    RecordingError
        If nothing is being recorded.

    See Also
    --------
    start : Start a recording.
    Recorder.stop : Stop a certain recording.

    Examples
    --------
    >>> recorder = qp.start("captures/monday")
    >>> qp.stop()
    >>> recorder.is_recording
    False
    """
    recorder = _active
    if recorder is None and _is_off:
        return
    if recorder is None:
        raise RecordingError("nothing is being recorded; start a recording with qp.start(path)")
    recorder.stop()


def start_from_environment() -> None:
    """Start what the environment asks for: with ``QUANTUM_PULSE=<directory>``, record until the process exits."""
    global _is_from_environment
    path = os.environ.get(ENVIRONMENT, "")
    if path in ("", OFF):
        if path != OFF and INHERITED in os.environ:
            registry.on_first = _take_part
        return
    if _active is not None:
        return
    try:
        start(path)
    except RecordingError as error:
        # Nobody in the program asked for this, so nothing in it may break.
        logs.warning("%s=%s: %s", ENVIRONMENT, os.fsencode(path).decode("utf-8", "backslashreplace"), error)
        return
    _is_from_environment = True


def _take_part() -> None:
    """In a program that a recorded one has started, as it defines its first operation: record into the same capture."""
    global _active, _last_path
    _forget_inherited()
    invitation = os.environ.get(INHERITED)
    if invitation is None or _active is not None:
        return
    try:
        with recording.lock:
            _active = Recorder._from_invitation(invitation, _release)
            _last_path = _active._target
    except (OSError, ValueError, KeyError, TypeError, RecordingError) as error:
        logs.warning("this process cannot join the recording of the process that started it: %s", error)


def _forget_inherited() -> None:
    registry.on_first = None


def active() -> Recorder | None:
    """The running recording of this process, if there is one."""
    return _active


def last_path() -> Path | None:
    """The capture that this process recorded into last, if it did."""
    from pathlib import Path

    return None if _last_path is None else Path(_last_path)


def _release(recorder: Recorder) -> None:
    """It has ended."""
    global _active
    if _active is recorder:
        _active = None


def _level_of_caller() -> int:
    """The `stacklevel` of the first frame outside of this package, for a warning from the function that asks."""
    level, frame = 0, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("quantum_pulse."):
        level, frame = level + 1, frame.f_back
    return level + 1


def _at_exit() -> None:
    # An interpreter that ends together with the main one must not release the interpreter lock any more: CPython ends
    # the thread that does, and the process hangs. The agent takes over what is in its rings once the process is gone.
    if _active is not None and not sys.is_finalizing():
        _active._stop_at_exit()


def _in_parent() -> None:
    importing.after_fork()


def _in_child() -> None:
    importing.after_fork()
    # The rings and the files are the parent's.
    global _active
    recording.renew_lock()
    registry.on_new = None
    parents, _active = _active, None
    goes_on = parents is not None and parents.is_recording
    if parents is not None:
        parents._abandon()
    core.forget()
    if parents is None or not goes_on:
        return
    # The same object, so that whoever holds it, as a worker does that was handed it, talks of its own process.
    try:
        parents._continue_in_child()
    except (OSError, RecordingError) as error:
        logs.warning("the forked process %d cannot record into %s: %s", os.getpid(), parents.path, error)
        return
    _active = parents
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        # A child of multiprocessing ends without what is registered for the exit of other processes, and it first
        # forgets what has been registered with multiprocessing so far.
        util.register_after_fork(parents, lambda _: util.Finalize(None, _at_exit, exitpriority=0))


tracing.start_if_asked()
atexit.register(_at_exit)
os.register_at_fork(before=importing.before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
