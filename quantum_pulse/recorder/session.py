"""The life of a recording: start, stop, flush, what happens at exit and in a forked child."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import math
import os
import platform
import secrets
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from quantum_pulse import arguments, records, rings, schema
from quantum_pulse import core as cores
from quantum_pulse.errors import RecordingError
from quantum_pulse.operations import Definition, registry, writable
from quantum_pulse.recorder import environment, imports, options, overhead, recover, ringfiles, snapshots, tracing
from quantum_pulse.recorder.metrics import MetricsSampler
from quantum_pulse.recorder.ringfiles import RingFiles
from quantum_pulse.recorder.writer import Writer

if TYPE_CHECKING:
    import pandas as pd

core = cores.core
logger = logging.getLogger("quantum_pulse")

#: Environment variable: a directory to record the whole process into, or `off`.
ENVIRONMENT: Final = "QUANTUM_PULSE"
OFF: Final = "off"

#: A recording of at least so long says that it ends with nothing.
SAY_EMPTY_AFTER_NS: Final = 10**9

#: Time after which no further ring of another process is taken in at the end.
SWEEP_S: Final = 5.0

NOTHING: Final = {"started": 0, "written": 0, "pending": 0, "open": 0, "lost": 0}

# Held while a recording starts or stops, so that the next one waits for it. A signal handler may come in between.
_lock = threading.RLock()
_active: Recorder | None = None
_last_path: Path | None = None
_said_fallback = False
_is_from_environment = False
_is_off = False  # what was started last records nothing


class Recorder:
    """A recording in progress. Made by `start` and `record`; also a context manager that stops it."""

    #: Whether the next `start` ends this recording, as one that the program did not ask for, rather than raises.
    gives_way = False

    def __init__(self, path: Path, chosen: options.Options) -> None:
        self.path = path
        self._options = chosen
        self._is_inherited = False
        self._begin()

    def _begin(self) -> None:
        path, chosen = self.path, self._options
        self._started_ns = time.time_ns()
        self._anchor_ns = _clock_anchor()
        # Several recordings may share a capture, also of one process: the name of each file tells them apart.
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._process_path = path / schema.PROCESSES / f"{self._name}.json"
        for folder in (schema.PROCESSES, schema.RINGS, *schema.TABLES):
            (path / folder).mkdir(parents=True, exist_ok=True)
        _write_json(path / schema.MANIFEST, self._manifest(), keep=True)
        if chosen.ring_folder is not None and not self._is_inherited:
            ringfiles.tell_orphans(chosen.ring_folder)
        self._files = RingFiles(path, self._name, chosen.ring_folder)
        self._final_account: dict[str, int] | None = None
        self.errors: list[str] = [""]
        self._sampler = MetricsSampler(core.now, chosen.metrics_interval_s)
        self._writer = Writer(
            core,
            path,
            self._files.ring,
            self._anchor_ns,
            self.errors,
            self._sampler,
            self._files.note,
            keeps=chosen.keeps,
        )
        try:
            self._overhead = overhead.measured(self._files.folder)
            self._environment = environment.found()
            self._save_process("starting")
            self._files.note({"clock_anchor_ns": self._anchor_ns})
            for number, definition in enumerate(registry.all()):
                self._note_operation(number, definition)
            registry.on_new = self._note_operation
            self._files.begin(self._start_core)
            self._save_process("recording")
        except BaseException:
            registry.on_new = None
            core.stop()
            core.close()
            self._writer.close()
            self._files.close()
            self._files.remove()
            self._process_path.unlink(missing_ok=True)
            raise
        self._sampler.start()
        self._writer.start()
        self.is_recording = True
        logger.debug(
            "recording into %s: %s core, level %s, on_full %s, %d operations, rings of at most %d bytes in %s, after "
            "%.1f ms",
            path,
            core.NAME,
            chosen.level,
            chosen.on_full,
            len(registry.all()),
            chosen.budget_bytes,
            self._files.ring.resolve(),
            (time.time_ns() - self._started_ns) / 1e6,
        )

    def _start_core(self, ring: str) -> None:
        chosen = self._options
        core.start(
            ring,
            chosen.budget_bytes,
            self._note_error,
            self._writer.wake_fd,
            on_full=options.ON_FULL[chosen.on_full],
            production=chosen.level == "production",
        )
        for watch in chosen.watches:
            core.watch(*watch)

    @property
    def has_failed(self) -> bool:
        """Whether the disk has ended the recording."""
        return self._writer.failure is not None

    @property
    def is_inherited(self) -> bool:
        """Whether this process was forked from one that recorded, and goes on with that."""
        return self._is_inherited

    def flush(self) -> None:
        """Write all that has finished so far, so that ``qp.open`` sees it. Blocks until it is written.

        With ``on_full="overwrite"`` this is what saves the last seconds into the capture; see also `snapshot`.
        """
        if self.is_recording:
            self._writer.flush()

    def snapshot(self, path: str | os.PathLike[str], *, last_s: float | None = None) -> Path:
        """Save what stands in the rings as a capture of its own at `path`, while recording goes on.

        For ``on_full="overwrite"``: all that has finished and was not overwritten or flushed yet, or the last `last_s`
        seconds of it, with the metrics of that time. Returns the path. Blocks until it is written. Raises
        RecordingError when this recording does not overwrite or has ended, or `path` cannot hold a new capture.
        """
        if not self._options.keeps:
            raise RecordingError(
                f"snapshot() needs on_full='overwrite'; with {self._options.on_full!r} all is written into {self.path}"
            )
        if not self.is_recording:
            raise RecordingError(f"the recording has ended; what it kept stands in {self.path}")
        if last_s is not None and not 0 < arguments.real(last_s) < math.inf:
            raise RecordingError(f"last_s must be a number of seconds above 0, not {last_s!r}")
        target = _target(path)
        try:
            if (target / schema.MANIFEST).exists():
                raise RecordingError(f"{target} holds a capture already; choose another path for the snapshot")
            _prepare(target, "append")
            first_ns = 0 if last_s is None else core.now() - int(last_s * 1e9)
            for folder in (schema.PROCESSES, *schema.TABLES):
                (target / folder).mkdir(parents=True, exist_ok=True)
            snapshots.write(target, self._files.ring, self._writer.footer(), first_ns, self._sampler.peek())
            _write_json(target / schema.PROCESSES / f"{self._name}.json", {**self._process("snapshot"), "losses": []})
            _write_json(target / schema.MANIFEST, self._manifest())
        except OSError as error:
            raise RecordingError(f"cannot save a snapshot into {target}: {error.strerror or error}") from error
        return target

    def stats(self) -> pd.DataFrame:
        """The table of ``qp.open(path).stats()``, live: all that has finished up to this call."""
        from quantum_pulse import facade  # a recording that nobody asks loads no pandas

        self.flush()
        return facade.open(self.path).stats()

    def now_ns(self) -> int:
        """This moment as it would stand in the `start` of a sample, in ns since 1970."""
        return int(core.now()) + self._anchor_ns

    def account(self) -> dict[str, int]:
        """Samples since the start: started = written + open + lost + pending (in the rings, not yet written)."""
        return self._final_account or self._writer.account()

    def stop(self) -> None:
        """End the recording: what is finished is written, what is still open is counted. Harmless when repeated."""
        global _active
        with _lock:
            if not self.is_recording:
                return
            self.is_recording = False
            core.stop()
            registry.on_new = None
            self._sampler.stop()
            is_idle = self._is_inherited and not (self._writer.account()["started"] or any(self._writer.rows.values()))
            if is_idle:
                self._sampler.take()
            # In the writing thread, which is waited for no longer than need be: the disk may hang.
            self._writer.finish(lambda: self._conclude(is_idle))
            self._final_account = account = self.account()
            core.close()
            self._writer.close()
            self._files.close()
            if _active is self:
                _active = None
            logger.debug("stopped %s: %s", self.path, account)
            self._say_if_empty(account)

    def _conclude(self, is_idle: bool) -> None:
        """Write down what happened. First that, so that nobody misses rings that are gone."""
        self._final_account = self._writer.account()
        with contextlib.suppress(OSError):
            if is_idle:  # a child that has recorded nothing leaves nothing behind
                self._process_path.unlink()
            else:
                self._save_end()
        if self._writer.failure is None:
            with contextlib.suppress(OSError):
                self._files.remove()
            if not self._is_inherited:
                self._take_in_others()

    def _take_in_others(self) -> None:
        """Make parts of what workers left that were killed, as those of a pool are that is terminated."""
        try:
            recover.sweep(self.path, self._files.ring, SWEEP_S)
        except Exception as error:  # noqa: BLE001 - for tidiness only: whoever reads the capture reads them too
            logger.debug("what other processes left stays: %s", error)

    def _say_if_empty(self, account: dict[str, int]) -> None:
        is_empty = not (account["written"] or account["pending"] or account["lost"]) and self._writer.failure is None
        # A worker may well have had nothing to do, and so may one that has workers.
        is_worker = self._is_inherited or _is_multiprocessing_child()
        is_alone = not is_worker and list(self._process_path.parent.glob("*.json")) == [self._process_path]
        if is_empty and is_alone and time.time_ns() - self._started_ns > SAY_EMPTY_AFTER_NS:
            why = records.why_nothing({**self._process("finished"), "account": account})
            logger.warning("nothing was recorded into %s: %s", self.path, why)

    def note_fork(self) -> None:
        """In the parent: the child may end without a word."""
        self._writer.has_forked = True

    def go_on_in_child(self) -> None:
        """In a forked child, after `abandon`: record into the same capture, under a name of its own. Raises OSError."""
        self._is_inherited = True
        self._begin()

    def abandon(self) -> None:
        """In a forked child: the files and threads are the parent's, so let go of them."""
        self.is_recording = False
        self._final_account = dict(NOTHING)
        self._sampler.abandon()
        self._writer.abandon()
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Recorder {self.path} {'recording' if self.is_recording else 'stopped'}>"

    def _manifest(self) -> dict[str, Any]:
        return {
            "format": schema.FORMAT_VERSION,
            "writer": f"quantum_pulse {_version()}",
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started_ns / 1e9)),
        }

    def _process(self, state: str) -> dict[str, Any]:
        operations = registry.all()
        return {
            "pid": os.getpid(),
            "state": state,
            "started_ns": self._started_ns,
            "stopped_ns": None if state in ("starting", "recording") else time.time_ns(),
            "clock_anchor_ns": self._anchor_ns,
            "core": core.NAME,
            "clock": core.clock(),
            "level": self._options.level,
            "on_full": self._options.on_full,
            "operations": {
                "defined": len(operations),
                "detail": sum(one.detail for one in operations),
                "sampled": sum(one.sample_every > 1 for one in operations),
            },
            "overhead": self._overhead and self._overhead._asdict(),
            "python": platform.python_version(),
            "argv": sys.argv,
            "host": platform.node(),
            # The program may have imported more meanwhile; the load is that before it began.
            "environment": {**self._environment, "packages": environment.packages()},
            "account": None,
            "rows": None,
            "losses": [],
        }

    def _save_process(self, state: str) -> None:
        _write_json(self._process_path, self._process(state))

    def _save_end(self) -> None:
        assert self._final_account is not None
        state = "failed" if self._writer.failure else "finished"
        unfinished = []
        if self._final_account["open"]:
            with contextlib.suppress(OSError, ValueError):  # who takes the rings away has seen them last
                unfinished = rings.read_open(self._files.ring)
        content = {
            **self._process(state),
            "account": self._final_account,
            "accounts": self._writer.accounts(),
            "rows": self._writer.rows,
            "losses": self._writer.all_losses,
            "unfinished": unfinished,
        }
        _write_json(self._process_path, content)

    # The journal is written before the first sample that needs it, so that the rings of a killed process can be read.
    def _note_operation(self, number: int, definition: Definition) -> None:
        self._files.note({"operation": number, "definition": definition.plain()})

    def _note_error(self, number: int, name: str) -> None:
        name = writable(name)
        self.errors += [""] * (number + 1 - len(self.errors))
        self.errors[number] = name
        self._files.note({"error": number, "name": name})


