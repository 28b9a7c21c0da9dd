"""Build the table of all operations by category, and the table of budgets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from quantum_pulse.view import budgets as words
from quantum_pulse.view import charts, numbers
from quantum_pulse.view.document import Block, Cell, Column, Name, Paragraph, Row, Table
from quantum_pulse.view.scales import LogScale

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.reading.definitions import Priorities

_PRIORITY: Final = Column("priority", title="1 is the most important")
_COLUMNS: Final = (
    Column("operation", is_number=False),
    _PRIORITY,
    Column("share of time", wide=True),
    Column("calls"),
    Column("errors"),
    Column("total"),
    Column("p50"),
    Column("p99"),
    Column("max"),
    Column("budget", title="whether the quantile keeps its budget, and the share of calls over budget"),
)
_NOTE: Final = (
    "Latency: a thin line from the fastest call to the slowest, a bar from p50 to p99, a circle at p50, a dashed "
    "mark at the budget. A budget applies to a quantile, not to single calls. It is missed or kept where the samples "
    "show that with confidence, and inconclusive where the quantile is too close to the budget, the calls are too few, "
    "or the slow calls are too concentrated in time. The time of a nested call also counts for the calls that enclose "
    "it, so shares are of the sum of all measured durations, not of elapsed time."
)


class Trend(Protocol):
    """A statistic of an operation over time, an entry a window, NaN where it did not run."""

    def __call__(self, category: str, name: str, column: str, /) -> Sequence[float]:
        """Return the values of a column for an operation."""


def build(
    stats: pd.DataFrame,
    budgets: pd.DataFrame,
    links: Mapping[str, str],
    priorities: Priorities,
    trend: Trend | None = None,
) -> list[Block]:
    """The table, with a note on how to read it. `stats` and `budgets` as of `Capture`; `links` to the details."""
    if stats.empty:
        return [Paragraph("No operations were recorded.", "missing")]
    scale = LogScale.around(stats["min_us"].min() * 1000, stats["max_us"].max() * 1000, 8, 172)
    total = float(stats["total_us"].sum()) or 1.0
    rows = []
    sums: dict[Any, float] = stats["total_us"].groupby(level="category").sum().to_dict()
    limits = budgets.to_dict("index")
    for category in sorted(sums, key=lambda name: (priorities.category(str(name)), -sums[name])):
        own: Any = stats.xs(category, level="category")
        own = own.assign(priority=[priorities.operation(str(name)) for name in own.index])
        own = own.sort_values(["priority", "total_us"], ascending=[True, False])
        rows.append(_category_row(str(category), own, sums[category], total, priorities.category(str(category))))
        for name, row in own.iterrows():
            values = [] if trend is None else trend(str(category), str(name), "p99_us")
            rows.append(_operation_row(str(name), row, limits.get(name), total, scale, values, links))
    columns, order = [*_COLUMNS], "largest total first"
    if priorities.are_set:
        order = "by priority, then largest total"
    else:
        columns.remove(_PRIORITY)
        rows = [replace(row, cells=[*row.cells[:1], *row.cells[2:]]) for row in rows]
    latency = Column(
        "latency", False, wide=True, title="from min to max, bar from p50 to p99", picture=charts.ranges_axis(scale)
    )
    columns += [latency, Column("trend", False, wide=True, title="p99 over time")]
    blocks: list[Block] = [Table(f"Operations by category, {order}", columns, rows, "grid")]
    blocks.append(Paragraph(_NOTE, "note"))
    return [*blocks, _budgets(budgets, links)] if len(budgets) else blocks


def _category_row(category: str, own: pd.DataFrame, took: float, total: float, priority: int) -> Row:
    count, errors = own["count"].sum(), own["errors"].sum()
    share = took / total
    blank = Cell("")
    return Row(
        [
            Cell(Name(category)),
            Cell(str(priority), priority),
            Cell(numbers.share(share), share, charts.share_bar(share)),
            Cell(numbers.count(count), count),
            _errors(errors, count),
            Cell(_us(took), took),
            blank,
            blank,
            Cell(_us(own["max_us"].max()), own["max_us"].max()),
            blank,
            blank,
            blank,
        ],
        is_group=True,
    )


def _operation_row(
    name: str,
    row: Any,
    budget: Mapping[Any, Any] | None,
    total: float,
    scale: LogScale,
    trend: Sequence[float],
    links: Mapping[str, str],
) -> Row:
    share = row["total_us"] / total
    low, p50, p99, high = (float(row[key]) * 1000 for key in ("min_us", "p50_us", "p99_us", "max_us"))
    picture = charts.ranges(scale, low, p50, p99, high, None if budget is None else budget["budget_us"] * 1000)
    return Row(
        [
            Cell(Name(name, links.get(name, ""))),
            Cell(f"{row['priority']:.0f}", row["priority"]),
            Cell(numbers.share(share), share, charts.share_bar(share)),
            Cell(numbers.count(row["count"]), row["count"]),
            _errors(row["errors"], row["count"]),
            Cell(_us(row["total_us"]), row["total_us"]),
            Cell(_us(row["p50_us"]), row["p50_us"]),
            Cell(_us(row["p99_us"]), row["p99_us"]),
            Cell(_us(row["max_us"]), row["max_us"]),
            _budget(budget),
            Cell("", picture=picture),
            Cell("", picture=charts.trend(trend)),
        ],
        level=2,
    )


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
                    Cell(_us(row["budget_us"]), row["budget_us"]),
                    Cell(_us(value), value),
                    Cell("–" if math.isnan(low) else f"{_us(low)} to {_us(high)}", low),
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


def _errors(errors: float, count: float) -> Cell:
    text = f"{numbers.count(errors)} ({numbers.share(errors / count)})" if errors else "0"
    return Cell(text, errors, kind="bad" if errors else "")


def _us(value: float) -> str:
    return numbers.duration(value * 1000)
