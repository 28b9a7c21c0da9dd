"""Build the table of all operations that fits beside the list of files: few columns, changes against a baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from quantum_pulse import stacks
from quantum_pulse.view import budgets as words
from quantum_pulse.view import numbers
from quantum_pulse.view.chart import Axis, Durations, OnScale, Share
from quantum_pulse.view.document import Block, Cell, Column, Name, Paragraph, Row, Table
from quantum_pulse.view.scales import LogScale

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.evidence import Priorities

_NOTE: Final = (
    "Latency: a thin line from min to max, a bar from p50 to p99, a circle at p50, a dashed mark at the budget. Self "
    "time is without the calls inside, as a share of the time of the outermost calls: it adds up to 100 %."
)
#: Width of the column of latencies, in pixels.
_LATENCY: Final = 124


class Change(NamedTuple):
    """The change of a quantile against a baseline, as a share of that, and whether the data show that it differs."""

    change: float
    differs: bool


class _Field(NamedTuple):
    """A column: its heading, its cell for an operation, and for the operations of a category together."""

    column: Column
    cell: Callable[[str, Mapping[Any, Any]], Cell]
    together: Callable[[pd.DataFrame], Cell] = lambda _: Cell("")


def build(
    stats: pd.DataFrame,
    budgets: pd.DataFrame,
    links: Mapping[str, str],
    priorities: Priorities,
    shares: stacks.Shares | None = None,
    changes: Mapping[tuple[str, float], Change] | None = None,
) -> list[Block]:
    """The table, with a note on how to read it.

    `shares` are None until they are known, `changes`, by operation and quantile, without a baseline.
    """
    if stats.empty:
        return [Paragraph("No operations were recorded.", "missing")]
    fields = _fields(stats, budgets.to_dict("index"), shares, changes)
    sums: dict[Any, float] = stats["total_us"].groupby(level="category").sum().to_dict()
    rows = []
    for category in sorted(sums, key=lambda name: (priorities.category(str(name)), -sums[name])):
        own: Any = stats.xs(category, level="category")
        own = own.assign(priority=[priorities.operation(str(name)) for name in own.index])
        own = own.sort_values(["priority", "total_us"], ascending=[True, False])
        rows.append(Row([Cell(Name(str(category))), *(field.together(own) for field in fields)], is_group=True))
        for name, row in own.iterrows():
            cells = [Cell(Name(str(name), links.get(str(name), ""))), *(field.cell(str(name), row) for field in fields)]
            rows.append(Row(cells, level=2))
    order = "by priority, then largest total" if priorities.are_set else "largest total first"
    columns = [Column("operation", is_number=False), *(field.column for field in fields)]
    return [Table(f"Operations by category, {order}", columns, rows, "grid"), Paragraph(_NOTE, "note")]


def _fields(
    stats: pd.DataFrame,
    budgets: Mapping[Any, Mapping[Any, Any]],
    shares: stacks.Shares | None,
    changes: Mapping[tuple[str, float], Change] | None,
) -> list[_Field]:
    scale = LogScale.around(stats["min_us"].min() * 1000, stats["max_us"].max() * 1000, 8, _LATENCY - 8)

    def calls(_: str, row: Mapping[Any, Any]) -> Cell:
        return Cell(numbers.short(row["count"]), row["count"], title=f"{numbers.count(row['count'])} calls")

    def errors(_: str, row: Mapping[Any, Any]) -> Cell:
        if not row["errors"]:
            return Cell("0", 0.0)
        own = row["errors"] / row["count"]
        return Cell(numbers.share(own), own, kind="bad", title=f"{numbers.count(row['errors'])} errors")

    def budget(name: str, _: Mapping[Any, Any]) -> Cell:
        own = budgets.get(name)
        if own is None:
            return Cell("")
        missed: Literal["", "bad"] = "bad" if words.verdict(own) == "missed" else ""
        return Cell(words.word(own), words.rank(own), kind=missed, title=words.details(own))

    def latency(name: str, row: Mapping[Any, Any]) -> Cell:
        limit = budgets.get(name)
        return Cell("", chart=OnScale(scale, Durations.of(row, None if limit is None else float(limit["budget_us"]))))

    def sums(column: str, cell: Callable[[str, Mapping[Any, Any]], Cell]) -> Callable[[pd.DataFrame], Cell]:
        return lambda own: cell("", {column: own[column].sum(), "count": own["count"].sum()})

    found = [] if shares is None else [_self_time(stats, shares)]
    found.append(_Field(Column("calls"), calls, sums("count", calls)))
    if stats["errors"].any():
        found.append(_Field(Column("errors", title="share of calls that raised"), errors, sums("errors", errors)))
    for title, key, quantile in (("p50", "p50_us", 0.5), ("p99", "p99_us", 0.99)):
        found.append(_Field(Column(title), _microseconds(key)))
        if changes is not None:
            against = Column("Δ", title=f"change of {title} against the baseline")
            found.append(_Field(against, _change(changes, quantile)))
    if changes is None:
        # Beside changes there is no room for it: the chart of latencies shows it.
        slowest = _microseconds("max_us")
        found.append(_Field(Column("max"), slowest, lambda own: slowest("", {"max_us": float(own["max_us"].max())})))
    if budgets:
        found.append(_Field(Column("budget", title="whether the quantile keeps its budget"), budget))
    found.append(_Field(Column("latency", False, wide=True, title=_NOTE, chart=Axis(scale)), latency))
    return found


def _self_time(stats: pd.DataFrame, shares: stacks.Shares) -> _Field:
    """The share of time that an operation, or those of a category, took without the calls inside."""
    category_of = {str(name): str(category) for category, name in stats.index}

    def cell(share: stacks.Share | None) -> Cell:
        return Cell("") if share is None else Cell(numbers.share(share.own), share.own, Share(share.own))

    def together(own: pd.DataFrame) -> Cell:
        name = next(iter(own.index), None)
        return cell(shares.categories.get(category_of[str(name)]))

    return _Field(
        Column("self", title="share of the time of the outermost calls, without the calls inside"),
        lambda name, _: cell(shares.operations.get((category_of[name], name))),
        together,
    )


def _microseconds(key: str) -> Callable[[str, Mapping[Any, Any]], Cell]:
    return lambda _, row: Cell(numbers.us(row[key]), row[key]) if not math.isnan(row[key]) else Cell("")


def _change(changes: Mapping[tuple[str, float], Change], quantile: float) -> Callable[[str, Mapping[Any, Any]], Cell]:
    def cell(name: str, _: Mapping[Any, Any]) -> Cell:
        own = changes.get((name, quantile))
        if own is None or math.isnan(own.change):
            return Cell("–")
        kind: Literal["", "slower", "faster"] = "" if not own.differs else "slower" if own.change > 0 else "faster"
        title = "" if own.differs else "not shown to differ"
        return Cell(numbers.change(own.change), own.change, kind=kind, title=title)

    return cell