class _Off(Recorder):
    """What `start` returns when recording is switched off: it does nothing, and nothing is written."""

    def __init__(self, path: Path, chosen: options.Options) -> None:
        self.path = path
        self.is_recording = False
        self._options = chosen
        self._final_account = dict(NOTHING)

    def snapshot(self, path: str | os.PathLike[str], *, last_s: float | None = None) -> Path:  # noqa: ARG002 - as above
        """Nothing is recorded, so nothing is saved."""
        return Path(path).absolute()

    def now_ns(self) -> int:
        return time.time_ns()

    def stats(self) -> pd.DataFrame:
        from quantum_pulse import facade

        return facade.no_stats()


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

    A process that is forked from this one goes on recording, into the same capture and under its own name.

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
    target = _target(path)
    if not isinstance(if_exists, str) or if_exists not in ("append", "replace", "error"):
        raise RecordingError(f"if_exists must be 'append', 'replace' or 'error', not {if_exists!r}")
    chosen = options.checked(budget_bytes, metrics_interval_s, level, on_full, save_on, ring_folder)
    _is_off = os.environ.get(ENVIRONMENT) == OFF or chosen.level == "off"
    if _is_off:
        return _Off(target, chosen)
    with _lock:
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
            _prepare(target, if_exists)
            _active = Recorder(target, chosen)
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


