"""Find the call around each call where a trace names it: a join of spans and parents in bounded memory.

Names of spans are 64 bits without order. Each pair of name and number goes to one of many files by its name, where the
few that may match lie together; what is found there is put back into the order of the calls.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]

#: Files. Of a billion calls each has 16 million.
_BUCKETS: Final = 64
#: Mixes the bits of a name: the golden ratio of 64 bits, as in Fibonacci hashing (Knuth, TAOCP 3, 6.4).
_MIX: Final = 0x9E3779B97F4A7C15


class Links:
    """Add calls in the order of their numbers, then take the number of each one's parent in the same order."""

    def __init__(self, folder: Path) -> None:
        self._spans = _opened(folder, "span")
        self._parents = _opened(folder, "parent")
        self._readers: list[_Resolved] = []
        #: Spans that occur several times; the first one counts.
        self.repeated = 0
        #: Calls whose parent is not in the trace, and those that begin before their parent.
        self.missing = 0
        self.early = 0

    def close(self) -> None:
        """Let go of the files."""
        for file in (*self._spans, *self._parents):
            file.close()

    def add(self, span: Integers, parent: Integers, number: Integers) -> None:
        """Take in calls. Raises OSError."""
        import numpy as np

        for files, key in ((self._spans, span), (self._parents, parent)):
            given = np.flatnonzero(key)
            bucket = (key[given].view(np.uint64) * np.uint64(_MIX)) >> np.uint64(64 - 6)
            given = given[np.argsort(bucket, kind="stable")]
            ends = np.cumsum(np.bincount(bucket.astype(np.int64), minlength=_BUCKETS))
            pairs = np.column_stack([key[given], number[given]])
            for file, own in zip(files, np.split(pairs, ends[:-1]), strict=True):
                file.write(np.ascontiguousarray(own).data)

    def resolve(self) -> None:
        """Find all parents. Raises OSError."""
        for spans, parents in zip(self._spans, self._parents, strict=True):
            self._readers.append(_Resolved(self._join(_pairs(spans), _pairs(parents)), parents))

    def _join(self, spans: Any, parents: Any) -> Any:
        """Pairs of a call's number and its parent's, by the number of the call."""
        import numpy as np

        spans = spans[np.argsort(spans[:, 0], kind="stable")]
        is_first = np.ones(len(spans), np.bool_)
        is_first[1:] = spans[1:, 0] != spans[:-1, 0]
        self.repeated += int((~is_first).sum())
        spans = spans[is_first]
        if not len(spans) or not len(parents):
            self.missing += len(parents)
            return parents[:0]
        place = np.minimum(np.searchsorted(spans[:, 0], parents[:, 0]), len(spans) - 1)
        is_known = spans[place, 0] == parents[:, 0]
        self.missing += int((~is_known).sum())
        found = np.column_stack([parents[:, 1], spans[place, 1]])[is_known]
        # Clocks of hosts differ; a capture numbers a parent before its children.
        is_later = found[:, 1] < found[:, 0]
        self.early += int((~is_later).sum())
        return found[is_later]

    def parents(self, number: Integers) -> Integers:
        """The numbers of the parents of calls, 0 where there is none. Calls come in order, all of them."""
        import numpy as np

        found = np.zeros(len(number), np.int64)
        if len(number):
            first, last = int(number[0]), int(number[-1])
            for reader in self._readers:
                pairs = reader.take(last)
                found[pairs[:, 0] - first] = pairs[:, 1]
        return found


class _Resolved:
    """Pairs of calls and parents in the file that the calls' names of parents were in."""

    def __init__(self, pairs: Any, file: Any) -> None:
        import numpy as np

        file.seek(0)
        file.truncate()
        file.write(np.ascontiguousarray(pairs).data)
        file.flush()
        file.seek(0)
        self._file = file
        self._waiting = pairs[:0]

    def take(self, last: int) -> Any:
        """The next pairs, up to the call `last`."""
        import numpy as np

        while not len(self._waiting) or self._waiting[-1, 0] <= last:
            more = np.frombuffer(self._file.read(1 << 16), np.int64).reshape(-1, 2)
            if not len(more):
                break
            self._waiting = np.concatenate([self._waiting, more])
        count = int(np.searchsorted(self._waiting[:, 0], last, "right"))
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken


def _opened(folder: Path, name: str) -> list[BinaryIO]:
    return [open(folder / f"{name}-{number}", "w+b") for number in range(_BUCKETS)]


def _pairs(file: Any) -> Any:
    import numpy as np

    file.seek(0)
    return np.frombuffer(file.read(), np.int64).reshape(-1, 2)
