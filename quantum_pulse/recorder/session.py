"""The recording of this process: how it is started and stopped, what happens at exit and in a forked child."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from quantum_pulse import core as cores
from quantum_pulse.errors import RecordingError
from quantum_pulse.operations import registry
from quantum_pulse.recorder import folder, imports, options, recording, tracing
from quantum_pulse.recorder.recording import Off, Recorder

core = cores.core
logger = logging.getLogger("quantum_pulse")

#: Environment variable: a directory to record the whole process into, or `off`.
ENVIRONMENT: Final = "QUANTUM_PULSE"
OFF: Final = "off"

_active: Recorder | None = None
_last_path: Path | None = None
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
    on_full: options.OnFull = "drop",
    save_on: Mapping[Any, options.Trigger] | None = None,
    ring_folder: str | os.PathLike[str] | None = None,
) -> Recorder:
    """Record all operations of this process into the capture directory `path` until `stop`.

    A process that is forked from this one goes on recording, into the same capture and under its own name. One that is
    started anew, as by multiprocessing's "spawn" and "forkserver", records where QUANTUM_PULSE in the environment names
    the capture, as ``quantum-pulse run`` sees to.

    `if_exists` says what to do when `path` holds a capture already: add to it, delete it first, or raise.
    `budget_bytes` bounds the memory of the rings. `metrics_interval_s` is the time between two samples of system
    metrics, in seconds.

    `level`: "full", "production" (without operations of ``op(detail=True)``) or "off"; where it is not given, what
    QUANTUM_PULSE_LEVEL in the environment says, else "full".

    `on_full` says what becomes of samples when the rings are full, as when the disk is slower than the program: "drop"
    loses the newest and counts them; "wait" makes the program wait for room, for 5 s at most; "overwrite" is a flight
    recorder: nothing is written until `Recorder.flush`, `Recorder.snapshot` or the end, and the oldest samples make
    room for the newest. `save_on` then flushes by itself: it maps operations (or whole enums) to a number of
    microseconds that a call may take, to "error", or to both, as in ``{Trading.SUBMIT: 500, Feed: (2000, "error")}``.

    `ring_folder`: where the rings stand, if not in the capture; where it is not given, what QUANTUM_PULSE_RINGS in the
    environment says. On a disk that hangs, a program waits as soon as it touches a page of a file there; with
    "/dev/shm", which is memory, it never does. What a killed process left there is found as long as the machine, or
    the container, is not started anew.

    A variable of the environment that makes no sense breaks nothing: that is logged once, and it counts as not set.

    Raises RecordingError when a recording is running, `path` or `ring_folder` cannot hold what it should, or an option
    is none, and TypeError for what is no path or no operation.
    """
    global _active, _last_path, _said_fallback, _is_from_environment, _is_off
    target = folder.target(path)
    if not isinstance(if_exists, str) or if_exists not in ("append", "replace", "error"):
        raise RecordingError(f"if_exists must be 'append', 'replace' or 'error', not {if_exists!r}")
    chosen = options.checked(budget_bytes, metrics_interval_s, level, on_full, save_on, ring_folder)
    _is_off = os.environ.get(ENVIRONMENT) == OFF or chosen.level == "off"
    if _is_off:
        return Off(target, chosen)
    with recording.lock:
        if _active is not None and _is_from_environment:
            logger.warning("%s=%s ends here: the program records into %s itself", ENVIRONMENT, _active.path, target)
            _active.stop()
        elif _active is not None and (_active.is_inherited or _active.gives_way):
            _active.stop()  # nobody in this process asked for that one
        _is_from_environment = False
        if _active is not None:
            raise RecordingError(f"already recording into {_active.path}; stop that recording first (qp.stop())")
        if cores.FALLBACK_REASON is not None and not _said_fallback:
            _said_fallback = True
            warnings.warn(
                "quantum_pulse records with its Python core, at 4 µs a sample rather than 0.15, because the native "
                f"one is not installed ({cores.FALLBACK_REASON})",
                RuntimeWarning,
                stacklevel=_level_of_caller(),
            )
        try:
            folder.prepare(target, if_exists)
            _active = Recorder(target, chosen, _release)
            _last_path = target
        except OSError as error:
            raise RecordingError(f"cannot record into {target}: {error.strerror or error}") from error
        return _active


def record(path: str | os.PathLike[str], **options: Any) -> Recorder:
    """``with qp.record("captures/monday") as recorder: ...`` records the block. Options as for `start`."""
    return start(path, **options)


def stop() -> None:
    """Stop the running recording. Raises RecordingError when there is none."""
    recorder = _active
    if recorder is None and _is_off:
        return
    if recorder is None:
        raise RecordingError("nothing is being recorded; qp.start(path) begins a recording")
    recorder.stop()


def start_from_environment() -> None:
    """What ``import quantum_pulse`` does: with QUANTUM_PULSE=<directory> in the environment, record until the exit."""
    global _is_from_environment
    path = os.environ.get(ENVIRONMENT, "")
    if path in ("", OFF) or _active is not None:
        return
    try:
        start(path)
    except RecordingError as error:
        # Nobody in the program asked for this, so nothing in it may break.
        logger.warning("%s=%s: %s", ENVIRONMENT, path, error)
        return
    _is_from_environment = True


def active() -> Recorder | None:
    """The running recording of this process, if there is one."""
    return _active


def last_path() -> Path | None:
    """The capture that this process recorded into last, if it did."""
    return _last_path


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
    if _active is not None:
        _active.stop()


def _in_parent() -> None:
    imports.after_fork()
    if _active is not None:
        _active.note_fork()


def _in_child() -> None:
    imports.after_fork()
    # The rings, the threads and the files are the parent's.
    global _active
    recording.renew_lock()
    registry.on_new = None
    parents, _active = _active, None
    goes_on = parents is not None and parents.is_recording and not parents.has_failed
    if parents is not None:
        parents.abandon()
    core.forget()
    if parents is None or not goes_on:
        return
    # The same object, so that whoever holds it, as a worker does that was handed it, talks of its own process.
    try:
        parents.go_on_in_child()
    except OSError as error:
        logger.warning("the forked process %d is not recorded into %s: %s", os.getpid(), parents.path, error)
        return
    _active = parents
    logger.debug("forked: process %d goes on with the recording into %s", os.getpid(), parents.path)
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        # A child of multiprocessing ends without what is registered for the exit of other processes, and it first
        # forgets what has been registered with multiprocessing so far.
        util.register_after_fork(parents, lambda _: util.Finalize(None, _at_exit, exitpriority=0))


tracing.start_if_asked()
atexit.register(_at_exit)
os.register_at_fork(before=imports.before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
