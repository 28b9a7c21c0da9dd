"""Count the calls of one operation over time and duration, finely enough for percentiles, in one pass."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import arrow, histogram
from quantum_pulse.reading import scan
from quantum_pulse.reading.reader import Part, Source
from quantum_pulse.reading.selection import Selection

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

#: Rows of a heat map in an octave of durations: histogram buckets are taken together.
ROWS_AN_OCTAVE: Final = 8
_BUCKETS_A_ROW: Final = histogram.LINEAR // ROWS_AN_OCTAVE


@dataclass(frozen=True)
class Density:
    """`calls` has a row for each interval of `width_ns` from `begin_ns` on (Unix time), a column for each bucket of
    `histogram` from `first_bucket` on. They are whole numbers where samples were read, shares of them where footers
    were spread over the time that they speak of (`is_rough`)."""

    begin_ns: int
    width_ns: int
    first_bucket: int
    calls: npt.NDArray[np.float64]
    is_rough: bool = False

    @property
    def edges_ns(self) -> npt.NDArray[np.float64]:
        """Edges of the buckets, one more than columns."""
        edges = histogram.lower_edges()[self.first_bucket : self.first_bucket + self.calls.shape[1] + 1]
        return edges.astype("float64")

    @property
    def counts(self) -> npt.NDArray[np.float64]:
        """Calls in each time interval."""
        found: npt.NDArray[np.float64] = self.calls.sum(axis=1)
        return found

    @property
    def totals_us(self) -> npt.NDArray[np.float64]:
        """Time that the calls took in each interval, within half a bucket."""
        edges = self.edges_ns
        found: npt.NDArray[np.float64] = self.calls @ ((edges[:-1] + edges[1:] - 1) / 2) / 1000
        return found

    def quantile_ns(self, q: float) -> npt.NDArray[np.float64]:
        """The quantile in each time interval, within half a bucket (0.8 %); NaN where there was no call."""
        return _quantiles(self.calls, self.edges_ns, q)

    def overall_ns(self, q: float) -> float:
        """The quantile over all the time; NaN without calls."""
        return float(_quantiles(self.calls.sum(axis=0)[None], self.edges_ns, q)[0])

    def rows(self) -> dict[int, float]:
        """Calls over all the time in each row of a heat map, by the row's number."""
        import numpy as np

        numbers = (self.first_bucket + np.arange(self.calls.shape[1])) // _BUCKETS_A_ROW
        if not len(numbers):
            return {}
        first = int(numbers[0])
        sums = np.bincount(numbers - first, self.calls.sum(axis=0))
        return {first + place: float(calls) for place, calls in enumerate(sums)}

    def heatmap(self) -> pd.DataFrame:
        """As `Capture.heatmap`: lower edges in µs by when each interval began."""
        import numpy as np
        import pandas as pd

        columns, width = self.calls.shape
        first = self.first_bucket // _BUCKETS_A_ROW
        before = self.first_bucket - first * _BUCKETS_A_ROW
        after = -(before + width) % _BUCKETS_A_ROW
        whole = np.pad(self.calls, ((0, 0), (before, after)))
        table = whole.reshape(columns, -1, _BUCKETS_A_ROW).sum(axis=2).T
        edges = [histogram.lower_edge((first + row) * _BUCKETS_A_ROW) / 1000 for row in range(len(table))]
        times = pd.to_datetime(self.begin_ns + self.width_ns * np.arange(columns), unit="ns", utc=True).as_unit("ns")
        index = pd.Index(edges, dtype="float64", name="duration_us")
        kept = table if self.is_rough else np.rint(table).astype(np.int64)
        return pd.DataFrame(kept, index=index, columns=times.rename("time"))


def row_edge_ns(row: int) -> int:
    """Lower edge of a row of heat maps, by its number."""
    return histogram.lower_edge(row * _BUCKETS_A_ROW)


def _quantiles(calls: npt.NDArray[np.float64], edges: npt.NDArray[np.float64], q: float) -> npt.NDArray[np.float64]:
    import numpy as np

    found = np.full(len(calls), np.nan)
    if not calls.shape[1]:
        return found
    middles = (edges[:-1] + edges[1:] - 1) / 2
    reached = np.cumsum(calls, axis=1)
    total = reached[:, -1]
    some = total > 0
    # The bucket that holds the call of the rank nearest to q * (n - 1), counted from 0.
    rank = np.rint(q * np.maximum(total - 1, 0))
    found[some] = middles[(reached <= rank[:, None]).sum(axis=1).clip(max=len(middles) - 1)][some]
    return found


def read(source: Source, chosen: Selection, begin_ns: int, end_ns: int, columns: int) -> Density:
    """From the samples in `chosen` that started in [begin_ns, end_ns), in at most `columns` time intervals.

    Raises scan.UnreadablePartError.
    """
    import numpy as np

    width = max(-(-(end_ns - begin_ns) // columns), 1)
    columns = max(-(-(end_ns - begin_ns) // width), 0)
    counts = np.zeros(columns * histogram.BUCKETS)
    lock = threading.Lock()

    def work(batch: Any, _: Part) -> None:

        column = (arrow.values(batch["start"]) - begin_ns) // width
        cells = column * histogram.BUCKETS + histogram.buckets_of(arrow.values(batch["duration_ns"]))
        own = np.bincount(cells, arrow.values(batch["weight"]), len(counts))
        with lock:
            np.add(counts, own, out=counts)

    scan.each(
        source,
        scan.parts(source, chosen),
        lambda _: ["start", "duration_ns", "weight"],
        chosen._replace(start_ns=begin_ns, end_ns=end_ns),
        work,
        "heatmap",
    )
    return _trimmed(begin_ns, width, counts.reshape(columns, histogram.BUCKETS))


def from_footers(source: Source, chosen: Selection, begin_ns: int, end_ns: int, columns: int) -> Density:
    """From what the parts say of themselves: each one's histogram, spread evenly over the time that the part covers.

    Parts that say nothing are left out. Reads no samples.
    """
    import numpy as np

    width = max(-(-(end_ns - begin_ns) // columns), 1)
    columns = max(-(-(end_ns - begin_ns) // width), 0)
    counts = np.zeros((columns, histogram.BUCKETS))
    edges: npt.NDArray[np.int64] = begin_ns + width * np.arange(columns + 1)
    for part in scan.parts(source, chosen):
        if scan.names_in(part) is None or part.first_ns is None or part.last_ns is None:
            continue
        low, high = part.first_ns, part.last_ns + 1
        inside = edges.clip(low, high)
        share = (inside[1:] - inside[:-1]) / (high - low)
        own = [one for one in part.footer["histograms"] if chosen.names is None or one["operation"] in chosen.names]
        _, buckets, calls = histogram.unpack_all([one["buckets"] for one in own])
        counts += share[:, None] * np.bincount(buckets, calls, histogram.BUCKETS)
    return _trimmed(begin_ns, width, counts, is_rough=True)


def _trimmed(begin_ns: int, width: int, counts: npt.NDArray[np.float64], *, is_rough: bool = False) -> Density:
    """Without the buckets below the shortest and above the longest call."""
    import numpy as np

    filled = np.flatnonzero(counts.any(axis=0))
    first, last = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0)
    return Density(begin_ns, width, first, counts[:, first:last].copy(), is_rough)
