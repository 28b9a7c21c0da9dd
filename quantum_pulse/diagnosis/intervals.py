"""What is worth saying of a time interval: the operations that lost time in it, and the metrics that differ."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

#: Operations that are listed: those that lost the most time.
_MOST: Final = 8
#: A metric differs when it is at least this many times, or at most this part of, its overall value.
_DIFFERS: Final = 1.5
#: Above this q-value, a difference may be chance.
_CHANCE: Final = 0.05
#: A quantile is slow when it is more than so many times the usual one.
_SLOW: Final = 2


class Loser(NamedTuple):
    """An operation in an interval: its statistics there and over all, and the time it lost against its usual calls."""

    name: str
    here: dict[Any, Any]
    usual: dict[Any, Any]
    lost_us: float

    def is_slow(self, column: str) -> bool:
        """Whether a quantile is much larger than usually."""
        return bool(self.here[column] > _SLOW * self.usual[column])


def losers(inside: pd.DataFrame, overall: pd.DataFrame) -> list[Loser]:
    """Those that lost the most time come first; frames as of `Capture.stats`."""
    usually: dict[Any, dict[Any, Any]] = overall.to_dict("index")
    there: dict[Any, dict[Any, Any]] = inside.to_dict("index")
    found = [
        Loser(str(key[1]), row, usual, row["total_us"] - row["count"] * usual["mean_us"])
        for key, row in there.items()
        if (usual := usually.get(key)) is not None
    ]
    return sorted(found, key=lambda one: -one.lost_us)[:_MOST]


class Differing(NamedTuple):
    """A metric in an interval and over all, their ratio, and the q-value of the difference."""

    name: str
    here: float
    overall: float
    ratio: float
    q_value: float


def differing(metrics: pd.DataFrame) -> list[Differing]:
    """Metrics that differ much, unless that may be chance.

    `metrics` has a row for each, with `here`, `overall` and `q_value`.
    """
    found = []
    for name, here, overall, q in zip(metrics.index, *(metrics[key] for key in metrics.columns), strict=True):
        if math.isnan(here) or math.isnan(overall) or not (here or overall) or q > _CHANCE:
            continue
        ratio = here / overall if overall else math.inf
        strength = abs(math.log(ratio)) if 0 < ratio < math.inf else math.inf
        if strength >= math.log(_DIFFERS):
            found.append(Differing(str(name), here, overall, ratio, q))
    return found
