"""Show the comparison of a time interval with its surroundings: slower operations come first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.shown import clean
from quantum_pulse.view import html, numbers, text
from quantum_pulse.view.document import Block, Cell, Column, Fold, Name, Paragraph, Row, Table

if TYPE_CHECKING:
    from quantum_pulse.analysis import Contrast

#: Rows of a group that are shown at once.
_MOST: Final = 12
_CALLS: Final = "calls_per_s"


def summary(contrast: Contrast) -> str:
    """What was compared with what, how much of it differs, and the limits of the comparison."""
    before = (contrast.begin - contrast.around_begin).total_seconds()
    after = (contrast.around_end - contrast.end).total_seconds()
    length = (contrast.end - contrast.begin).total_seconds()
    tested = int(contrast.table["p_value"].notna().sum())
    began = f"{contrast.begin.strftime('%H:%M:%S.%f')[:-3]} UTC"
    said = (
        f"{numbers.duration(length * 1e9)} from {began}, compared with the {numbers.duration(before * 1e9)} before and "
        f"the {numbers.duration(after * 1e9)} after: "
    )
    if not tested:
        return said + "too little data to compare; record for longer, or choose a shorter interval."
    said += f"{len(contrast.found)} of {tested} measures differ (false discovery rate at most "
    said += f"{100 * contrast.alpha:g} %)."
    if not (before and after):
        said += " With data on one side only, a drift cannot be distinguished from a difference."
    if contrast.chosen_by:
        names = " and ".join(map(clean, contrast.chosen_by))
        said += f" It was chosen because of {names}: shown, but not tested."
    return said


def blocks(contrast: Contrast) -> list[Block]:
    """The summary, what differs, and in a fold all that was compared."""
    short, whole = (list(_rows(contrast, everything=flag)) for flag in (False, True))
    content: list[Block] = [Paragraph(summary(contrast), "lead")]
    if short:
        content.append(_table(contrast, short))
    return [*content, Fold(f"All {len(contrast.table)} measures", [_table(contrast, whole)])]


def as_text(contrast: Contrast) -> str:
    """For a terminal."""
    return text.blocks(blocks(contrast))


def as_html(contrast: Contrast) -> str:
    """For a notebook."""
    return html.card(blocks(contrast))


def _table(contrast: Contrast, rows: list[Row]) -> Table:
    names = ("inside", "around", "change", f"shift in σ, {numbers.share(1 - contrast.alpha)} interval", "q")
    return Table("", [Column("", is_number=False), *map(Column, names)], rows)


def _rows(contrast: Contrast, *, everything: bool) -> Iterator[Row]:
    chosen: list[dict[Any, Any]] = contrast.chosen.to_dict("records")
    if chosen:
        yield from _group("Reason for the choice, not tested", chosen)
    source = contrast.table.drop(contrast.chosen.index) if everything else contrast.found
    records: list[dict[Any, Any]] = source.to_dict("records")
    titles = ("Slower operations", "Faster operations", "Call rates", "Metrics")
    groups: dict[str, list[dict[Any, Any]]] = {title: [] for title in titles}
    for row in records:
        if row["what"] == "metric":
            title = "Metrics"
        elif row["measure"] == _CALLS:
            title = titles[2]
        else:
            title = titles[0] if row["shift"] > 0 else titles[1]
        if everything and title in titles[:2]:
            title = "Operations"
        groups.setdefault(title, []).append(row)
    for title, rows in sorted(groups.items(), key=lambda pair: pair[0] != "Operations"):
        kept = rows if everything else rows[:_MOST]
        more = f", {len(rows) - len(kept)} more in .found" if len(kept) < len(rows) else ""
        if rows:
            yield from _group(title + more, kept)


def _group(title: str, rows: list[dict[Any, Any]]) -> Iterator[Row]:
    yield Row([Cell(title)], is_group=True)
    for row in rows:
        yield Row([Cell(cell) for cell in _cells(row)], level=2)


def _cells(row: dict[Any, Any]) -> tuple[str | Name, ...]:
    name, measure = str(row["name"]), str(row["measure"])
    if row["what"] == "operation":
        shown = name if measure == _CALLS else f"{name}, {measure.removesuffix('_us')}"
    else:
        shown = name
    shift = row["shift"]
    interval = f" ({row['ci_low']:+.1f} to {row['ci_high']:+.1f})" if row["ci_low"] == row["ci_low"] else ""
    return (
        Name(shown),
        _value(name, measure, row["inside"]),
        _value(name, measure, row["around"]),
        numbers.change(row["change"]),
        f"{shift:+.1f}{interval}" if shift == shift else "–",
        numbers.probability(row["q_value"]),
    )


def _value(name: str, measure: str, value: float) -> str:
    if measure == _CALLS:
        return f"{numbers.short(value)}/s" if value == value else "–"
    if measure in ("per_s", "level"):
        return numbers.metric(name, value) + ("/s" if measure == "per_s" else "")
    return numbers.us(value)
