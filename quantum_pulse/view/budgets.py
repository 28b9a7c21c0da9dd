"""Word the verdicts on budgets, in the same way wherever they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.view import numbers, text
from quantum_pulse.view.document import Cell, Column, Name, Row, Table, Text, marked, with_names

if TYPE_CHECKING:
    import pandas as pd

#: A sign beside each verdict, so that colour is never the only cue. What needs attention comes first.
SIGNS: Final = {"missed": "▲", "inconclusive": "?", "too_few": "·", "not_checked": "·", "kept": "="}


def verdict(row: Mapping[Any, Any]) -> str:
    """The verdict on a row of `Capture.budgets`, or that there is none."""
    return str(row.get("verdict", "not_checked"))


def word(row: Mapping[Any, Any]) -> str:
    """The verdict in words: kept, missed, inconclusive, too few, not checked."""
    return verdict(row).replace("_", " ")


def short(row: Mapping[Any, Any]) -> str:
    """The verdict and the share of calls above the budget, in a cell: missed, 2.0 %."""
    return f"{word(row)}, {share(row)}"


def share(row: Mapping[Any, Any]) -> str:
    """The share of calls above the budget."""
    return numbers.share(row["share"]) if row["over"] else "0 %"


def rank(row: Mapping[Any, Any]) -> float:
    """What `short` is sorted by: the verdict, then the share of calls above the budget."""
    return 2.0 * (len(SIGNS) - list(SIGNS).index(verdict(row))) + float(row["share"])


def details(row: Mapping[Any, Any]) -> str:
    """All but the verdict: p99 120 µs (110 µs to 130 µs), budget 100 µs; 2.0 % of its calls exceed it.

    Followed by "; 3 more are unfinished and exceed it already", if there are any.
    """
    value = ""
    if "verdict" in row and row["count"]:
        low, high = (numbers.us(row[f"ci_{end}_us"]) for end in ("low", "high"))
        value = f" {numbers.us(row['value_us'])} ({low} to {high})"
    above = f"; {share(row)} of its calls exceed it" if row["count"] else ""
    if open_over := int(row.get("open_over", 0)):
        verbs = "is unfinished and exceeds" if open_over == 1 else "are unfinished and exceed"
        more = " more" if row["count"] else ""
        above += f"; {numbers.count(open_over)}{more} {verbs} it already"
    return f"{quantile(row)}{value}, budget {numbers.us(row['budget_us'])}{above}"


def ordered(budgets: pd.DataFrame) -> list[tuple[str, dict[Any, Any]]]:
    """Operations and their rows, what needs attention first."""
    return by_rank(budgets.to_dict("index"))


def by_rank(rows: Mapping[Any, dict[Any, Any]]) -> list[tuple[str, dict[Any, Any]]]:
    """As `ordered`, of rows by operation."""
    return sorted(((str(name), row) for name, row in rows.items()), key=lambda one: -rank(one[1]))


def quantile(row: Mapping[Any, Any]) -> str:
    """Which quantile the budget is for: p99, p99.9."""
    return f"p{row['quantile'] * 100:.10g}"


def table(budgets: Mapping[Any, dict[Any, Any]]) -> Table:
    """Verdict, operation and figures, a row for each budget; `budgets` are the rows of `Capture.budgets`."""
    rows = [
        Row([Cell(f"{SIGNS[verdict(row)]} {word(row)}"), Cell(Name(name)), Cell(details(row))])
        for name, row in by_rank(budgets)
    ]
    return Table("", [Column(name, is_number=False) for name in ("verdict", "operation", "")], rows)


def lines(budgets: Mapping[Any, dict[Any, Any]]) -> str:
    """Whether operations keep their budgets, and how many calls are above, as text; empty where none has a budget.

    `budgets` are as those of `table`.
    """
    unnamed = replace(table(budgets), columns=[Column("", is_number=False)] * 3)
    return text.listing("Budgets", text.table(unnamed).splitlines())


def failing(budgets: pd.DataFrame) -> list[Text]:
    """A line for each budget that is not shown to be kept, and the number of those that are."""
    if budgets.empty:
        return []
    kept = int((budgets["verdict"] == "kept").sum())
    return [
        *(
            with_names(f"{SIGNS[verdict(row)]} {word(row)}: {marked(name)}, {details(row)}")
            for name, row in ordered(budgets)
            if row["verdict"] != "kept"
        ),
        f"{SIGNS['kept']} kept: {kept} of {len(budgets)}",
    ]
