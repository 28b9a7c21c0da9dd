"""Draw boxes in rows as SVG that follows the width and the theme of the page, and as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from quantum_pulse.shown import visible
from quantum_pulse.view import numbers
from quantum_pulse.view.chart import Box, Boxes
from quantum_pulse.view.scales import TimeScale
from quantum_pulse.view.widths import width as text_width

ROW_PIXELS: Final = 22
#: Above the first row of a track, for its title; above all of them, for the axis.
_TITLE_PIXELS: Final = 21
_AXIS_PIXELS: Final = 20
#: A box is at least so wide, as a share of the chart: what took no time is seen too.
_NARROWEST: Final = 0.0008
_MOST_LINES: Final = 40
_BAR: Final = 40


def html(chart: Boxes, label: str) -> str:
    """The chart as a figure. Where scripts run, it is zoomed, panned and searched; see `assets/boxes.js`."""
    tops, height = _tops(chart)
    titles = "".join(
        f'<text class="track" x="0" y="{top - 7}">{escape(visible(title))}</text>' for title, top in _titles(chart)
    )
    marked = ""
    if chart.marked is not None:
        left, wide = _place(chart, *chart.marked)
        marked = (
            f'<rect class="marked" x="{left:.3%}" y="{_AXIS_PIXELS - 4}" width="{wide:.3%}" height="{height}" '
            f'data-b="{chart.marked[0]:g}" data-e="{chart.marked[1]:g}"/>'
        )
    boxes = "".join(_box(chart, one, tops[one.row]) for one in chart.boxes)
    search = (
        '<input type="search" placeholder="Search operations" aria-label="Search operations in this chart">'
        '<button type="button" data-do="out" aria-label="Zoom out" title="Zoom out (-)">−</button>'
        '<button type="button" data-do="in" aria-label="Zoom in" title="Zoom in (+)">+</button>'
        '<button type="button" data-do="all" disabled>Show all</button>'
    )
    legend = "".join(f'<span class="key {key.kind}"></span>{escape(key.text)}' for key in chart.legend)
    reach = [*(edge for one in chart.boxes for edge in (one.begin, one.end)), chart.begin, chart.end]
    place = f'data-begin="{chart.begin:.0f}" data-end="{chart.end:.0f}" data-low="{min(reach):.0f}"'
    place += f' data-high="{max(reach):.0f}"{" data-time" if chart.is_time else ""}'
    return (
        f'<figure class="boxes" {place}><div class="bar" hidden>{search}<output aria-live="polite"></output></div>'
        f'<svg class="frames" role="tree" aria-label="{escape(visible(label))}" width="100%" height="{height}">'
        f'{marked}<g class="ticks" aria-hidden="true">{_ticks(chart, height)}</g>{boxes}'
        f'<g aria-hidden="true">{titles}</g></svg>'
        f"<figcaption>{escape(visible(label))} {legend}</figcaption></figure>"
    )


def _place(chart: Boxes, begin: float, end: float) -> tuple[float, float]:
    """Left edge and width of the visible part, as shares of the chart's width."""
    length = max(chart.end - chart.begin, 1e-9)
    left, right = ((min(max(edge, chart.begin), chart.end) - chart.begin) / length for edge in (begin, end))
    return left, max(right - left, _NARROWEST)


def _box(chart: Boxes, one: Box, top: float) -> str:
    left, wide = _place(chart, one.begin, one.end)
    told = escape(visible(one.told))
    high = (ROW_PIXELS - 1) * one.height
    hidden = "" if one.end >= chart.begin and one.begin <= chart.end else ' display="none"'
    link = f' data-link="{one.link}"' if one.link else ""
    return (
        f'<svg class="frame {one.kind}" role="treeitem" aria-level="{one.row + 1}" '
        f'x="{left:.3%}" y="{top + ROW_PIXELS - 1 - high:g}" width="{wide:.3%}" height="{high:g}" '
        f'data-b="{one.begin:.0f}" data-e="{one.end:.0f}"{link}{hidden}><title>{told}</title>'
        f'<rect width="100%" height="100%"/><text x="5" y="15">{escape(visible(one.name))}</text></svg>'
    )


def _ticks(chart: Boxes, height: float) -> str:
    if not chart.is_time:
        return ""
    # The axis counts from where the marked call begins.
    scale = TimeScale(0, round(chart.end), -chart.begin, chart.end - chart.begin)
    length = max(chart.end - chart.begin, 1e-9)
    return "".join(
        f'<line x1="{tick.position / length:.3%}" x2="{tick.position / length:.3%}" y1="16" y2="{height:g}"/>'
        f'<text x="{tick.position / length:.3%}" y="12" text-anchor="middle">{tick.label}</text>'
        for tick in scale.ticks()
        if tick.position / length < 0.97
    )


def _tops(chart: Boxes) -> tuple[list[float], float]:
    """Where each row begins, and where the last one ends, in pixels."""
    tops, y = [], float(_AXIS_PIXELS if chart.is_time else 0)
    for track in chart.tracks:
        y += _TITLE_PIXELS
        tops += [y + place * ROW_PIXELS for place in range(track.rows)]
        y += track.rows * ROW_PIXELS
    rest = max((one.row for one in chart.boxes), default=-1) + 1 - len(tops)
    tops += [y + place * ROW_PIXELS for place in range(rest)]
    return tops, y + max(rest, 0) * ROW_PIXELS


def _titles(chart: Boxes) -> Iterator[tuple[str, float]]:
    tops, _ = _tops(chart)
    row = 0
    for track in chart.tracks:
        yield track.title, tops[row]
        row += track.rows


def text(chart: Boxes) -> str:
    """The boxes of each track as lines: name, when, how long, and a bar over the time that is shown."""
    owner: list[str] = [track.title for track in chart.tracks for _ in range(track.rows)]
    lines: list[tuple[str, str, str, str]] = []
    last = ""
    for one in sorted(chart.boxes, key=lambda box: (box.row, box.begin)):
        title = owner[one.row] if one.row < len(owner) else ""
        if title != last:
            lines.append((visible(title), "", "", ""))
            last = title
        left, wide = _place(chart, one.begin, one.end)
        begin = min(round(left * _BAR), _BAR - 1)
        bar = " " * begin + "█" * max(min(round(wide * _BAR), _BAR - begin), 1)
        when = f"{'−' if one.begin < 0 else '+'}{numbers.duration(abs(one.begin))}"
        lines.append((f"  {visible(one.name)}", when, numbers.duration(one.end - one.begin), bar))
    shown = lines[:_MOST_LINES]
    width = max((text_width(name) for name, *_ in shown), default=0)
    out = [
        f"{name}{' ' * (width - text_width(name))}  {when:>9}  {took:>9}  {bar}".rstrip()
        for name, when, took, bar in shown
    ]
    more = len(lines) - len(shown)
    return "\n".join([*out, *([f"… and {more} more lines"] if more else [])])
