"""Which process owns a ring, and whether it is alive."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from quantum_pulse import files, schema
from quantum_pulse.rings.names import journal_of


def is_alive(ring: Path) -> bool:
    """Whether the process that records into `ring` is alive: it holds a lock on the journal."""
    with _locked(ring, fcntl.LOCK_SH) as is_free:
        return not is_free


@contextlib.contextmanager
def claimed(ring: Path, *, surely: bool = False) -> Iterator[bool]:
    """Claim `ring` and its journal for the duration of the block. Yields whether that succeeded.

    It fails if the recording process is alive, or if somebody else has claimed or removed the ring. `surely`: succeed
    even if only the process number says that the process is gone, which proves nothing for another container.
    """
    with _locked(ring, fcntl.LOCK_EX, by_number=not surely) as is_free:
        # The journal is deleted last: if it is gone by now, whoever claimed the ring before has dealt with it.
        yield is_free and any(os.path.lexists(path) for path in (journal_of(ring), ring))


@contextlib.contextmanager
def _locked(ring: Path, kind: int, *, by_number: bool = True) -> Iterator[bool]:
    path = journal_of(ring)
    try:
        files.check(path)
        journal = open(path, "rb")  # noqa: SIM115 - in the next line
    except OSError:
        yield by_number and not _is_mapped(ring)
        return
    with journal:
        try:
            fcntl.flock(journal, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        except OSError:
            # A file system without locks. Another process may have the number by now; then nothing is touched.
            yield by_number and not Path(f"/proc/{process_of(ring)}").exists()
        else:
            yield True


def _is_mapped(ring: Path) -> bool:
    """Whether the process in the ring's name has mapped it."""
    try:
        return str(ring.resolve()) in Path(f"/proc/{process_of(ring)}/maps").read_text(errors="replace")
    except FileNotFoundError:
        return False
    except OSError:
        return True  # another user's process of that number


def process_of(ring: Path) -> int:
    """The process number in the name of a ring; 0 if it was renamed."""
    number = recording_of(ring).rpartition(".")[2].partition("-")[0]
    return int(number) if number.isdecimal() and len(number) < 10 else 0


def recording_of(ring: Path) -> str:
    """The name of a ring's recording. That of a forked process begins with its parent's name and a dot."""
    return ring.name.removesuffix(schema.RING_SUFFIX)
