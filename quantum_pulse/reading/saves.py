"""Read what a flight recorder saved, the samples that triggered it, and what was overwritten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quantum_pulse.reading.reader import Source

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Final = ("time", "operation", "duration_us", "error", "span", "process")


def frame(source: Source) -> pd.DataFrame:
    """A row for each sample that set off a save; see `Capture.saves`."""
    import pandas as pd

    rows = [
        (one.get("noticed_ns"), one["operation"], (one.get("duration_ns") or 0) / 1000, *map(one.get, COLUMNS[3:]))
        for one in source.saves()
    ]
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    moments = pd.to_datetime(found["time"].astype("Int64"), unit="ns", utc=True)
    found["time"] = moments.astype("datetime64[ns, UTC]")
    found = found.astype({"operation": "object", "duration_us": "float64", "error": "object"})
    return found.astype({"span": "Int64", "process": "Int64"}).sort_values(["time", "span"], ignore_index=True)


def overwritten_until(source: Source) -> pd.Timestamp | None:
    """Since when nothing was overwritten; None where nothing was."""
    import pandas as pd

    until = source.overwritten_until_ns()
    return None if until is None else pd.Timestamp(until, tz="UTC")


def sentence(source: Source) -> str:
    """What is to be known of a capture that is not whole; empty where it is."""
    if source.overwritten_until_ns() is None:
        return ""
    until = overwritten_until(source)
    return (
        f"Samples are complete from {until:%Y-%m-%d %H:%M:%S.%f} UTC on. Some earlier samples were overwritten or "
        "omitted, so calls that began before then may lack the calls inside them."
    )
