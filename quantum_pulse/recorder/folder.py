"""The directory of a capture, as a recording makes it or adds to it."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from quantum_pulse import arguments, schema
from quantum_pulse.errors import RecordingError


def target(path: str | os.PathLike[str]) -> Path:
    """Where a capture goes. Raises RecordingError for an empty path, TypeError for what is none."""
    try:
        return arguments.path(path, "path", "captures/monday").absolute()
    except ValueError as error:
        raise RecordingError(str(error)) from None


def prepare(target: Path, if_exists: str) -> None:
    """See to it that a recording may go to `target`; see `start` for `if_exists`. Raises RecordingError, OSError."""
    if target.exists() and not target.is_dir():
        raise RecordingError(f"{target} is a file; a capture is a directory")
    manifest = target / schema.MANIFEST
    if not manifest.exists():
        return
    if if_exists == "error":
        raise RecordingError(
            f"{target} holds a capture already; choose another path, or if_exists='append' or 'replace'"
        )
    if if_exists == "replace":
        for folder in (schema.PROCESSES, schema.RINGS, *schema.TABLES):
            shutil.rmtree(target / folder, ignore_errors=True)
        manifest.unlink()
        return
    try:
        version = json.loads(manifest.read_text(encoding="utf-8"))["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{manifest} cannot be read, so nothing is added to that capture: {error}") from error
    if version != schema.FORMAT_VERSION:
        raise RecordingError(
            f"{target} holds a capture of format {version}; this version writes format {schema.FORMAT_VERSION} only"
        )


def make(path: Path, created_ns: int, *, with_rings: bool = True) -> None:
    """Make the folders of a capture and its manifest, as far as they are not there. Raises OSError."""
    for folder in (schema.PROCESSES, *([schema.RINGS] if with_rings else []), *schema.TABLES):
        (path / folder).mkdir(parents=True, exist_ok=True)
    if not (path / schema.MANIFEST).exists():
        content = {
            "format": schema.FORMAT_VERSION,
            "writer": f"quantum_pulse {_version()}",
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created_ns / 1e9)),
        }
        write_json(path / schema.MANIFEST, content)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write whole or not at all. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    # An argument may be a file name that is not Unicode; the replacement is how JSON writes a lone surrogate.
    temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    os.replace(temporary, path)


def _version() -> str:
    from quantum_pulse._version import __version__

    return __version__
