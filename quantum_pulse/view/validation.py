"""Durations that are not plausible, as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantum_pulse.view import numbers, text
from quantum_pulse.view.document import Cell, Column, Name, Row, Table

if TYPE_CHECKING:
    import pandas as pd


def lines(validation: pd.DataFrame) -> str:
    """Which operations took less or more time than is plausible; empty when none did."""
    broken = validation[validation["below"] + validation["above"] > 0]
    rows = []
    for name, row in broken.iterrows():
        low, high = (numbers.us(row[f"expect_{side}_us"]) for side in ("low", "high"))
        sides = [("below " + low, row["below"]), ("above " + high, row["above"])]
        outside = ", ".join(f"{numbers.count(calls)} {side}" for side, calls in sides if calls)
        of_all = f"of {numbers.count(row['count'])} calls; {numbers.count(row['outliers'])} outliers"
        cells = [Cell(Name(str(name))), Cell(numbers.share(row["share"])), Cell(f"{outside} ({of_all})")]
        rows.append(Row(cells))
    columns = [Column("", is_number=False), Column(""), Column("", is_number=False)]
    return text.listing("Outside the expected range", text.table(Table("", columns, rows)).splitlines())
