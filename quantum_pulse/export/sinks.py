"""Write an export to a file, atomically, or to a stream."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from quantum_pulse import files

#: The level that gzip itself uses; 9 takes three times as long for a hundredth of the size.
_LEVEL: Final = 6


class Sink:
    """What is written to: a binary file that counts its bytes and is not closed by who writes to it.

    It has the methods that pyarrow asks of a file.
    """

    closed = False

    def __init__(self, inner: IO[bytes]) -> None:
        self._inner = inner
        self.bytes = 0

    def write(self, data: Any) -> int:
        """Write all of `data`. Returns its size in bytes."""
        # A pipe may take less than it was given.
        left = memoryview(data).cast("B")
        whole = len(left)
        while len(left):
            left = left[self._inner.write(left) :]
        self.bytes += whole
        return whole

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self.bytes

    def flush(self) -> None:
        """Flush the file below."""
        self._inner.flush()

    def close(self) -> None:
        """Do nothing: whoever opened the file below closes it."""

    def readable(self) -> bool:
        """Return False."""
        return False

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return False."""
        return False


@contextlib.contextmanager
def opened(target: Path | IO[bytes], *, packed: bool, spooled: bool) -> Iterator[tuple[Any, Sink]]:
    """What to write to, and the sink below it that counts what arrives; `packed` puts gzip between.

    A path becomes the file once the block has ended well. Anything else (a stream, a pipe, a device) is written to at
    once or, `spooled`, then: where the writer may have to begin again. Raises OSError.
    """
    with _raw(target, spooled=spooled) as inner:
        sink = Sink(inner)
        if not packed:
            yield sink, sink
        else:
            # Without a time and a name, so that the same content is the same file.
            with gzip.GzipFile("", "wb", _LEVEL, sink, mtime=0) as above:
                yield above, sink
        inner.flush()


@contextlib.contextmanager
def _raw(target: Path | IO[bytes], *, spooled: bool) -> Iterator[IO[bytes]]:
    if not isinstance(target, Path):
        with tempfile.TemporaryFile() if spooled else contextlib.nullcontext(target) as stream:
            yield stream
            if spooled:
                stream.seek(0)
                shutil.copyfileobj(stream, target)
        target.flush()
    elif is_special(target):
        with open(target, "wb") as file, _raw(file, spooled=spooled) as stream:
            yield stream
    else:
        with files.replacing(target) as unfinished:
            yield unfinished


def is_special(path: Path) -> bool:
    """Whether `path` is there and is a pipe or a device, which must not be replaced by a file."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check(path: Path, *, overwrite: bool) -> None:
    """Raise OSError if `path` is a directory, or a file and that may not be replaced."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.is_file() and not overwrite:
        raise FileExistsError(errno.EEXIST, "it already exists; overwrite=True replaces it", str(path))
