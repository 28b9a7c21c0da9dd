"""Read samples run by run: each capture is one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quantum_pulse.reading import tables
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import EVERYTHING, Operations, Selection, select

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


def by_run(source: Source, columns: Sequence[str], chosen: Selection = EVERYTHING) -> list[pd.DataFrame]:
    """The samples of each run in the order in which they started. Of several runs those without any are left out."""
    several = [tables.CAPTURE] if source.captures else []
    rows = tables.read(source, "samples", [*several, *dict.fromkeys([*columns, "start"])], chosen)
    frame: pd.DataFrame = rows.sort_by("start").select([*several, *columns]).to_pandas()
    if not several:
        return [frame]
    return [own for _, own in frame.groupby(tables.CAPTURE, observed=True)]


def durations(source: Source, operations: Operations = None) -> list[dict[str, npt.NDArray[np.int64]]]:
    """For each run the durations of each operation in ns, in the order in which they started."""
    chosen = select(source, operations)
    return [
        {str(name): own.to_numpy() for name, own in rows.groupby("operation", observed=True, sort=False)["duration_ns"]}
        for rows in by_run(source, ["operation", "duration_ns"], chosen)
    ]
