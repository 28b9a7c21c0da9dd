"""Draw an icicle of calls: SVG that follows the width of the page and its theme, and bars of text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final, NamedTuple

from quantum_pulse.shown import visible
from quantum_pulse.stacks import Frame
from quantum_pulse.view import numbers
from quantum_pulse.view.widths import width as text_width

#: Frames that are narrower, as a share of all time, are left out.
_NARROWEST: Final = 0.0005
#: Rows and frames of a drawing; of text, lines, and the share of a line.
_MOST_ROWS: Final = 48
_MOST_FRAMES: Final = 600
_MOST_LINES: Final = 40
_SHORTEST_LINE: Final = 0.005
ROW_PIXELS: Final = 22
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


def html(whole: Frame, label: str, *, is_differential: bool) -> str:
    """The icicle as a figure. Where scripts run, frames are zoomed into and searched; see `assets/icicle.js`."""
    found = placed(whole)
    if not found:
        return '<p class="missing">No calls were recorded.</p>'
    rows = max(one.row for one in found) + 1
    prefix = common_prefix([one.frame.name for one in found[1:]])
    boxes = "".join(_box(one, whole, prefix, is_differential=is_differential) for one in found)
    legend = (
        '<span class="key slower"></span>slower than the baseline <span class="key faster"></span>faster'
        if is_differential
        else '<span class="key hot"></span>the stronger the colour, the more self time'
    )
    return (
        f'<figure class="icicle"><div class="bar" hidden><input type="search" placeholder="Search operations" '
        f'aria-label="Search operations in the icicle"><button type="button" hidden>Show all</button>'
        f'<output aria-live="polite"></output></div>'
        f'<svg class="frames" role="tree" aria-label="{escape(label)}" width="100%" height="{rows * ROW_PIXELS}">'
        f"{boxes}</svg><figcaption>{escape(label)} {legend}</figcaption></figure>"
    )


def _box(one: Placed, whole: Frame, prefix: str, *, is_differential: bool) -> str:
    frame = one.frame
    name = escape(visible(frame.name.removeprefix(prefix)))
    told = escape(visible(described(frame, whole)))
    kind = shade(frame, whole, is_differential=is_differential)
    return (
        f'<svg class="frame {kind}" role="treeitem" aria-level="{one.row + 1}" aria-label="{told}" x="{one.left:.4%}" '
        f'y="{one.row * ROW_PIXELS}" width="{one.width:.4%}" height="{ROW_PIXELS - 1}" data-x="{one.left:.6f}" '
        f'data-w="{one.width:.6f}" data-row="{one.row}"><title>{told}</title><rect width="100%" height="100%"></rect>'
        f'<text x="5" y="15">{name}</text></svg>'
    )


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


def markdown(whole: Frame, *, is_differential: bool) -> str:
    """`text` as a block of code. No name ends it."""
    return f"```text\n{text(whole, is_differential=is_differential).replace('```', '` ` `')}```\n"


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
