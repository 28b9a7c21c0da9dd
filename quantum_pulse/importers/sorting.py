"""Sort any number of calls in bounded memory: sorted runs on disk, merged batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.importers.rows import Rows, from_arrow, joined, to_arrow

if TYPE_CHECKING:
    import numpy.typing as npt

#: Rows of a run: about 40 MB while it is sorted.
RUN_ROWS: Final = 1 << 19
#: Rows of a run that are read at once when runs are merged.
BATCH_ROWS: Final = 1 << 15

Keys = tuple["npt.NDArray[Any]", ...]


class Runs:
    """Sorted runs of rows in a folder. Add all rows, then take them in order."""

    def __init__(self, folder: Path, keys: Callable[[Rows], Keys]) -> None:
        """`keys` gives the columns to sort by, the most significant first. Rows of equal keys stay in order."""
        self._folder = folder
        self._keys = keys
        self._waiting: list[Rows] = []
        self._rows = 0
        self._files: list[Path] = []
        # A run is sorted and written while the next one is read.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="import-sort")
        self._writing: Future[None] | None = None

    def add(self, rows: Rows) -> None:
        """Take in rows. Raises OSError."""
        self._waiting.append(rows)
        self._rows += len(rows)
        if self._rows >= RUN_ROWS:
            self._spill()

    def close(self) -> None:
        """Nothing is taken in or written any more."""
        self._pool.shutdown()

    def merged(self) -> Iterator[Rows]:
        """All rows, in order. Raises OSError."""
        if not self._files:
            if self._waiting:
                yield self._sorted(joined(self._waiting))
            return
        self._spill()
        self._wait()
        yield from self._merge()

    def _spill(self) -> None:
        if not self._waiting:
            return
        self._wait()
        path = self._folder / f"run-{len(self._files)}.arrow"
        self._files.append(path)
        self._writing = self._pool.submit(self._write, path, self._waiting)
        self._waiting, self._rows = [], 0

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write(self, path: Path, pieces: list[Rows]) -> None:
        import pyarrow as pa

        rows = self._sorted(joined(pieces))
        batch = to_arrow(rows)
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema, options=options) as writer:
            for first in range(0, len(rows), BATCH_ROWS):
                writer.write_batch(batch.slice(first, BATCH_ROWS))

    def _sorted(self, rows: Rows) -> Rows:
        import numpy as np

        keys = self._keys(rows)
        if _is_sorted(keys):
            return rows
        return rows.take(np.lexsort(keys[::-1]))

    def _merge(self) -> Iterator[Rows]:
        import pyarrow as pa

        files = [pa.OSFile(str(path), "rb") for path in self._files]
        try:
            runs = [_Run(pa.ipc.open_file(file)) for file in files]
            while runs := [run for run in runs if run.load()]:
                # What comes next in a run is not before the last row that is loaded of it.
                lasts = [tuple(int(key[-1]) for key in self._keys(run.rows)) for run in runs if run.goes_on]
                taken = [run.take(_until(self._keys(run.rows), min(lasts)) if lasts else None) for run in runs]
                yield self._sorted(joined([rows for rows in taken if len(rows)]))
        finally:
            for file in files:
                file.close()


class _Run:
    """One run, of which a batch is in memory."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._next = 0
        self.rows: Rows = from_arrow(reader.get_batch(0)).take(slice(0, 0))

    @property
    def goes_on(self) -> bool:
        """Whether there are more rows than are loaded."""
        return bool(self._next < self._reader.num_record_batches)

    def load(self) -> bool:
        """Have some rows loaded; whether there were any."""
        while not len(self.rows) and self.goes_on:
            self.rows = from_arrow(self._reader.get_batch(self._next))
            self._next += 1
        return bool(len(self.rows))

    def take(self, count: int | None) -> Rows:
        """The first `count` of the loaded rows, None for all."""
        taken = self.rows.take(slice(0, count))
        self.rows = self.rows.take(slice(len(taken), None))
        return taken


def _is_sorted(keys: Keys) -> bool:
    import numpy as np

    # Later keys matter where all before are equal.
    equal: Any = True
    for key in keys:
        before, after = key[:-1], key[1:]
        if np.any(equal & (after < before)):
            return False
        equal = equal & (after == before)
    return True


def _until(keys: Keys, last: tuple[int, ...]) -> int:
    """How many of the rows, which are sorted, are not after `last`."""
    import numpy as np

    first, end = 0, len(keys[0])
    for key, value in zip(keys, last, strict=True):
        piece = key[first:end]
        first, end = (
            first + int(np.searchsorted(piece, value, "left")),
            first + int(np.searchsorted(piece, value, "right")),
        )
    return end
