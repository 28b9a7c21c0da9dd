"""Convert batches of samples to calls: the group, duration, number and failure of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse import arrow
from quantum_pulse.reading import scan
from quantum_pulse.reading.groups import Groups
from quantum_pulse.reading.reader import Part

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Calls that the correction may add to a batch of scan.BATCH_ROWS samples before it is taken for a mistake.
LARGEST_CORRECTION: Final = 1 << 25


class Rows(NamedTuple):
    """Arrays of one length. `weights` None is one call each, `failed` None is no failure. Durations in ns."""

    groups: npt.NDArray[np.int64]
    durations: npt.NDArray[np.int64]
    weights: npt.NDArray[np.integer[Any]] | None
    failed: npt.NDArray[np.bool_] | None


class Calls:
    """Batches to Rows. `intervals_ns`, by operation, corrects for coordinated omission.

    When a caller waits for each call before it makes the next, one slow call hides those that should have been made
    meanwhile. So a call longer than its expected interval is followed by further ones, each shorter by an interval,
    down to one interval: G. Tene's correction, as in HdrHistogram's `recordValueWithExpectedInterval`.
    """

    def __init__(self, groups: Groups, intervals_ns: Mapping[str, int] | None = None) -> None:
        self.groups = groups
        self.intervals_ns = intervals_ns or {}

    def columns(self, part: Part) -> list[str]:
        """Columns that `of` needs from batches of `part`."""
        wanted = [*self.groups.columns(part), "duration_ns"]
        wanted += ["weight"] if scan.has_weights(part) else []
        wanted += ["error"] if scan.has_errors(part) else []
        wanted += ["operation"] if self.intervals_ns else []
        return list(dict.fromkeys(wanted))

    def of(self, batch: Any, part: Part) -> Rows:
        """Rows of `batch`, a pyarrow.RecordBatch of `part` with its `columns`."""
        names = batch.schema.names
        rows = Rows(
            self.groups.of(batch, part),
            arrow.values(batch["duration_ns"]),
            arrow.values(batch["weight"]) if "weight" in names else None,
            arrow.truths(batch["error"].is_valid()) if "error" in names else None,
        )
        return self._corrected(rows, batch["operation"]) if self.intervals_ns else rows

    def _corrected(self, rows: Rows, operations: Any) -> Rows:
        import numpy as np

        names = operations.dictionary.to_pylist()
        # 0 means none: nothing is added to calls without an interval.
        intervals = np.array([self.intervals_ns.get(name, 0) for name in names], np.int64)
        interval = intervals[arrow.values(operations.indices)]
        has_one = interval > 0
        more = np.zeros(len(interval), np.int64)
        more[has_one] = np.maximum(rows.durations[has_one] // interval[has_one] - 1, 0)
        added = int(more.sum())
        if not added:
            return rows
        if added > LARGEST_CORRECTION:
            worst = names[int(operations.indices[int(more.argmax())].as_py())]
            raise ValueError(
                f"the expected interval of {worst}, {self.intervals_ns[worst] / 1000:g} µs, is so short beside its "
                f"durations, up to {int(rows.durations.max()) / 1e9:g} s, that more calls would be made up than exist"
            )
        first = np.cumsum(more) - more
        step = np.arange(added) - np.repeat(first, more) + 1
        made_up = np.repeat(rows.durations, more) - step * np.repeat(interval, more)
        return Rows(
            np.concatenate([rows.groups, np.repeat(rows.groups, more)]),
            np.concatenate([rows.durations, made_up]),
            None if rows.weights is None else np.concatenate([rows.weights, np.repeat(rows.weights, more)]),
            None if rows.failed is None else np.concatenate([rows.failed, np.zeros(added, np.bool_)]),
        )
