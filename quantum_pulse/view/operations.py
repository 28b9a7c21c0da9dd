"""Build the table of all operations by category, and the table of budgets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from quantum_pulse.analysis import stacks
from quantum_pulse.statistics import Statistic, shown_in
from quantum_pulse.view import budgets as words
from quantum_pulse.view import numbers, statistics
from quantum_pulse.view.chart import Axis, Durations, OnScale, Share, Trend
from quantum_pulse.view.document import Block, Cell, Column, Name, Paragraph, Row, Table
from quantum_pulse.view.scales import LogScale

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.evidence import Priorities

_STATISTICS: Final = shown_in("report")
_PRIORITY: Final = Column("priority", title="1 is the most important")
_SHARES: Final = (
    Column("self time", title="share of the time of the outermost calls, without the calls inside"),
    Column("share of time", wide=True, title="share of the time of the outermost calls, with the calls inside"),
)
_COLUMNS: Final = (
    Column("operation", is_number=False),
    _PRIORITY,
    *_SHARES,
    *(Column(one.title) for one in _STATISTICS),
    Column("budget", title="whether the quantile keeps its budget, and the share of calls over budget"),
)
_NOTE: Final = (
    "Latency: a thin line from the fastest call to the slowest, a bar from p50 to p99, a circle at p50, a dashed "
    "mark at the budget. A budget applies to a quantile, not to single calls. It is missed or kept where the samples "
    "show that with confidence, and inconclusive where the quantile is too close to the budget, the calls are too few, "
    "or the slow calls are too concentrated in time."
)
_NOTE_ON_SHARES: Final = (
    " Shares are of the time of the outermost calls, the ones that no other call encloses. Self time is without the "
    "calls inside and adds up to 100 %; the share of time includes them. Concurrent calls each count in full."
)


class OverTime(Protocol):
    """A statistic of an operation over time, an entry a window, NaN where it did not run."""

    def __call__(self, category: str, name: str, column: str, /) -> Sequence[float]:
        """Return the values of a column for an operation."""


def build(
    stats: pd.DataFrame,
    budgets: pd.DataFrame,
    links: Mapping[str, str],
    priorities: Priorities,
    shares: stacks.Shares | None = None,
    over_time: OverTime | None = None,
) -> list[Block]:
    """The table, with a note on how to read it. `stats` and `budgets` as of `Capture`; `links` to the details.

    Without `shares`, which take the call tree, there are no columns of them.
    """
    if stats.empty:
        return [Paragraph("No operations were recorded.", "missing")]
    scale = LogScale.around(stats["min_us"].min() * 1000, stats["max_us"].max() * 1000, 8, 172)
    divided = shares or stacks.Shares([], {}, {})
    rows = []
    sums: dict[Any, float] = stats["total_us"].groupby(level="category").sum().to_dict()
    limits = budgets.to_dict("index")
    for category in sorted(sums, key=lambda name: (priorities.category(str(name)), -sums[name])):
        own: Any = stats.xs(category, level="category")
        own = own.assign(priority=[priorities.operation(str(name)) for name in own.index])
        own = own.sort_values(["priority", "total_us"], ascending=[True, False])
        share = divided.categories.get(str(category))
        rows.append(_category_row(str(category), own, share, priorities.category(str(category))))
        for name, row in own.iterrows():
            values = [] if over_time is None else over_time(str(category), str(name), "p99_us")
            share = divided.operations.get((str(category), str(name)))
            rows.append(_operation_row(str(name), row, limits.get(name), share, scale, values, links))
    order = "by priority, then largest total" if priorities.are_set else "largest total first"
    unknown = [*(() if priorities.are_set else (_PRIORITY,)), *(_SHARES if shares is None else ())]
    kept = [place for place, column in enumerate(_COLUMNS) if column not in unknown]
    columns = [_COLUMNS[place] for place in kept]
    rows = [replace(row, cells=[*(row.cells[place] for place in kept), *row.cells[len(_COLUMNS) :]]) for row in rows]
    latency = Column("latency", False, wide=True, title="from min to max, bar from p50 to p99", chart=Axis(scale))
    columns += [latency, Column("trend", False, title="p99 over time")]
    blocks: list[Block] = [Table(f"Operations by category, {order}", columns, rows, "grid")]
    blocks.append(Paragraph(_NOTE if shares is None else _NOTE + _NOTE_ON_SHARES, "note"))
    return [*blocks, _budgets(budgets, links)] if len(budgets) else blocks


def _category_row(category: str, own: pd.DataFrame, share: stacks.Share | None, priority: int) -> Row:
    together = {
        one.name: math.nan if one.together is None else float(own[one.name].agg(one.together)) for one in _STATISTICS
    }
    return Row(
        [
            Cell(Name(category)),
            Cell(str(priority), priority),
            *_shares(share),
            *(_statistic(one, together) for one in _STATISTICS),
            *[Cell("")] * 3,
        ],
        is_group=True,
    )


def _operation_row(
    name: str,
    row: Any,
    budget: Mapping[Any, Any] | None,
    share: stacks.Share | None,
    scale: LogScale,
    trend: Sequence[float],
    links: Mapping[str, str],
) -> Row:
    durations = Durations.of(row, None if budget is None else float(budget["budget_us"]))
    return Row(
        [
            Cell(Name(name, links.get(name, ""))),
            Cell(f"{row['priority']:.0f}", row["priority"]),
            *_shares(share),
            *(_statistic(one, row) for one in _STATISTICS),
            _budget(budget),
            Cell("", chart=OnScale(scale, durations)),
            Cell("", chart=Trend(trend)),
        ],
        level=2,
    )


def _shares(share: stacks.Share | None) -> list[Cell]:
    if share is None:
        return [Cell("")] * len(_SHARES)
    return [
        Cell(numbers.share(share.own), share.own, Share(share.own)),
        Cell(numbers.share(share.inclusive), share.inclusive),
    ]


def _statistic(one: Statistic, row: Mapping[Any, Any]) -> Cell:
    value = float(row[one.name])
    if math.isnan(value):
        return Cell("")
    if one.name == "errors":
        share = f" ({numbers.share(value / row['count'])})" if value else ""
        return Cell(f"{numbers.count(value)}{share}", value, kind="bad" if value else "")
    return Cell(statistics.value(one.name, value), value)


def _budgets(budgets: pd.DataFrame, links: Mapping[str, str]) -> Table:
    """A row for each budget."""
    columns = [
        Column("operation", is_number=False),
        Column("quantile"),
        Column("budget"),
        Column("measured"),
        Column("95 % interval"),
        Column("calls over budget"),
        Column("verdict", is_number=False),
    ]
    rows = []
    for name, row in words.ordered(budgets):
        value, low, high = (row.get(key, math.nan) for key in ("value_us", "ci_low_us", "ci_high_us"))
        rows.append(
            Row(
                [
                    Cell(Name(name, links.get(name, ""))),
                    Cell(words.quantile(row), row["quantile"]),
                    Cell(numbers.us(row["budget_us"]), row["budget_us"]),
                    Cell(numbers.us(value), value),
                    Cell("–" if math.isnan(low) else f"{numbers.us(low)} to {numbers.us(high)}", low),
                    Cell(words.share(row), row["share"]),
                    Cell(words.word(row), kind=_kind(row)),
                ]
            )
        )
    return Table("Budgets, missed ones first", columns, rows)


def _kind(budget: Mapping[Any, Any]) -> Literal["", "bad"]:
    return "bad" if words.verdict(budget) == "missed" else ""


def _budget(budget: Mapping[Any, Any] | None) -> Cell:
    if budget is None:
        return Cell("")
    return Cell(words.short(budget), words.rank(budget), kind=_kind(budget))
