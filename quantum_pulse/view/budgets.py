"""Check the budgets of a capture, and word the verdicts in the same way for every output format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.reading import budgets as budget_pass
from quantum_pulse.reading import scan
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import EVERYTHING, Selection
from quantum_pulse.view import numbers

if TYPE_CHECKING:
    import pandas as pd

#: A sign beside each verdict, so that colour is never the only cue. What needs attention comes first.
SIGNS: Final = {"missed": "▲", "inconclusive": "?", "too_few": "·", "not_checked": "·", "kept": "="}
#: Samples of operations with budgets that are checked without being asked for: some seconds.
MOST_CHECKED: Final = 20_000_000


def of(
    source: Source, chosen: Selection = EVERYTHING, *, check: bool | None = True, alpha: float = 0.05
) -> pd.DataFrame:
    """Budgets of the samples in `chosen`; see `Capture.budgets`."""
    counted = budget_pass.counted(source, chosen)
    if check is None:
        names = tuple(budget_pass.defined(source, chosen))
        check = scan.rows_at_most(source, chosen._replace(names=names)) <= MOST_CHECKED
    if not check:
        return counted
    from quantum_pulse import analysis

    checked = analysis.check_budgets(budget_pass.defined(source, chosen), budget_pass.runs(source, chosen), alpha)
    joined = counted.join(checked.drop(columns="quantile"))
    # None of their calls in `chosen` has ended.
    return joined.assign(verdict=joined["verdict"].fillna("too_few"))


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
        low, high = (_us(row[f"ci_{end}_us"]) for end in ("low", "high"))
        value = f" {_us(row['value_us'])} ({low} to {high})"
    above = f"; {share(row)} of its calls exceed it" if row["count"] else ""
    if open_over := int(row.get("open_over", 0)):
        verbs = "is unfinished and exceeds" if open_over == 1 else "are unfinished and exceed"
        more = " more" if row["count"] else ""
        above += f"; {numbers.count(open_over)}{more} {verbs} it already"
    return f"{quantile(row)}{value}, budget {_us(row['budget_us'])}{above}"


def ordered(budgets: pd.DataFrame) -> list[tuple[str, dict[Any, Any]]]:
    """Operations and their rows, what needs attention first."""
    rows: dict[Any, dict[Any, Any]] = budgets.to_dict("index")
    return sorted(((str(name), row) for name, row in rows.items()), key=lambda one: -rank(one[1]))


def quantile(row: Mapping[Any, Any]) -> str:
    """Which quantile the budget is for: p99, p99.9."""
    return f"p{row['quantile'] * 100:.10g}"


def _us(value: float) -> str:
    return numbers.duration(value * 1000)
