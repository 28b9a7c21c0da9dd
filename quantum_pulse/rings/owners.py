"""Whose a ring is, and whether that process lives."""

from __future__ import annotations

import fcntl
import struct
from pathlib import Path

from quantum_pulse import files, schema
from quantum_pulse.rings.names import read_names


def is_alive(ring: Path) -> bool:
    """Whether the process that records into `ring` is still there: it holds a lock on the journal of names."""
    path = ring.with_suffix(schema.NAMES_SUFFIX)
    try:
        files.check(path)
        journal = open(path, "rb")  # noqa: SIM115 - in the next line
    except OSError:
        return _is_mapped(ring)
    with journal:
        try:
            fcntl.flock(journal, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            # A file system without locks. The number may be another process's by now; then nothing is touched.
            return Path(f"/proc/{process_of(ring)}").exists()
    return False


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
        start = file.read(schema.SEGMENT_HEADER_BYTES)
    if not start.startswith(schema.RING_MAGIC) or len(start) < schema.SEGMENT_HEADER_BYTES:
        raise ValueError(f"{ring.name} is no ring")
    header = {name: struct.unpack_from(code, start, offset)[0] for name, code, offset in schema.RING_FIELDS}
    return bool(header["first_span"] == header["last_span"]) and not read_names(ring).written


def process_of(ring: Path) -> int:
    """The process that a ring's name tells, 0 where it was renamed."""
    number = ring.stem.partition("-")[0]
    return int(number) if number.isdecimal() and len(number) < 10 else 0
