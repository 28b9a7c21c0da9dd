"""Write charts as text, a line of block characters; those whose figures are in columns beside them are left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from quantum_pulse.view.chart import CellChart, Runs, Trend

_BARS: Final = "▁▂▃▄▅▆▇█"
_WIDTH: Final = 16


def write(chart: CellChart | None) -> str:
    """The chart in a few characters; empty where there is nothing to see."""
    match chart:
        case Runs():
            return "".join(_bar(height) if height else " " for height in chart.heights(_WIDTH))
        case Trend():
            return "".join(" " if math.isnan(height) else _bar(height) for height in _means(chart.heights()))
        case _:
            return ""


def _bar(height: float) -> str:
    return _BARS[math.ceil(height * (len(_BARS) - 1))]


def _means(heights: Sequence[float]) -> list[float]:
    """The means of as many neighbours as it takes for `_WIDTH` of them; NaN where none is known."""
    means = []
    count = min(len(heights), _WIDTH)
    for place in range(count):
        part = heights[place * len(heights) // count : (place + 1) * len(heights) // count]
        known = [height for height in part if not math.isnan(height)]
        means.append(sum(known) / len(known) if known else math.nan)
    return means
