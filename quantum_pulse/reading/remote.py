"""Read captures in an object store: one listing, footers by range requests, and parts once they are needed.

Whatever fsspec opens is a store: s3, gs, az, http, memory, file. What was read is kept in a folder of this machine, a
mirror of the capture, in files that appear whole or not at all. Parts never change, so a part and its footer are
fetched once, as long as the store says the same size; process files are fetched anew each time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from quantum_pulse import files, schema
from quantum_pulse.errors import CaptureError, NotACaptureError
from quantum_pulse.reading import scan
from quantum_pulse.reading.reader import Part, Source

T = TypeVar("T")

#: Requests to a store at a time.
CONNECTIONS: Final = 32
#: The end of a part that is read first; it holds the footer of nearly all of them.
FOOTER_BYTES: Final = 1 << 16
#: A Parquet file ends in the length of its footer, in four bytes, and four of a mark.
_TRAILER_BYTES: Final = 8
#: Where the mirrors are, instead of the user's folder for caches.
CACHE: Final = "QUANTUM_PULSE_CACHE"
#: Folder of a mirror in which the footers of its parts are.
_FOOTERS: Final = "footers"


class Store(NamedTuple):
    """A folder of an fsspec file system. `url` is as it was given, `root` as the file system names it."""

    url: str
    system: Any
    root: str

    @classmethod
    def at(cls, url: str) -> Store:
        """The folder that a URL names. Raises CaptureError where nothing is installed that opens it."""
        try:
            import fsspec
        except ImportError:
            raise CaptureError(
                f"{url}: reading captures by URL needs fsspec; install quantum-pulse with the extra [remote]"
            ) from None
        try:
            system, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise CaptureError(f"{url} cannot be opened: {files.reason(error)}") from error
        return cls(url, system, root.rstrip("/"))

    @property
    def mirror(self) -> Path:
        """The folder of this machine for what was read of it."""
        given = os.environ.get(CACHE)
        caches = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "quantum_pulse"
        scheme, _, rest = self.url.partition("://")
        names = [name for name in rest.split("/") if name not in ("", ".", "..")]
        return caches.expanduser().absolute().joinpath(scheme, *names)

    def listed(self) -> dict[str, int | None]:
        """The files in it and in its folders, by their paths in it, and their sizes where those are known."""
        with self.asking():
            # File systems keep listings; what has come since is to be seen.
            self.system.invalidate_cache()
            found = self.system.find(self.root, detail=True)
        sizes = {name[len(self.root) :].lstrip("/"): about.get("size") for name, about in found.items()}
        return {name: size for name, size in sorted(sizes.items()) if name}

    def read(self, name: str, start: int | None = None) -> bytes:
        """A file, or the end of it from `start` on, which is negative. Raises FileNotFoundError, CaptureError."""
        with self.asking():
            return bytes(self.system.cat_file(f"{self.root}/{name}", start=start))

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """What goes wrong in this block but a missing file is a CaptureError that names the store."""
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:  # each file system has errors of its own
            raise CaptureError(f"{self.url} cannot be read: {files.reason(error)}") from error


def expand(pattern: str) -> list[str]:
    """The URLs of the folders that a URL with wildcards matches. Raises NotACaptureError for none."""
    store = Store.at(pattern)
    with store.asking():
        store.system.invalidate_cache()
        found = [name for name, about in store.system.glob(store.root, detail=True).items() if about["type"] != "file"]
    if not found:
        raise NotACaptureError(f"nothing matches {pattern}")
    return [store.system.unstrip_protocol(name.rstrip("/")) for name in sorted(found)]


class RemoteSource(Source):
    """A capture in a store. Its parts are listed by their footers, and fetched when they are read."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.mirror)
        self.store = store
        self.name = store.url
        self._sizes: dict[str, int | None] = {}

    def find(self) -> None:
        """Take in what the store has. Raises NotACaptureError, CaptureError, FormatVersionError."""
        while True:
            try:
                self._sizes = self.store.listed()
                self._check_is_there()
                self._fetch_small()
                self.add_processes()
                self.add_tables()
                break
            except _Vanished:
                # Parts were merged, or expired, after they had been listed: the listing is of the past.
                self.recordings.clear()
        self.add_manifest()
        self.note_missing()

    def _check_is_there(self) -> None:
        known = {schema.MANIFEST, schema.PROCESSES, *schema.TABLES}
        if not any(name.partition("/")[0] in known for name in self._sizes):
            raise NotACaptureError(f"{self.name} is not a capture: there is no {schema.MANIFEST} at that URL")

    def _fetch_small(self) -> None:
        """Fetch the manifest and the process files, which change, and delete those that the store has no more."""
        wanted = [name for name in self._sizes if name == schema.MANIFEST or _is_in(name, schema.PROCESSES, ".json")]
        known = {self.path / name for name in wanted}
        for stale in [self.path / schema.MANIFEST, *(self.path / schema.PROCESSES).glob("*.json")]:
            if stale not in known:
                stale.unlink(missing_ok=True)
        (self.path / schema.PROCESSES).mkdir(parents=True, exist_ok=True)
        self._all(self._fetch, wanted, "processes")

    def _fetch(self, name: str) -> None:
        content = self._content(name)
        with files.replacing(self.path / name) as file:
            file.write(content)

    def _content(self, name: str, start: int | None = None) -> bytes:
        try:
            return self.store.read(name, start)
        except FileNotFoundError:
            raise _Vanished(name) from None

    def add_table(self, table: str) -> None:
        """Take in all parts of `table` that the store has."""
        names = [name for name in self._sizes if _is_in(name, table, ".parquet")]
        for name, content in zip(names, self._all(self._footer, names, f"footers of {table}"), strict=True):
            self.add_read(table, self.path / name, self.path / name, content)
        self.leave_out_merged(table)

    def _footer(self, name: str) -> bytes:
        """The end of the part `name` with all of its footer, from the mirror if it is there."""
        kept = self.path / _FOOTERS / f"{name}.{self._sizes[name]}"
        with contextlib.suppress(OSError):
            return kept.read_bytes()
        content = self._content(name, -FOOTER_BYTES)
        missing = int.from_bytes(content[-_TRAILER_BYTES:-4], "little") + _TRAILER_BYTES
        # A length beyond the file is damage, which the parser finds.
        if len(content) == FOOTER_BYTES and FOOTER_BYTES < missing <= (self._sizes[name] or 0):
            content = self._content(name, -missing)
        with files.replacing(kept) as file:
            file.write(content)
        return content

    def fetch(self, parts: Sequence[Part]) -> None:
        """Fetch those of `parts` that are not in the mirror. Raises FileNotFoundError for one that is gone."""
        missing = [part for part in parts if not self._is_kept(part)]
        if not missing:
            return

        def one(part: Part) -> None:
            name = str(part.path.relative_to(self.path))
            content = self.store.read(name)
            with files.replacing(part.file) as file:
                file.write(content)

        self._all(one, missing, "parts")

    def _is_kept(self, part: Part) -> bool:
        """Whether the part is in the mirror, as it is in the store."""
        size = self._sizes.get(str(part.path.relative_to(self.path)))
        with contextlib.suppress(OSError):
            return size is None or part.file.stat().st_size == size
        return False

    def _all(self, work: Callable[[Any], T], wanted: Sequence[Any], label: str) -> list[T]:
        """What `work` returns for each, of a bounded number of requests at a time, and with a bar of progress."""
        if not wanted:
            return []
        with (
            scan.steps(len(wanted), label) as advance,
            ThreadPoolExecutor(min(CONNECTIONS, len(wanted)), thread_name_prefix="remote") as pool,
        ):
            try:
                found = []
                for one in pool.map(work, wanted):
                    found.append(one)
                    advance()
                return found
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _note_missing_ring(self, name: str, process: dict[str, Any]) -> None:
        """Rings are never in a store: those of a process that records are on its own host."""

    def _has_expired_since(self) -> bool:
        """What vanishes after it was listed is noticed when it is read."""
        return False


class _Vanished(Exception):  # noqa: N818 - never leaves this module
    """A file was deleted after it had been listed."""


def _is_in(name: str, folder: str, suffix: str) -> bool:
    """Whether a path is of a file in `folder` itself, with this suffix and not hidden."""
    above, _, last = name.rpartition("/")
    return above == folder and last.endswith(suffix) and not last.startswith(".")


def find(url: str) -> RemoteSource:
    """The capture at a URL. Raises as `reader.find`."""
    source = RemoteSource(Store.at(url))
    source.find()
    return source
