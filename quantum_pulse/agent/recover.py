"""Take over what killed processes left, when somebody asks for it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from quantum_pulse import directories, files, records, schema
from quantum_pulse.agent.clock import Clock
from quantum_pulse.agent.files import remove_ring, write_json
from quantum_pulse.agent.recording import Recording
from quantum_pulse.agent.written import delete_temporary
from quantum_pulse.core import core
from quantum_pulse.rings import owners, places
from quantum_pulse.rings.names import read_names

#: How long an agent that is at work is waited for, in seconds.
LONGEST_WAIT_S: Final = 60.0


class Recovery(NamedTuple):
    """What became of one ring. `open` blocks had been entered and not left; `damage` is what could not be read."""

    name: str
    process: int
    samples: int
    open: int
    lost: int
    damage: list[str]


def recover(capture: Path) -> list[Recovery]:
    """Write what is in rings of dead processes of `capture` into parts and delete the rings.

    Harmless when repeated, also after it was killed itself: rows that are in a part already are not written again.
    Where an agent is at work on this host, it does that itself, and is waited for. Raises OSError when the disk does
    not take it.

    Root does it as the owner of the capture, since the owner may have put links there to files of others.
    """
    # While this process may read them: an owner may not be able to.
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401

    with directories.acting_for_owner(capture):
        return _recovered(capture.absolute())


def _recovered(capture: Path) -> list[Recovery]:
    place = places.Place(str(capture))
    give_up = time.monotonic() + LONGEST_WAIT_S
    if places.rings_of(capture) and not _left(capture):
        return []  # all of them are at work, and what they need is the business of their agent
    lock = _locked(place)
    while lock is None and _left(capture) and time.monotonic() < give_up:
        time.sleep(0.02)
        lock = _locked(place)
    if lock is None:
        return []
    try:
        return _take_all(capture)
    finally:
        with place.closing():
            place.remove()
            os.close(lock)


def _locked(place: places.Place) -> int | None:
    """The lock of an agent, None where there is one."""
    if place.has_agent() or any(map(places.is_served, places.ring_folders(place.capture, places.host()))):
        return None  # it may be another user's
    with place.opened():
        return place.lock()


def _take_all(capture: Path) -> list[Recovery]:
    clock = Clock(core.now)
    found = [_take(capture, ring, clock) for ring in _left(capture)]
    for table in schema.RECORDED:
        delete_temporary(capture, table)
    return [one for one in found if one is not None]


def _take(capture: Path, ring: Path, clock: Clock) -> Recovery | None:
    try:
        recording = Recording(capture, ring, clock, core)
    except (OSError, ValueError) as error:
        return _give_up(capture, ring, error)
    recording.has_exited = True
    try:
        content = recording.finish({})
    except ValueError as error:
        return _give_up(capture, ring, error)
    finally:
        recording.close()
    account = content["account"]
    return Recovery(
        recording.name,
        recording.pid,
        recording.taken,
        account["open"],
        account["lost"],
        content.get("damage") or [],
    )


def _give_up(capture: Path, ring: Path, error: BaseException) -> Recovery | None:
    """Note that a ring cannot be read, and delete what is there of it."""
    name, path = owners.recording_of(ring), capture / schema.PROCESSES / f"{owners.recording_of(ring)}.json"
    names = read_names(ring)
    process = {**names.process, **_process(path)}
    remove_ring(ring)
    if isinstance(error, FileNotFoundError) and process.get("state") != "recording":
        return None  # it died while it began, or while it ended
    damage = [f"{ring.name}: {files.reason(error)}"]
    process |= {"pid": owners.process_of(ring), "state": "recovered", "damage": damage}
    write_json(path, process)
    return Recovery(name, owners.process_of(ring), 0, 0, 0, damage)


def _process(path: Path) -> dict[str, Any]:
    try:
        return records.process(path)
    except (OSError, ValueError):
        return {}


def _left(capture: Path) -> list[Path]:
    """Rings of processes that are gone."""
    return [ring for ring in places.rings_to_take(capture) if not owners.is_alive(ring)]
