"""Calculate the share of recording overhead in the times of a capture."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.reading import nesting
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import Moment, Operations

if TYPE_CHECKING:
    import pandas as pd

#: What a recording stores of its own cost, in ns; see `docs/format.md`.
FIELDS: Final = ("clock_resolution_ns", "clock_read_ns", "sample_ns", "inside_ns")


def stored(source: Source) -> list[dict[str, Any]]:
    """Pid, core and FIELDS of each recording that has measured its own cost."""
    found = []
    for process in source.processes:
        measured = process.get("overhead")
        if measured and all(name in measured for name in FIELDS):
            times = {name: float(measured[name]) for name in FIELDS}
            found.append(
                {"process": process.get("pid"), "core": process.get("core"), "clock": process.get("clock"), **times}
            )
    return found


def overhead(source: Source, operations: Operations = None, start: Moment = None, end: Moment = None) -> pd.DataFrame:
    """A row per operation, the one with the largest share first; see `Capture.overhead`."""
    import pandas as pd

    known = stored(source)
    inside_us, sample_us = (
        statistics.median([one[name] for one in known]) / 1000 if known else float("nan")
        for name in ("inside_ns", "sample_ns")
    )
    tree = nesting.tree(source, operations, start, end)
    counts, depths = tree["count"].tolist(), tree["depth"].tolist()
    nested = [0.0] * len(counts)
    path: list[int] = []
    # The rows come depth first: those of the path to a row are the last ones of each smaller depth.
    for row, (count, depth) in enumerate(zip(counts, depths, strict=True)):
        del path[depth:]
        for above in path:
            nested[above] += count
        path.append(row)
    frame = pd.DataFrame({"operation": tree["operation"], "count": counts, "nested": nested})
    frame["total_us"] = tree["total_us"]
    frame = frame.groupby("operation", sort=True).sum().astype({"count": "int64", "nested": "int64"})
    frame["own_us"] = frame["count"] * inside_us + frame["nested"] * sample_us
    frame["share"] = (frame["own_us"] / frame["total_us"]).clip(upper=1)
    frame = frame.sort_values("share", ascending=False, kind="stable")
    frame.attrs["recordings"] = known
    return frame
