"""The directory of a capture, as a recording makes it or adds to it."""

from __future__ import annotations

import json
import os
import time

from quantum_pulse import arguments, schema
from quantum_pulse.directories import Folder
from quantum_pulse.errors import RecordingError

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Any


def is_deleted(capture: str | os.PathLike[str]) -> bool:
    """Whether there is no directory `capture` any more. One that may not be looked at is there."""
    try:
        os.stat(f"{os.fspath(capture)}/.")
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def target(path: str | os.PathLike[str]) -> str:
    """Where a capture goes, as an absolute path. Raises RecordingError for an empty path, TypeError for no path."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str):
        raise TypeError(f"path must be a path, such as 'captures/monday', not {path!r}")
    # An empty path is the current directory, which nobody means who hands over a variable that is not set.
    if not text:
        raise RecordingError("path is empty; it must be a path, such as 'captures/monday'")
    if "\0" in text:
        raise RecordingError(f"path must be a path, without null characters, not {text!r}")
    if arguments.is_url(text):
        raise RecordingError(f"path must be a path on this machine, such as 'captures/monday', not the URL {text!r}")
    try:
        absolute = os.path.abspath(text)
        absolute.encode()
    except UnicodeEncodeError:  # a name of other bytes, with which Parquet files cannot be opened
        raise RecordingError(f"path must be valid UTF-8, not {os.path.abspath(text)!r}") from None
    except OSError as error:  # the working directory was deleted
        raise RecordingError(f"{text} is in no directory: {error.strerror}") from error
    return absolute


def prepare(target: str, if_exists: str) -> None:
    """See to it that a recording may go to `target`; see `start` for `if_exists`. Raises RecordingError, OSError."""
    if os.path.exists(target) and not os.path.isdir(target):
        raise RecordingError(f"{target} is a file; a capture is a directory")
    manifest = f"{target}/{schema.MANIFEST}"
    if not os.path.exists(manifest):
        return
    if if_exists == "error":
        raise RecordingError(
            f"{target} already holds a capture; choose another path, or if_exists='append' or 'replace'"
        )
    if if_exists == "replace":
        _empty(target)
        return
    try:
        with open(manifest, encoding="utf-8") as file:
            version = json.load(file)["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{manifest} cannot be read, so nothing is added to that capture: {error}") from error
    if version != schema.FORMAT_VERSION:
        raise RecordingError(
            f"{target} holds a capture of format {version}, and this version writes format {schema.FORMAT_VERSION} "
            "only; choose another path"
        )


def _empty(target: str) -> None:
    import shutil

    for folder in (schema.PROCESSES, schema.RINGS, *schema.TABLES):
        shutil.rmtree(f"{target}/{folder}", ignore_errors=True)
    os.unlink(f"{target}/{schema.MANIFEST}")


def make(path: str, created_ns: int, imported: dict[str, Any] | None = None) -> None:
    """Make the folders of a capture and its manifest, as far as they are not there. Raises OSError.

    `imported`: what the manifest says of the trace that the capture was made of.
    """
    for folder in (schema.PROCESSES, *schema.RECORDED):
        os.makedirs(f"{path}/{folder}", exist_ok=True)
    if not os.path.exists(f"{path}/{schema.MANIFEST}"):
        content = {
            "format": schema.FORMAT_VERSION,
            "writer": f"quantum_pulse {_version()}",
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created_ns / 1e9)),
            **({} if imported is None else {"imported": imported}),
        }
        with Folder.at(path) as root:
            root.write_json(schema.MANIFEST, content)


def _version() -> str:
    from quantum_pulse._version import __version__

    return __version__
