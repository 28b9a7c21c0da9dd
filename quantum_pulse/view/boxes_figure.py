"""Draw boxes in rows with matplotlib. Imported on demand."""

from __future__ import annotations

from typing import Final

from matplotlib.patches import Rectangle

from quantum_pulse.shown import visible
from quantum_pulse.view import numbers
from quantum_pulse.view.chart import Boxes
from quantum_pulse.view.figures import Chart

_INCHES: Final = 10.0
_ROW_INCHES: Final = 0.28
_TITLE_INCHES: Final = 0.4
#: Characters of a name in an inch.
_CHARACTERS: Final = 11
_COLOURS: Final = {
    "h1": "#dfe7ee", "h2": "#c4dbef", "h3": "#a0c6e8", "h4": "#78afdd", "h5": "#5b9cd3", "c0": "#dfe7ee",
    "s1": "#f7ddd0", "s2": "#f2b898", "s3": "#ea9365", "f1": "#d5ecdf", "f2": "#a6d8be", "f3": "#6fbf97",
    "call": "#f0a35c", "around": "#cfd9e8", "inside": "#8fbde6", "event": "#e58a8a",
    "metric": "#9fd0b5", "o0": "#dcd3ee", "o1": "#cfe6dc", "o2": "#e6e0c4", "o3": "#cfe3ea", "o4": "#eed5dd",
    "o5": "#dce6c6", "o6": "#e1e5e9",
}  # fmt: skip


def draw(chart: Boxes, label: str) -> Chart:
    """The boxes as a Figure, tracks with their titles."""
    tops, rows = _tops(chart)
    height = rows * _ROW_INCHES + _TITLE_INCHES
    figure = Chart(figsize=(_INCHES, height))
    axes = figure.add_axes((0.01, 0.01, 0.98, 1 - _TITLE_INCHES / height))
    length = chart.end - chart.begin or 1.0
    for one in chart.boxes:
        begin, end = ((min(max(edge, chart.begin), chart.end) - chart.begin) / length for edge in (one.begin, one.end))
        if one.end < chart.begin or one.begin > chart.end:
            continue
        top = tops[one.row] + 0.94 * (1 - one.height)
        box = (begin, top), max(end - begin, 0.0008), 0.94 * one.height
        axes.add_patch(Rectangle(*box, facecolor=_COLOURS[one.kind.split()[-1]], edgecolor="white"))
        room = int((end - begin) * _INCHES * _CHARACTERS) - 1
        name = visible(one.name).replace("$", r"\$")
        if room >= 4:
            shown = name if len(name) <= room else f"{name[: room - 1]}…"
            axes.text(begin + 0.003, tops[one.row] + 0.47, shown, va="center", fontsize=8, clip_on=True)
    row = 0
    for track in chart.tracks:
        axes.text(0, tops[row] - 0.25, visible(track.title).replace("$", r"\$"), fontsize=7.5, color="0.4")
        row += track.rows
    axes.set_xlim(0, 1)
    axes.set_ylim(rows, 0)
    axes.set_axis_off()
    span = f" {numbers.duration(length)} wide." if chart.is_time else ""
    axes.set_title(f"{label}{span}", fontsize=9, loc="left")
    return figure


def _tops(chart: Boxes) -> tuple[list[float], float]:
    tops, y = [], 0.0
    for track in chart.tracks:
        y += 0.8
        tops += [y + place for place in range(track.rows)]
        y += track.rows
    rest = max(max((one.row for one in chart.boxes), default=-1) + 1 - len(tops), 0)
    tops += [y + place for place in range(rest)]
    return tops, max(y + rest, 1.0)
