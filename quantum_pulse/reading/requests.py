"""Summarise requests: the calls that no other recorded call encloses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.runs import by_run

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Final = ("count", "mean_us", "p50_us", "p99_us", "error_share")


def summary(side: Sequence[Source]) -> pd.DataFrame:
    """A row for each operation with such calls, what takes most time first: COLUMNS, over all captures together."""
    import pandas as pd

    columns = ("operation", "duration_ns", "parent", "error", "weight")
    roots = [rows[rows["parent"] == 0] for one in side for rows in by_run(one, columns)]
    frame = pd.concat(roots, ignore_index=True).astype({"operation": "object"}) if roots else pd.DataFrame()
    if not len(frame):
        return pd.DataFrame(columns=list(COLUMNS), dtype="float64")
    frame = frame.assign(us=frame["duration_ns"] / 1000, failed=frame["error"].notna() * frame["weight"])
    frame = frame.assign(weighed=frame["us"] * frame["weight"])
    groups = frame.groupby("operation", sort=False)
    calls, total = groups["weight"].sum(), groups["weighed"].sum()
    found = pd.DataFrame(
        {
            "count": calls,
            "mean_us": total / calls,
            "p50_us": groups["us"].quantile(0.5),
            "p99_us": groups["us"].quantile(0.99),
            "error_share": groups["failed"].sum() / calls,
        }
    )
    return found.loc[total.sort_values(ascending=False, kind="stable").index]
