"""Read the data for a place in a capture: first from the footers of the parts, then from the samples."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.analysis import contrasts
from quantum_pulse.diagnosis import budgets, culprits, findings
from quantum_pulse.diagnosis.findings import Findings
from quantum_pulse.explorer.places import Place
from quantum_pulse.operations import Operation
from quantum_pulse.reading import budgets as budget_pass
from quantum_pulse.reading import definitions, density, scan, slowest, statistics, tables, timeline
from quantum_pulse.reading.density import Density
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import Recorded, Selection, recorded_names
from quantum_pulse.reading.slowest import Slowest, SlowSample
from quantum_pulse.view import scales

if TYPE_CHECKING:
    import pandas as pd

#: A capture of more samples is not analysed as a whole: that would take minutes.
MOST_SAMPLES: Final = 20_000_000
#: Up to this many are read at once, without a preview from the footers.
_FEW_SAMPLES: Final = 200_000
#: Slow calls that are listed at a place.
SLOW_CALLS: Final = 12
#: Columns of a heat map, and calls that each is to have on average as long as there are enough columns.
_COLUMNS: Final = 90
_FEWEST_COLUMNS: Final = 24
_CALLS_A_COLUMN: Final = 8
#: So many summaries of an operation in a part are read for the first trends: some tenths of a second.
_ROUGH_TRENDS: Final = 1500
#: More windows than these are not compared with an interval: those next to it are.
_MOST_WINDOWS: Final = 400
#: Places whose views are kept.
_REMEMBERED: Final = 32


@dataclass(frozen=True)
class Overview:
    """All operations. `stats` and `budgets` as of `Capture`; while `is_rough`, the first are from the footers and the
    second empty. `findings` are None until they are known, and stay so for a capture of over MOST_SAMPLES."""

    stats: pd.DataFrame
    budgets: pd.DataFrame
    trends: Mapping[str, Sequence[float]]
    is_rough: bool
    findings: Findings | None = None

    def budget(self, name: str) -> dict[Any, Any] | None:
        """What is known by now of an operation's budget, by column."""
        return dict(self.budgets.loc[name]) if name in self.budgets.index else None


@dataclass(frozen=True)
class View:
    """An operation in [begin_ns, end_ns). While `is_rough`, what no footer holds is None."""

    name: str
    description: str
    begin_ns: int
    end_ns: int
    is_interval: bool
    density: Density
    before: Density | None
    is_rough: bool
    row: dict[str, float] | None
    budget_us: float | None
    metrics: pd.DataFrame
    slowest: Slowest | None = None
    #: Statistics by the error that ended the calls, where there was any.
    errors: pd.DataFrame | None = None
    #: Of a time interval: statistics of all operations in it, and the metrics there and over all.
    inside: pd.DataFrame | None = None
    metrics_here: pd.DataFrame | None = None


@dataclass(frozen=True)
class Period:
    """All operations in [begin_ns, end_ns): statistics, the slowest calls, and the metrics there and outside."""

    begin_ns: int
    end_ns: int
    inside: pd.DataFrame
    slowest: Slowest
    metrics_here: pd.DataFrame


