"""Show why the slow calls of an operation are slow: the largest share first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quantum_pulse.view import html, markdown, numbers, text
from quantum_pulse.view.chart import Share
from quantum_pulse.view.document import Block, Cell, Column, Name, Paragraph, Row, Table

if TYPE_CHECKING:
    from quantum_pulse.analysis.causes import Causes

_COLUMNS: Final = (
    Column("cause", is_number=False),
    Column("kind", is_number=False),
    Column("share of the excess", title="of the time by which slow calls exceed a typical one"),
    Column("95 % interval"),
    Column("q", title="probability of chance, corrected for all that was tested"),
    Column("quantile without it"),
    Column("evidence", is_number=False),
)


def summary(causes: Causes) -> str:
    """How much slower the slow calls are, and what explains most of it."""
    percent = f"p{100 * causes.quantile:.6g}".replace(".", "")
    said = (
        f"{numbers.count(causes.slow_count)} of {numbers.count(causes.count)} calls of {causes.operation} took longer "
        f"than {numbers.us(causes.threshold_us)} ({percent}); a typical call takes {numbers.us(causes.typical_us)}. "
    )
    if causes.found.empty:
        return said + "Nothing stands out."
    first = causes.found.iloc[0]
    without = first["quantile_without_us"]
    instead = f"; without it {percent} would be {numbers.us(without)}" if without == without else ""
    return said + f"{numbers.share(first['share_of_excess'])} of the excess goes with {first['cause']}{instead}."


def blocks(causes: Causes) -> list[Block]:
    """The summary, and a row for each cause."""
    content: list[Block] = [Paragraph(summary(causes), "lead")]
    return content if causes.found.empty else [*content, Table("", list(_COLUMNS), _rows(causes))]


def _rows(causes: Causes) -> list[Row]:
    rows = []
    for row in causes.table.to_dict("records"):
        share = float(row["share_of_excess"])
        is_cause = row["q_value"] == row["q_value"]
        interval = f"{numbers.share(row['ci_low'])} to {numbers.share(row['ci_high'])}" if is_cause else ""
        cells = [
            Cell(Name(str(row["cause"]))),
            Cell(str(row["kind"]) if is_cause else ""),
            Cell(numbers.share(share), share, Share(min(share, 1.0))),
            Cell(interval),
            Cell(numbers.probability(row["q_value"]) if is_cause else ""),
            Cell(numbers.us(row["quantile_without_us"]) if is_cause else ""),
            Cell(str(row["evidence"])),
        ]
        rows.append(Row(cells))
    return rows


def as_text(causes: Causes) -> str:
    """For a terminal."""
    return text.blocks(blocks(causes))


def as_markdown(causes: Causes) -> str:
    """For a page or a ticket."""
    return markdown.blocks(blocks(causes))


def as_html(causes: Causes) -> str:
    """For a notebook."""
    return html.card(blocks(causes))
