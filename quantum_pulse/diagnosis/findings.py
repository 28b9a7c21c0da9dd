"""Gather everything that a report needs from a capture, once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.analysis import stacks
from quantum_pulse.diagnosis import budgets, open_calls
from quantum_pulse.evidence import Priorities
from quantum_pulse.operations import Category
from quantum_pulse.reading import (
    definitions,
    expired,
    reader,
    saves,
    scan,
    selection,
    slowest,
    statistics,
    tables,
    timeline,
)
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import Recorded
from quantum_pulse.reading.slowest import SlowSample
from quantum_pulse.view import scales
from quantum_pulse.view.open_calls import Unfinished

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.analysis import Comparison
    from quantum_pulse.analysis.recommendations import Recommendation

#: Operations that get charts: those that took the most time. The others have their statistics. Each takes up to
#: 50 kB of a page that should be easy to send.
MOST_DETAILED: Final = 30
#: Slow samples that are listed of an operation, and of how many of them the surroundings are looked up.
SLOW_SAMPLES: Final = 24
SURROUNDED: Final = 3
#: Windows on an axis of time, about.
_WINDOWS: Final = 90
_RANGES: Final = 10
#: In ns; timelines have none that are shorter.
_SHORTEST_WINDOW: Final = 1000


@dataclass(frozen=True)
class Closeup:
    """Details of one operation. `heat` has a column for each window of the findings."""

    heat: pd.DataFrame
    slowest: pd.DataFrame
    surroundings: list[SlowSample]


@dataclass(frozen=True)
class Findings:
    """What was found in a capture. Frames are as the methods of `Capture` return them.

    `windows` is the timeline in windows of `window_ns`, about 90 of them, `ranges` in `range_ns`, about 10; windows
    begin at `begin_ns`, Unix time. `closeups` are of the operations that took the most time. `overhead` is what each
    recording measured of its own cost.
    """

    path: Path
    stats: pd.DataFrame
    categories: Mapping[str, Category]
    budgets: pd.DataFrame
    descriptions: dict[str, str]
    priorities: Priorities
    begin_ns: int
    end_ns: int
    window_ns: int
    range_ns: int
    windows: pd.DataFrame
    ranges: pd.DataFrame
    tree: pd.DataFrame
    closeups: dict[str, Closeup]
    metrics: pd.DataFrame
    events: pd.DataFrame
    losses: pd.DataFrame
    unfinished: list[Unfinished]
    processes: list[dict[str, Any]]
    comparison: Comparison | None
    baseline: Path | None
    recommendations: Sequence[Recommendation]
    overhead: Sequence[Mapping[str, Any]]
    #: What has expired or was overwritten, in sentences; empty for nothing.
    expired: str = ""
    #: What the capture was restricted to, in words; empty for nothing.
    restriction: str = ""

    @property
    def operations(self) -> list[tuple[str, str]]:
        """(category, operation), the one that took the most time first."""
        ordered = self.stats.sort_values("total_us", ascending=False)
        return [(str(category), str(name)) for category, name in ordered.index]

    @cached_property
    def shares(self) -> stacks.Shares:
        """How the time of the outermost calls divides among paths, operations and categories."""
        return stacks.shares(stacks.of_tree(self.tree))

    @property
    def window_count(self) -> int:
        """Windows from the first sample to the last."""
        return max(-(-(self.end_ns - self.begin_ns) // self.window_ns), 1)

    def over_time(self, category: str, name: str, column: str) -> list[float]:
        """A column of `windows` for one operation, an entry a window, NaN where it did not run."""
        values = [math.nan] * self.window_count
        if (category, name) in self._by_operation:
            own = self._by_operation[category, name]
            for time, value in zip(own.index.get_level_values("time"), own[column], strict=True):
                place = (int(time.value) - self.begin_ns) // self.window_ns
                if 0 <= place < len(values):
                    values[place] = float(value)
        return values

    def row(self, category: str, name: str) -> dict[str, float]:
        """The statistics of one operation by column."""
        own: Any = self.stats.loc[(category, name)]
        return {str(column): float(value) for column, value in own.items()}

    def budget(self, name: str) -> dict[Any, Any] | None:
        """What is known of an operation's budget by column, if it has one."""
        return dict(self.budgets.loc[name]) if name in self.budgets.index else None

    @property
    def _by_operation(self) -> dict[tuple[str, str], pd.DataFrame]:
        known: dict[tuple[str, str], pd.DataFrame] | None = self.__dict__.get("_split")
        if known is None:
            known = {
                (str(key[0]), str(key[1])): rows
                for key, rows in self.windows.groupby(level=["category", "operation"], observed=True)
            }
            self.__dict__["_split"] = known
        return known


