"""Render a place as a page, from the data of `ExplorerModel` and the building blocks of reports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import stacks
from quantum_pulse.diagnosis import culprits, intervals, open_calls, verdict
from quantum_pulse.explorer.model import MOST_SAMPLES, ExplorerModel, Overview, View, code, on_one_scale
from quantum_pulse.explorer.places import Place
from quantum_pulse.reading import reader
from quantum_pulse.reading.density import Density
from quantum_pulse.statistics import shown_in
from quantum_pulse.view import closeup, html, icicle, numbers
from quantum_pulse.view import open_calls as hanging
from quantum_pulse.view import overview as table
from quantum_pulse.view.chart import Lane, Lanes
from quantum_pulse.view.document import (
    Beside,
    Block,
    Cell,
    Column,
    Figure,
    Fold,
    Icicle,
    Name,
    Paragraph,
    Row,
    Table,
    plain,
)

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.diagnosis.findings import Findings
    from quantum_pulse.reading.slowest import Slowest

#: Operations and metrics in the timeline of all of them.
_MOST_LANES: Final = 14
_MOST_STRIPS: Final = 2


def write(model: ExplorerModel, place: Place, view: View | None, *, has_past: bool, busy: str = "") -> str:
    """The page of a place as HTML; `view` is the data of its operation. `busy` says what is in progress."""
    if place.rank is not None:
        title, content = _call(model, place)
    elif place.low_ns is not None:
        title, content = f"{_title(model, place)}, calls of {_durations(place)}", _band(model, place)
    elif place.begin_ns is not None and place.operation is None:
        title, content = f"All operations from {_interval(model, place)}", _period(model, place)
    elif place.operation is None:
        title, content = "All operations", home(model.overview, model)
    else:
        assert view is not None
        title, content = _title(model, place), operation(model, view, links(model))
    return _page(model, place, title, content, has_past=has_past, busy=busy)


def _page(
    model: ExplorerModel, place: Place, title: str, content: Sequence[Block], *, has_past: bool, busy: str = ""
) -> str:
    return (
        f'<a class="skip" href="#table">Skip to the table</a><div class="bar">{_back(has_past)}{_trail(model, place)}'
        f'<span class="busy" role="status">{escape(busy)}</span>'
        f'<button type="button" class="copy" data-code="{escape(code(place))}">Copy as code</button></div>'
        f'<h2 tabindex="-1"><bdi>{escape(plain(Name(title)))}</bdi></h2>'
        f"{html.blocks([*_restriction(model), *content])}"
    )


def _restriction(model: ExplorerModel) -> list[Block]:
    """What of the capture is shown, where that is not all of it."""
    only = model.source.within.described()
    return [Paragraph(["Only calls ", Name(only)], "lead")] if only else []


def failure(model: ExplorerModel, place: Place, error: BaseException) -> str:
    """A page that reports an error."""
    said: list[str | Name] = ["This page cannot be shown: ", Name(f"{type(error).__name__}: {error}")]
    return _page(model, place, "Error", [Paragraph(said, "warning")], has_past=True)


def static(model: ExplorerModel) -> str:
    """Static content for saved notebooks: all operations, and the one that matters most."""
    overview = model.overview
    content = [*_restriction(model), *home(overview, model, is_static=True)]
    slow = None if overview.findings is None else culprits.culprit(overview.findings)
    name = slow.name if slow is not None else next(iter(model.names), None)
    if name is not None:
        view = model.view(Place(name), rough=False)
        content = [*content, Paragraph(["Details of ", Name(name)], "lead"), *operation(model, view, {})]
    return html.fragment(content)


def _back(has_past: bool) -> str:
    return f'<button type="button" class="back"{"" if has_past else " disabled"}>← Back</button>'


def _trail(model: ExplorerModel, place: Place) -> str:
    steps = place.steps
    items = []
    for number, step in enumerate(steps):
        name = f"<bdi>{escape(plain(Name(_short(model, step))))}</bdi>"
        items.append(
            f'<li aria-current="page">{name}</li>'
            if number == len(steps) - 1
            else f'<li><a href="#step-{number}">{name}</a></li>'
        )
    return f'<nav aria-label="Breadcrumb"><ol class="trail">{"".join(items)}</ol></nav>'


def _short(model: ExplorerModel, place: Place) -> str:
    if place.rank is not None:
        return f"call {place.rank + 1}"
    if place.low_ns is not None:
        return _durations(place)
    if place.begin_ns is not None:
        return _interval(model, place)
    return place.operation or "All operations"


def _durations(place: Place) -> str:
    assert place.low_ns is not None
    assert place.high_ns is not None
    return f"{numbers.duration(place.low_ns)} to {numbers.duration(place.high_ns)}"


def _interval(model: ExplorerModel, place: Place) -> str:
    assert place.begin_ns is not None
    assert place.end_ns is not None
    return f"{closeup.since(model, place.begin_ns)} to {closeup.since(model, place.end_ns)}"


def _title(model: ExplorerModel, place: Place) -> str:
    name = str(place.operation)
    return name if place.begin_ns is None else f"{name} from {_interval(model, place)}"


def links(model: ExplorerModel) -> dict[str, str]:
    """The link of each operation."""
    return {name: f"op-{number}" for number, name in enumerate(model.names)}


def home(overview: Overview, model: ExplorerModel, *, is_static: bool = False) -> list[Block]:
    """All operations by category, below a summary of what is slow, when and why."""
    own = {} if is_static else links(model)
    found = overview.findings
    content: list[Block] = []
    if found is not None:
        content += [Paragraph(sentence, "lead") for sentence in verdict.sentences(found, own)]
    elif model.samples > 0:
        content.append(_unfinished(overview, model))
    if found is not None and found.comparison is not None:
        content.append(Paragraph(f"Compared with the baseline: {found.comparison.summary}", "lead"))
    content += _missing(model, found)
    content += _timeline(overview, model, own)
    if found is not None and not found.tree.empty:
        whole = stacks.icicle(stacks.of_tree(found.tree))
        content.append(Icicle(whole, f"Where the time goes: {numbers.us(whole.total_us)} in calls inside calls."))
    return [
        *content,
        *table.build(
            overview.stats,
            overview.budgets,
            own,
            model.priorities,
            None if found is None else found.shares,
            _changes(found),
        ),
    ]


def _changes(found: Findings | None) -> dict[tuple[str, float], table.Change] | None:
    """The change of each operation's quantiles against the baseline; None without one."""
    if found is None or found.comparison is None:
        return None
    return {
        (str(row["operation"]), float(row["quantile"])): table.Change(float(row["change"]), row["verdict"] == "differs")
        for row in found.comparison.table.to_dict("records")
    }


