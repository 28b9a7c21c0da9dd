"""Draw charts as SVG. Colours are classes of the style sheet, so that a chart fits light pages and dark ones."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from quantum_pulse.shown import visible
from quantum_pulse.view import numbers
from quantum_pulse.view.chart import (
    Axis,
    CellChart,
    Distribution,
    Interval,
    Lanes,
    Mark,
    OnScale,
    OverTime,
    Runs,
    Share,
    Strip,
    Trend,
    edges_ns,
    first_ns,
)
from quantum_pulse.view.scales import LogScale, Tick, TimeScale

if TYPE_CHECKING:
    import pandas as pd

#: Shades of a heat map, from few calls to many.
SHADES: Final = 6

_LEFT: Final = 68.0
_RIGHT: Final = 14.0


#: Height of a metric with its name, and of an operation among others.
_STRIP: Final = 46.0
_LANE: Final = 18.0
#: Times as slow as usual from which the next stronger shade begins.
_SLOWER: Final = (1.3, 2.0, 4.0, 8.0)
#: A narrower axis in a table has two labels.
_ROOM_FOR_THREE: Final = 150
#: Rows of a heat map that can be distinguished in its height.
_MOST_ROWS: Final = 40


def draw(chart: CellChart | Distribution | OverTime | Lanes) -> str:
    """The chart as an SVG element; empty where there is nothing to see."""
    match chart:
        case OnScale():
            return _on_scale(chart)
        case Axis():
            return _axis(chart.scale)
        case Share():
            return _share(chart.share)
        case Interval():
            return _interval(chart)
        case Trend():
            return _trend(chart)
        case Runs():
            return _runs(chart)
        case Distribution():
            return _distribution(chart)
        case OverTime():
            return _over_time(chart)
        case Lanes():
            return _lanes(chart)


def _axis(scale: LogScale) -> str:
    labels = [tick for tick in scale.ticks() if tick.label]
    # So narrow a chart has room for three, or two.
    width = scale.end + scale.start
    middle = [labels[len(labels) // 2]] if width > _ROOM_FOR_THREE else []
    shown = labels if len(labels) <= 2 else [labels[0], *middle, labels[-1]]
    text = "".join(_text(tick.position, 11, tick.label, _anchor(tick.position, width)) for tick in shown)
    return (
        f'<svg class="ranges" viewBox="0 0 {width:g} 14" width="{width:g}" height="14" aria-hidden="true">{text}</svg>'
    )


def _on_scale(chart: OnScale) -> str:
    at, one = chart.scale.at, chart.durations
    width = chart.scale.end + chart.scale.start
    parts = [
        _grid([tick.position for tick in chart.scale.ticks() if tick.label], 0, 18),
        _line(at(one.low), 9, at(one.high), 9, "whisker"),
        f'<rect class="bar" x="{at(one.p50):.1f}" y="6" width="{max(at(one.p99) - at(one.p50), 1):.1f}" height="6" '
        'rx="1"/>',
        f'<circle class="dot" cx="{at(one.p50):.1f}" cy="9" r="3.5"/>',
    ]
    if one.budget is not None:
        parts.append(_line(at(one.budget), 2, at(one.budget), 16, "budget"))
    body = "".join(parts)
    return (
        f'<svg class="ranges" viewBox="0 0 {width:g} 18" width="{width:g}" height="18" aria-hidden="true">{body}</svg>'
    )


def _interval(chart: Interval) -> str:
    low, high = (min(max(one, 0.0), 1.0) * 120 for one in (chart.begin, chart.end))
    bar = f'<rect class="share" x="{low:.1f}" y="5" width="{max(high - low, 1):.1f}" height="8" rx="1"/>'
    return (
        '<svg class="trend" viewBox="0 0 121 18" width="121" height="18" aria-hidden="true">'
        f'<rect class="track" x="0" y="5" width="121" height="8" rx="1"/>{bar}</svg>'
    )


def _trend(chart: Trend) -> str:
    heights = chart.heights()
    if not heights:
        return ""
    step = 76 / max(len(heights) - 1, 1)
    points = [
        None if math.isnan(height) else (2 + place * step, 16 - 14 * height) for place, height in enumerate(heights)
    ]
    return (
        f'<svg class="trend" viewBox="0 0 80 18" width="80" height="18" aria-hidden="true">{_path(points, "p99")}</svg>'
    )


def _runs(chart: Runs) -> str:
    shape = chart.heights(28)
    if not shape:
        return ""
    low, high = math.log(max(min(chart.durations), 1)), math.log(max(chart.durations))
    place = (math.log(max(chart.median, 1)) - low) / (high - low) * 196
    # What happened once is seen too.
    heights = [max(one * 32, 1.5) if one else 0 for one in shape]
    bars = "".join(
        f'<rect x="{number * 7 + 0.5:g}" y="{36 - height:.1f}" width="6" height="{height:.1f}"/>'
        for number, height in enumerate(heights)
        if height
    )
    return (
        '<svg viewBox="-4 0 204 44" width="204" height="44" fill="currentColor" aria-hidden="true">'
        f'<g opacity=".6">{bars}</g><path d="M{place:.1f} 37l-4 6h8z"/></svg>'
    )


def _share(share: float) -> str:
    filled = f'<rect class="share" x="0" y="4" width="{max(share * 40, 0.5):.1f}" height="10" rx="1"/>'
    return (
        '<svg class="trend share-bar" viewBox="0 0 40 18" width="40" height="18" aria-hidden="true">'
        f'<rect class="track" x="0" y="4" width="40" height="10" rx="1"/>{filled}</svg>'
    )


def _distribution(chart: Distribution) -> str:
    edges, calls, baseline = chart.edges, chart.calls, chart.baseline
    width, height, top, bottom = 740.0, 270.0, 54.0, 230.0
    scale = LogScale.around(edges[0], edges[-1], _LEFT, width - _RIGHT)
    before = None if baseline is None or not baseline.sum() else baseline * (calls.sum() / baseline.sum())
    largest = max(float(calls.max()), 0.0 if before is None else float(before.max()), 1.0)
    parts = [_grid([tick.position for tick in scale.ticks()], top, bottom)]
    for share in (0.5, 1.0):
        y = bottom - share * (bottom - top)
        parts += [
            _line(_LEFT, y, width - _RIGHT, y, "grid"),
            _text(_LEFT - 8, y + 4, numbers.short(share * largest), "end"),
        ]
    parts.append(_text(_LEFT - 8, bottom + 4, "0", "end"))
    for kind, heights in (("area", calls), ("before", before)):
        if heights is None:
            continue
        outline = [f"M{scale.at(edges[0]):.1f} {bottom:g}"]
        for low, high, count in zip(edges[:-1], edges[1:], heights, strict=True):
            y = bottom - float(count) / largest * (bottom - top)
            outline.append(f"L{scale.at(low):.1f} {y:.1f}H{scale.at(high):.1f}")
        parts.append(f'<path class="{kind}" d="{"".join(outline)}V{bottom:g}Z"/>')
    if before is not None:
        parts += [_line(_LEFT, height - 8, _LEFT + 24, height - 8, "before"), _text(_LEFT + 30, height - 4, "baseline")]
    parts += [_line(_LEFT, bottom, width - _RIGHT, bottom, "axis"), *_marks(scale, chart.marks, top, bottom, width)]
    parts += _labels(scale.ticks(), bottom + 17, width)
    parts.append(_text(width - _RIGHT, height - 4, "duration, logarithmic", "end", "faint"))
    parts.append(_text(_LEFT - 8, top - 12, "calls", "end", "faint"))
    place = f'data-left="{_LEFT:g}" data-right="{width - _RIGHT:g}" data-top="{top:g}" data-bottom="{bottom:g}"'
    place += f' data-low="{scale.low:g}" data-high="{scale.high:g}"{_data("edges", _known(edges))}'
    return _svg(width, height, "".join(parts), f"{place}{_data('calls', _known(calls.tolist()))}")


def _marks(scale: LogScale, marks: Sequence[Mark], top: float, bottom: float, width: float) -> list[str]:
    """Lines with their names above; a name goes a row higher where it would touch the one before."""
    parts = []
    ends = [-math.inf, -math.inf, -math.inf]
    for mark in sorted(marks, key=lambda one: one.ns):
        x = scale.at(mark.ns)
        room = 6.4 * len(mark.name) + 8
        left = min(max(x - room / 2, _LEFT - 30), width - room)
        row = next((number for number, end in enumerate(ends) if left > end), None)
        if row is None:
            parts.append(_line(x, top, x, bottom, mark.kind))
            continue
        ends[row] = left + room
        parts.append(_line(x, top - 4 - 14 * row, x, bottom, mark.kind))
        parts.append(_text(left + room / 2, top - 8 - 14 * row, mark.name, "middle", f"on {mark.kind}"))
    return parts


def _over_time(chart: OverTime) -> str:
    window_ns, budget, slow = chart.window_ns, chart.budget, chart.slow
    width, top, map_height = 1060.0, 26.0, 210.0
    heat = _coarse(chart.heat)
    begin = first_ns(heat)
    time = TimeScale(begin, begin + window_ns * len(heat.columns), _LEFT, width - _RIGHT)
    edges = edges_ns(heat)
    scale = LogScale(edges[0], max(edges[-1], edges[0] * 2), top + map_height, top)
    if len(scale.ticks()) < 3:
        # One label says nothing of what is between.
        scale = LogScale.around(edges[0], edges[-1], top + map_height, top)
    bottom = top + map_height
    parts = []
    for tick in scale.ticks():
        parts.append(_line(_LEFT, tick.position, width - _RIGHT, tick.position, "grid"))
        if tick.label:
            parts.append(_text(_LEFT - 8, tick.position + 4, tick.label, "end"))
    parts.append(_cells(heat, edges, scale, time, window_ns))
    if budget is not None and scale.low < budget < scale.high:
        parts.append(_line(_LEFT, scale.at(budget), width - _RIGHT, scale.at(budget), "budget"))
    for name, values in chart.lines.items():
        points = [
            None if math.isnan(value) else (time.at(begin + (place + 0.5) * window_ns), scale.at(value))
            for place, value in enumerate(values)
        ]
        parts.append(_path(points, name))
    if slow is not None:
        x, end_x = (time.at(begin + place * window_ns) for place in slow)
        parts.append(f'<path class="moment" d="M{x:.1f} {top:g}V{top - 5:g}H{end_x:.1f}V{top:g}"/>')
        parts.append(_text(x, top - 9, "slow", "start", "moment"))
    parts += _under(chart.strips, bottom, time, begin, window_ns, width)
    y = bottom + _STRIP * len(chart.strips)
    place = _placed(time, top, y + 6, window_ns, len(heat.columns), slow)
    place += f' data-middle="{bottom:g}" data-low="{scale.low:g}" data-high="{scale.high:g}"'
    place += _data("lines", [[name, _known(values)] for name, values in chart.lines.items()])
    place += _data("strips", [[strip.name, _known(strip.values)] for strip in chart.strips])
    # All rows, however few are drawn: distributions are made of them.
    rows = zip(edges_ns(chart.heat), chart.heat.to_numpy().tolist(), strict=False)
    place += _data("rows", [[round(edge), _packed(row)] for edge, row in rows])
    return _svg(width, y + 30, _legend(width) + "".join(parts), place)


def _under(
    strips: Sequence[Strip], top: float, time: TimeScale, begin: int, window_ns: int, width: float, above: float = 26.0
) -> list[str]:
    """Strips below `top`, and the axis of time below them, with lines from `above` on."""
    parts = []
    y = top
    for strip in strips:
        parts += _strip(strip, y + 22, _STRIP - 22, time, begin, window_ns, width)
        y += _STRIP
    parts.append(_line(time.start, y + 6, width - _RIGHT, y + 6, "axis"))
    parts += [_line(tick.position, above, tick.position, y + 6, "grid") for tick in time.ticks()]
    return parts + _labels(time.ticks(), y + 22, width)


def _placed(
    time: TimeScale, top: float, bottom: float, window_ns: int, columns: int, slow: tuple[int, int] | None
) -> str:
    """Where time is, for scripts that let users choose an interval: positions, then Unix time."""
    place = f'data-left="{time.start:g}" data-right="{time.end:g}" data-top="{top:g}" data-bottom="{bottom:g}"'
    place += f' data-begin="{time.low}" data-step="{window_ns}" data-columns="{columns}"'
    if slow is not None:
        place += f' data-from="{slow[0]}" data-to="{slow[1]}"'
    return place


def _lanes(chart: Lanes) -> str:
    width, top, left = 1060.0, 26.0, 176.0
    columns = max((len(lane.values) for lane in chart.lanes), default=0)
    begin, window_ns = chart.begin_ns, chart.window_ns
    time = TimeScale(begin, begin + window_ns * columns, left, width - _RIGHT)
    parts, told = [], []
    y = top
    for lane in chart.lanes:
        ratios = chart.ratios(lane)
        shades = [0 if math.isnan(one) else 1 + sum(one >= limit for limit in _SLOWER) for one in ratios]
        parts += _row_of_shades(shades, y, time, begin, window_ns)
        name = visible(lane.name)
        parts.append(_text(left - 8, y + 13, name if len(name) <= 26 else f"{name[:25]}…", "end", "on"))
        told.append([name, _known(lane.values), lane.link])
        y += _LANE
    if chart.slow is not None:
        x, end_x = (time.at(begin + place * window_ns) for place in chart.slow)
        parts.append(f'<path class="moment" d="M{x:.1f} {top:g}V{top - 5:g}H{end_x:.1f}V{top:g}"/>')
        parts.append(_text(x, top - 9, "slow", "start", "moment"))
    parts += _under(chart.strips, y, time, begin, window_ns, width, top)
    bottom = y + _STRIP * len(chart.strips)
    x = width - _RIGHT
    legend = [_text(x, 13, "8 times", "end", "on")]
    x -= 56
    for shade in range(len(_SLOWER) + 1, 0, -1):
        x -= 16
        legend.append(f'<rect class="w{shade}" x="{x:g}" y="3" width="16" height="12"/>')
    legend.append(_text(x - 6, 13, "p99: usual", "end", "on"))
    place = _placed(time, top, bottom + 6, window_ns, columns, chart.slow)
    place += f' data-lane="{_LANE:g}"{_data("lanes", told)}'
    return _svg(width, bottom + 30, "".join([*parts, *legend]), place)


def _data(name: str, value: object) -> str:
    """An attribute that a script reads, see `assets/charts.js`."""
    return f' data-{name}="{escape(json.dumps(value, separators=(",", ":")))}"'


def _known(values: Sequence[float]) -> list[float | None]:
    """Three digits of each, None where there is none."""
    return [None if math.isnan(value) else float(f"{value:.3g}") if value < 1000 else round(value) for value in values]


def _packed(counts: Sequence[float]) -> list[float]:
    """Counts, with runs of zeros as negative numbers: most cells of a heat map are empty."""
    packed: list[float] = []
    for is_zero, run in itertools.groupby(counts, lambda count: count == 0):
        own = list(run)
        packed += (
            [-len(own)] if is_zero else [float(f"{count:.3g}") if count != round(count) else count for count in own]
        )
    return packed


def _row_of_shades(shades: Sequence[int], y: float, time: TimeScale, begin: int, window_ns: int) -> list[str]:
    """A bar for each run of one shade."""
    parts = []
    place = 0
    for shade, run in itertools.groupby(shades):
        after = place + len(list(run))
        if shade:
            x, end = time.at(begin + place * window_ns), time.at(begin + after * window_ns)
            parts.append(f'<path class="w{shade}" d="M{x:.1f} {y + 1:g}H{end:.1f}v{_LANE - 2:g}H{x:.1f}Z"/>')
        place = after
    return parts


def _coarse(heat: pd.DataFrame) -> pd.DataFrame:
    """The heat map with as many rows as can be distinguished; neighbouring rows are added up."""
    import pandas as pd

    while len(heat) > _MOST_ROWS:
        sums = heat.groupby(heat.reset_index().index // 2).sum()
        heat = pd.DataFrame(sums.to_numpy(), index=heat.index[::2], columns=heat.columns)
    return heat


def _legend(width: float) -> str:
    x = width - _RIGHT
    parts = []
    for name in ("p99", "p50"):
        parts += [_text(x, 13, name, "end", "on"), _line(x - 52, 9, x - 28, 9, name)]
        x -= 74
    parts.append(_text(x, 13, "many", "end", "on"))
    x -= 36
    for shade in range(SHADES, 0, -1):
        x -= 14
        parts.append(f'<rect class="heat h{shade}" x="{x:g}" y="3" width="14" height="12"/>')
    parts.append(_text(x - 6, 13, "few calls", "end", "on"))
    return "".join(parts)


def _cells(heat: pd.DataFrame, edges: Sequence[float], scale: LogScale, time: TimeScale, window_ns: int) -> str:
    """The filled cells as one path a shade, neighbours of one shade joined: small enough to have a hundred of them."""
    import numpy as np

    counts = heat.to_numpy()
    shades = np.ceil(np.log1p(counts) / np.log1p(max(counts.max(), 1)) * SHADES).astype(int)
    paths: dict[int, list[str]] = {}
    begin = time.low
    for own, low, high in zip(shades, edges[:-1], edges[1:], strict=True):
        y, end_y = scale.at(high), scale.at(low)
        # Where a run of one shade begins, and one past where it ends.
        cuts = np.flatnonzero(np.diff(own, prepend=-1, append=-1))
        for first, last in itertools.pairwise(cuts):
            if own[first]:
                x, end_x = time.at(begin + int(first) * window_ns), time.at(begin + int(last) * window_ns)
                wide = round(end_x) - round(x)
                paths.setdefault(int(own[first]), []).append(f"M{x:.0f} {y:.1f}h{wide}V{end_y:.1f}h-{wide}")
    return "".join(f'<path class="heat h{shade}" d="{"".join(moves)}"/>' for shade, moves in sorted(paths.items()))


def _strip(
    strip: Strip, top: float, height: float, time: TimeScale, begin: int, window_ns: int, width: float
) -> list[str]:
    largest = max((value for value in strip.values if not math.isnan(value)), default=0) or 1
    bars = []
    sizes = [
        0.0 if math.isnan(value) or value <= 0 else max(round(value / largest * height, 1), 0.5)
        for value in strip.values
    ]
    place = 0
    for size, run in itertools.groupby(sizes):
        after = place + len(list(run))
        if size:
            x, end = time.at(begin + place * window_ns), time.at(begin + after * window_ns)
            bars.append(f"M{x:.0f} {top + height:g}v-{size:g}H{end:.0f}v{size:g}")
        place = after
    return [
        f'<path class="strip" d="{"".join(bars)}"/>',
        _line(time.start, top + height, width - _RIGHT, top + height, "grid"),
        _text(time.start, top - 6, strip.name, "start", "on"),
        _text(time.start - 8, top + 6, strip.largest, "end"),
    ]


def _path(points: Sequence[tuple[float, float] | None], kind: str) -> str:
    """A line through `points`, broken where there is None; a point alone is a short dash."""
    moves, pen_down = [], False
    for place, point in enumerate(points):
        if point is None:
            pen_down = False
            continue
        after = points[place + 1] if place + 1 < len(points) else None
        moves.append(f"{'L' if pen_down else 'M'}{point[0]:.1f} {point[1]:.1f}")
        if not pen_down and after is None:
            moves.append("h2")
        pen_down = True
    return f'<path class="{kind}" d="{"".join(moves)}"/>'


def _labels(ticks: Sequence[Tick], y: float, width: float) -> list[str]:
    return [_text(tick.position, y, tick.label, _anchor(tick.position, width)) for tick in ticks if tick.label]


def _anchor(x: float, width: float) -> str:
    return "start" if x < 12 else "end" if x > width - 24 else "middle"


def _grid(places: Sequence[float], top: float, bottom: float) -> str:
    """Vertical lines as one path: a table of a thousand operations has a grid in each row."""
    return f'<path class="grid" d="{"".join(f"M{x:.1f} {top:g}V{bottom:g}" for x in places)}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<path class="{kind}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    which = f' class="{kind}"' if kind else ""
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text{which} x="{x:.1f}" y="{y:.1f}"{place}>{escape(text)}</text>'


def _svg(width: float, height: float, body: str, attributes: str = "") -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" width="{width:g}" aria-hidden="true" {attributes}>'
        f"{body}</svg>"
    )