def _level_of_caller() -> int:
    """The `stacklevel` of the first frame outside of this package, for a warning from the function that asks."""
    level, frame = 0, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("quantum_pulse."):
        level, frame = level + 1, frame.f_back
    return level + 1


def _target(path: str | os.PathLike[str]) -> Path:
    try:
        return arguments.path(path, "path", "captures/monday").absolute()
    except ValueError as error:
        raise RecordingError(str(error)) from None


def _prepare(target: Path, if_exists: str) -> None:
    if target.exists() and not target.is_dir():
        raise RecordingError(f"{target} is a file; a capture is a directory")
    manifest = target / schema.MANIFEST
    if not manifest.exists():
        return
    if if_exists == "error":
        raise RecordingError(
            f"{target} holds a capture already; choose another path, or if_exists='append' or 'replace'"
        )
    if if_exists == "replace":
        for folder in (schema.PROCESSES, schema.RINGS, *schema.TABLES):
            shutil.rmtree(target / folder, ignore_errors=True)
        manifest.unlink()
        return
    try:
        version = json.loads(manifest.read_text(encoding="utf-8"))["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{manifest} cannot be read, so nothing is added to that capture: {error}") from error
    if version != schema.FORMAT_VERSION:
        raise RecordingError(
            f"{target} holds a capture of format {version}; this version writes format {schema.FORMAT_VERSION} only"
        )


def _clock_anchor() -> int:
    """What to add to a reading of the core's clock to get Unix time in ns: the tightest of a few brackets."""
    best: tuple[int, int] | None = None
    for _ in range(10):
        before = core.now()
        unix = time.time_ns()
        after = core.now()
        if best is None or after - before < best[0]:
            best = (after - before, unix - (before + after) // 2)
    assert best is not None
    return best[1]


def _write_json(path: Path, content: dict[str, Any], *, keep: bool = False) -> None:
    """Write whole or not at all. With `keep`, a file that is there already stays."""
    if keep and path.exists():
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    # An argument may be a file name that is not Unicode; the replacement is how JSON writes a lone surrogate.
    temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    os.replace(temporary, path)


def _is_multiprocessing_child() -> bool:
    module = sys.modules.get("multiprocessing.process")
    return module is not None and module.parent_process() is not None


def _version() -> str:
    from quantum_pulse._version import __version__

    return __version__


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
    global _active, _lock
    _lock = threading.RLock()
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
