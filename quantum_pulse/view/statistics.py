"""The table of statistics: which rows come first, under which category, and how each is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse.operations import DEFAULT_PRIORITY, Category
from quantum_pulse.statistics import QUANTILES, Grouped, shown_in
from quantum_pulse.view import numbers
from quantum_pulse.view.document import Cell, Column, Name, Row, Table

if TYPE_CHECKING:
    import pandas as pd

#: Columns of the statistics that are shown. Of other quantiles than the usual ones all are.
SHOWN: Final = tuple(one.name for one in shown_in("table"))


class Group(NamedTuple):
    """A category and its operations, the one with the largest total first: the name of each, and its statistics."""

    category: Category
    rows: list[tuple[str, Mapping[Any, Any]]]


def table(
    stats: pd.DataFrame | Grouped,
    categories: Mapping[str, Category] | None = None,
    caption: str = "",
    *,
    unit: str = "auto",
    keep_order: bool = False,
    priorities: Mapping[str, int] | None = None,
) -> Table:
    """`stats` by category and operation, in the order of `groups`. `unit` is one of numbers.UNITS or "auto"."""
    levels = _plain(stats).levels
    is_grouped = "category" in levels and len(levels) > 1 and not keep_order
    shown = columns(stats)
    rows = []
    for group in groups(stats, categories, keep_order=keep_order, priorities=priorities):
        if is_grouped:
            title = Cell(Name(group.category.name), title=group.category.description)
            rows.append(Row([title], is_group=True))
        rows += [
            Row(
                [Cell(Name(name)), *(Cell(value(column, values[column], unit)) for column in shown)],
                level=2 if is_grouped else 1,
            )
            for name, values in group.rows
        ]
    heading = " ".join(level for level in levels if level != "category" or len(levels) == 1)
    headings = [Column(heading, is_number=False), *(Column(column.removesuffix("_us")) for column in shown)]
    return Table(caption and Name(caption), headings, rows, empty="no samples")


class _Plain(NamedTuple):
    """Statistics, whether they are a frame or not: levels of the index, keys, and the values of each group."""

    levels: Sequence[str]
    keys: Sequence[tuple[Any, ...]]
    values: Sequence[Mapping[Any, Any]]


def _plain(stats: pd.DataFrame | Grouped) -> _Plain:
    if isinstance(stats, Grouped):
        return _Plain(stats.levels, stats.keys, stats.rows())
    keys = [key if isinstance(key, tuple) else (key,) for key in stats.index.tolist()]
    return _Plain([str(name) for name in stats.index.names], keys, stats.to_dict("records"))


def columns(stats: pd.DataFrame | Grouped) -> tuple[str, ...]:
    """The columns of `stats` to show."""
    quantiles = tuple(str(name) for name in stats.columns if str(name)[0] == "p" and str(name)[1:2].isdigit())
    if quantiles == tuple(QUANTILES):
        return SHOWN
    *first, last = (name for name in SHOWN if name not in QUANTILES)
    return (*first, *quantiles, last)


def value(column: str, number: float, unit: str = "auto") -> str:
    """A number of a column, in the unit that its name says."""
    return numbers.us(number, unit) if column.endswith("_us") else numbers.count(number)


def groups(
    stats: pd.DataFrame | Grouped,
    categories: Mapping[str, Category] | None = None,
    *,
    keep_order: bool = False,
    priorities: Mapping[str, int] | None = None,
) -> list[Group]:
    """`stats` (of `Capture.stats`, by whatever) in the order to show: by priority, then by total; or as it is.

    `priorities` are those of operations; `categories` have their own.

    By category, each group has no rows but the one of the category itself. Where the order is kept, or rows have no
    category, all rows are in one group without a name.
    """
    known = categories or {}
    levels, keys, values_of_each = _plain(stats)
    is_grouped = "category" in levels and not keep_order
    totals: dict[str, float] = {}
    rows: dict[str, list[tuple[int, float, str, Mapping[Any, Any]]]] = {}
    for key, values in zip(keys, values_of_each, strict=True):
        named = dict(zip(levels, key, strict=True))
        category = str(named["category"]) if is_grouped else ""
        # The group, or the operation, names the category.
        rest = [
            "–" if level_value is None or level_value != level_value else str(level_value)  # no error is NaN here
            for level, level_value in named.items()
            if level != "category" or len(levels) == 1
        ]
        totals[category] = totals.get(category, 0.0) + values["total_us"]
        priority = (priorities or {}).get(str(named.get("operation")), DEFAULT_PRIORITY)
        rows.setdefault(category, []).append((priority, -values["total_us"], " ".join(rest), values))

    def rank(name: str) -> tuple[int, float, str]:
        return (known[name].priority if name in known else DEFAULT_PRIORITY, -totals[name], name)

    return [
        Group(
            known.get(name, Category(name)),
            [(row[2], row[3]) for row in (rows[name] if keep_order else sorted(rows[name], key=lambda row: row[:3]))],
        )
        for name in sorted(rows, key=rank)
    ]
