"""Format the table of statistics as cells, for `text` and `html`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from quantum_pulse.operations import DEFAULT_PRIORITY, Category
from quantum_pulse.view import numbers

if TYPE_CHECKING:
    import pandas as pd

#: Column of the statistics -> its heading. Of other quantiles than the usual ones all are shown.
HEADINGS: Final = {
    "count": "count",
    "errors": "errors",
    "total_us": "total",
    "mean_us": "mean",
    "p50_us": "p50",
    "p95_us": "p95",
    "p99_us": "p99",
    "max_us": "max",
}
_USUAL: Final = ("p50_us", "p90_us", "p95_us", "p99_us", "p999_us")


class Group(NamedTuple):
    """A category and its operations, the one with the largest total first. Each row is a name and its cells."""

    category: Category
    rows: list[tuple[str, list[str]]]


def headings(stats: pd.DataFrame) -> dict[str, str]:
    """Column of `stats` -> its heading, for the columns to show."""
    quantiles = tuple(str(name) for name in stats.columns if str(name)[0] == "p" and str(name)[1:2].isdigit())
    if quantiles == _USUAL:
        return HEADINGS
    others = {name: heading for name, heading in HEADINGS.items() if name not in _USUAL}
    *first, last = others.items()
    return dict([*first, *((name, name.removesuffix("_us")) for name in quantiles), last])


def groups(
    stats: pd.DataFrame,
    categories: Mapping[str, Category] | None = None,
    unit: str = "auto",
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
    levels = [str(name) for name in stats.index.names]
    is_grouped = "category" in levels and not keep_order
    shown = headings(stats)
    totals: dict[str, float] = {}
    rows: dict[str, list[tuple[int, float, str, list[str]]]] = {}
    for key, values in zip(stats.index.tolist(), stats[list(shown)].to_dict("records"), strict=True):
        named = dict(zip(levels, key if isinstance(key, tuple) else (key,), strict=True))
        category = str(named["category"]) if is_grouped else ""
        # The group, or the operation, names the category.
        rest = [
            "–" if value is None or value != value else str(value)  # a call without error has NaN here
            for level, value in named.items()
            if level != "category" or len(levels) == 1
        ]
        totals[category] = totals.get(category, 0.0) + values["total_us"]
        cells = [
            numbers.duration(values[column] * 1000, unit) if column.endswith("_us") else numbers.count(values[column])
            for column in shown
        ]
        priority = (priorities or {}).get(str(named.get("operation")), DEFAULT_PRIORITY)
        rows.setdefault(category, []).append((priority, -values["total_us"], " ".join(rest), cells))

    def rank(name: str) -> tuple[int, float, str]:
        return (known[name].priority if name in known else DEFAULT_PRIORITY, -totals[name], name)

    return [
        Group(
            known.get(name, Category(name)),
            [(row[2], row[3]) for row in (rows[name] if keep_order else sorted(rows[name]))],
        )
        for name in sorted(rows, key=rank)
    ]


def is_grouped(stats: pd.DataFrame, *, keep_order: bool = False) -> bool:
    """Whether rows of `stats` are grouped under the name of their category."""
    return "category" in stats.index.names and stats.index.nlevels > 1 and not keep_order


def row_heading(stats: pd.DataFrame) -> str:
    """What the rows of `stats` are."""
    levels = [str(name) for name in stats.index.names]
    return " ".join(level for level in levels if level != "category" or len(levels) == 1)
