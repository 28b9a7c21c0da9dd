"""One recording, from its first file to its account."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from quantum_pulse import arguments, records, schema
from quantum_pulse import core as cores
from quantum_pulse.errors import RecordingError
from quantum_pulse.operations import Definition, registry, writable
from quantum_pulse.recorder import folder, options, recover, ringfiles, snapshots
from quantum_pulse.recorder.metrics import MetricsSampler
from quantum_pulse.recorder.processfile import ProcessFile
from quantum_pulse.recorder.ringfiles import RingFiles
from quantum_pulse.recorder.writer import Writer

if TYPE_CHECKING:
    import pandas as pd

core = cores.core
logger = logging.getLogger("quantum_pulse")

#: A recording of at least so long says that it ends with nothing.
SAY_EMPTY_AFTER_NS: Final = 10**9

#: Time after which no further ring of another process is taken in at the end.
SWEEP_S: Final = 5.0

NOTHING: Final = {"started": 0, "written": 0, "pending": 0, "open": 0, "lost": 0}

#: Held while a recording starts or stops, so that the next one waits for it. A signal handler may come in between.
lock = threading.RLock()


def renew_lock() -> None:
    """In a forked child: whoever held it is not there."""
    global lock
    lock = threading.RLock()


class Recorder:
    """A recording in progress. Made by `start` and `record`; also a context manager that stops it."""

    #: Whether the next `start` ends this recording, as one that the program did not ask for, rather than raises.
    gives_way = False

    def __init__(self, path: Path, chosen: options.Options, on_stop: Callable[[Recorder], None]) -> None:
        """`on_stop` is told when the recording has ended, in whatever way."""
        self.path = path
        self._options = chosen
        self._on_stop = on_stop
        self._is_inherited = False
        self._begin()

    def _begin(self) -> None:
        path, chosen = self.path, self._options
        self._started_ns = time.time_ns()
        self._anchor_ns = _clock_anchor()
        # Several recordings may share a capture, also of one process: the name of each file tells them apart.
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        folder.make(path, self._started_ns)
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
            self._process = ProcessFile(path, self._name, self._started_ns, self._anchor_ns, chosen, self._files.folder)
            self._process.save("starting")
            self._files.note({"clock_anchor_ns": self._anchor_ns})
            for number, definition in enumerate(registry.all()):
                self._note_operation(number, definition)
            registry.on_new = self._note_operation
            self._files.begin(self._start_core)
            self._process.save("recording")
        except BaseException:
            registry.on_new = None
            core.stop()
            core.close()
            self._writer.close()
            self._files.close()
            self._files.remove()
            (path / schema.PROCESSES / f"{self._name}.json").unlink(missing_ok=True)
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
        target = folder.target(path)
        try:
            if (target / schema.MANIFEST).exists():
                raise RecordingError(f"{target} holds a capture already; choose another path for the snapshot")
            folder.prepare(target, "append")
            first_ns = 0 if last_s is None else core.now() - int(last_s * 1e9)
            folder.make(target, self._started_ns, with_rings=False)
            snapshots.write(target, self._files.ring, self._writer.footer(), first_ns, self._sampler.peek())
            told = target / schema.PROCESSES / self._process.path.name
            folder.write_json(told, self._process.content("snapshot"))
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
        with lock:
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
            self._on_stop(self)
            logger.debug("stopped %s: %s", self.path, account)
            self._say_if_empty(account)

    def _conclude(self, is_idle: bool) -> None:
        """Write down what happened. First that, so that nobody misses rings that are gone."""
        self._final_account = account = self._writer.account()
        with contextlib.suppress(OSError):
            if is_idle:  # a child that has recorded nothing leaves nothing behind
                self._process.path.unlink()
            else:
                self._process.save_end(self._writer, account, self._files.ring)
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
        is_alone = not is_worker and self._process.is_alone()
        if is_empty and is_alone and time.time_ns() - self._started_ns > SAY_EMPTY_AFTER_NS:
            why = records.why_nothing({**self._process.content("finished"), "account": account})
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

    # The journal is written before the first sample that needs it, so that the rings of a killed process can be read.
    def _note_operation(self, number: int, definition: Definition) -> None:
        self._files.note({"operation": number, "definition": definition.plain()})

    def _note_error(self, number: int, name: str) -> None:
        name = writable(name)
        self.errors += [""] * (number + 1 - len(self.errors))
        self.errors[number] = name
        self._files.note({"error": number, "name": name})


class Off(Recorder):
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


def _is_multiprocessing_child() -> bool:
    module = sys.modules.get("multiprocessing.process")
    return module is not None and module.parent_process() is not None
