"""Count the calls of a capture again and again, each time reading only what is new.

What is counted is what has been written: the parts and the rollups of expired ones. A part that is merged or expires is
replaced by a file that counts the same calls in the same buckets, so that the difference between two readings is what
was called in between. Where a file is damaged or deleted by hand, its calls stay counted: counters never fall.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse import histogram, schema
from quantum_pulse.agent import rollups
from quantum_pulse.reading import budgets, reader, scan
from quantum_pulse.reading.reader import File, Part, Source
from quantum_pulse.reading.selection import EVERYTHING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Parts whose samples are read for exemplars in one refresh, and their largest size.
_EXEMPLAR_PARTS: Final = 4
_EXEMPLAR_ROWS: Final = 1 << 20
_EXEMPLAR_COLUMNS: Final = ("operation", "category", "start", "duration_ns", "span", "process")


class Key(NamedTuple):
    """What a counter is of."""

    category: str
    operation: str


class Exemplar(NamedTuple):
    """One call as an example of those in its bucket; times in ns, `start_ns` Unix time."""

    duration_ns: int
    start_ns: int
    span: int
    process: int


class Tally:
    """Calls of one operation, and how many of them are in each bucket of `histogram`."""

    def __init__(self) -> None:
        import numpy as np

        self.errors = 0
        self.total_ns = 0
        self.calls: npt.NDArray[np.int64] = np.zeros(histogram.BUCKETS, np.int64)
        #: The newest for each octave of the duration.
        self.exemplars: dict[int, Exemplar] = {}

    @property
    def count(self) -> int:
        """All calls."""
        return int(self.calls.sum())

    def add(self, summary: _Summary, sign: int = 1) -> None:
        """Add the calls of `summary`, or take them away."""
        import numpy as np

        buckets, calls = histogram.unpack(summary.buckets)
        np.add.at(self.calls, buckets, sign * calls)
        self.errors += sign * summary.errors
        self.total_ns += sign * summary.total_ns

    def grow(self, by: Tally) -> None:
        """Add another, of which what is negative counts nothing."""
        import numpy as np

        self.calls += np.maximum(by.calls, 0)
        self.errors += max(by.errors, 0)
        self.total_ns += max(by.total_ns, 0)


class _Summary(NamedTuple):
    """What a file says of one operation."""

    key: Key
    errors: int
    total_ns: int
    buckets: str


class Counters:
    """The calls of the capture at `path`, by operation. Safe to use from several threads.

    Attributes
    ----------
    tallies
        By category and operation, as of the last `refresh`.
    budgets_us
        The budget of each operation that has one.
    lost
        Samples that were lost or cannot be read, as far as they are known.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.tallies: dict[Key, Tally] = {}
        self.budgets_us: dict[str, float] = {}
        self.lost = 0
        self._known: dict[File, Part] = {}
        self._counted: dict[File, list[_Summary]] = {}

    def refresh(self) -> None:
        """Count what has been written since. Hold `lock` for as long as the attributes have to agree.

        Raises
        ------
        CaptureError
            If the capture cannot be read.
        """
        source = reader.find(self.path, self._known)
        # Listed by this object: the names of files that are being merged end with it.
        listed = {part.path: part for table in ("samples", schema.ROLLED_UP) for part in source.sound(table)}
        present = {file: listed[file.path] for file in self._known if file.path in listed}
        changes: dict[Key, Tally] = {}
        new = {file: part for file, part in present.items() if file not in self._counted}
        for file, part in new.items():
            try:
                self._counted[file] = _summaries(source, part)
            except scan.UnreadablePartError:
                self._known.pop(file, None)  # it is tried again, and noted as a loss until then
                continue
            for summary in self._counted[file]:
                changes.setdefault(summary.key, Tally()).add(summary)
        # What another file replaces; what is damaged stays counted, and may be whole again.
        for file in [file for file in self._counted if file not in present and not source.is_damaged(file.path)]:
            for summary in self._counted.pop(file):
                changes.setdefault(summary.key, Tally()).add(summary, -1)
        for key, change in changes.items():
            self.tallies.setdefault(key, Tally()).grow(change)
        self._add_exemplars(source, [part for file, part in new.items() if file in self._counted])
        self.budgets_us = {name: budget.limit_us for name, budget in budgets.defined(source).items()}
        self.lost = max(self.lost, sum(loss["count"] or 0 for loss in source.losses()))

    def _add_exemplars(self, source: Source, parts: list[Part]) -> None:
        """The slowest call of each operation in the newest of some parts."""
        fresh = [
            part
            for part in parts
            if "interval_ns" not in part.footer and not part.footer.get("merged") and part.rows <= _EXEMPLAR_ROWS
        ]
        for part in sorted(fresh, key=lambda part: part.last_ns or 0)[-_EXEMPLAR_PARTS:]:
            try:
                for batch in scan.batches(source, part, None, _EXEMPLAR_COLUMNS, EVERYTHING):
                    for key, exemplar in _slowest(batch):
                        octave = exemplar.duration_ns.bit_length()
                        self.tallies.setdefault(key, Tally()).exemplars[octave] = exemplar
            except scan.UnreadablePartError:
                continue  # it is counted by its footer; an example is a comfort


def _summaries(source: Source, part: Part) -> list[_Summary]:
    """What `part` has of each operation, from its footer where that says so. Raises UnreadablePartError."""
    found = part.footer.get("histograms")
    if "interval_ns" not in part.footer and scan.names_in(part) is None:
        batches = scan.batches(source, part, None, rollups.NEEDED, EVERYTHING)
        found = rollups.plain(rollups.combined(map(rollups.of_samples, batches), rollups.WHOLE))
    try:
        summaries = [
            _Summary(Key(one["category"], one["operation"]), one["errors"], int(one["sum_ns"]), one["buckets"])
            for one in found or ()
        ]
        for summary in summaries:
            histogram.unpack(summary.buckets)
    except (KeyError, TypeError, ValueError) as error:
        source.report_damage(part.path, error, part.rows)
        raise scan.UnreadablePartError(part.path) from error
    return summaries


def _slowest(batch: Any) -> list[tuple[Key, Exemplar]]:
    """The slowest call of each operation in a record batch."""
    import numpy as np

    from quantum_pulse import arrow

    if not batch.num_rows:
        return []
    operation = arrow.values(batch["operation"].indices)
    duration, start, span, process = (arrow.values(batch[name]) for name in ("duration_ns", "start", "span", "process"))
    order = np.lexsort((duration, operation))
    last = order[np.flatnonzero(np.diff(operation[order], append=-1))]
    names, categories = batch["operation"].dictionary.to_pylist(), batch["category"].to_pylist()
    return [
        (
            Key(categories[row], names[operation[row]]),
            Exemplar(int(duration[row]), int(start[row]), int(span[row]), int(process[row])),
        )
        for row in last.tolist()
    ]
