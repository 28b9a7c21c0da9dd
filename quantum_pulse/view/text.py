"""Render tables of statistics, budgets and validation as text for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING

from quantum_pulse.operations import Category
from quantum_pulse.shown import clean
from quantum_pulse.view import budgets as words
from quantum_pulse.view import numbers, table

if TYPE_CHECKING:
    import pandas as pd


def width(text: str) -> int:
    """Columns that `text` takes in a terminal: East Asian wide characters take two, combining ones none."""
    return sum(
        0
        if unicodedata.category(char) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(char) in "WF"
        else 1
        for char in text
    )


def budget_lines(budgets: pd.DataFrame) -> str:
    """Whether operations keep their budgets, and how many calls are above, as lines; empty where none has a budget."""
    rows = [
        (f"{words.SIGNS[words.verdict(row)]} {words.word(row)}", clean(name), words.details(row))
        for name, row in words.ordered(budgets)
    ]
    if not rows:
        return ""
    widths = [max(width(row[place]) for row in rows) for place in (0, 1)]
    lines = ["Budgets"]
    for found, name, told in rows:
        cells = [cell + " " * (space - width(cell)) for cell, space in zip((found, name), widths, strict=True)]
        lines.append(f"  {cells[0]}  {cells[1]}  {told}")
    return "\n".join(lines)


def validation_lines(validation: pd.DataFrame) -> str:
    """Which operations took less or more time than is plausible, as lines; empty when none did."""
    broken = validation[validation["below"] + validation["above"] > 0]
    if broken.empty:
        return ""
    names = [clean(str(name)) for name in broken.index]
    space = max(map(width, names))
    lines = ["Outside the expected range"]
    for name, (_, row) in zip(names, broken.iterrows(), strict=True):
        low, high = (numbers.duration(row[f"expect_{side}_us"] * 1000) for side in ("low", "high"))
        sides = [("below " + low, row["below"]), ("above " + high, row["above"])]
        told = ", ".join(f"{numbers.count(calls)} {side}" for side, calls in sides if calls)
        of_all = f"of {numbers.count(row['count'])} calls; {numbers.count(row['outliers'])} outliers"
        lines.append(f"  {name}{' ' * (space - width(name))}  {numbers.share(row['share']):>6}  {told} ({of_all})")
    return "\n".join(lines)


def stats_table(
    stats: pd.DataFrame,
    categories: Mapping[str, Category] | None = None,
    *,
    unit: str = "auto",
    keep_order: bool = False,
    priorities: Mapping[str, int] | None = None,
) -> str:
    """The statistics by category and operation, aligned; by priority, then the slowest in total, or in their order.

    `unit` is one of numbers.UNITS or "auto". No newline at the end.
    """
    is_grouped = table.is_grouped(stats, keep_order=keep_order)
    lines: list[list[str]] = [[table.row_heading(stats), *table.headings(stats).values()]]
    titles: set[int] = set()
    for group in table.groups(stats, categories, unit, keep_order=keep_order, priorities=priorities):
        if is_grouped:
            titles.add(len(lines))
            lines.append([clean(group.category.name)])
        indent = "  " if is_grouped else ""
        lines += [[indent + clean(name), *cells] for name, cells in group.rows]
    if len(lines) == 1:
        return "no samples"
    rows = [line for number, line in enumerate(lines) if number not in titles]
    widths = [max(width(row[column]) for row in rows) for column in range(len(lines[0]))]
    shown = []
    for number, line in enumerate(lines):
        if number in titles:
            shown.append(line[0])
            continue
        name = line[0] + " " * (widths[0] - width(line[0]))
        cells = [" " * (space - width(cell)) + cell for cell, space in zip(line[1:], widths[1:], strict=True)]
        shown.append("  ".join([name, *cells]))
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([shown[0], rule, *shown[1:]])
