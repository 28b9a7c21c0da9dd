"""The statistics of a group of calls: every column of `Capture.stats` is declared here, and nowhere else.

Reading calculates a column with `of`. Tables and reports show it under `title`, in the places that `shown_in` names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

#: "table": statistics in a terminal and a notebook; "report": all operations of a report; "details": one operation.
Place: TypeAlias = Literal["table", "report", "details"]
EVERYWHERE: Final[tuple[Place, ...]] = ("table", "report", "details")


class Sums(Protocol):
    """What is known of each group: arrays with an entry a group. Times in ns, `total` in Python integers."""

    @property
    def calls(self) -> npt.NDArray[np.int64]:
        """How many calls."""

    @property
    def errors(self) -> npt.NDArray[np.int64]:
        """How many of them an exception ended."""

    @property
    def total(self) -> npt.NDArray[np.object_]:
        """The sum of their durations."""

    @property
    def low(self) -> npt.NDArray[np.int64]:
        """The shortest."""

    @property
    def high(self) -> npt.NDArray[np.int64]:
        """The longest."""

    @property
    def m2(self) -> npt.NDArray[np.float64]:
        """The sum of squared distances from the mean."""


class Statistic(NamedTuple):
    """A column. One whose name ends in `_us` holds microseconds, any other counts."""

    name: str
    title: str
    #: Values from the sums of each group; None for a quantile, which no sum has.
    of: Callable[[Sums], npt.NDArray[Any]] | None
    shown_in: tuple[Place, ...] = ()
    #: Which quantile it is.
    quantile: float | None = None
    #: Its value for an operation without calls.
    of_no_calls: float = float("nan")
    #: How the values of several operations make that of all of them, where they do.
    together: Literal["sum", "min", "max"] | None = None


def quantile(level: float, shown_in: tuple[Place, ...] = ()) -> Statistic:
    """A quantile as a column: 0.5 is p50_us, 0.999 p999_us, 0.05 p05_us, 1 p100_us."""
    digits = f"{level:.12f}".rstrip("0").partition(".")[2]
    return Statistic(
        f"p{'100' if level == 1 else digits.ljust(2, '0')}_us", f"p{level * 100:.10g}", None, shown_in, level
    )


def _microseconds(times_ns: Iterable[int | float]) -> npt.NDArray[np.float64]:
    """Integers one by one: exact sums may be larger than a float can hold to the nanosecond."""
    import numpy as np

    return np.array([ns / 1000 for ns in times_ns], np.float64)


def _mean_us(sums: Sums) -> npt.NDArray[np.float64]:
    return _microseconds(ns / calls for ns, calls in zip(sums.total.tolist(), sums.calls.tolist(), strict=True))


def _deviation_us(sums: Sums) -> npt.NDArray[np.float64]:
    """The standard deviation of a sample, NaN for a single call."""
    import numpy as np

    spread = np.full(len(sums.calls), np.nan)
    several = sums.calls > 1
    spread[several] = np.sqrt(sums.m2[several] / (sums.calls[several] - 1)) / 1000
    return spread


STATISTICS: Final = (
    Statistic("count", "calls", lambda sums: sums.calls, EVERYWHERE, of_no_calls=0, together="sum"),
    Statistic("errors", "errors", lambda sums: sums.errors, EVERYWHERE, of_no_calls=0, together="sum"),
    Statistic(
        "total_us", "total", lambda sums: _microseconds(sums.total.tolist()), EVERYWHERE, of_no_calls=0, together="sum"
    ),
    Statistic("mean_us", "mean", _mean_us, ("table", "details")),
    Statistic("std_us", "std", _deviation_us),
    Statistic("min_us", "min", lambda sums: sums.low / 1000, ("details",), together="min"),
    quantile(0.5, EVERYWHERE),
    quantile(0.9, ("details",)),
    quantile(0.95, ("table",)),
    quantile(0.99, EVERYWHERE),
    quantile(0.999, ("details",)),
    Statistic("max_us", "max", lambda sums: sums.high / 1000, EVERYWHERE, together="max"),
)

COLUMNS: Final = tuple(one.name for one in STATISTICS)
#: Column -> quantile, of those that are calculated unless others are asked for.
QUANTILES: Final = {one.name: one.quantile for one in STATISTICS if one.quantile is not None}


def shown_in(place: Place) -> list[Statistic]:
    """The statistics that are shown in a place, in their order."""
    return [one for one in STATISTICS if place in one.shown_in]


class Grouped(NamedTuple):
    """Statistics before they are a frame: importing pandas takes longer than reading a small capture.

    `keys` are the groups, each with a value for each of `levels`; `columns` have an entry a group.
    """

    levels: tuple[str, ...]
    keys: Sequence[tuple[Any, ...]]
    columns: Mapping[str, npt.NDArray[Any]]

    def taken(self, places: Sequence[int]) -> Grouped:
        """The groups at these places, in this order."""
        import numpy as np

        own = np.array(places, np.int64)
        columns = {name: values[own] for name, values in self.columns.items()}
        return Grouped(self.levels, [self.keys[place] for place in places], columns)

    def by_key(self) -> Grouped:
        """In the order of the keys."""
        return self.taken(self.order())

    def order(self, first: str | None = None) -> list[int]:
        """The places in the order of the keys, or of their level `first` and then of the others; no value is last."""
        levels = sorted(range(len(self.levels)), key=lambda place: self.levels[place] != first)

        def rank(place: int) -> list[tuple[bool, Any]]:
            values = [self.keys[place][level] for level in levels]
            return [(value is None, value) for value in values]

        return sorted(range(len(self.keys)), key=rank)

    def rows(self) -> list[dict[str, Any]]:
        """The statistics of each group, by their names."""
        columns = [values.tolist() for values in self.columns.values()]
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*columns, strict=True)]

    def frame(self) -> pd.DataFrame:
        """As a DataFrame with the keys as its index."""
        import pandas as pd

        return pd.DataFrame(dict(self.columns), index=index(self.levels, self.keys))


def index(levels: Sequence[str], keys: Sequence[tuple[Any, ...]]) -> pd.Index[Any]:
    """Keys as an index with a level for each of `levels`."""
    import pandas as pd

    arrays = [pd.Index([key[place] for key in keys], name=level) for place, level in enumerate(levels)]
    if not keys:
        arrays = [pd.Index([], dtype="object", name=level) for level in levels]
    return arrays[0] if len(arrays) == 1 else pd.MultiIndex.from_arrays(arrays)
