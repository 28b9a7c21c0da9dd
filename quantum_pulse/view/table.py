"""The table of statistics as cells, which `text` and `html` put into their own form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from quantum_pulse.operations import DEFAULT_PRIORITY, Category
from quantum_pulse.view import numbers

if TYPE_CHECKING:
    import pandas as pd

#: Column of the statistics -> its heading.
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


class Group(NamedTuple):
    """A category and its operations, the one with the largest total first. Each row is a name and its cells."""

    category: Category
    rows: list[tuple[str, list[str]]]


def groups(stats: pd.DataFrame, categories: Mapping[str, Category] | None = None) -> list[Group]:
    """`stats` (of `Capture.stats`, by either grouping) in the order to show: by priority, then by total.

    By category, each group has no rows but the one of the category itself.
    """
    known = categories or {}
    totals: dict[str, float] = {}
    rows: dict[str, list[tuple[float, str, list[str]]]] = {}
    for key, values in zip(stats.index.tolist(), stats[list(HEADINGS)].to_dict("records"), strict=True):
        category, name = key if isinstance(key, tuple) else (key, key)
        totals[category] = totals.get(category, 0.0) + values["total_us"]
        cells = [
            numbers.duration(values[column] * 1000) if column.endswith("_us") else numbers.count(values[column])
            for column in HEADINGS
        ]
        rows.setdefault(category, []).append((-values["total_us"], name, cells))

    def rank(name: str) -> tuple[int, float, str]:
        return (known[name].priority if name in known else DEFAULT_PRIORITY, -totals[name], name)

    return [
        Group(known.get(name, Category(name)), [(row[1], row[2]) for row in sorted(rows[name])])
        for name in sorted(rows, key=rank)
    ]


def is_by_category(stats: pd.DataFrame) -> bool:
    """Whether the rows of `stats` are categories."""
    return stats.index.nlevels == 1
