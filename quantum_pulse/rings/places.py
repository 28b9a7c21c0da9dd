"""Where rings are, and what the processes of a host share to record into one capture.

During a recording, each capture has a folder of its own in shared memory (/dev/shm), which only its user can enter. It
holds the rings and their journals, the FIFO that wakes the agent, and the lock that the agent holds. The folder `rings`
of the capture has a link to it, so that whoever finds the capture finds the rings.

If there is no shared memory, or if the rings are wanted elsewhere, the same folder is made in another place.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import zlib

from quantum_pulse import schema

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Final

#: Shared memory, as a file system.
MEMORY: Final = "/dev/shm"
#: Where the lock and the FIFO may be: the first place that works is taken.
_BASES: Final = (MEMORY, "/run/user/{uid}", "/tmp")
#: Prefix of quantum_pulse's folders outside of captures.
PREFIX: Final = "quantum_pulse-"
#: Prefix of the folders in them.
CAPTURE: Final = "capture-"

LOCK: Final = "agent.lock"
FIFO: Final = "agent.wake"
_GATE: Final = ".gate"


class Place:
    """The folders of a capture outside of it: `control` for the lock and the FIFO, `rings` for ring files.

    Both are absolute paths, usually the same.
    """

    def __init__(self, capture: str, ring_folder: str | None = None) -> None:
        """Choose the folders; `opened` makes them. Raises OSError if no place takes them."""
        self.capture = capture
        self._name = _name_of(capture)
        self._base = _base()
        self.control = f"{self._base}/{self._name}"
        if ring_folder is not None:
            self.rings = f"{_own_folder(ring_folder)}/{self._name}"
        elif self._base.startswith(MEMORY + "/"):
            self.rings = self.control
        else:
            self.rings = ""
        #: In the capture: a link to the folder of the rings, or that folder itself.
        self.link = f"{capture}/{schema.RINGS}/{host()}.{zlib.crc32(os.fsencode(self.rings or self.control)):08x}"
        self.rings = self.rings or self.link
        self.fifo = f"{self.control}/{FIFO}"

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folders and keep them while the block makes files in them. Raises OSError."""
        with self._gate(fcntl.LOCK_SH):
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.dirname(self.link))
            for folder in {self.control, self.rings}:
                _make_private(folder)
            if self.rings != self.link:
                self._make_link()
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self.fifo, 0o600)
            yield

    @contextlib.contextmanager
    def closing(self) -> Iterator[None]:
        """Keep everybody out of `opened` while the block runs."""
        with self._gate(fcntl.LOCK_EX):
            yield

    def leave(self) -> None:
        """Delete what `opened` has made, unless somebody else uses it.

        For a recording that could not begin, or whose capture is gone.
        """
        with contextlib.suppress(OSError), self.closing():
            self._drop_orphans()
            if not self.has_agent() and not _has_rings(self.rings):
                self.unlink()
                self.remove()

    def ring_folders(self) -> list[str]:
        """The folders with rings of the capture on this host, even if a link in the capture was deleted."""
        links = (trusted(folder) for folder in ring_folders(self.capture, host()))
        return list(dict.fromkeys([os.path.realpath(self.rings), *(folder for folder in links if folder is not None)]))

    def unlink(self) -> None:
        """Delete the links in the capture to folders without rings; in `closing`."""
        # Including folders that another program has chosen, which this one may not know.
        for link in {self.link, *ring_folders(self.capture, host())}:
            folder = _target(link) or link
            if (folder != link and not _is_ours(folder)) or _has_rings(folder):
                continue
            if folder != link:
                with contextlib.suppress(OSError):
                    os.unlink(link)
            if folder != self.control and (folder == link or os.path.basename(folder) == self._name):
                _remove_folder(folder)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(self.link))

    def remove(self) -> None:
        """Delete the folders, unless there are rings; in `closing`."""
        self._drop_orphans()
        self.unlink()
        if any(map(_has_rings, {self.control, self.rings, *ring_folders(self.capture, host())})):
            return  # a running program may need the FIFO, or somebody may recover the rings
        for path in (self.fifo, f"{self.control}/{LOCK}"):
            with contextlib.suppress(OSError):
                os.unlink(path)
        for folder in {self.control, self.rings}:
            _remove_folder(folder)
        remove_empty(self.capture)

    def open_fifo(self) -> int:
        """Open the FIFO that wakes the agent, for both sides. It never blocks, and never raises SIGPIPE."""
        descriptor = os.open(self.fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is no FIFO", self.fifo)
        return descriptor

    def lock(self) -> int | None:
        """Try to become the agent: a descriptor that holds the lock, or None if there is an agent. Raises OSError."""
        path = f"{self.control}/{LOCK}"
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_ino == os.stat(path).st_ino:  # else another agent has just ended
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, b"%d\n" % os.getpid())
                    return descriptor
            except BlockingIOError:
                os.close(descriptor)
                return None
            except FileNotFoundError:
                pass
            except OSError:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def agent_pid(self) -> int | None:
        """The process number of the agent, for debugging; None if there is no agent."""
        try:
            with open(f"{self.control}/{LOCK}", encoding="ascii") as file:
                return int(file.read()) if self.has_agent() else None
        except (OSError, ValueError):
            return None

    def has_agent(self) -> bool:
        """Whether an agent serves the capture on this host."""
        return is_served(self.control)

    def _drop_orphans(self) -> None:
        """Delete rings whose process and capture are both gone: nobody would find them."""
        if os.path.isdir(self.capture):
            return
        from pathlib import Path

        from quantum_pulse.rings import owners

        with contextlib.suppress(OSError):
            for name in os.listdir(self.rings):
                stem, suffix = os.path.splitext(name)
                ring = Path(self.rings, f"{stem}{schema.RING_SUFFIX}")
                if suffix in (schema.RING_SUFFIX, schema.NAMES_SUFFIX) and not owners.is_alive(ring):
                    with contextlib.suppress(OSError):
                        os.unlink(f"{self.rings}/{name}")

    def _make_link(self) -> None:
        while True:
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.dirname(self.link))
            try:
                os.symlink(self.rings, self.link)
            except FileNotFoundError:
                continue  # another agent has just removed the empty folder
            except FileExistsError:
                # The name follows from the target, so another process has made it, unless somebody changed it.
                if _target(self.link) != self.rings:
                    os.unlink(self.link)
                    continue
            return

    @contextlib.contextmanager
    def _gate(self, kind: int) -> Iterator[None]:
        _make_private(self._base)
        gate = os.open(f"{self._base}/{_GATE}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(gate, kind)
            yield
        finally:
            os.close(gate)


def host() -> str:
    """The host name, made safe for a file name."""
    return os.uname().nodename.replace("/", "_").replace(".", "_") or "localhost"


def is_served(folder: str) -> bool:
    """Whether an agent holds the lock in `folder`."""
    try:
        descriptor = os.open(f"{folder}/{LOCK}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def ring_folders(capture: str, host: str | None = None) -> list[str]:
    """The folders for rings of a capture, of one host or of all. They need not exist."""
    folder = f"{capture}/{schema.RINGS}"
    try:
        # quantum_pulse makes no link of this name, so it leads to something else.
        names = [] if os.path.islink(folder) else os.listdir(folder)
    except OSError:
        return []
    own = [name for name in sorted(names) if not name.startswith(".")]
    return [f"{folder}/{name}" for name in own if host is None or name.rpartition(".")[0] == host]


def trusted(folder: str) -> str | None:
    """Resolve one of `ring_folders` if its content may be deleted; None if a link leads elsewhere.

    Anybody who can write into a capture can make a link there. So its target must have a name of quantum_pulse's, and
    nobody but this user may be able to write into it.
    """
    target = _target(folder)
    if target is None:
        return folder
    own, base = os.path.basename(target), os.path.dirname(target)
    if not (own.startswith(CAPTURE) and os.path.basename(base).startswith(PREFIX) and os.path.isabs(target)):
        return None
    try:
        for path in (base, target):
            _check_private(path)
    except OSError:
        return None
    return target


def rings_to_take(capture: Path) -> list[Path]:
    """As `rings_of`, but only rings that may be deleted, by paths without links."""
    from pathlib import Path

    found = []
    for ring in rings_of(capture):
        folder = trusted(str(ring.parent))
        if folder is not None:
            found.append(Path(folder) / ring.name)
    return found


def rings_of(capture: Path, suffixes: tuple[str, ...] = (schema.NAMES_SUFFIX, schema.RING_SUFFIX)) -> list[Path]:
    """The rings of a capture. If a process died between making its journal and its ring, the ring is missing."""
    from pathlib import Path

    found: dict[Path, None] = {}
    for folder in ring_folders(str(capture)):
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(folder)):
                suffix = next((one for one in suffixes if name.endswith(one)), None)
                if suffix is not None and not name.startswith(".") and not os.path.isdir(f"{folder}/{name}"):
                    found[Path(folder) / f"{name.removesuffix(suffix)}{schema.RING_SUFFIX}"] = None
    return list(found)


def remove_empty(capture: str) -> None:
    """Delete links of `capture` to folders of rings that are gone, and `rings` when nothing is left in it."""
    for link in ring_folders(capture, host()):
        target = _target(link)
        with contextlib.suppress(OSError):
            if target is not None and _is_ours(target) and not os.path.lexists(target):
                os.unlink(link)
            elif target is None:
                os.rmdir(link)
    with contextlib.suppress(OSError):
        os.rmdir(f"{capture}/{schema.RINGS}")


def _remove_folder(folder: str) -> None:
    """Delete a folder, unless something complete is in it; in `closing`."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            # Nobody is making a file now, so whoever began this one was killed.
            if name.startswith(".") and name.endswith(".tmp"):
                with contextlib.suppress(OSError):
                    os.unlink(f"{folder}/{name}")
        os.rmdir(folder)


def _has_rings(folder: str) -> bool:
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    return any(name.endswith((schema.RING_SUFFIX, schema.NAMES_SUFFIX)) for name in names)


def _target(link: str) -> str | None:
    try:
        return os.readlink(link)
    except OSError:
        return None


def _is_ours(folder: str) -> bool:
    """Whether a link leads where quantum_pulse's links lead. No other link is ever followed to change anything.

    A link of a container with the same host name may lead to another shared memory.
    """
    owner, _, name = folder.rpartition("/")
    prefix, _, rest = os.path.basename(owner).partition("-")
    return f"{prefix}-" == PREFIX and rest.endswith(_view()) and name.startswith(CAPTURE)


def _name_of(capture: str) -> str:
    """The name of a capture's folders, wherever they are."""
    path = os.fsencode(os.path.realpath(capture))
    return f"{CAPTURE}{zlib.crc32(path):08x}{zlib.crc32(path[::-1] + b'.'):08x}"


def _base() -> str:
    """The folder of this user, which holds the folders of captures. Raises OSError if there is none."""
    uid = os.geteuid()
    for base in _BASES:
        folder = base.format(uid=uid)
        with contextlib.suppress(OSError):
            return _own_folder(folder)
    raise OSError(errno.ENOENT, f"none of these folders can be used: {', '.join(_BASES)}")


def _own_folder(folder: str) -> str:
    """A folder in `folder` that only this user can enter, in this view of processes. Raises OSError."""
    own = f"{folder}/{PREFIX}{os.geteuid()}{_view()}"
    _make_private(own)
    return own


def _view() -> str:
    """A suffix that is the same for all who see the same processes.

    Two containers may share memory without seeing each other's processes; they must not share an agent.
    """
    return f"-{os.stat('/proc/self/ns/pid').st_ino:x}"


def _make_private(folder: str) -> None:
    """Make `folder` if it is missing, for this user alone. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    _check_private(folder)


def _check_private(folder: str) -> None:
    """Raise OSError unless `folder` exists and belongs to this user alone."""
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "it is in the way, and no folder", folder)
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(errno.EPERM, "it belongs to somebody else", folder)
