"""What `qp.open` returns. The only place that knows all analyses; each is imported when it is first asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from quantum_pulse.capture import reader
from quantum_pulse.operations import Category, Operation

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.view.figures import Chart


class Capture:
    """A capture directory, as it stood when it was opened. Open it again to see what was written since."""

    def __init__(self, source: reader.Source) -> None:
        self._source = source
        #: The directory.
        self.path: Path = source.path

    def stats(self, by: Literal["operation", "category"] = "operation") -> pd.DataFrame:
        """Exact statistics of durations, one row per operation: index (category, operation), or category alone.

        Columns: count errors total_us mean_us std_us min_us p50_us p90_us p95_us p99_us p999_us max_us. Quantiles
        interpolate linearly; a sample of weight w counts as w calls. Raises ValueError for another `by`.
        """
        from quantum_pulse.capture import statistics

        return statistics.stats(self._source, by)

    def budgets(self) -> pd.DataFrame:
        """How often operations took longer than their `budget_us` allows, the worst first.

        Index: operation. Columns: budget_us, count, over (calls above the budget), share (over / count). Only
        operations that have a budget; empty when none has.
        """
        from quantum_pulse.capture import statistics

        return statistics.budgets(self._source)

    def plot(self) -> Chart:
        """Latency of each operation as a matplotlib Figure: median, p99 and extremes on a log scale, budgets marked."""
        from quantum_pulse.view import figures

        return figures.latency(self.stats(), self.categories, self.budgets())

    def samples(
        self,
        operations: Operation | Iterable[Operation] | None = None,
        start: str | datetime | timedelta | float | None = None,
        end: str | datetime | timedelta | float | None = None,
        columns: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Raw samples in the order in which they started, one row each; columns as in `docs/format.md`.

        `operations`: a member, several, or a whole enum. `start` and `end` choose samples that started in
        [start, end): a timestamp or its text (UTC unless it says otherwise), or seconds (or a timedelta) after the
        first sample. `columns`: names, in the order wanted. Raises TypeError for a string where an operation belongs
        and ValueError for an unknown column.
        """
        from quantum_pulse.capture import tables

        return tables.samples(self._source, operations, start, end, columns)

    def metrics(self) -> pd.DataFrame:
        """System metrics over the same time, one row an interval, ordered by `time`; columns as in `docs/format.md`."""
        from quantum_pulse.capture import tables

        return tables.whole(self._source, "metrics", "time")

    def events(self) -> pd.DataFrame:
        """Garbage collections and the like, ordered by `start`; columns as in `docs/format.md`."""
        from quantum_pulse.capture import tables

        return tables.whole(self._source, "events", "start")

    def losses(self) -> pd.DataFrame:
        """What is missing: operation, thread, start, end, count, cause; what is not known is null. Normally empty.

        A part that cannot be read is found when the capture is opened or, if only its data is damaged, when they are
        read: ask after `stats()` or `samples()`.
        """
        return reader.loss_frame(self._source)

    @property
    def categories(self) -> dict[str, Category]:
        """Categories by name, as they were defined last."""
        found = {}
        for definition in self._source.definitions():
            category = definition["category"]
            # Only the fields that this version knows: a later footer may say more.
            known = {name: category[name] for name in Category._fields if name in category}
            found[category["name"]] = Category(**known)
        return found

    def __repr__(self) -> str:
        count = sum(part.rows for part in self._source.parts["samples"])
        return f"<Capture {self.path}: {count:,} samples>"

    def _repr_html_(self) -> str:
        from quantum_pulse.view import html

        return html.stats_table(self.stats(), self.categories, caption=f"Capture {self.path}")


def no_stats() -> pd.DataFrame:
    """What `Capture.stats()` would be of no samples."""
    import pandas as pd

    from quantum_pulse.capture import statistics

    index = pd.MultiIndex.from_arrays([[], []], names=["category", "operation"])
    return pd.DataFrame({name: pd.Series(dtype="float64") for name in statistics.COLUMNS}, index=index)


def open(path: str | os.PathLike[str]) -> Capture:  # noqa: A001 - qp.open is the name that reads best
    """The capture in the directory `path`: finished, still being written, or left behind by a killed process.

    What stands in rings only, as it does after a kill, is read too, and left where it is.
    Raises NotACaptureError, FormatVersionError or EmptyCaptureError, all of them CaptureError and QuantumPulseError.
    """
    from quantum_pulse.recorder import recover

    # The rings first: what a living process moves from them to a part meanwhile is then in both, and not in neither.
    leftovers = recover.look(Path(path))
    source = reader.find(path)
    for leftover in leftovers:
        leftover.add_to(source)
    source.check_not_empty()
    return Capture(source)
