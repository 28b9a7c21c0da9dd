"""Whose a ring is, and whether that process lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from quantum_pulse import files, schema
from quantum_pulse.rings.names import journal_of


def is_alive(ring: Path) -> bool:
    """Whether the process that records into `ring` is still there: it holds a lock on the journal of names."""
    with _locked(ring, fcntl.LOCK_SH) as is_free:
        return not is_free


@contextlib.contextmanager
def claimed(ring: Path, *, surely: bool = False) -> Iterator[bool]:
    """Keep others from `ring` and its journal, as long as the block runs; false where that cannot be had.

    That is where the process that records into it is still there, or somebody else has claimed it, or taken it away.
    `surely`: also where only its number says that it is gone, which in another container means nothing.
    """
    with _locked(ring, fcntl.LOCK_EX, by_number=not surely) as is_free:
        # The journal goes last: one that was claimed before and is gone by now has been dealt with.
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
            # A file system without locks. The number may be another process's by now; then nothing is touched.
            yield by_number and not Path(f"/proc/{process_of(ring)}").exists()
        else:
            yield True


def _is_mapped(ring: Path) -> bool:
    """Whether the process in the ring's name has it in its memory."""
    try:
        return str(ring.resolve()) in Path(f"/proc/{process_of(ring)}/maps").read_text(errors="replace")
    except FileNotFoundError:
        return False
    except OSError:
        return True  # somebody else's process of that number


def process_of(ring: Path) -> int:
    """The process that the name of a ring says, 0 where it was renamed."""
    number = recording_of(ring).rpartition(".")[2].partition("-")[0]
    return int(number) if number.isdecimal() and len(number) < 10 else 0


def recording_of(ring: Path) -> str:
    """The name of the recording that a ring is of. That of a forked process begins with its parent's and a dot."""
    return ring.name.removesuffix(schema.RING_SUFFIX)
