"""The files of a recording's rings: the ring itself, and beside it the journal of the names that it needs.

Both stand in the capture, where whoever finds it looks for them. With a folder of their own they are there, and in the
capture stand links to them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from quantum_pulse import files, schema

T = TypeVar("T")

logger = logging.getLogger("quantum_pulse")

#: What the names of files in a folder of their own begin with. No other file is ever deleted through a link.
LINKED: Final = "quantum_pulse-"

#: Bytes that are read of the first line of a journal, which holds a path.
LONGEST_LINE: Final = 1 << 16


class RingFiles:
    """The files of the recording `name` of the capture `capture`, in `folder` if there is one."""

    def __init__(self, capture: Path, name: str, folder: Path | None) -> None:
        self.ring = capture / schema.RINGS / f"{name}{schema.RING_SUFFIX}"
        self.journal = self.ring.with_suffix(schema.NAMES_SUFFIX)
        #: Where a ring may be tried out.
        self.folder = folder or self.ring.parent
        self._is_linked = folder is not None
        # A descriptor, so that nothing is ever left in a buffer: not when killed, and not twice after a fork.
        with self._naming_folder():
            self._journal = self._open_locked()
        if self._is_linked:
            self.note({"link": str(self.journal), "namespace": _namespace()})

    def begin(self, begin: Callable[[str], None]) -> None:
        """Make the ring by `begin`, which is told the path. Raises OSError."""
        # Shown once its header is whole, so that nobody takes one that has just begun for a damaged one.
        if self._is_linked:
            with self._naming_folder():
                begin(str(self._place(self.ring)))
            self._link(self.ring)
        else:
            unfinished = self.ring.with_name(f".{self.ring.name}.tmp")
            begin(str(unfinished))
            os.replace(unfinished, self.ring)

    def note(self, entry: dict[str, Any]) -> None:
        """Add a line to the journal. Where the disk does not take it, that is logged."""
        try:
            text = json.dumps(entry).encode()
            # With a checksum: a name that is not quite right would go unnoticed.
            os.write(self._journal, b"%08x %s\n" % (zlib.crc32(text), text))
        except OSError as error:
            logger.warning("cannot note a name beside the rings: %s", error)

    def remove(self) -> None:
        """Delete the files. Whether the process lives is known until `close`."""
        for path in (self.ring, self.journal):
            remove(path)
            if self._is_linked:
                self._place(path).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others record into the same capture
            self.ring.parent.rmdir()

    def close(self) -> None:
        """Let go of the journal: by its lock whoever finds it knows that this process records."""
        os.close(self._journal)

    @contextlib.contextmanager
    def _naming_folder(self) -> Iterator[None]:
        """An OSError says that it is about the folder, where that is not in the capture."""
        try:
            yield
        except OSError as error:
            if not self._is_linked:
                raise
            why = f"no rings can be made in {self.folder}: {files.reason(error)}"
            raise OSError(error.errno or errno.EIO, why) from error

    def _open_locked(self) -> int:
        """A descriptor to append to the new journal, which is locked from its first moment."""
        place = self._place(self.journal)
        temporary = place.with_name(f".{place.name}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        file = self._in_capture(lambda: os.open(temporary, flags, 0o644))
        with contextlib.suppress(OSError):  # there are file systems without locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.replace(temporary, place)
        if self._is_linked:
            self._in_capture(lambda: self._link(self.journal))
        return file

    def _in_capture(self, make: Callable[[], T]) -> T:
        """What `make` gives, which makes the first file of the recording among the rings of the capture. Their folder
        goes with the last of others', also in this moment."""
        while True:
            self.ring.parent.mkdir(exist_ok=True)
            try:
                return make()
            except FileNotFoundError:
                if self.ring.parent.exists():
                    raise

    def _place(self, path: Path) -> Path:
        return self.folder / f"{LINKED}{path.name}" if self._is_linked else path

    def _link(self, path: Path) -> None:
        path.symlink_to(self._place(path))


def tell_orphans(folder: Path) -> None:
    """Say how much recordings left in a folder of their own whose captures are not where they were.

    Not deleted: a capture that was moved still has links to them, and can be recovered.
    """
    found = []
    for journal in folder.glob(f"{LINKED}*{schema.NAMES_SUFFIX}"):
        # The folder may be one that others write to as well.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            files.check(journal)
            with open(journal, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # a process that records has it
                told = json.loads(file.readline(LONGEST_LINE).partition(b" ")[2])
            # In another container its capture may well stand where we do not see it.
            if told["namespace"] == _namespace() and not os.path.lexists(told["link"]):
                found.append(journal.with_suffix(schema.RING_SUFFIX))
    if found:
        blocks = 0
        for ring in found:
            with contextlib.suppress(OSError):  # it never had one, or somebody has just deleted it
                blocks += ring.stat().st_blocks
        logger.warning(
            "%s holds %d MB of rings whose captures were deleted or moved, such as %s; delete them if nobody recovers "
            "them",
            folder,
            blocks * 512 // 2**20,
            found[0].name,
        )


def _namespace() -> str:
    """Which of the machine's views of its files this process has."""
    return os.readlink("/proc/self/ns/mnt")  # noqa: PTH115 - it is text, and no path


def remove(path: Path) -> None:
    """Delete a ring or a journal, and what it links to if that is one of ours. Harmless where there is none."""
    target = path.readlink() if path.is_symlink() else None
    path.unlink(missing_ok=True)
    if target is not None and target.name == f"{LINKED}{path.name}":
        target.unlink(missing_ok=True)
