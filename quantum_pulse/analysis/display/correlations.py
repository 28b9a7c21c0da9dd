"""Show correlations of latency with metrics, and recommendations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.view import html, numbers, text
from quantum_pulse.view.document import Block, Bullets, Cell, Column, Entries, Fold, Name, Paragraph, Row, Table, Text

if TYPE_CHECKING:
    from quantum_pulse.analysis import Correlations
    from quantum_pulse.analysis.recommendations import Recommendation

#: Operations, and metrics of each, that are shown at once.
_MOST_OPERATIONS: Final = 10
_MOST_METRICS: Final = 5


def summary(correlations: Correlations) -> str:
    """How many pairs are correlated, out of those tested."""
    tested = int(correlations.table["p_value"].notna().sum())
    if not tested:
        return "Too little data to compare: no operation and metric have 20 windows in common; record for longer."
    return (
        f"{len(correlations.found)} of {tested} pairs of an operation and a metric are correlated "
        f"(windows of {numbers.duration(correlations.window_s * 1e9)}, false discovery rate at most "
        f"{100 * correlations.alpha:g} %)."
    )


def blocks(correlations: Correlations) -> list[Block]:
    """The summary, correlated pairs, recommendations, and the rules that do not apply."""
    content: list[Block] = [Paragraph(summary(correlations), "lead")]
    if rows := list(_rows(correlations)):
        interval = f"correlation, {numbers.share(1 - correlations.alpha)} interval"
        names = (interval, "lag of the metric", "independent windows", "q")
        content.append(Table("", [Column("", is_number=False), *map(Column, names)], rows))
    if correlations.recommendations:
        content += [Paragraph("Recommendations", "lead"), Entries(recommendations(correlations.recommendations))]
    if left := correlations.not_applicable:
        title = f"{len(left)} {'rule does' if len(left) == 1 else 'rules do'} not apply"
        content.append(Fold(title, [Bullets([f"{one.rule}: {one.reason}" for one in left])], brief=True))
    return content


def recommendations(found: Sequence[Recommendation]) -> list[list[tuple[str | Name, Text]]]:
    """Each as an entry: what to try, and why."""
    return [
        [
            ("Try", Name(one.action)),
            ("Evidence", [Name(one.subject), ": ", Name(one.evidence)]),
            ("Why", Name(one.reason)),
            ("Record next time", Name(one.record_next)),
        ]
        for one in found
    ]


def as_text(correlations: Correlations) -> str:
    """For a terminal."""
    return text.blocks(blocks(correlations))


def as_html(correlations: Correlations) -> str:
    """For a notebook."""
    return html.card(blocks(correlations))


def _rows(correlations: Correlations) -> Iterator[Row]:
    found = correlations.found
    operations = list(dict.fromkeys(found["operation"]))
    for operation in operations[:_MOST_OPERATIONS]:
        records: list[dict[Any, Any]] = found[found["operation"] == operation].to_dict("records")
        kept = records[:_MOST_METRICS]
        more = f", {len(records) - len(kept)} more in .found" if len(kept) < len(records) else ""
        yield Row([Cell([Name(str(operation)), more])], is_group=True)
        for row in kept:
            yield Row([Cell(cell) for cell in _cells(row)], level=2)
    if len(operations) > _MOST_OPERATIONS:
        yield Row([Cell(f"{len(operations) - _MOST_OPERATIONS} more operations in .found")], is_group=True)


def _cells(row: dict[Any, Any]) -> tuple[str | Name, ...]:
    lag = row["lag_s"]
    when = "at the same time" if lag == 0 else f"{numbers.duration(abs(lag) * 1e9)} {'earlier' if lag > 0 else 'later'}"
    return (
        Name(str(row["metric"])),
        f"{row['rho']:+.2f} ({row['ci_low']:+.2f} to {row['ci_high']:+.2f})",
        when,
        numbers.count(row["n_effective"]),
        numbers.probability(row["q_value"]),
    )