def _timeline(overview: Overview, model: ExplorerModel, own: Mapping[str, str]) -> list[Block]:
    """The operations that took the most time, over time."""
    names = [name for name in model.names if len(overview.trends.get(name, ())) > 1]
    if not names:
        return []
    prefix = icicle.common_prefix(names)
    count = len(overview.trends[names[0]])
    found = overview.findings
    width = found.window_ns if found is not None else -(-(model.end_ns - model.begin_ns) // count)
    lanes = [
        Lane(name.removeprefix(prefix), [value * 1000 for value in overview.trends[name]], own.get(name, ""))
        for name in names[:_MOST_LANES]
    ]
    metrics = model.window_metrics(model.begin_ns, width, count)
    strips = closeup.metric_strips(lambda metric: metrics[metric].tolist() if metric in metrics.columns else [math.nan])
    slow = None if found is None else culprits.culprit(found)
    moment = None if slow is None else (slow.moment.first, slow.moment.last + 1)
    left = len(names) - len(lanes)
    caption = f"p99 in windows of {numbers.duration(width)}, as times its usual value."
    caption += f" {left} more operations are in the table." if left > 0 else ""
    return [Figure(Lanes(lanes, model.begin_ns, width, strips[:_MOST_STRIPS], moment), "Operations over time", caption)]


def _band(model: ExplorerModel, place: Place) -> list[Block]:
    """Calls of an interval of durations."""
    found = model.band(place)
    if not len(found):
        return [Paragraph("No call took so long here.", "missing")]
    return _slowest(model, found, has_links=True)


def _period(model: ExplorerModel, place: Place) -> list[Block]:
    """All operations in a time interval, and what differs there from the rest of the time."""
    known = model.known_period(place)
    if known is None:
        return [Paragraph("Reading the samples of this time interval.", "note")]
    if known.inside.empty:
        return [Paragraph("No operation ran in this time interval.", "missing")]
    content = _inside(model, known.inside, links(model)) + _metrics(known.metrics_here)
    return [*content, *_slowest(model, known.slowest, has_links=True, has_names=True)]


def _unfinished(overview: Overview, model: ExplorerModel) -> Paragraph:
    samples = numbers.short(model.samples)
    if overview.is_rough:
        return Paragraph(f"Preview from the summaries of {samples} samples: percentiles are accurate to 1 %.", "note")
    if model.samples > MOST_SAMPLES:
        return Paragraph(
            f"What was slow, when and why is not analysed automatically for {samples} samples: that would take "
            "minutes. Call capture.report() for it.",
            "missing",
        )
    return Paragraph("Analysing what was slow, when and why.", "note")


def _missing(model: ExplorerModel, found: Findings | None) -> list[Block]:
    """What is missing in the capture."""
    unfinished = open_calls.find(model.source)
    content = hanging.blocks(unfinished) if unfinished else []
    losses = reader.loss_frame(model.source)
    if len(losses):
        known = losses["count"].dropna().sum()
        many = f"{numbers.count(known)} samples" if losses["count"].notna().all() else "Some samples"
        content.append(Paragraph(f"{many} are missing: see capture.losses() for which, and why.", "warning"))
    if found is not None and found.metrics.empty:
        content.append(Paragraph("No system metrics were recorded.", "missing"))
    return content


def operation(model: ExplorerModel, view: View, own: Mapping[str, str]) -> list[Block]:
    """An operation, over all the time or in an interval of it. `own` are its links, empty on static pages."""
    content: list[Block] = []
    if view.description and not view.is_interval:
        content.append(Paragraph([Name(view.description)]))
    content += _pictures(model, view)
    if view.slowest is not None:
        content += _slowest(model, view.slowest, has_links=bool(own))
    if view.errors is not None:
        content.append(_errors(view.errors))
    if view.inside is not None:
        content += _inside(model, view.inside, own)
    if view.metrics_here is not None:
        content += _metrics(view.metrics_here)
    found = model.overview.findings
    if not view.is_interval and found is not None:
        content += closeup.family(found.tree, view.name, own)
    return content


def _pictures(model: ExplorerModel, view: View) -> list[Block]:
    if not view.density.calls.size or not view.density.calls.any():
        if view.is_rough:
            return [Paragraph("The summaries have no data for this interval; reading the samples.", "missing")]
        return [Paragraph("The operation did not run in this time interval.", "missing")]
    edges, calls, before = on_one_scale(view.density, view.before)
    row = view.row or _rough_row(view)
    # A budget is one of all calls.
    budget = None if view.is_interval else model.overview.budget(view.name)
    picture = closeup.distribution(edges, calls, row, view.budget_us, before)
    content: list[Block] = [
        Beside([picture, closeup.percentiles(view.row, view.budget_us, budget)]) if view.row is not None else picture
    ]
    density = view.density
    lines = {name: density.quantile_ns(q).tolist() for name, q in (("p50", 0.5), ("p99", 0.99))}
    strips = closeup.metric_strips(
        lambda metric: view.metrics[metric].tolist() if metric in view.metrics.columns else [math.nan]
    )
    moment = None if view.is_interval else culprits.slow_moment(density.counts.tolist(), density.totals_us.tolist())
    slow = None if moment is None else (moment.first, moment.last + 1)
    content += closeup.over_time(
        density.heatmap(), density.width_ns, lines, density.counts.tolist(), strips, view.budget_us, slow
    )
    return [*content, Fold("Show as a table", [_windows(model, density, lines)], kind="small")]


def _windows(model: ExplorerModel, density: Density, lines: Mapping[str, Sequence[float]]) -> Table:
    """The data of the chart over time, a row for each of its columns that has calls."""
    columns = [Column("start", is_number=False), Column("calls"), *(Column(name) for name in lines)]
    rows = [
        Row(
            [
                Cell(closeup.since(model, density.begin_ns + place * density.width_ns), place),
                Cell(numbers.count(calls), calls),
                *(Cell(numbers.duration(values[place]), values[place]) for values in lines.values()),
            ]
        )
        for place, calls in enumerate(density.counts.tolist())
        if calls >= 0.5
    ]
    return Table(f"Calls per {numbers.duration(density.width_ns)}", columns, rows)


def _rough_row(view: View) -> dict[str, float]:
    """The percentiles that charts mark, from a density."""
    quantiles = {one.name: one.quantile for one in shown_in("details") if one.quantile is not None}
    return {name: view.density.overall_ns(quantile) / 1000 for name, quantile in quantiles.items()}


def _slowest(model: ExplorerModel, slowest: Slowest, *, has_links: bool, has_names: bool = False) -> list[Block]:
    columns = [
        Column("", is_number=False),
        *([Column("operation", is_number=False)] if has_names else []),
        Column("start", is_number=False),
        Column("duration"),
        Column("thread"),
        Column("task"),
        Column("error", is_number=False),
    ]
    rows = [
        Row(
            [
                Cell(Name(f"call {rank + 1}", f"call-{rank}" if has_links else "")),
                *([Cell(Name(str(one["operation"])))] if has_names else []),
                *closeup.sample(model, one),
            ]
        )
        for rank, one in enumerate(slowest.table.to_dict("records"))
    ]
    return [Table("Slowest calls", columns, rows, "grid")] if rows else []


def _errors(errors: pd.DataFrame) -> Table:
    columns = [Column("error", is_number=False), Column("calls"), Column("p50"), Column("p99"), Column("max")]
    rows = [
        Row(
            [
                Cell(Name("no error" if name is None or name != name else str(name))),
                Cell(numbers.count(row["count"]), row["count"]),
                *(Cell(numbers.us(row[key]), row[key]) for key in ("p50_us", "p99_us", "max_us")),
            ]
        )
        for name, row in errors.iterrows()
    ]
    return Table("Errors", columns, rows)


def _inside(model: ExplorerModel, inside: pd.DataFrame, own: Mapping[str, str]) -> list[Block]:
    """The time that each operation lost in the interval, compared with its usual calls."""
    columns = [
        Column("operation", is_number=False),
        Column("calls"),
        Column("p50 here"),
        Column("p50 overall"),
        Column("p99 here"),
        Column("p99 overall"),
        Column("time lost", title="time beyond that of the same number of usual calls"),
    ]
    rows = []
    for one in intervals.losers(inside, model.overview.stats):
        cells = [Cell(Name(one.name, own.get(one.name, ""))), Cell(numbers.count(one.here["count"]), one.here["count"])]
        for key in ("p50_us", "p99_us"):
            here, usual = one.here[key], one.usual[key]
            cells += [
                Cell(numbers.us(here), here, kind="bad" if one.is_slow(key) else ""),
                Cell(numbers.us(usual), usual),
            ]
        rows.append(Row([*cells, Cell(numbers.us(one.lost_us) if one.lost_us > 0 else "–", one.lost_us)]))
    return [
        Table("All operations in this time interval; those that lost the most time come first", columns, rows, "grid")
    ]


def _metrics(metrics: pd.DataFrame) -> list[Block]:
    """System metrics of a time interval that differ from their overall values."""
    differing = intervals.differing(metrics)
    if metrics["here"].isna().all():
        return [Paragraph("No system metrics were recorded in this time interval.", "missing")]
    if not differing:
        return [Paragraph("No system metric differs much from its overall value.", "missing")]
    columns = [Column("metric", is_number=False), Column("here"), Column("overall"), Column("ratio"), Column("q")]
    rows = [
        Row(
            [
                Cell(one.name),
                Cell(numbers.metric(one.name, one.here)),
                Cell(numbers.metric(one.name, one.overall)),
                Cell(_ratio(one.ratio)),
                Cell(numbers.probability(one.q_value)),
            ]
        )
        for one in differing
    ]
    return [
        Table("System metrics that differ here; counts are per second", columns, rows),
        Paragraph(
            "q is the p-value of the difference from the surrounding time, corrected for multiple tests; a dash means "
            "that there is too little data. capture.contrast() tests operations as well.",
            "note",
        ),
    ]


def _ratio(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.1f} ×" if value >= 0.1 else f"{value:.2g} ×"


def _call(model: ExplorerModel, place: Place) -> tuple[str, list[Block]]:
    """A single call among all that ran at its time, and among the calls of its operation."""
    assert place.rank is not None
    slow = model.call(place)
    sample: Mapping[Any, Any] = slow.sample.to_dict()
    view = model.view(Place(str(sample["operation"]), place.begin_ns, place.end_ns), rough=False)
    began, took, thread, task, error = closeup.sample(model, sample)
    facts = [("duration", took), ("start", began), ("thread", thread), ("task", task), ("error", error)]
    facts += [(str(name), Cell(Name(str(value)))) for name, value in (sample.get("attributes") or {}).items()]
    edges, calls, before = on_one_scale(view.density, view.before)
    row = view.row or _rough_row(view)
    content: list[Block] = [
        Paragraph(_neighbours(model.slowest(place), place.rank), "note"),
        *closeup.waterfall(slow, links(model), model.metrics()),
        Beside(
            [
                closeup.distribution(edges, calls, row, view.budget_us, before, float(sample["duration_ns"])),
                Table(
                    "Call",
                    [Column("", is_number=False), Column("", is_number=False)],
                    [Row([Cell(name), Cell(cell.text)]) for name, cell in facts],
                    "facts",
                ),
            ]
        ),
    ]
    return f"{sample['operation']}: {numbers.duration(float(sample['duration_ns']))}", content


def _neighbours(slowest: Slowest | None, rank: int) -> list[str | Name]:
    """Links to the next slower and the next faster call."""
    count = 0 if slowest is None else len(slowest)
    slower: list[str | Name] = [Name("← slower call", f"call-{rank - 1}"), "   "] if rank else []
    faster: list[str | Name] = ["   ", Name("faster call →", f"call-{rank + 1}")] if rank + 1 < count else []
    return [*slower, f"{rank + 1} of the {count} slowest calls", *faster]
