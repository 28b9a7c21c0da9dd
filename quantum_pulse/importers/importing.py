"""Import a trace: read it, sort its calls, nest them, and write a capture that appears once it is whole."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

from quantum_pulse import files, folders, schema
from quantum_pulse.errors import TraceError
from quantum_pulse.importers import formats
from quantum_pulse.importers.sink import Sink
from quantum_pulse.importers.writing import Writer
from quantum_pulse.operations import Definition
from quantum_pulse.reading import scan

_GZIP: Final = b"\x1f\x8b"
#: Bytes beyond which a bar shows the progress: fewer are read within a second.
_PROGRESS_BYTES: Final = 20_000_000


class Result(NamedTuple):
    """What became of the events of a trace: each is a sample, or refused."""

    path: Path
    format: str
    events: int
    samples: int
    #: Reason -> events; and of these the reasons for which calls are missing.
    refused: dict[str, int]
    lost: dict[str, int]
    notes: list[str]
    operations: list[Definition]


def run(file: Path, target: Path, format_name: str | None, *, overwrite: bool) -> Result:
    """Import the trace in `file` into the capture `target`. Raises OSError, ValueError, TraceError."""
    files.check(file)
    _check_target(target, overwrite=overwrite)
    opened = _opener(file)
    with _unpacking(file), opened() as content:
        chosen = formats.choose(format_name, content.read(formats.HEAD_BYTES), str(file))
    target.parent.mkdir(parents=True, exist_ok=True)
    made = target.with_name(f".{target.name}.{os.urandom(8).hex()}.importing")
    scratch = made / "scratch"
    try:
        folders.make(str(made), time.time_ns())
        scratch.mkdir()
        sink = Sink(scratch)
        writer = Writer(sink, made, scratch)
        try:
            with scan.reading_bytes(file.stat().st_size, "import", _PROGRESS_BYTES) as advance, _unpacking(file):
                chosen.read(lambda: opened(advance), sink)
                sink.flush()
            writer.write()
        finally:
            sink.runs.close()
            writer.close()
        shutil.rmtree(scratch)
        result = _result(sink, target, chosen.name)
        _describe(made, file, result)
        _put_in_place(made, target, overwrite=overwrite)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return result


def _result(sink: Sink, target: Path, format_name: str) -> Result:
    account = sink.account
    if account.events != account.samples + account.refused.total():
        raise AssertionError(f"{account.events} events, {account.samples} samples, {account.refused}")
    return Result(
        target,
        format_name,
        account.events,
        account.samples,
        {reason.text: events for reason, events in account.refused.most_common()},
        {reason.text: events for reason, events in account.lost.most_common()},
        sink.notes,
        sink.operations.definitions,
    )


def _describe(made: Path, file: Path, result: Result) -> None:
    """Say in the manifest what was imported."""
    manifest = made / schema.MANIFEST
    manifest.unlink()
    folders.make(
        str(made),
        time.time_ns(),
        {
            "file": file.name,
            "format": result.format,
            "events": result.events,
            "samples": result.samples,
            "refused": result.refused,
            "notes": result.notes,
        },
    )


def _check_target(target: Path, *, overwrite: bool) -> None:
    """Raise OSError if a capture may not be put at `target`."""
    if not target.exists():
        return
    if not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is a file; a capture is a directory", str(target))
    if not any(target.iterdir()):
        return
    if not (target / schema.MANIFEST).exists():
        raise FileExistsError(errno.EEXIST, "it is a directory that holds other files", str(target))
    if not overwrite:
        raise FileExistsError(errno.EEXIST, "it already holds a capture; overwrite=True replaces it", str(target))


def _put_in_place(made: Path, target: Path, *, overwrite: bool) -> None:
    _check_target(target, overwrite=overwrite)
    if target.exists() and any(target.iterdir()):
        replaced = made.with_suffix(".replaced")
        target.rename(replaced)
        made.rename(target)
        shutil.rmtree(replaced)
    else:
        made.rename(target)


def _opener(file: Path) -> Callable[..., BinaryIO]:
    """What opens the file, unpacked where it is packed."""
    with open(file, "rb") as raw:
        is_packed = raw.read(len(_GZIP)) == _GZIP

    def opened(advance: Callable[[int], object] | None = None) -> BinaryIO:
        raw = open(file, "rb", buffering=0)  # noqa: SIM115 - what is made of it closes it
        counted = raw if advance is None else cast(Any, _Counted(raw, advance))
        if is_packed:
            return cast(BinaryIO, _Packed(io.BufferedReader(counted, 1 << 18)))
        return io.BufferedReader(counted, 1 << 18)

    return opened


@contextlib.contextmanager
def _unpacking(file: Path) -> Iterator[None]:
    """Errors of a packed file name it."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile) as error:
        raise TraceError(f"{file} cannot be unpacked: {error}") from error
    except TraceError as error:
        raise TraceError(f"{file}: {error}" if str(file) not in str(error) else str(error)) from error


class _Packed(gzip.GzipFile):
    """A packed file that closes the one below it."""

    def __init__(self, below: io.BufferedReader) -> None:
        super().__init__(fileobj=below, mode="rb")
        self._below = below

    def close(self) -> None:
        super().close()
        self._below.close()


class _Counted(io.RawIOBase):
    """A file that reports how much of it is read."""

    def __init__(self, inner: io.FileIO, advance: Callable[[int], object]) -> None:
        super().__init__()
        self._inner = inner
        self._advance = advance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._inner.readinto(buffer) or 0
        self._advance(count)
        return count

    def close(self) -> None:
        self._inner.close()
        super().close()
