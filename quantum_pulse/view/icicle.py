"""Lay out an icicle of calls: boxes that `boxes` draws, and bars of text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from quantum_pulse.shown import visible
from quantum_pulse.stacks import Frame
from quantum_pulse.view import numbers
from quantum_pulse.view.chart import Box, Boxes, Key
from quantum_pulse.view.widths import width as text_width

#: Frames that are narrower, as a share of all time, are left out.
_NARROWEST: Final = 0.0005
#: Rows and frames of a drawing; of text, lines, and the share of a line.
_MOST_ROWS: Final = 48
_MOST_FRAMES: Final = 600
_MOST_LINES: Final = 40
_SHORTEST_LINE: Final = 0.005
_BAR: Final = 24
#: Changes of so many percent have the next stronger colour.
_CHANGES: Final = (2, 10, 30)
_SHADES: Final = (0.02, 0.1, 0.25, 0.5)


class Placed(NamedTuple):
    """A frame in a drawing: its row, and where it begins and how wide it is, as shares of the whole."""

    frame: Frame
    row: int
    left: float
    width: float


def placed(whole: Frame) -> list[Placed]:
    """The frames that a drawing has room for, row after row; the frame around all of them has row 0."""
    if whole.total_us <= 0:
        return []
    found = list(_placed(whole))
    if len(found) > _MOST_FRAMES:
        found = sorted(sorted(found, key=lambda one: -one.width)[:_MOST_FRAMES], key=lambda one: (one.row, one.left))
    return found


def _placed(whole: Frame) -> Iterator[Placed]:
    waiting = [Placed(whole, 0, 0.0, 1.0)]
    while waiting:
        one = waiting.pop()
        yield one
        left, inner = one.left, []
        for child in one.frame.children:
            width = child.total_us / whole.total_us
            if width >= _NARROWEST and one.row + 1 < _MOST_ROWS:
                inner.append(Placed(child, one.row + 1, left, width))
            left += width
        waiting += reversed(inner)


def chart(whole: Frame, *, is_differential: bool) -> Boxes:
    """The icicle as boxes, in ns; the frame around all of them comes first. It has none where there are no calls."""
    found = placed(whole)
    prefix = common_prefix([one.frame.name for one in found[1:]])
    scale = whole.total_us * 1000
    boxes = [
        Box(
            one.row,
            one.left * scale,
            (one.left + one.width) * scale,
            one.frame.name.removeprefix(prefix),
            described(one.frame, whole),
            shade(one.frame, whole, is_differential=is_differential),
        )
        for one in found
    ]
    legend = (
        (Key("slower", "slower than the baseline"), Key("faster", "faster"))
        if is_differential
        else (Key("hot", "the stronger the colour, the more self time"),)
    )
    return Boxes(boxes, 0.0, scale, legend=legend)


def common_prefix(names: Sequence[str]) -> str:
    """The enum that all of some operations are of, with its dot; empty where there are several. Boxes are narrow."""
    enums = {name.rpartition(".")[0] for name in names}
    return f"{enums.pop()}." if len(enums) == 1 and "" not in enums else ""


def described(frame: Frame, whole: Frame) -> str:
    """What a frame is, in a sentence."""
    text = f"{frame.name}: {numbers.us(frame.total_us)}, {numbers.share(frame.total_us / whole.total_us)}"
    if frame is not whole and frame.count:
        text += f", {numbers.count(frame.count)} calls"
    if frame.children and frame.self_us:
        text += f", self {numbers.us(frame.self_us)}"
    if frame.baseline_us is not None:
        text += f", {change(frame)} against {numbers.us(frame.baseline_us)}"
    return text


def change(frame: Frame) -> str:
    """By how much a frame takes longer than in the baseline, in percent."""
    if not frame.baseline_us:
        return "new" if frame.total_us else "–"
    return f"{frame.change_us / frame.baseline_us:+.1%}".replace("%", " %").replace("-", "−")


def shade(frame: Frame, whole: Frame, *, is_differential: bool) -> str:
    """The class of a frame's colour: by its change, or by its self time."""
    return _change_class(frame) if is_differential else _shade_class(frame, whole)


def _change_class(frame: Frame) -> str:
    if frame.baseline_us is None:
        return "c0"
    percent = 100 * frame.change_us / frame.baseline_us if frame.baseline_us else math.inf
    strength = sum(abs(percent) >= limit for limit in _CHANGES)
    return f"{'s' if percent > 0 else 'f'}{strength}" if strength else "c0"


def _shade_class(frame: Frame, whole: Frame) -> str:
    share = frame.self_us / whole.total_us
    return f"h{1 + sum(share >= limit for limit in _SHADES)}"


def text(whole: Frame, *, is_differential: bool) -> str:
    """The icicle as lines: frames below those that called them, with bars as wide as their time."""
    lines = list(_lines(whole, is_differential=is_differential))
    if not lines:
        return "No calls were recorded.\n"
    shown = lines[:_MOST_LINES]
    width = max(text_width(name) for name, *_ in shown)
    out = []
    for name, bar, *cells in shown:
        gap = " " * (width - text_width(name))
        out.append(f"{name}{gap}  {bar:<{_BAR}}  {'  '.join(f'{cell:>9}' for cell in cells)}".rstrip())
    left = len(lines) - len(shown)
    heads = ["share", "time", "self", *(["change"] if is_differential else [])]
    head = f"{'':<{width}}  {'':<{_BAR}}  {'  '.join(f'{one:>9}' for one in heads)}"
    more = [f"… and {left} more frames"] if left else []
    return "\n".join([head, *out, *more]) + "\n"


def _lines(whole: Frame, *, is_differential: bool) -> Iterator[tuple[str, ...]]:
    waiting = [(child, 0) for child in reversed(whole.children)]
    while waiting:
        frame, depth = waiting.pop()
        share = frame.total_us / whole.total_us if whole.total_us > 0 else 0.0
        if share < _SHORTEST_LINE:
            continue
        bar = "█" * max(round(share * _BAR), 1)
        cells = [numbers.share(share), numbers.us(frame.total_us), numbers.us(frame.self_us)]
        yield ("  " * depth + visible(frame.name), bar, *cells, *([change(frame)] if is_differential else []))
        waiting += [(child, depth + 1) for child in reversed(frame.children)]
