"""The agent's loop: look for rings, sample metrics, write, take over what has ended, end when nothing is left to do."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import directories, files, folders, keep, schema
from quantum_pulse.agent import expiry, snapshots
from quantum_pulse.agent.clock import Clock
from quantum_pulse.agent.environment import environment_of
from quantum_pulse.agent.expiry import Expiry
from quantum_pulse.agent.files import remove_ring, write_json
from quantum_pulse.agent.machine import room_for_rings
from quantum_pulse.agent.measuring import Meter
from quantum_pulse.agent.procfs import Machine
from quantum_pulse.agent.recording import Recording
from quantum_pulse.agent.workers import Workers, root_of
from quantum_pulse.errors import RecordingError
from quantum_pulse.rings import places

if TYPE_CHECKING:
    from quantum_pulse.core.contract import Core

logger = logging.getLogger("quantum_pulse")

#: Rows wait in memory for so long at most, in seconds: what a machine loses that breaks down.
LONGEST_WAIT_S: Final = 0.25
#: A forked process is expected to end soon; only then are its rows written as those of its own.
WORKER_S: Final = 1.0
#: How often it looks at all, in seconds: at clocks, metrics, and whether anything has ended.
TICK_S: Final = 0.1
#: How often process files are written while they change, and locks are looked at, in seconds.
SAVE_S: Final = 1.0
#: How often the oldest parts of a bounded capture expire, in seconds.
EXPIRE_S: Final = 60.0
#: It stays for so long after the last recording has ended, in seconds: the next one may begin soon.
LINGER_S: Final = 2.0
#: It tries to write again after so long, in seconds, at first and at most.
RETRY_S: Final = 0.25
LONGEST_RETRY_S: Final = 4.0
#: So many errors that are not the disk's are too many for one recording.
MOST_ERRORS: Final = 3
#: It goes on trying for so long after the last program has ended, in seconds.
GIVE_UP_S: Final = 60.0


class Agent:
    """Serves the processes that record into one capture on this host."""

    def __init__(self, place: places.Place, core: Core, lock: int) -> None:
        """`lock` is what `Place.lock` gave, and is given up in the end. Raises OSError."""
        self.capture = Path(place.capture)
        self.recordings: dict[str, Recording] = {}
        self._place = place
        self._core = core
        self._lock = lock
        self._wake = place.open_fifo()
        self._clock = Clock(core.now)
        self._workers: dict[str, Workers] = {}
        self._meters: dict[str, Meter] = {}
        self._machine = Machine()
        self._expiry: Expiry | None = None
        self._expired_at = time.monotonic()
        self._environments: dict[int, dict[str, Any]] = {}
        self._is_finishing = False
        self._idle_since = time.monotonic()
        self._saved_at = 0.0
        self._ticked_at = 0.0
        self._retry_at = 0.0
        self._retry_s = RETRY_S
        self._failing_since: float | None = None
        self._was_woken = True

    def run(self) -> None:
        """Work until there is nothing left to do."""
        try:
            while not self._has_ended():
                self._sleep()
                self.work()
        finally:
            self.close()

    def finish(self) -> None:
        """From another thread: do not linger."""
        self._is_finishing = True
        with contextlib.suppress(OSError):
            os.write(self._wake, b"\0")

    def descriptors(self) -> list[int]:
        """What a forked child has to close."""
        own = [one for one in (self._wake, self._lock) if one >= 0]
        for recording in self.recordings.values():
            own += [one for one in (recording.ring.file, recording.ending.file) if one >= 0]
        return own

    def close(self) -> None:
        """Give everything up. What is in the rings stays there."""
        for name, recording in self.recordings.items():
            self._stop_measuring(name)
            recording.close()
        self.recordings.clear()
        # Whoever still has this object must not use numbers that are somebody else's by then.
        wake, lock, self._wake, self._lock = self._wake, self._lock, -1, -1
        os.close(wake)
        os.close(lock)

    def work(self) -> None:
        """One round."""
        now = time.monotonic()
        self._attach()
        if now >= self._ticked_at + TICK_S:
            self._ticked_at = now
            self._tick(now)
        self._sample(now)
        if now < self._retry_at:
            return
        try:
            self._write(now)
            self._take_ended()
            self._take_stopped()
            if now >= self._expired_at + EXPIRE_S:
                self._expire(now)
        except OSError as error:
            self._fail(error, now)
        else:
            self._retry_at, self._retry_s, self._failing_since = 0.0, RETRY_S, None

    # ---- waiting ----------------------------------------------------------------------------------------------------

    def _sleep(self) -> None:
        """Until somebody wakes the agent, a process ends, or it is time."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        watched = {}
        for recording in self.recordings.values():
            if recording.ending.file >= 0 and not recording.has_exited:
                poll.register(recording.ending.file, select.POLLIN)
                watched[recording.ending.file] = recording
        ready = poll.poll(self._pause_s() * 1000)
        self._was_woken = False
        for descriptor, _ in ready:
            if descriptor in watched:
                watched[descriptor].has_exited = True
            else:
                self._was_woken = True
                with contextlib.suppress(OSError):
                    os.read(self._wake, 65536)

    def _pause_s(self) -> float:
        now = time.monotonic()
        until = self._ticked_at + TICK_S
        for recording in self.recordings.values() if now >= self._retry_at else ():
            if not recording.ring.keeps and recording.ring.pending_rows():
                until = min(until, self._due_at(recording))
        for meter in self._meters.values():
            until = min(until, meter.due_at)
        return max(until - now, 0.0)

    # ---- who records ------------------------------------------------------------------------------------------------

    def _attach(self) -> None:
        """Look for rings of this host."""
        for folder in self._place.ring_folders():
            try:
                names = [path.name for path in Path(folder).iterdir()]
            except OSError:
                continue
            for name in names:
                stem = name.removesuffix(schema.RING_SUFFIX)
                if name.endswith(schema.RING_SUFFIX) and not name.startswith(".") and stem not in self.recordings:
                    self._attach_one(Path(folder) / name, stem)
                elif name.startswith("."):
                    self._clear_away(Path(folder) / name)

    def _attach_one(self, path: Path, name: str) -> None:
        try:
            recording = Recording(self.capture, path, self._clock, self._core)
        except FileNotFoundError:
            return  # it has just been taken over
        except (OSError, ValueError) as error:
            logger.debug("%s is ignored: %s", path.name, error)
            return
        self.recordings[name] = recording
        if recording.described.get("keep") and not recording.is_forked:
            self._bound(str(recording.described["keep"]))
        logger.debug("attached to %s", name)
        if not recording.is_forked:
            interval_s = recording.described.get("metrics_interval_s") or TICK_S
            with contextlib.suppress(OSError):
                self._meters[name] = Meter(recording, interval_s, self._core.now, self._machine)

    def _clear_away(self, path: Path) -> None:
        """Delete a file that never became a ring or a journal, of a process that is gone."""
        pid = path.name.lstrip(".").rpartition(".ring")[0].rpartition(".")[2].partition("-")[0]
        if path.suffix == ".tmp" and pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            with contextlib.suppress(OSError):
                directories.delete(path)

    def _detach(self, name: str) -> None:
        recording = self.recordings.pop(name)
        self._stop_measuring(name)
        self._idle_since = time.monotonic()
        if not self.recordings:
            self._leave_capture()
        recording.tell_finished()
        recording.close()

    def _leave_capture(self) -> None:
        """Nobody records: then nothing in the capture shows that somebody did."""
        for workers in self._workers.values():
            workers.merge(finally_=True)
        self._expire(time.monotonic())
        with self._place.closing():
            self._place.unlink()

    def _environment(self, recording: Recording) -> dict[str, Any]:
        known = self._environments.get(recording.pid)
        if known is None:
            if len(self._environments) > 1000:
                self._environments.clear()
            known = self._environments[recording.pid] = environment_of(recording.pid)
        return known

    # ---- now and then -----------------------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        step = self._clock.tick()
        rooms: dict[Path, int] = {}
        for recording in self.recordings.values():
            folder = recording.path.parent
            if folder not in rooms:
                rooms[folder] = room_for_rings(folder)
            recording.look(rooms[folder])
            if step is not None:
                recording.add_event(step.event())
                step = None  # it is the machine's: once is enough
        if now >= self._saved_at + SAVE_S:
            self._saved_at = now
            for recording in self.recordings.values():
                if not recording.has_exited and recording.has_gone():
                    recording.has_exited = True

    def _sample(self, now: float) -> None:
        for name, meter in list(self._meters.items()):
            if now >= meter.due_at:
                self._sample_one(name)

    def _sample_one(self, name: str) -> None:
        meter = self._meters.get(name)
        if meter is not None and not meter.sample():
            self._stop_measuring(name)

    def _stop_measuring(self, name: str) -> None:
        meter = self._meters.pop(name, None)
        if meter is not None:
            meter.close()

    # ---- writing ----------------------------------------------------------------------------------------------------

    def _write(self, now: float) -> None:
        """What is due. Raises OSError."""
        for recording in list(self.recordings.values()):
            if not (recording.is_stopped or recording.has_exited):
                with self._isolated(recording):
                    self._write_one(recording, now)
        for recording in self.recordings.values():
            if (recording.has_parts or not recording.is_forked) and now >= recording.saved_at + SAVE_S:
                recording.save(self._environment(recording))

    def _write_one(self, recording: Recording, now: float) -> None:
        ticket = recording.ring["asked"]
        if recording.is_asked:
            request = self._request_of(recording)
            if request is None:
                recording.write(all_rows=True)
            else:
                self._carry_out(recording, request)
            recording.answer(ticket)
        elif self._is_due(recording, now):
            if recording.ring.keeps:
                recording.save_trips()
            else:
                recording.write()
            recording.merge()

    @contextlib.contextmanager
    def _isolated(self, recording: Recording) -> Iterator[None]:
        """What goes wrong with one recording is not the others' trouble. Raises OSError, which is the disk's."""
        try:
            yield
        except OSError:
            raise
        except Exception as error:
            logger.exception("cannot write what %s records", recording.name)
            recording.fail(error)
            recording.errors += 1
            if recording.errors >= MOST_ERRORS:
                recording.give_up(error, self._environment(recording))
                self._detach(recording.name)

    def _is_due(self, recording: Recording, now: float) -> bool:
        if recording.ring.keeps:
            return recording.is_worth_saving
        waited = now >= self._due_at(recording)
        if not (waited or self._was_woken):
            return False
        # Threads that end leave segments with a few rows each.
        pending = recording.ring.pending_rows()
        return pending > 0 and (waited or pending >= schema.SEGMENT_ROWS or recording.ring.is_crowded())

    def _due_at(self, recording: Recording) -> float:
        """When rows have waited for long enough in a ring. A worker may be about to end."""
        due = recording.drained_at + LONGEST_WAIT_S
        is_young = recording.is_forked and not recording.has_parts
        return max(due, recording.attached_at + WORKER_S) if is_young else due

    def _bound(self, spec: str) -> None:
        """What was asked for last counts for the whole capture."""
        with contextlib.suppress(RecordingError):
            bound = keep.parse(spec)
            if bound is not None:
                is_own = expiry.recorded_by(os.uname().nodename, self.capture)
                self._expiry = Expiry(self.capture, bound, is_own)

    def _expire(self, now: float) -> None:
        """Let the oldest parts of a bounded capture expire. Raises OSError."""
        if self._expiry is None:
            return
        self._expired_at = now
        gone = self._expiry.run(time.time_ns()).parts
        for recording in self.recordings.values():
            recording.forget_parts(gone)
        for workers in self._workers.values():
            workers.forget_parts(gone)

    def _take_stopped(self) -> None:
        """Finish recordings that their program has ended. Raises OSError."""
        for name, recording in list(self.recordings.items()):
            if recording.is_stopped and not (recording.is_forked and not recording.has_parts):
                self._sample_last(name)
                self._take_one(recording)

    def _take_ended(self) -> None:
        """Take over what processes left that are gone: of forked ones many at once. Raises OSError."""
        together: dict[str, list[Recording]] = {}
        for recording in list(self.recordings.values()):
            is_worker = recording.is_forked and not recording.has_parts
            if is_worker and (recording.has_exited or recording.is_stopped):
                together.setdefault(root_of(recording.name), []).append(recording)
            elif recording.has_exited and not os.path.lexists(recording.path):
                self._detach(recording.name)
            elif recording.has_exited:
                self._take_one(recording)
        for own in together.values():
            self._workers_of(own[0]).take(own, self._environment(own[0]))
            for recording in own:
                self._detach(recording.name)
        for workers in self._workers.values():
            workers.merge()

    def _take_one(self, recording: Recording) -> None:
        with self._isolated(recording):
            recording.finish(self._environment(recording))
            logger.debug("took over %s", recording.name)
            self._detach(recording.name)

    def _workers_of(self, recording: Recording) -> Workers:
        root = root_of(recording.name)
        if root not in self._workers:
            rings = [one.ring for one in self.recordings.values() if one.is_forked and root_of(one.name) == root]
            self._workers[root] = Workers(self.capture, root, self._clock, rings)
        return self._workers[root]

    def _sample_last(self, name: str) -> None:
        if name in self._meters:
            self._meters[name].sample()
            self._stop_measuring(name)

    def _fail(self, error: OSError, now: float) -> None:
        """The disk takes nothing: the rings hold what they can, and it is tried again."""
        is_new = self._failing_since is None
        if is_new:
            self._failing_since = now
        if isinstance(error, FileNotFoundError) and not folders.is_deleted(self.capture):
            with contextlib.suppress(OSError):
                folders.make(str(self.capture), time.time_ns())
                if is_new:
                    return  # a folder was deleted, and is there again
        for recording in self.recordings.values():
            recording.fail(error)
        self._retry_at = now + self._retry_s
        self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)

    # ---- requests ---------------------------------------------------------------------------------------------------

    def _request_of(self, recording: Recording) -> dict[str, Any] | None:
        path = recording.path.with_name(f"{recording.name}.request")
        try:
            found = files.read_json(path)
            directories.delete(path)
        except (OSError, ValueError):
            return None
        return found

    def _carry_out(self, recording: Recording, request: dict[str, Any]) -> None:
        failure = ""
        self._sample_one(recording.name)  # up to the moment that is saved
        try:
            saved = snapshots.write(Path(request["snapshot"]), recording, int(request["first_ns"]), self._clock)
            content = recording.content("snapshot", self._environment(recording)) | saved
            write_json(Path(request["snapshot"]) / schema.PROCESSES / f"{recording.name}.json", content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            failure = str(getattr(error, "strerror", None) or error)
        write_json(recording.path.with_name(f"{recording.name}.answer"), {"failure": failure})

    # ---- the end ----------------------------------------------------------------------------------------------------

    def _has_ended(self) -> bool:
        """Whether there is nothing left to do; then the folders are gone, and nobody takes this for an agent."""
        now = time.monotonic()
        if folders.is_deleted(self.capture):
            self._drop_rings()
        elif self._failing_since is not None and all(
            one.has_exited or one.is_stopped for one in self.recordings.values()
        ):
            if now < self._failing_since + GIVE_UP_S:
                return False
            logger.error("%s: the rings are kept, to be recovered", self.capture)
        elif self._is_finishing and all(one.pid != os.getpid() for one in self.recordings.values()):
            if self.recordings:
                return True  # a thread of a program that ends: the others start another agent
        elif self.recordings or now < self._idle_since + LINGER_S:
            return False
        with self._place.closing():
            if not folders.is_deleted(self.capture) and self._failing_since is None:
                self._attach()
                if self.recordings:
                    return False
            self._place.remove()
        return True

    def _drop_rings(self) -> None:
        """Nobody can find what is in the rings of a capture that was deleted. A running program keeps its own."""
        for recording in self.recordings.values():
            if recording.has_exited or recording.is_stopped:
                remove_ring(recording.path)
