"""Calculate the self time of each call, for the analysis of regressions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quantum_pulse.evidence import Calls
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.runs import by_run
from quantum_pulse.reading.selection import EVERYTHING, Selection

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

_COLUMNS: Final = ("operation", "start", "duration_ns", "span", "parent", "process", "weight")


def runs(source: Source) -> list[dict[str, Calls]]:
    """For each capture the calls of each operation. In memory: about 60 bytes a sample.

    A call's self time is its duration without the time in which its children ran. Of children that ran at once each
    counts, where `Capture.tree` counts them once.
    """
    return [_of_run(*samples) for _, own in source.by_capture() if len((samples := _of_capture(own))[0])]


def _of_capture(source: Source) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
    """The samples of a capture, and which of them are wanted: of these the calls inside are needed too."""
    import numpy as np

    within = source.within
    if within == EVERYTHING:
        (samples,) = by_run(source, _COLUMNS)
        return samples, np.ones(len(samples), np.bool_)
    (wanted,) = by_run(source, ("start", "duration_ns", "span", "process"))
    if not len(wanted):
        return wanted, np.zeros(0, np.bool_)
    starts, durations = wanted["start"].to_numpy("datetime64[ns]").astype(np.int64), wanted["duration_ns"].to_numpy()
    until_ns = int((starts + durations).max()) + 1
    (samples,) = by_run(source.whole, _COLUMNS, Selection(start_ns=within.start_ns, end_ns=until_ns))
    is_wanted = np.zeros(len(samples), np.bool_)
    for process, own in wanted.groupby("process"):
        rows = np.flatnonzero(samples["process"] == process)
        is_wanted[rows] = np.isin(samples["span"].to_numpy()[rows], own["span"].to_numpy())
    return samples, is_wanted


def _of_run(samples: pd.DataFrame, is_wanted: npt.NDArray[np.bool_]) -> dict[str, Calls]:
    """The calls of each operation in one run, of which only those that are wanted count."""
    import numpy as np

    names = [str(name) for name in samples["operation"].cat.categories]
    kind = samples["operation"].cat.codes.to_numpy()
    start, duration = (
        samples["start"].to_numpy("datetime64[ns]").astype(np.int64),
        samples["duration_ns"].to_numpy(np.int64),
    )
    above = _parents(*(samples[name].to_numpy() for name in ("process", "span", "parent")))
    nested = np.flatnonzero(above >= 0)
    outer = above[nested]
    end = start + duration
    overlap = np.minimum(end[nested], end[outer]) - np.maximum(start[nested], start[outer])
    own = np.maximum(duration - np.bincount(outer, np.maximum(overlap, 0), len(samples)), 0)
    # Where one call represents several, it is not known which of the calls around them they took time of.
    is_sampled = samples["weight"].to_numpy()[nested] != 1
    vague = set(np.unique(kind[outer[is_sampled]]).tolist())
    counts = is_wanted[nested]
    pairs = kind[outer].astype(np.int64) * len(names) + kind[nested]
    edges = np.bincount(pairs[counts], duration[nested][counts], len(names) ** 2)
    order = np.flatnonzero(is_wanted)[np.argsort(kind[is_wanted], kind="stable")]
    first = np.searchsorted(kind[order], np.arange(len(names) + 1))
    found = {}
    for number, name in enumerate(names):
        places = order[first[number] : first[number + 1]]
        if len(places):
            inside = {names[outer]: float(edges[outer * len(names) + number]) for outer in range(len(names))}
            found[name] = Calls(
                start[places],
                duration[places],
                own[places[:0] if number in vague else places],
                {outer: time for outer, time in inside.items() if time > 0},
            )
    return found


def _parents(
    process: npt.NDArray[np.int32], span: npt.NDArray[np.int64], parent: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """The row of each row's parent, -1 where there is none."""
    import numpy as np

    above = np.full(len(span), -1)
    for number in np.unique(process):
        rows = np.flatnonzero(process == number)
        found = rows_of_parents(span[rows], parent[rows])
        above[rows] = np.where(found >= 0, rows[found], -1)
    return above


def rows_of_parents(span: npt.NDArray[np.int64], parent: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The row of each row's parent among rows of one process, -1 where there is none."""
    import numpy as np

    order = np.argsort(span, kind="stable")
    known = span[order]
    place = np.minimum(np.searchsorted(known, parent), len(known) - 1)
    return np.where(known[place] == parent, order[place], -1)
