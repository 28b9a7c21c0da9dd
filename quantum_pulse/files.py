"""Reading files that may have become anything: a folder, a pipe that nobody writes to, text that is cut off.

And writing files whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from quantum_pulse.directories import Folder

#: Of JSON and of journals; parsed, it takes ten times as much. Those of a hundred thousand operations are smaller.
MOST_BYTES: Final = 1 << 25


def check(path: Path) -> None:
    """Raise OSError unless `path` is a regular file: whoever opened a pipe would wait for ever."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a directory", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def read(path: Path) -> bytes:
    """All that is in the file `path`. Raises OSError, also if it is larger than any that quantum_pulse writes."""
    check(path)
    with open(path, "rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in the file `path`. Raises OSError, and ValueError when there is none in it."""
    try:
        content = json.loads(read(path))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    return content


def reason(error: BaseException) -> str:
    """What `error` says, on one line and without the path, which whoever shows it names itself."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(str(text).split()) or type(error).__name__


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A file to write to that becomes `target` once the block has ended well, and is gone if it has not.

    Folders on the way are made. Raises OSError.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target.parent)) from error
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    try:
        folder = Folder.at(target.parent)
    except OSError as error:
        # Under the name that was asked for.
        raise type(error)(error.errno, error.strerror, str(target)) from error
    with folder, _named(target), folder.replacing(target.name) as file:
        yield file


@contextlib.contextmanager
def _named(target: Path) -> Iterator[None]:
    """An OSError about a file that is being written names `target`, which was asked for."""
    try:
        yield
    except OSError as error:
        if error.filename is None or not str(error.filename).startswith(f".{target.name}."):
            raise
        raise type(error)(error.errno, error.strerror, str(target)) from error
