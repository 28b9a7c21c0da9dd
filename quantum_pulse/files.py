"""Reading files that may have become anything: a folder, a pipe that nobody writes to, text that is cut off."""

from __future__ import annotations

import errno
import json
import stat
from pathlib import Path
from typing import Any


def check(path: Path) -> None:
    """Raise OSError unless `path` is a regular file: whoever opened a pipe would wait for ever."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a directory", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in the file `path`. Raises OSError, and ValueError when there is none in it."""
    check(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")
    return content


def reason(error: BaseException) -> str:
    """What `error` says, on one line and without the path, which whoever shows it names itself."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(str(text).split()) or type(error).__name__
