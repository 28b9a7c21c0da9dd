"""Whose a ring is, and whether that process lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from quantum_pulse import files, schema
from quantum_pulse.rings.names import read_names


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
        yield is_free and any(os.path.lexists(path) for path in (ring.with_suffix(schema.NAMES_SUFFIX), ring))


@contextlib.contextmanager
def _locked(ring: Path, kind: int, *, by_number: bool = True) -> Iterator[bool]:
    path = ring.with_suffix(schema.NAMES_SUFFIX)
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
    """Whether the process that the ring's name tells has it in its memory."""
    try:
        return str(ring.resolve()) in Path(f"/proc/{process_of(ring)}/maps").read_text(errors="replace")
    except FileNotFoundError:
        return False
    except OSError:
        return True  # somebody else's process of that number


def is_unused(ring: Path) -> bool:
    """Whether the recording of `ring` entered no block and wrote nothing. Raises OSError, ValueError."""
    files.check(ring)
    with open(ring, "rb", buffering=0) as file:
        start = file.read(schema.RING_HEADER_BYTES + schema.SEGMENT_HEADER_BYTES)
    if not start.startswith(schema.RING_MAGIC) or len(start) < schema.RING_HEADER_BYTES:
        raise ValueError(f"{ring.name} is no ring")
    header = {name: struct.unpack_from(code, start, offset)[0] for name, code, offset in schema.RING_FIELDS}
    # A header that was damaged must not pass for one that counted nothing: then no segment was ever taken either.
    is_untouched = header["first_span"] == header["last_span"] and not any(start[schema.RING_HEADER_BYTES :])
    return is_untouched and not read_names(ring).written


def process_of(ring: Path) -> int:
    """The process that a ring's name tells, 0 where it was renamed."""
    number = ring.stem.partition("-")[0]
    return int(number) if number.isdecimal() and len(number) < 10 else 0
