"""A place as a page: what `Looker` saw there, made of the pieces that reports are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.capture import reader
from quantum_pulse.capture.density import Density
from quantum_pulse.explorer.looking import MOST_SAMPLES, Looker, Overview, View, on_one_scale
from quantum_pulse.explorer.places import Place
from quantum_pulse.view import closeup, numbers, operations, page, report, unfinished, verdict
from quantum_pulse.view.document import Beside, Block, Cell, Column, Fold, Name, Paragraph, Row, Table, plain

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.view.findings import Findings

#: Operations that are listed in a stretch of time: those that lost most.
_MOST_OTHERS: Final = 8
#: A metric is listed when it is so many times what it is over all, or less than one of so many times.
_DIFFERS: Final = 1.5


def write(looker: Looker, place: Place, view: View | None, *, has_past: bool, busy: str = "") -> str:
    """The page of a place as HTML; `view` is what is known there of an operation. `busy` says what is being done."""
    if place.operation is None:
        title, content = "All operations", home(looker.overview, looker)
    elif place.rank is not None:
        title, content = _call(looker, place)
    else:
        assert view is not None
        title, content = _title(looker, place), operation(looker, view, links(looker))
    return _page(looker, place, title, content, has_past=has_past, busy=busy)


def _page(looker: Looker, place: Place, title: str, content: Sequence[Block], *, has_past: bool, busy: str = "") -> str:
    return (
        f'<div class="bar">{_back(has_past)}{_trail(looker, place)}'
        f'<span class="busy" role="status">{escape(busy)}</span></div>'
        f'<h2 tabindex="-1"><bdi>{escape(plain(Name(title)))}</bdi></h2>{page.blocks(content)}'
    )


def failure(looker: Looker, place: Place, error: BaseException) -> str:
    """A page that says why there is none."""
    said: list[str | Name] = ["This cannot be shown: ", Name(f"{type(error).__name__}: {error}")]
    return _page(looker, place, "Nothing here", [Paragraph(said, "warning")], has_past=True)


def static(looker: Looker) -> str:
    """What stands beside the widget, for whoever opens the saved notebook: all operations, and the one that matters."""
    overview = looker.overview
    content = home(overview, looker, is_static=True)
    slow = None if overview.findings is None else verdict.culprit(overview.findings)
    name = slow.name if slow is not None else next(iter(looker.names), None)
    if name is not None:
        view = looker.view(Place(name), rough=False)
        content = [*content, Paragraph(["A closer look at ", Name(name)], "lead"), *operation(looker, view, {})]
    return page.fragment(content)


def _back(has_past: bool) -> str:
    return f'<button type="button" class="back"{"" if has_past else " disabled"}>← Back</button>'


def _trail(looker: Looker, place: Place) -> str:
    steps = place.steps
    items = []
    for number, step in enumerate(steps):
        name = f"<bdi>{escape(plain(Name(_short(looker, step))))}</bdi>"
        items.append(
            f'<li aria-current="page">{name}</li>'
            if number == len(steps) - 1
            else f'<li><a href="#step-{number}">{name}</a></li>'
        )
    return f'<nav aria-label="Where you are"><ol class="trail">{"".join(items)}</ol></nav>'


def _short(looker: Looker, place: Place) -> str:
    if place.operation is None:
        return "All operations"
    if place.rank is not None:
        return f"call {place.rank + 1}"
    return place.operation if place.begin_ns is None else _stretch(looker, place)


def _stretch(looker: Looker, place: Place) -> str:
    assert place.begin_ns is not None
    assert place.end_ns is not None
    return f"{closeup.since(looker, place.begin_ns)} to {closeup.since(looker, place.end_ns)}"


def _title(looker: Looker, place: Place) -> str:
    name = str(place.operation)
    return name if place.begin_ns is None else f"{name} from {_stretch(looker, place)}"


def links(looker: Looker) -> dict[str, str]:
    """Where the name of an operation leads."""
    return {name: f"op-{number}" for number, name in enumerate(looker.names)}


def home(overview: Overview, looker: Looker, *, is_static: bool = False) -> list[Block]:
    """All operations by category, under what is slow, since when and why."""
    own = {} if is_static else links(looker)
    found = overview.findings
    content: list[Block] = []
    if found is not None:
        content += [Paragraph(sentence, "lead") for sentence in verdict.sentences(found, own)]
    elif looker.samples > 0:
        content.append(_unfinished(overview, looker))
    if found is not None and found.comparison is not None:
        content.append(Paragraph(f"Against the baseline: {found.comparison.summary}", "lead"))
    content += _missing(looker, found)
    content += operations.build(
        overview.stats,
        overview.budgets,
        own,
        looker.priorities,
        lambda _category, name, _column: overview.trends.get(name, []),
    )
    if found is not None and found.comparison is not None:
        content += report.comparison(found.comparison, found.baseline, own)
    return content


def _unfinished(overview: Overview, looker: Looker) -> Paragraph:
    samples = numbers.short(looker.samples)
    if overview.is_rough:
        return Paragraph(f"A first look, from the summaries of {samples} samples: percentiles are within 1 %.", "note")
    if looker.samples > MOST_SAMPLES:
        return Paragraph(
            f"Of {samples} samples it is not worked out by itself what was slow, when and why: that would take "
            "minutes. capture.report() does it.",
            "missing",
        )
    return Paragraph("Working out what was slow, when and why.", "note")


def _missing(looker: Looker, found: Findings | None) -> list[Block]:
    """What is not in the capture and would be looked for."""
    hanging = unfinished.of(looker.source)
    content = unfinished.blocks(hanging) if hanging else []
    losses = reader.loss_frame(looker.source)
    if len(losses):
        known = losses["count"].dropna().sum()
        many = f"{numbers.count(known)} samples" if losses["count"].notna().all() else "Some samples"
        content.append(Paragraph(f"{many} are missing: capture.losses() says which, and why.", "warning"))
    if found is not None and found.metrics.empty:
        content.append(Paragraph("No system metrics were recorded.", "missing"))
    return content


def operation(looker: Looker, view: View, own: Mapping[str, str]) -> list[Block]:
    """An operation, over all the time or in a stretch of it. `own` are its links, none where nothing can be asked."""
    content: list[Block] = []
    if view.description and not view.is_stretch:
        content.append(Paragraph([Name(view.description)]))
    content += _pictures(looker, view)
    if view.slowest is not None:
        content += _slowest(looker, view, has_links=bool(own))
    if view.errors is not None:
        content.append(_errors(view.errors))
    if view.inside is not None:
        content += _inside(looker, view, own)
    if view.metrics_here is not None:
        content += _metrics(view.metrics_here)
    found = looker.overview.findings
    if not view.is_stretch and found is not None:
        content += closeup.family(found.tree, view.name, own)
    return content


def _pictures(looker: Looker, view: View) -> list[Block]:
    if not view.density.calls.size or not view.density.calls.any():
        if view.is_rough:
            return [Paragraph("The summaries of the parts do not tell; the samples are being read.", "missing")]
        return [Paragraph("It did not run in this stretch of time.", "missing")]
    edges, calls, before = on_one_scale(view.density, view.before)
    row = view.row or _rough_row(view)
    # A budget is one of all calls.
    budget = None if view.is_stretch else looker.overview.budget(view.name)
    picture = closeup.distribution(edges, calls, row, view.budget_us, before)
    content: list[Block] = [
        Beside([picture, closeup.percentiles(view.row, view.budget_us, budget)]) if view.row is not None else picture
    ]
    density = view.density
    lines = {name: density.quantile_ns(q).tolist() for name, q in (("p50", 0.5), ("p99", 0.99))}
    strips = closeup.metric_strips(
        lambda metric: view.metrics[metric].tolist() if metric in view.metrics.columns else [math.nan]
    )
    moment = None if view.is_stretch else verdict.slow_moment(density.counts.tolist(), density.totals_us.tolist())
    content += closeup.over_time(
        density.heatmap(), density.width_ns, lines, density.counts.tolist(), strips, view.budget_us, moment
    )
    return [*content, Fold("The same as a table", [_windows(looker, density, lines)], kind="small")]


def _windows(looker: Looker, density: Density, lines: Mapping[str, Sequence[float]]) -> Table:
    """What the chart over time shows of the calls, a row for each of its columns in which there were any."""
    columns = [Column("from", is_number=False), Column("calls"), *(Column(name) for name in lines)]
    rows = [
        Row(
            [
                Cell(closeup.since(looker, density.begin_ns + place * density.width_ns), place),
                Cell(numbers.count(calls), calls),
                *(Cell(numbers.duration(values[place]), values[place]) for values in lines.values()),
            ]
        )
        for place, calls in enumerate(density.counts.tolist())
        if calls >= 0.5
    ]
    return Table(f"Calls in each {numbers.duration(density.width_ns)}", columns, rows)


def _rough_row(view: View) -> dict[str, float]:
    """What pictures mark, from a density."""
    shares = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99, "p999_us": 0.999}
    return {name: view.density.overall_ns(q) / 1000 for name, q in shares.items()}


def _slowest(looker: Looker, view: View, *, has_links: bool) -> list[Block]:
    assert view.slowest is not None
    columns = [
        Column("", is_number=False),
        Column("began", is_number=False),
        Column("took"),
        Column("thread"),
        Column("task"),
        Column("error", is_number=False),
    ]
    rows = [
        Row([Cell(Name(f"call {rank + 1}", f"call-{rank}" if has_links else "")), *closeup.sample(looker, one)])
        for rank, one in enumerate(view.slowest.table.to_dict("records"))
    ]
    return [Table("Slowest calls", columns, rows, "grid")] if rows else []


def _errors(errors: pd.DataFrame) -> Table:
    columns = [Column("ended by", is_number=False), Column("calls"), Column("p50"), Column("p99"), Column("max")]
    rows = [
        Row(
            [
                Cell(Name("no error" if name is None or name != name else str(name))),
                Cell(numbers.count(row["count"]), row["count"]),
                *(Cell(_us(row[key]), row[key]) for key in ("p50_us", "p99_us", "max_us")),
            ]
        )
        for name, row in errors.iterrows()
    ]
    return Table("Errors", columns, rows)


def _inside(looker: Looker, view: View, own: Mapping[str, str]) -> list[Block]:
    """What the stretch of time cost each operation, against its usual call."""
    assert view.inside is not None
    usually: dict[Any, Any] = looker.overview.stats.to_dict("index")
    here: dict[Any, Any] = view.inside.to_dict("index")
    rows = [
        (row["total_us"] - row["count"] * usual["mean_us"], str(key[1]), row, usual)
        for key, row in here.items()
        if (usual := usually.get(key)) is not None
    ]
    rows.sort(key=lambda one: -one[0])
    columns = [
        Column("operation", is_number=False),
        Column("calls"),
        Column("p50 here"),
        Column("p50 over all"),
        Column("p99 here"),
        Column("p99 over all"),
        Column("lost", title="time beyond that of as many usual calls"),
    ]
    shown = [
        Row(
            [
                Cell(Name(name, own.get(name, ""))),
                Cell(numbers.count(row["count"]), row["count"]),
                Cell(_us(row["p50_us"]), row["p50_us"], kind="bad" if row["p50_us"] > 2 * usual["p50_us"] else ""),
                Cell(_us(usual["p50_us"]), usual["p50_us"]),
                Cell(_us(row["p99_us"]), row["p99_us"], kind="bad" if row["p99_us"] > 2 * usual["p99_us"] else ""),
                Cell(_us(usual["p99_us"]), usual["p99_us"]),
                Cell(_us(lost) if lost > 0 else "–", lost),
            ]
        )
        for lost, name, row, usual in rows[:_MOST_OTHERS]
    ]
    return [Table("All operations in this stretch of time, those that lost most first", columns, shown, "grid")]


def _metrics(metrics: pd.DataFrame) -> list[Block]:
    """System metrics of a stretch of time that differ from what they are over all."""
    differing = []
    for name, here, overall, q in zip(metrics.index, *(metrics[key] for key in metrics.columns), strict=True):
        if math.isnan(here) or math.isnan(overall) or not (here or overall):
            continue
        ratio = here / overall if overall else math.inf
        strength = abs(math.log(ratio)) if 0 < ratio < math.inf else math.inf
        if strength >= math.log(_DIFFERS):
            differing.append((str(name), here, overall, ratio, q))
    if metrics["here"].isna().all():
        return [Paragraph("No system metrics were recorded in this stretch of time.", "missing")]
    if not differing:
        return [Paragraph("No system metric differs much from what it is over all.", "missing")]
    columns = [Column("metric", is_number=False), Column("here"), Column("over all"), Column("ratio"), Column("q")]
    rows = [
        Row(
            [
                Cell(name),
                Cell(numbers.metric(name, here)),
                Cell(numbers.metric(name, overall)),
                Cell(_ratio(ratio)),
                Cell(numbers.probability(q)),
            ]
        )
        for name, here, overall, ratio, q in differing
    ]
    return [
        Table("System metrics that differ here, counts a second", columns, rows),
        Paragraph(
            "q is small where chance does not make such a difference to the time around, and a dash where one of the "
            "two is too short. capture.contrast() tests operations as well.",
            "note",
        ),
    ]


def _ratio(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.1f} ×" if value >= 0.1 else f"{value:.2g} ×"


def _call(looker: Looker, place: Place) -> tuple[str, list[Block]]:
    """A single call, with what was around it, inside it and beside it."""
    assert place.rank is not None
    slow = looker.call(place)
    sample: Mapping[Any, Any] = slow.sample.to_dict()
    began, took, thread, task, error = closeup.sample(looker, sample)
    facts = [("took", took), ("began", began), ("thread", thread), ("task", task), ("ended by", error)]
    content: list[Block] = [
        Table(
            "The call",
            [Column("", is_number=False), Column("", is_number=False)],
            [Row([Cell(name), Cell(cell.text)]) for name, cell in facts],
            "facts",
        ),
        *closeup.surroundings(slow, links(looker)),
    ]
    listed = looker.view(place, rough=False).slowest
    others: list[str | Name] = []
    if place.rank > 0:
        others += [Name("slower call", f"call-{place.rank - 1}"), "   "]
    if listed is not None and place.rank + 1 < len(listed):
        others.append(Name("next slowest call", f"call-{place.rank + 1}"))
    if others:
        content.append(Paragraph(others))
    return f"{place.operation}: {numbers.duration(float(sample['duration_ns']))}", content


def _us(value: float) -> str:
    return numbers.duration(value * 1000)