class ExplorerModel:
    """The data that the explorer shows of a capture and its `baseline`, with a cache. `gather` finds what a report
    contains. Safe to use from several threads."""

    def __init__(self, source: Source, baseline: Source | None, gather: Callable[[], Findings]) -> None:
        self.source = source
        self.baseline = baseline
        self._gather = gather
        self.begin_ns, self.end_ns, *_ = findings.times(source)
        self.samples = sum(part.rows for part in source.parts["samples"])
        self.priorities = definitions.priorities(source)
        self._budgets_us = {name: one.limit_us for name, one in budget_pass.defined(source).items()}
        self._descriptions = {str(d["name"]): str(d.get("description") or "") for d in source.definitions()}
        with scan.silent():
            self._overview = self._first_overview()
        ordered = self._overview.stats.sort_values("total_us", ascending=False).index
        #: Operations by number: those that took the most time first.
        self.names = [str(name) for _, name in ordered]
        self._views: OrderedDict[Place, View] = OrderedDict()
        self._bands: OrderedDict[Place, Slowest] = OrderedDict()
        self._periods: OrderedDict[Place, Period] = OrderedDict()
        self._calls: OrderedDict[Place, SlowSample] = OrderedDict()
        self._lock = threading.Lock()

    def name_of(self, operation: Operation | Recorded) -> str:
        """The name of an operation in `names`. Raises TypeError for a text, ValueError if it did not run."""
        found = [name for name in recorded_names(self.source, operation) if name in self.names]
        if not found:
            raise ValueError(f"{operation} has no calls here")
        return found[0]

    @property
    def overview(self) -> Overview:
        """All operations, as they are known by now."""
        return self._overview

    def refine(self) -> bool:
        """Refine the overview by one step; whether there was one. Takes seconds for millions of samples."""
        known = self._overview
        with scan.silent():
            if known.is_rough:
                stats = statistics.stats(self.source)
                self._overview = Overview(
                    stats, budgets.check(self.source, is_tested=None), known.trends, is_rough=False
                )
                return True
            if known.findings is None and self.samples <= MOST_SAMPLES:
                found = self._gather()
                trends = {name: found.over_time(category, name, "p99_us") for category, name in found.operations}
                self._overview = Overview(found.stats, found.budgets, trends, is_rough=False, findings=found)
                return True
        return False

    def view(self, place: Place, *, rough: bool) -> View:
        """An operation, or a time interval of it. `rough`: at once, from the footers, unless more is known."""
        place = place._replace(rank=None, low_ns=None, high_ns=None)
        with self._lock:
            known = self._views.get(place)
            if known is not None and (rough or not known.is_rough):
                self._views.move_to_end(place)
                return known
        with scan.silent():
            made = self._view(place, rough=rough)
        with self._lock:
            self._views[place] = made
            while len(self._views) > _REMEMBERED:
                self._views.popitem(last=False)
        return made

    def band(self, place: Place) -> Slowest:
        """The slowest calls of an interval of durations. Reads the samples."""
        low, high = place.low_ns, place.high_ns
        assert place.operation is not None
        assert low is not None
        assert high is not None
        place = place._replace(rank=None)
        with self._lock:
            known = self._bands.get(place)
        if known is None:
            chosen = Selection((str(Recorded(place.operation)),), place.begin_ns, place.end_ns)
            with scan.silent():
                known = slowest.between(self.source, SLOW_CALLS, chosen, low, high)
            with self._lock:
                self._bands[place] = known
                while len(self._bands) > _REMEMBERED:
                    self._bands.popitem(last=False)
        return known

    def known_period(self, place: Place) -> Period | None:
        """All operations in a time interval, if that was read before."""
        with self._lock:
            return self._periods.get(place._replace(rank=None))

    def period(self, place: Place) -> Period:
        """All operations in a time interval. Reads the samples in it."""
        import pandas as pd

        place = place._replace(rank=None)
        known = self.known_period(place)
        if known is not None:
            return known
        assert place.begin_ns is not None
        assert place.end_ns is not None
        begin, end = max(self.begin_ns, place.begin_ns), min(self.end_ns, place.end_ns)
        first, last = (pd.Timestamp(ns, tz="UTC") for ns in (begin, end))
        with scan.silent():
            made = Period(
                begin,
                end,
                statistics.stats(self.source, start=first, end=last),
                slowest.slowest(self.source, SLOW_CALLS, None, first, last),
                self._metrics_here(begin, end),
            )
        with self._lock:
            self._periods[place] = made
            while len(self._periods) > _REMEMBERED:
                self._periods.popitem(last=False)
        return made

    def is_whole(self, place: Place) -> bool:
        """Whether what a page shows of a place is exact by now."""
        if place.operation is not None:
            return not self.view(place, rough=True).is_rough
        return place.begin_ns is None or self.known_period(place) is not None

    def read(self, place: Place) -> None:
        """Make what a page shows of a place exact."""
        if place.operation is not None:
            self.view(place, rough=False)
        elif place.begin_ns is not None:
            self.period(place)

    def slowest(self, place: Place) -> Slowest | None:
        """The slowest calls at a place, as far as they are known."""
        if place.low_ns is not None:
            return self.band(place)
        if place.operation is not None:
            return self.view(place, rough=True).slowest
        known = self.known_period(place)
        return None if known is None else known.slowest

    def call(self, place: Place) -> SlowSample:
        """The call at a place with a rank. Raises IndexError where there is none."""
        with self._lock:
            known = self._calls.get(place)
        if known is not None:
            return known
        self.read(place)
        listed = self.slowest(place)
        assert listed is not None
        assert place.rank is not None
        with scan.silent():
            found = listed[place.rank]
        with self._lock:
            self._calls[place] = found
            while len(self._calls) > _REMEMBERED:
                self._calls.popitem(last=False)
        return found

    def metrics(self) -> pd.DataFrame:
        """The system metrics of the capture, ordered by time."""
        return tables.whole(self.source, "metrics", "time")

    def window_metrics(self, begin_ns: int, width_ns: int, count: int) -> pd.DataFrame:
        """The system metrics in `count` windows from `begin_ns` on, a row for each."""
        import pandas as pd

        times = pd.DatetimeIndex(pd.to_datetime([begin_ns + width_ns * place for place in range(count)]))
        return timeline.window_metrics(self.source, times.tz_localize("UTC"), width_ns)

    def _first_overview(self) -> Overview:
        import pandas as pd

        # Few samples are read at once. Footers hold no budgets: with many samples they come with the exact statistics.
        is_rough = self.samples > _FEW_SAMPLES
        stats = statistics.stats(self.source, approximate=is_rough)
        limits = pd.DataFrame() if is_rough else budgets.check(self.source)
        most = max(_ROUGH_TRENDS // max(len(self.source.parts["samples"]), 1), 1)
        ordered = stats.sort_values("total_us", ascending=False).index[:most]
        trends = {
            str(name): [
                value / 1000
                for value in density.from_footers(
                    self.source, Selection((str(name),)), self.begin_ns, self.end_ns, _COLUMNS
                )
                .quantile_ns(0.99)
                .tolist()
            ]
            for _, name in ordered
        }
        return Overview(stats, limits, trends, is_rough)

    def _view(self, place: Place, *, rough: bool) -> View:
        assert place.operation is not None
        name = Recorded(place.operation)
        is_interval = place.begin_ns is not None
        begin, end = self.begin_ns, self.end_ns
        if place.begin_ns is not None and place.end_ns is not None:
            begin, end = max(begin, place.begin_ns), min(end, place.end_ns)
        share = (end - begin) / max(self.end_ns - self.begin_ns, 1)
        calls = scan.rows_at_most(self.source, Selection((str(name),), begin, end)) * share
        # A column for a call or two would show less than the list of calls does.
        most = min(max(int(calls / _CALLS_A_COLUMN), _FEWEST_COLUMNS), _COLUMNS)
        window = int(max(scales.step(max(end - begin, 1) / most, up=True), 1))
        columns = max(-(-(end - begin) // window), 1)
        end = begin + window * columns if is_interval else end
        chosen = Selection((str(name),), begin, end)
        # Samples outside the interval are read along with the rest of their part.
        rough = rough and sum(part.rows for part in scan.parts(self.source, chosen)) > _FEW_SAMPLES
        look = density.from_footers if rough else self._read
        own = look(self.source, chosen, begin, end, columns)
        before = None
        if self.baseline is not None:
            since, until, *_ = findings.times(self.baseline)
            # All of it: a time interval has no counterpart there.
            before = density.from_footers(self.baseline, Selection((str(name),)), since, until, 1)
        metrics = self.window_metrics(own.begin_ns, own.width_ns, len(own.calls))
        view = View(
            place.operation,
            self._descriptions.get(place.operation, ""),
            begin,
            end,
            is_interval,
            own,
            before,
            rough,
            None if is_interval or self._overview.is_rough else _row(self._overview.stats, name),
            self._budgets_us.get(place.operation),
            metrics,
        )
        return view if rough else self._whole(view, name)

    def _read(self, source: Source, chosen: Selection, begin: int, end: int, columns: int) -> Density:
        return scan.whole(lambda: density.read(source, chosen, begin, end, columns))

    def _whole(self, view: View, name: Recorded) -> View:
        import pandas as pd

        if not view.is_interval:
            row = view.row or _row(statistics.stats(self.source, operations=name), name)
            assert row is not None
            errors = statistics.stats(self.source, "error", operations=name) if row["errors"] else None
            return replace(view, row=row, errors=errors, slowest=slowest.slowest(self.source, SLOW_CALLS, name))
        begin, end = (pd.Timestamp(ns, tz="UTC") for ns in (view.begin_ns, view.end_ns))
        inside = statistics.stats(self.source, start=begin, end=end)
        return replace(
            view,
            row=_row(inside, name),
            slowest=slowest.slowest(self.source, SLOW_CALLS, name, begin, end),
            inside=inside,
            metrics_here=self._metrics_here(view.begin_ns, view.end_ns),
        )

    def _metrics_here(self, begin: int, end: int) -> pd.DataFrame:
        """A row a metric: `here` and `overall`, counts as of a second; `q_value`, against the usual time outside."""
        import numpy as np
        import pandas as pd

        sides = {}
        for side, since, until in (("here", begin, end), ("overall", self.begin_ns, self.end_ns)):
            sides[side] = timeline.rates(self.source, [since], until - since).iloc[0]
        length = contrasts.window(begin, end, self.metrics()["interval_ns"])
        first, last = self.begin_ns, self.end_ns
        if (last - first) // length > _MOST_WINDOWS:
            first, last = contrasts.surroundings(begin, end, first, last)
        starts, inside, outside = contrasts.windows(first, last, length, begin, end)
        # What surrounds a part of an incident is the incident: it shows what is usual no more than that part does.
        low, high = self._incident
        is_usual = [
            out and not (start < high and start + length > low) for start, out in zip(starts, outside, strict=True)
        ]
        values = timeline.rates(self.source, starts, length).astype("float64")
        values.loc[~(np.array(inside, bool) | np.array(is_usual, bool))] = np.nan
        return pd.DataFrame(sides | {"q_value": contrasts.contrast(values, np.array(inside, bool))["q_value"]})

    @property
    def _incident(self) -> tuple[int, int]:
        """When something was slow, as the verdict has it; of no length where nothing was."""
        found = self._overview.findings
        slow = None if found is None else culprits.culprit(found)
        if found is None or slow is None:
            return (0, 0)
        return tuple(found.begin_ns + place * found.window_ns for place in (slow.moment.first, slow.moment.last + 1))  # type: ignore[return-value]


def _row(stats: pd.DataFrame, name: str) -> dict[str, float] | None:
    """What `stats` has of an operation, by column; None where it has nothing."""
    own = stats[stats.index.get_level_values("operation") == name]
    return {str(column): float(value) for column, value in own.iloc[0].items()} if len(own) else None


def on_one_scale(own: Density, before: Density | None) -> tuple[list[float], Any, Any]:
    """Edges of bins in ns that hold the calls of both, those of each in them, and None for a baseline without calls."""
    import numpy as np

    rows, past = own.rows(), {} if before is None else before.rows()
    known = [*rows, *past]
    numbers = range(min(known), max(known) + 1)
    edges = [max(float(density.row_edge_ns(row)), 1.0) for row in range(numbers.start, numbers.stop + 1)]
    calls = np.array([rows.get(row, 0.0) for row in numbers])
    return edges, calls, np.array([past.get(row, 0.0) for row in numbers]) if past else None


def code(place: Place) -> str:
    """A call of `Capture.explore` that shows a place; of a single call, what it was chosen from."""
    import pandas as pd

    own = []
    if place.operation is not None:
        own.append(f"operation=capture.operations.{place.operation}")
    for name, ns in (("start", place.begin_ns), ("end", place.end_ns)):
        if ns is not None:
            own.append(f'{name}="{pd.Timestamp(ns, tz="UTC").isoformat()}"')
    return f"capture.explore({', '.join(own)})"
