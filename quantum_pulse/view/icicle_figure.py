"""Draw an icicle with matplotlib. Imported on demand."""

from __future__ import annotations

from typing import Final

from matplotlib.patches import Rectangle

from quantum_pulse.shown import visible
from quantum_pulse.stacks import Frame
from quantum_pulse.view import icicle
from quantum_pulse.view.figures import Chart

_INCHES: Final = 10.0
_ROW_INCHES: Final = 0.28
_TITLE_INCHES: Final = 0.4
#: Characters of a name in an inch.
_CHARACTERS: Final = 11
_COLOURS: Final = {
    "h1": "#dfe7ee", "h2": "#c4dbef", "h3": "#a0c6e8", "h4": "#78afdd", "h5": "#5b9cd3", "c0": "#dfe7ee",
    "s1": "#f7ddd0", "s2": "#f2b898", "s3": "#ea9365", "f1": "#d5ecdf", "f2": "#a6d8be", "f3": "#6fbf97",
}  # fmt: skip


def draw(whole: Frame, label: str, *, is_differential: bool) -> Chart:
    """The icicle as a Figure."""
    found = icicle.placed(whole)
    rows = max((one.row for one in found), default=0) + 1
    height = rows * _ROW_INCHES + _TITLE_INCHES
    figure = Chart(figsize=(_INCHES, height))
    axes = figure.add_axes((0.01, 0.01, 0.98, 1 - _TITLE_INCHES / height))
    prefix = icicle.common_prefix([one.frame.name for one in found[1:]])
    for one in found:
        kind = icicle.shade(one.frame, whole, is_differential=is_differential)
        axes.add_patch(Rectangle((one.left, one.row), one.width, 0.94, facecolor=_COLOURS[kind], edgecolor="white"))
        room = int(one.width * _INCHES * _CHARACTERS) - 1
        name = visible(one.frame.name.removeprefix(prefix)).replace("$", r"\$")
        if room >= 4:
            shown = name if len(name) <= room else f"{name[: room - 1]}…"
            axes.text(one.left + 0.003, one.row + 0.47, shown, va="center", fontsize=8, clip_on=True)
    axes.set_xlim(0, 1)
    axes.set_ylim(rows, 0)
    axes.set_axis_off()
    axes.set_title(label, fontsize=9, loc="left")
    return figure
