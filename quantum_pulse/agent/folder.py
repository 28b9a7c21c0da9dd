"""A directory held open, so that what is written and deleted in it is in it: no link on the way is followed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
TEMPORARY = ".tmp"


class Entry(NamedTuple):
    """A regular file: its name, and what changes when it is replaced."""

    name: str
    bytes: int
    inode: int
    modified_ns: int


class Folder:
    """A directory by its descriptor. Close it, or use it in a ``with``."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def at(cls, path: Path) -> Self:
        """The directory `path`, where links in the path itself count as the user's choice. Raises OSError."""
        return cls(os.open(path, _DIRECTORY))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def inside(self, name: str) -> Folder | None:
        """The directory `name` in it; None where there is none. Raises OSError, also for a link."""
        try:
            return self.existing(name)
        except FileNotFoundError:
            return None

    def existing(self, name: str) -> Folder:
        """The directory `name` in it. Raises OSError, also for a link."""
        return Folder(os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=self._descriptor))

    def made(self, name: str) -> Folder:
        """The directory `name` in it, which is made if it is not there. Raises OSError, also for a link."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=self._descriptor)
        return self.existing(name)

    def files(self) -> list[Entry]:
        """The regular files in it, by name. Raises OSError."""
        found = []
        with os.scandir(self._descriptor) as entries:
            for entry in entries:
                # What vanishes meanwhile was not meant to stay.
                with contextlib.suppress(FileNotFoundError):
                    about = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(about.st_mode):
                        found.append(Entry(entry.name, about.st_size, about.st_ino, about.st_mtime_ns))
        return sorted(found)

    def names(self) -> list[str]:
        """The names in it and in the directories in it, links among them followed, of which only this is read."""
        with os.scandir(self._descriptor) as entries:
            found = [entry.name for entry in entries]
        for name in tuple(found):
            # A file, or a link of another host that leads nowhere here.
            with contextlib.suppress(OSError), Folder(os.open(name, _DIRECTORY, dir_fd=self._descriptor)) as inner:
                found += [entry.name for entry in inner.files()]
        return found

    def open(self, name: str) -> BinaryIO:
        """The regular file `name`, to be read. Raises OSError."""
        # Without waiting, as for whoever writes to a pipe.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=self._descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is no regular file", name)
        return open(descriptor, "rb")

    def read_json(self, name: str) -> dict[str, Any]:
        """The JSON object in the file `name`. Raises OSError, and ValueError where there is none in it."""
        with self.open(name) as file:
            try:
                content = json.loads(file.read())
            except RecursionError:
                raise ValueError("it is nested too deeply") from None
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
        return content

    def write(self, name: str, fill: Callable[[BinaryIO], object]) -> None:
        """Make the file `name` of what `fill` writes: whole or not at all, and on the disk. Raises OSError."""
        temporary = f".{name}{TEMPORARY}"
        self.delete(temporary)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o666, dir_fd=self._descriptor)
        try:
            with open(descriptor, "wb") as file:
                fill(file)
                file.flush()
                os.fsync(descriptor)
            os.replace(temporary, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                self.delete(temporary)
            raise
        # What follows deletes what this file replaces, so its name must outlive a power cut as well.
        os.fsync(self._descriptor)

    def delete(self, name: str) -> None:
        """Delete the file `name`, if it is there; of a link the link. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)
