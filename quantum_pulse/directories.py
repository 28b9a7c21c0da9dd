"""Files that are made and deleted safely, also where others may write: no link is followed that was planted there.

A directory is held open by its descriptor, so what is written and deleted is in it, whatever becomes of its path. New
files have names that nobody can guess, are made by O_EXCL, and get their own name once they are whole.

`acting_for_owner` keeps root from doing in somebody's capture what its owner could not do.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any, BinaryIO, NamedTuple, Self
else:
    from quantum_pulse.tuples import NamedTuple

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
    def at(cls, path: str | Path) -> Self:
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
            raise OSError(errno.EINVAL, "it is not a regular file", name)
        return open(descriptor, "rb")

    def read_json(self, name: str) -> dict[str, Any]:
        """The JSON object in the file `name`. Raises OSError, and ValueError where there is none in it."""
        with self.open(name) as file:
            try:
                content = json.loads(file.read())
            except RecursionError:
                raise ValueError("it is nested too deeply") from None
        if not isinstance(content, dict):
            raise ValueError("it is not a JSON object")
        return content

    def write(self, name: str, fill: Callable[[BinaryIO], object], *, durable: bool = False) -> None:
        """Make the file `name` of what `fill` writes: whole or not at all. Raises OSError.

        `durable`: and on the disk, for whoever then deletes what this file replaces.
        """
        with self.replacing(name) as file:
            fill(file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if durable:
            # Its name must outlive a power cut as well.
            os.fsync(self._descriptor)

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[BinaryIO]:
        """A file to write to that becomes `name` once the block has ended well, and is gone if it has not."""
        temporary = f".{name}.{os.urandom(8).hex()}{TEMPORARY}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o666, dir_fd=self._descriptor)
        with becoming(name, temporary, self._descriptor), open(descriptor, "wb") as file:
            yield file

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Make the file `name` of a JSON object: whole or not at all. Raises OSError."""
        # An argument may be a file name that is not Unicode; the replacement is how JSON writes a lone surrogate.
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        self.write(name, lambda file: file.write(text.encode("utf-8", "backslashreplace")))

    def delete(self, name: str) -> None:
        """Delete the file `name`, if it is there; of a link the link. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)

    def delete_temporary(self, prefix: str = "") -> None:
        """Delete what was left of files that never became whole, whose names begin with `prefix`. Raises OSError."""
        for entry in self.files():
            if entry.name.startswith(f".{prefix}") and entry.name.endswith(TEMPORARY):
                self.delete(entry.name)


@contextlib.contextmanager
def becoming(name: str, temporary: str, folder: int | None = None) -> Iterator[None]:
    """The file `temporary` becomes `name` once the block has ended well, and is gone if it has not.

    Every file that appears whole or not at all does so here. Names are relative to the directory of the descriptor
    `folder`, or, without one, paths. Raises OSError.
    """
    try:
        yield
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


@contextlib.contextmanager
def holding(path: Path) -> Iterator[Folder]:
    """The folder of a file of a capture, `CAPTURE/FOLDER/FILE`, whose FOLDER must be no link. Raises OSError."""
    with Folder.at(path.parent.parent) as root, root.existing(path.parent.name) as folder:
        yield folder


def delete(path: Path) -> None:
    """Delete a file of a capture, if it is there, as `holding`. Raises OSError."""
    with contextlib.suppress(FileNotFoundError), holding(path) as folder:
        folder.delete(path.name)


@contextlib.contextmanager
def acting_for_owner(path: str | Path) -> Iterator[None]:
    """Root acts as the owner of `path` in this block, so that the kernel refuses what the owner may not do.

    Others act as themselves. Affects all threads of the process. Raises OSError.
    """
    owner = os.stat(path).st_uid  # noqa: PTH116 - programs that record do without pathlib
    if os.geteuid() != 0 or owner == 0:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    own, others = _groups_of(owner)
    try:
        os.setgroups(others)
        os.setegid(own)
        os.seteuid(owner)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def _groups_of(user: int) -> tuple[int, list[int]]:
    """The groups of a user. The directory's own would not do: it may be one that the user is not in."""
    import pwd

    try:
        known = pwd.getpwuid(user)
    except KeyError:
        return user, []  # as containers have it, where nobody has a name
    return known.pw_gid, os.getgrouplist(known.pw_name, known.pw_gid)
