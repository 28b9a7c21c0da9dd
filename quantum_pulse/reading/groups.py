"""Assign samples to groups: number the combinations of values of some columns."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from quantum_pulse import arrow
from quantum_pulse.reading import attributes, scan
from quantum_pulse.reading.reader import Part, Source

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Codes: TypeAlias = npt.NDArray[np.integer[Any]]

#: What samples can be grouped by -> the levels of the index that it makes.
LEVELS: Final = {
    "operation": ("category", "operation"),
    "category": ("category",),
    "thread": ("thread",),
    "process": ("process",),
    "task": ("task",),
    "error": ("error",),
    "capture": ("capture",),
}

#: Levels that are columns of samples; the others are attributes.
_COLUMNS: Final = {level for names in LEVELS.values() for level in names}

#: So many values of a column are taken for groups without looking whether they occur.
_FEW: Final = 1 << 10

#: A group: the value of each level. None where a sample has no error.
Key = tuple[Any, ...]


def levels(by: str | Iterable[str], source: Source) -> tuple[str, ...]:
    """Levels of the index for `by`: LEVELS or attributes of a capture. Raises ValueError that names the choices."""
    own = attributes.names(source)
    known = [*LEVELS, *own]
    wanted = [by] if isinstance(by, str) or not isinstance(by, Iterable) else list(by)
    found: list[str] = []
    for name in wanted:
        if not isinstance(name, str) or name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"by must be one or several of {', '.join(map(repr, known))}, not {name!r}{hint}")
        found += [level for level in LEVELS.get(name, (name,)) if level not in found]
    if not found:
        raise ValueError(f"by is empty; name one or several of {', '.join(map(repr, known))}")
    return tuple(found)


class Groups:
    """Numbers of groups, from 0 in the order in which they turn up. Safe to use from several threads.

    Some groups may turn out to have no samples.

    `levels` are columns of the samples, attributes, "capture", or "window": the start of a window of `window_ns`, Unix
    time in ns. `categories` are those of Source.categories_of.
    """

    def __init__(self, levels: tuple[str, ...], categories: Mapping[str, str], window_ns: int = 0) -> None:
        self.levels = levels
        self._categories = categories
        self.keys: list[Key] = []
        self.window_ns = window_ns
        self._numbers: dict[Key, int] = {}
        self._lock = threading.Lock()

    def number(self, key: Key) -> int:
        """The number of a group, which is new or known."""
        with self._lock:
            number = self._numbers.setdefault(key, len(self.keys))
            if number == len(self.keys):
                self.keys.append(key)
            return number

    def columns(self, part: Part) -> list[str]:
        """Columns that `of` needs from batches of `part`."""
        wanted = [_column_of(level) for level in self._read(part) if level != "capture"]
        return list(dict.fromkeys(wanted))

    def category(self, operation: str, category: str) -> str:
        """The category that counts for samples of an operation that are in `category`."""
        return self._categories.get(operation, category)

    def _read(self, part: Part) -> list[str]:
        """Levels whose values must be read; the category need not be where it follows from the operation."""
        if not self._derived(part):
            return list(self.levels)
        return list(dict.fromkeys("operation" if level == "category" else level for level in self.levels))

    def _derived(self, part: Part) -> dict[str, str] | None:
        """Operation -> category, where the category is requested and follows from the operation."""
        if "category" not in self.levels or not ("operation" in self.levels or self._categories):
            return None
        found = scan.category_of(part)
        return found and {name: self.category(name, category) for name, category in found.items()}

    def of(self, batch: Any, part: Part) -> npt.NDArray[np.int64]:
        """The number of the group of each row of `batch`, a pyarrow.RecordBatch of `part` with its `columns`."""
        import numpy as np

        names = self._read(part)
        coded = [self._codes(batch, part, name) for name in names]
        derived = self._derived(part)
        if len(coded) == 1 and len(coded[0][1]) <= _FEW:
            # All that may occur: looking what does would take longer than all the rest.
            codes, values = coded[0]
            places: Iterable[int] = range(len(values))
            table = np.zeros(len(values), np.int64)
            present: Iterable[int] = places
        else:
            codes, space = _combined([(own, len(values)) for own, values in coded])
            if space <= max(2 * len(codes), 1 << 12):
                present = np.flatnonzero(np.bincount(codes, minlength=space)).tolist()
                table, places = np.zeros(space, np.int64), present
            else:
                found, codes = np.unique(codes, return_inverse=True)
                present, places, table = found.tolist(), range(len(found)), np.zeros(len(found), np.int64)
        for place, code in zip(places, present, strict=True):
            table[place] = self._number_of(code, names, coded, derived)
        # Clipping, as nothing is out of bounds, is faster than looking whether it is.
        return table.take(codes, mode="clip")

    def _number_of(
        self, code: int, names: list[str], coded: list[tuple[Codes, Sequence[Any]]], derived: dict[str, str] | None
    ) -> int:
        """The number of the group whose combined code in a batch is `code`."""
        found: dict[str, Any] = {}
        for name, (_, values) in zip(reversed(names), reversed(coded), strict=True):
            code, position = divmod(code, len(values))
            found[name] = values[position]
        if derived is not None:
            found["category"] = derived.get(found["operation"], "")
        return self.number(tuple(found[level] for level in self.levels))

    def _codes(self, batch: Any, part: Part, level: str) -> tuple[Codes, Sequence[Any]]:
        import numpy as np

        if level == "window":
            windows = _epoch(batch["start"]) // self.window_ns
            codes, values = _numbered(windows)
            return codes, [window * self.window_ns for window in values]
        if level == "capture":
            return np.zeros(batch.num_rows, np.int64), [part.capture]
        column = _column_of(level)
        return attributes.coded(batch[column], level) if column == attributes.COLUMN else _coded(batch[column])


def _column_of(level: str) -> str:
    """The column of samples that has the values of a level of the index."""
    if level == "window":
        return "start"
    return level if level in _COLUMNS else attributes.COLUMN


def _epoch(column: Any) -> npt.NDArray[np.int64]:

    epoch: npt.NDArray[np.int64] = arrow.values(column)
    return epoch


def _combined(coded: list[tuple[Codes, int]]) -> tuple[Codes, int]:
    """One number for each combination of codes, and how many combinations there can be."""
    import numpy as np

    (codes, space), *rest = coded
    for own, size in rest:
        if space * size > 1 << 62:
            raise OverflowError(f"{space:,} times {size:,} groups are too many")
        codes = codes.astype(np.int64) * size + own
        space *= size
    return codes, space


def _coded(column: Any) -> tuple[Codes, Sequence[Any]]:
    """A column as positions in a list of its values; null is None."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        values = column.dictionary.to_pylist()
        indices = column.indices
        if indices.null_count:
            indices = indices.fill_null(len(values))
            values.append(None)
        return arrow.values(indices), values
    return _numbered(arrow.values(column))


def _numbered(own: Codes) -> tuple[Codes, Sequence[int]]:
    import numpy as np

    low, high = (int(own.min()), int(own.max())) if len(own) else (0, -1)
    # Numbers of threads and processes are often all the same, or close to each other; sorting would cost much more.
    if high - low < 1 << 16:
        return own.astype(np.int64) - low, range(low, high + 1)
    present, codes = np.unique(own, return_inverse=True)
    return codes, present.tolist()
