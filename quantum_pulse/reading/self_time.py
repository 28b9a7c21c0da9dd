"""Calculate the self time of each call, for the analysis of regressions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quantum_pulse.evidence import Calls
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.runs import by_run

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
    return [_of_run(samples) for samples in by_run(source, _COLUMNS)]


def _of_run(samples: pd.DataFrame) -> dict[str, Calls]:
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
    edges = np.bincount(kind[outer].astype(np.int64) * len(names) + kind[nested], duration[nested], len(names) ** 2)
    order = np.argsort(kind, kind="stable")
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
        rows = rows[np.argsort(span[rows], kind="stable")]
        known = span[rows]
        place = np.minimum(np.searchsorted(known, parent[rows]), len(rows) - 1)
        above[rows] = np.where(known[place] == parent[rows], rows[place], -1)
    return above
