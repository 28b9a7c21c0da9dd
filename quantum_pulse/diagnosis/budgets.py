"""Check the budgets of a capture, as far as that does not take long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quantum_pulse import analysis
from quantum_pulse.reading import budgets as budget_pass
from quantum_pulse.reading import scan
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import EVERYTHING, Selection

if TYPE_CHECKING:
    import pandas as pd

#: Samples of operations with budgets that are checked without being asked for: some seconds.
MOST_CHECKED: Final = 20_000_000


def check(
    source: Source, chosen: Selection = EVERYTHING, *, is_tested: bool | None = True, alpha: float = 0.05
) -> pd.DataFrame:
    """Budgets of the samples in `chosen`; see `Capture.budgets`."""
    counted = budget_pass.counted(source, chosen)
    if is_tested is None:
        names = tuple(budget_pass.defined(source, chosen))
        is_tested = scan.rows_at_most(source, chosen._replace(names=names)) <= MOST_CHECKED
    if not is_tested:
        return counted
    checked = analysis.check_budgets(budget_pass.defined(source, chosen), budget_pass.runs(source, chosen), alpha)
    joined = counted.join(checked.drop(columns="quantile"))
    # None of their calls in `chosen` has ended.
    return joined.assign(verdict=joined["verdict"].fillna("too_few"))
