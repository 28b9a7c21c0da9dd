"""Check the budgets of a capture, as far as that does not take long."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.analysis import budgets as checks
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
    is_tested = _is_tested(source, chosen, is_tested)
    found = rows(source, chosen, is_tested=is_tested, alpha=alpha)
    more = [name for name in checks.COLUMNS if name not in budget_pass.COLUMNS]
    frame = budget_pass.frame(found, more if is_tested else ())
    return frame.astype({name: "str" if name == "verdict" else "float64" for name in more} if is_tested else {})


def rows(
    source: Source, chosen: Selection = EVERYTHING, *, is_tested: bool | None = True, alpha: float = 0.05
) -> dict[str, dict[str, Any]]:
    """The same before it is a frame, by operation."""
    counted = budget_pass.counts(source, chosen)
    if not _is_tested(source, chosen, is_tested):
        return counted
    checked = checks.checked(budget_pass.defined(source, chosen), budget_pass.runs(source, chosen), alpha)
    # None of their calls in `chosen` has ended.
    unknown = {**dict.fromkeys(checks.COLUMNS, math.nan), "verdict": "too_few"}
    return {name: {**checked.get(name, unknown), **row} for name, row in counted.items()}


def _is_tested(source: Source, chosen: Selection, given: bool | None) -> bool:
    """Whether budgets are tested: None, if that takes no more than some seconds."""
    if given is not None:
        return given
    names = tuple(budget_pass.defined(source, chosen))
    return scan.rows_at_most(source, chosen._replace(names=names)) <= MOST_CHECKED
