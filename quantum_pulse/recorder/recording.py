"""One recording, from its first file to its end. Between the two, nothing here runs unless the program calls it."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import threading
import time

from quantum_pulse import core as cores
from quantum_pulse import directories, folders, schema
from quantum_pulse.arguments import real
from quantum_pulse.core import contract
from quantum_pulse.directories import Folder
from quantum_pulse.errors import RecordingError
from quantum_pulse.operations import Definition, plain_definition, registry
from quantum_pulse.recorder import description, logs, options, overhead, room
from quantum_pulse.recorder import sampling as samplings
from quantum_pulse.recorder.description import NOTHING
from quantum_pulse.recorder.journal import Journal
from quantum_pulse.recorder.launching import Launcher
from quantum_pulse.rings.places import Place

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Any, Final, Self

    import pandas as pd

    #: As readers of captures take it, which are a layer above.
    Moment = str | dt.datetime | dt.timedelta | float | None

core = cores.core

#: Environment variable: the recording that programs started from here take part in.
INHERITED: Final = "QUANTUM_PULSE_INHERITED"

#: A recording of at least so long says that it ends with nothing.
SAY_EMPTY_AFTER_NS: Final = 10**9
#: How long `stop` and `flush` wait for the agent, in seconds.
LONGEST_WAIT_S: Final = 30.0
#: How often they look whether there still is one, in seconds.
LOOK_S: Final = 0.25
#: Segments that have memory from the beginning. What a forked process records may be little.
FIRST_SEGMENTS: Final = 16

#: What each level switches off while a recording runs.
MUTED: Final = {"full": contract.NOTHING, "production": contract.DETAILS, "off": contract.ALL}

#: Held while a recording starts or stops, so that the next one waits for it. A signal handler may come in between.
lock = threading.RLock()


def renew_lock() -> None:
    """In a forked child: whoever held it is not there."""
    global lock
    lock = threading.RLock()


class Recorder:
    """A recording in progress, as `start` and `record` make it.

    It is also a context manager that stops the recording.

    Attributes
    ----------
    is_recording : bool
        Whether the recording is still running.

    See Also
    --------
    start : Start a recording.
    record : Record a block of code.

    Examples
    --------
    >>> class Trading(qp.Operation):
    ...     SUBMIT = qp.op("Submit an order", budget_us=100)
    >>> with qp.record("captures/monday") as recorder:
    ...     with Trading.SUBMIT:
    ...         pass
    ...     recorder.is_recording
    True
    >>> recorder.is_recording
    False
    """

    #: Whether recording is switched off, so that there is no capture.
    _is_off = False
    #: Whether the next `start` ends this recording, as one that the program did not ask for, rather than raises.
    _is_implicit = False

    def __init__(
        self,
        target: str,
        chosen: options.Options,
        on_stop: Callable[[Recorder], None],
        *,
        inherits: str | None = None,
    ) -> None:
        """Begin to record into the directory `target`. Raises OSError, RecordingError.

        `on_stop` is called when the recording has ended, however it did. `inherits` is the name of the recording of the
        program that has started this one.
        """
        self._target = target
        self._options = chosen
        self._on_stop = on_stop
        self._is_inherited = inherits is not None
        self._is_forked = False
        self._parent = inherits
        self._name = ""
        self._invitation = ""
        self._complaint = ""  # the last one, so that it is made once
        self._begin()

    @classmethod
    def _from_invitation(cls, invitation: str, on_stop: Callable[[Recorder], None]) -> Recorder:
        """Record into the capture of the program that has started this one.

        `invitation` is what that program put into the environment. Raises ValueError, KeyError, TypeError, OSError or
        RecordingError.
        """
        entry = json.loads(invitation)
        chosen = options.Options(**entry["options"])
        target = folders.target(entry["path"])
        folders.prepare(target, "append")
        return cls(target, chosen, on_stop, inherits=str(entry["name"]))

    def _begin(self) -> None:
        """Make the files of the recording and begin. Raises OSError, RecordingError."""
        self._started_ns = time.time_ns()
        self._began_ns = core.now()
        self._final: dict[str, int] | None = None
        # Several recordings may share a capture, also of one process: the name of each file distinguishes them.
        token = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._name = f"{self._parent.partition('.')[0]}.{token}" if self._is_forked and self._parent else token
        if not self._is_forked:
            folders.make(self._target, self._started_ns)
            self._place = Place(self._target, self._options.ring_folder)
            room.check_disk(self._place.rings)
            self._launcher = Launcher(self._place, is_thread=self._options.writer == "thread")
            overhead.measure_once(self._place)
        try:
            with self._place.opened():
                self._make_files()
        except BaseException:
            self._place.leave()
            raise
        gc.callbacks.append(core.note_collection)
        self.is_recording = True
        if not self._is_forked:
            self._invite()
        logs.debug(
            "recording into %s as %s: %s core, level %s, on_full %s, rings of at most %d bytes in %s, after %.1f ms",
            self._target,
            self._name,
            core.NAME,
            self._options.level,
            self._options.on_full,
            self._options.budget_bytes,
            self._place.rings,
            (time.time_ns() - self._started_ns) / 1e6,
        )

    def _make_files(self) -> None:
        registry.sample(self._options.sampling)
        self._wake_fd = self._place.open_fifo()
        try:
            self._journal = Journal(self._place, self._name, description.first_lines(self._described()))
            try:
                registry.on_new = self._note_operation
                self._start_core()
                self._launcher.ensure()
            except BaseException:
                registry.on_new = None
                core.stop()
                core.close()
                self._journal.close()
                for suffix in (schema.RING_SUFFIX, schema.NAMES_SUFFIX):
                    _unlink(f"{self._place.rings}/{self._name}{suffix}")
                raise
        except BaseException:
            os.close(self._wake_fd)
            raise

    def _start_core(self) -> None:
        chosen = self._options
        ring = f"{self._place.rings}/{self._name}{schema.RING_SUFFIX}"
        # Shown once its header is whole, so that nobody takes one that has just begun for a damaged one.
        unfinished = f"{self._place.rings}/.{self._name}{schema.RING_SUFFIX}.tmp"
        with directories.becoming(ring, unfinished):
            core.start(
                unfinished,
                room.within(chosen.budget_bytes, self._place.rings),
                self._wake_fd,
                on_full=options.ON_FULL[chosen.on_full],
                production=chosen.level == "production",
                reserve=1 if self._is_inherited else FIRST_SEGMENTS,
                on_stall=self._on_stall,
                cpu_time=chosen.cpu_time,
                most_values=chosen.attribute_values,
            )
            if chosen.level == "off":
                core.mute(MUTED["off"])
            for watch in chosen.watches:
                core.watch(*watch)
        os.write(self._wake_fd, b"\0")  # a full pipe raises, and nobody reads it then

    def _described(self) -> dict[str, Any]:
        return description.beginning(
            self._options, parent=self._parent, is_forked=self._is_forked, started_ns=self._started_ns
        )

    def _invite(self) -> None:
        """Let programs that this one starts take part."""
        on_full = "drop" if self._options.keeps else self._options.on_full
        chosen = self._options._replace(watches=(), save_last_s=None, on_full=on_full)
        invitation = {"path": self._target, "name": self._name, "options": chosen._asdict()}
        self._invitation = os.environ[INHERITED] = json.dumps(invitation)

    def _withdraw_invitation(self) -> None:
        # Another interpreter in this process may have another recording.
        if os.environ.get(INHERITED) == self._invitation:
            del os.environ[INHERITED]

    @property
    def path(self) -> Path:
        """Directory of the capture, as a `pathlib.Path`."""
        from pathlib import Path

        return Path(self._target)

    def flush(self) -> None:
        """Write everything that has finished, and wait until it is written.

        Every reader of the capture sees it afterwards. With ``on_full="overwrite"`` this is what
        saves the content of the rings into the capture. After the recording has ended it does
        nothing.

        See Also
        --------
        Recorder.snapshot : Save the content of a flight recorder elsewhere.

        Examples
        --------
        >>> class Trading(qp.Operation):
        ...     SUBMIT = qp.op("Submit an order", budget_us=100)
        >>> with qp.record("captures/monday") as recorder:
        ...     with Trading.SUBMIT:
        ...         pass
        ...     recorder.flush()
        ...     len(qp.open(recorder.path).samples())
        1
        """
        if self.is_recording:
            with contextlib.suppress(RuntimeError):  # another thread has ended the recording since
                self._wait_for(core.ask())

    def snapshot(self, path: str | os.PathLike[str], *, last_s: float | None = None) -> Path:
        """Save the content of a flight recorder as a capture of its own, while recording continues.

        It needs ``on_full="overwrite"``. It saves everything that has finished and was neither
        overwritten nor flushed yet, and waits until that is written.
        `Capture.overwritten_until` of the new capture says from when on it is complete.

        Parameters
        ----------
        path : path-like
            Directory of the new capture.
        last_s : float, optional
            Save only what ended in this many seconds before now, with the metrics of that time. It
            then includes what was flushed into the capture of the recording meanwhile.

        Returns
        -------
        pathlib.Path
            Directory of the new capture.

        Raises
        ------
        RecordingError
            If this recording does not overwrite or has ended, or `path` cannot hold a new capture.

        See Also
        --------
        Recorder.flush : Save into the capture of the recording.

        Examples
        --------
        >>> class Trading(qp.Operation):
        ...     SUBMIT = qp.op("Submit an order", budget_us=100)
        >>> with qp.record("captures/flight", on_full="overwrite") as recorder:
        ...     with Trading.SUBMIT:
        ...         pass
        ...     incident = recorder.snapshot("captures/incident", last_s=60)
        >>> qp.open(incident)
        <Capture ...captures/incident: 1 samples; whole from ...>
        """
        if not self._options.keeps:
            raise RecordingError(
                f"snapshot() needs on_full='overwrite'; with {self._options.on_full!r} all is written into {self.path}"
            )
        if not self.is_recording:
            raise RecordingError(f"the recording has ended; its samples are in {self.path}")
        if last_s is not None and not 0 < real(last_s) < float("inf"):
            raise RecordingError(f"last_s must be a number of seconds above 0, not {last_s!r}")
        target = folders.target(path)
        try:
            if os.path.exists(f"{target}/{schema.MANIFEST}"):
                raise RecordingError(f"{target} already holds a capture; choose another path for the snapshot")
            folders.prepare(target, "append")
            folders.make(target, self._started_ns)
            first_ns = 0 if last_s is None else core.now() - int(last_s * 1e9)
            failure = self._request({"snapshot": target, "first_ns": first_ns})
        except OSError as error:
            raise RecordingError(f"cannot save a snapshot into {target}: {error.strerror or error}") from error
        if failure:
            raise RecordingError(f"cannot save a snapshot into {target}: {failure}")
        from pathlib import Path

        return Path(target)

    def set_level(self, level: options.Level) -> None:
        """Change the level while the recording runs.

        Calls that are open go on as they began. Processes that this one starts from now on begin
        with the new level.

        Parameters
        ----------
        level : {"full", "production", "off"}
            As in `start`. At "off" nothing is recorded until the level is another one.

        Raises
        ------
        RecordingError
            If `level` is another value, or the recording has ended.

        See Also
        --------
        Recorder.set_sampling : Record one of so many calls.

        Examples
        --------
        >>> class Trading(qp.Operation):
        ...     SUBMIT = qp.op("Submit an order", budget_us=100)
        ...     CHECK = qp.op("Check one field", detail=True)
        >>> with qp.record("captures/monday") as recorder:
        ...     recorder.set_level("production")
        ...     with Trading.SUBMIT, Trading.CHECK:
        ...         pass
        >>> qp.last().stats()["count"].to_dict()
        {('Trading', 'Trading.SUBMIT'): 1}
        """
        options.check_level(level)
        with self._changing():
            core.mute(MUTED[level])
            self._options = self._options._replace(level=level)

    def set_sampling(self, sampling: Mapping[Any, int]) -> None:
        """Change the sampling while the recording runs.

        The weights of samples tell the rates that they were recorded with, so that counts and
        statistics stay unbiased.

        Parameters
        ----------
        sampling : mapping
            As in `start`. It replaces what was set before; ``{}`` records what the operations declare.

        Raises
        ------
        RecordingError
            If `sampling` is invalid, or the recording has ended.

        See Also
        --------
        Recorder.set_level : Leave out operations, or everything.

        Examples
        --------
        >>> class Trading(qp.Operation):
        ...     SUBMIT = qp.op("Submit an order", budget_us=100)
        >>> with qp.record("captures/monday") as recorder:
        ...     recorder.set_sampling({Trading.SUBMIT: 10})
        ...     for _ in range(1000):
        ...         with Trading.SUBMIT:
        ...             pass
        >>> qp.last().stats()["count"].item()
        1000
        """
        chosen = samplings.checked(sampling)
        with self._changing():
            registry.sampling = chosen
            self._journal.note({"rates": registry.rates()})  # before the first sample that has such a weight
            registry.sample(chosen)
            self._options = self._options._replace(sampling=chosen)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """While the recording changes, it does not end. Raises RecordingError if it has ended."""
        with lock:
            if not self.is_recording:
                raise RecordingError(f"the recording has ended; its samples are in {self.path}")
            yield
            if os.environ.get(INHERITED) == self._invitation:
                self._invite()

    def stats(
        self, *, start: Moment = None, end: Moment = None, last_s: float | None = None, **options: Any
    ) -> pd.DataFrame:
        """Compute statistics of the running recording.

        It is ``qp.open(path).stats()`` over everything that has finished up to this call. Before
        the first sample it is empty.

        Parameters
        ----------
        start, end : moment, optional
            Select calls that started in this interval, as in `Capture.stats`.
        last_s : float, optional
            Select calls that started in this many seconds before now, in place of `start` and
            `end`.
        **options
            Other parameters of `Capture.stats`, such as ``quantiles`` or ``top``.

        Returns
        -------
        pandas.DataFrame
            As `Capture.stats`; times are in microseconds.

        Raises
        ------
        ValueError
            If an interval or another parameter is invalid.

        See Also
        --------
        Capture.stats : The same of a capture, with all parameters.

        Examples
        --------
        >>> class Trading(qp.Operation):
        ...     SUBMIT = qp.op("Submit an order", budget_us=100)
        >>> with qp.record("captures/monday") as recorder:
        ...     with Trading.SUBMIT:
        ...         pass
        ...     recorder.stats(last_s=60)["count"].to_dict()
        {('Trading', 'Trading.SUBMIT'): 1}
        """
        start = self._since(start, end, last_s)
        self.flush()
        from quantum_pulse import facade  # a recording that nobody asks loads no pandas

        capture = facade.nothing(self.path) if self._is_off else facade.so_far(self.path)
        return capture.stats(start=start, end=end, **options)

    @staticmethod
    def _since(start: Moment, end: Moment, last_s: float | None) -> Moment:
        """When the last `last_s` seconds began, if it is given, else `start`. Raises ValueError."""
        if last_s is None:
            return start
        if start is not None or end is not None:
            raise ValueError("last_s replaces start and end; give one or the other")
        if not 0 < real(last_s) < float("inf"):
            raise ValueError(f"last_s must be a number of seconds above 0, not {last_s!r}")
        from datetime import UTC, datetime

        return datetime.fromtimestamp(time.time() - real(last_s), UTC)

    def now_ns(self) -> int:
        """Return the current time as the `start` of a sample would have it.

        Returns
        -------
        int
            Nanoseconds since 1970, UTC.

        Examples
        --------
        >>> with qp.record("captures/monday") as recorder:
        ...     earlier = recorder.now_ns()
        >>> recorder.now_ns() > earlier
        True
        """
        return time.time_ns()

    def account(self) -> dict[str, int]:
        """Count the samples since the start, and where they are.

        Returns
        -------
        dict of str to int
            The keys are ``started``, ``written``, ``pending`` (in the rings, not written yet),
            ``open`` (not finished yet) and ``lost``. ``started`` is the sum of the others.

        Examples
        --------
        >>> class Trading(qp.Operation):
        ...     SUBMIT = qp.op("Submit an order", budget_us=100)
        >>> with qp.record("captures/monday") as recorder:
        ...     with Trading.SUBMIT:
        ...         pass
        >>> recorder.account()
        {'started': 1, 'written': 1, 'pending': 0, 'open': 0, 'lost': 0}
        """
        if self._final is not None:
            return self._final
        try:
            return description.account()
        except RuntimeError:  # another thread has ended the recording since
            return self._final or dict(NOTHING)

    def stop(self) -> None:
        """End the recording, and wait until everything is written.

        What has finished is written, and what is still open is counted. A second call does
        nothing.

        See Also
        --------
        stop : Stop the running recording, whichever it is.

        Examples
        --------
        >>> recorder = qp.start("captures/monday")
        >>> recorder.stop()
        >>> recorder
        <Recorder ...captures/monday stopped>
        """
        self._end(waits=True)

    def _stop_at_exit(self) -> None:
        """End the recording as the process ends.

        The agent takes over what a forked process leaves, so that process need not wait.
        """
        self._end(waits=not self._is_forked)

    def _end(self, *, waits: bool) -> None:
        with lock:
            if not self.is_recording:
                return
            self.is_recording = False
            core.stop()
            registry.on_new = None
            registry.sample({})
            _stop_noting_collections()
            self._withdraw_invitation()
            # The wall clock may have been set since; the length of the recording is what counts.
            stopped_ns = self._started_ns + core.now() - self._began_ns
            self._journal.note({"end": description.ending(stopped_ns)})
            ticket = core.ask(True)
            is_written = self._wait_for(ticket, ends=True) if waits else True
            self._final = account = self.account()
            failure = core.progress().failure
            core.close()
            self._journal.close()
            os.close(self._wake_fd)
            self._launcher.close()
            self._on_stop(self)
        logs.debug("stopped %s: %s", self._target, account)
        if not is_written and folders.is_deleted(self._target):
            logs.error("the samples recorded into %s are lost: its directory was deleted", self._target)
            self._place.leave()
        elif not is_written:
            why = failure or f"nothing has been written for {LONGEST_WAIT_S:.0f} s"
            logs.error(
                "the recording into %s has ended before everything was written: %s; the rest is in %s",
                self._target,
                why,
                self._place.rings,
            )
        elif waits:
            self._say_if_empty(account)

    def _wait_for(self, ticket: int, *, ends: bool = False) -> bool:
        """Wait until the agent has answered, within a bound. Returns whether it has."""
        give_up = time.monotonic() + LONGEST_WAIT_S
        look_at = time.monotonic() + LOOK_S
        pause_s = 0.0002
        while True:
            try:
                progress = core.progress()
            except RuntimeError:
                return False  # another thread has ended the recording
            if progress.finished if ends else progress.answered >= ticket:
                return True
            now = time.monotonic()
            if now > give_up or progress.failure:
                return False
            if now > look_at:
                if folders.is_deleted(self._target):
                    return False
                look_at = now + LOOK_S
                self._ensure_agent()
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.005)

    def _request(self, entry: dict[str, Any]) -> str:
        """Ask the agent for something more than a flush. Returns why it failed, or nothing. Raises OSError."""
        request = f"{self._place.rings}/{self._name}.request"
        answer = f"{self._place.rings}/{self._name}.answer"
        with Folder.at(self._place.rings) as folder:
            folder.write_json(f"{self._name}.request", entry)
        try:
            if not self._wait_for(core.ask()):
                return "nothing can be written at the moment"
            with open(answer, encoding="utf-8") as file:
                return str(json.load(file)["failure"])
        finally:
            for path in (request, answer):
                _unlink(path)

    def _ensure_agent(self) -> None:
        if not os.path.isdir(self._target):
            return  # it was deleted, or this user may not look at it any more: nor may an agent
        try:
            self._launcher.ensure(core.progress().seen_ns)
        except (OSError, RecordingError) as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                logs.warning("%s", error)

    def _on_stall(self) -> None:
        """The rings are full and the agent has not looked for a while: it may be gone."""
        if self.is_recording:
            self._ensure_agent()

    def _say_if_empty(self, account: dict[str, int]) -> None:
        if account["written"] or account["pending"] or account["lost"]:
            return
        # A worker may well have had nothing to do, and so may one that has workers.
        is_worker = self._is_inherited or _is_multiprocessing_child()
        if is_worker or time.time_ns() - self._started_ns < SAY_EMPTY_AFTER_NS or not self._is_alone():
            return
        from quantum_pulse import records

        why = records.why_nothing({**self._described(), "account": account})
        logs.warning("nothing was recorded into %s: %s", self._target, why)

    def _is_alone(self) -> bool:
        """Whether no other process has recorded into the capture, nor left a ring that is yet to be taken over."""
        names: set[str] = set()
        # In this order: a ring goes when its process file is there.
        for folder, suffix in (
            (self._place.rings, schema.RING_SUFFIX),
            (f"{self._target}/{schema.PROCESSES}", ".json"),
        ):
            with contextlib.suppress(FileNotFoundError):
                names.update(name.removesuffix(suffix) for name in os.listdir(folder) if name.endswith(suffix))
        return {name for name in names if not name.startswith(".")} == {self._name}

    def _continue_in_child(self) -> None:
        """In a forked child, after `_abandon`: record on, under a name of its own. Raises OSError."""
        self._is_inherited = self._is_forked = True
        self._parent = self._name
        self._begin()

    def _abandon(self) -> None:
        """In a forked child: let go of the files, which are the parent's."""
        if self.is_recording:
            self.is_recording = False
            _stop_noting_collections()
            self._journal.close()
            os.close(self._wake_fd)
        self._launcher.abandon()
        self._final = dict(NOTHING)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Recorder {self._target} {'recording' if self.is_recording else 'stopped'}>"

    def _note_operation(self, number: int, definition: Definition) -> None:
        # Before the first sample that needs it, so that the rings of a killed process can be read.
        self._journal.note({"operation": number, "definition": plain_definition(definition)})
        every = registry.every(definition)
        if every != definition.sample_every:
            self._journal.note({"rates": {number: every}})


def _stop_noting_collections() -> None:
    if core.note_collection in gc.callbacks:
        gc.callbacks.remove(core.note_collection)


def _is_multiprocessing_child() -> bool:
    module = sys.modules.get("multiprocessing.process")
    return module is not None and module.parent_process() is not None


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