def gather(
    source: Source,
    tree: pd.DataFrame,
    *,
    comparison: Comparison | None = None,
    baseline: Path | None = None,
    recommendations: Sequence[Recommendation] = (),
    overhead: Sequence[Mapping[str, Any]] = (),
    detailed: int = MOST_DETAILED,
    advance: Callable[[], object] = lambda: None,
) -> Findings:
    """Gather all that a report needs, but for the `tree` of all calls, which the recommendations need too.

    `advance` is called after each of `steps(source, detailed)`.
    """
    stats = statistics.stats(source)
    advance()
    begin, end, window, wide = times(source)
    windows = timeline.timeline(source, window / 1e9) if len(stats) else _no_windows(stats)
    advance()
    ranges = timeline.timeline(source, wide / 1e9) if len(stats) else windows
    advance()
    closeups = {}
    for _, name in stats.sort_values("total_us", ascending=False).index[:detailed]:
        closeups[str(name)] = _closeup(source, Recorded(name), begin, end, window)
        advance()
    return Findings(
        path=source.path,
        stats=stats,
        categories=definitions.categories(source),
        budgets=budgets.check(source),
        descriptions={str(one["name"]): str(one.get("description") or "") for one in source.definitions()},
        priorities=definitions.priorities(source),
        begin_ns=begin,
        end_ns=end,
        window_ns=window,
        range_ns=wide,
        windows=windows,
        ranges=ranges,
        tree=tree,
        closeups=closeups,
        metrics=tables.whole(source, "metrics", "time"),
        events=tables.whole(source, "events", "start"),
        losses=reader.loss_frame(source),
        unfinished=open_calls.find(source),
        processes=list(source.processes),
        comparison=comparison,
        baseline=baseline,
        recommendations=recommendations,
        overhead=overhead,
        expired=" ".join(filter(None, (expired.sentence(source), saves.sentence(source)))),
        restriction=source.within.described(),
    )


def steps(source: Source, detailed: int = MOST_DETAILED) -> int:
    """About how many steps `gather` takes, going by what the footers say: it is not worth a pass to know."""
    held = (scan.names_in(part) or () for part in source.sound("samples"))
    return 3 + min(len(set().union(*held)), detailed)


def _no_windows(stats: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    index = pd.MultiIndex.from_arrays([pd.DatetimeIndex([], tz="UTC"), [], []], names=["time", *stats.index.names])
    return pd.DataFrame({column: pd.Series(dtype="float64") for column in stats.columns}, index=index)


def times(source: Source) -> tuple[int, int, int, int]:
    """When a capture began and ended, at whole windows, the length of a window and that of a range; all in ns."""
    first, last = selection.extent_ns(source) if any(part.rows for part in source.parts["samples"]) else (0, 0)
    last += 1
    window = int(max(scales.step((last - first) / _WINDOWS, up=True), _SHORTEST_WINDOW))
    wide = int(max(scales.step((last - first) / _RANGES, up=True), window))
    return first // window * window, -(-last // window) * window, window, wide


def _closeup(source: Source, name: Recorded, begin: int, end: int, window: int) -> Closeup:
    import pandas as pd

    moments = [pd.Timestamp(moment, tz="UTC") for moment in (begin, end)]
    heat = timeline.heatmap(source, name, moments[0], moments[1], (end - begin) // window)
    found = slowest.slowest(source, SLOW_SAMPLES, name)
    return Closeup(heat, found.table, [found[place] for place in range(min(SURROUNDED, len(found)))])
