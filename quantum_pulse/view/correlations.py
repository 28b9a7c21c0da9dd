"""Render correlations of latency with metrics, and recommendations, as text and HTML."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import shown
from quantum_pulse.view import grouped, html, numbers
from quantum_pulse.view.grouped import Group

if TYPE_CHECKING:
    from quantum_pulse.analysis import Correlations

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


def as_text(correlations: Correlations) -> str:
    """The summary, correlated pairs, recommendations, and the rules that do not apply."""
    parts = [summary(correlations)]
    groups = list(_groups(correlations))
    if groups:
        parts.append(grouped.as_text(_headings(correlations), groups))
    if correlations.recommendations:
        advice = []
        for one in correlations.recommendations:
            lines = [f"{shown.clean(one.subject)}: {one.evidence}.", f"Why: {one.reason}.", f"Try: {one.action}."]
            advice.append("- " + "\n  ".join([*lines, f"Record next time: {one.record_next}."]))
        parts.append("\n".join(["Recommendations", *advice]))
    if correlations.not_applicable:
        rules = [f"- {one.rule}: {one.reason}." for one in correlations.not_applicable]
        parts.append("\n".join(["Not applicable", *rules]))
    return "\n\n".join(parts)


def as_html(correlations: Correlations) -> str:
    """The same as self-contained HTML."""
    parts = [html.STYLE, _STYLE, f"<div><strong>{escape(summary(correlations))}</strong></div>"]
    groups = list(_groups(correlations))
    if groups:
        parts.append(grouped.as_html(_headings(correlations), groups))
    if correlations.recommendations:
        advice = "".join(
            f"<li><strong><bdi>{escape(one.subject)}</bdi></strong>: {escape(one.evidence)}<dl>"
            f"<dt>Why</dt><dd>{escape(one.reason)}</dd><dt>Try</dt><dd>{escape(one.action)}</dd>"
            f"<dt>Record next time</dt><dd>{escape(one.record_next)}</dd></dl></li>"
            for one in correlations.recommendations
        )
        parts.append(f'<div class="qp-advice"><div><strong>Recommendations</strong></div><ul>{advice}</ul></div>')
    if correlations.not_applicable:
        rules = "".join(f"<li>{escape(one.rule)}: {escape(one.reason)}</li>" for one in correlations.not_applicable)
        count = len(correlations.not_applicable)
        parts.append(
            f'<details class="qp-advice"><summary>{count} {"rule does" if count == 1 else "rules do"} not apply'
            f"</summary><ul>{rules}</ul></details>"
        )
    return "\n".join(parts)


_STYLE: Final = """<style>
.qp-advice{max-width:60em;margin-top:.8em}
.qp-advice ul{margin:.3em 0;padding-left:1.4em}
.qp-advice li{margin:.3em 0}
.qp-advice dl{display:grid;grid-template-columns:max-content 1fr;gap:.1em .8em;margin:.2em 0 .6em}
.qp-advice dt{font-weight:400;opacity:.75}
.qp-advice dd{margin:0}
</style>"""


def _headings(correlations: Correlations) -> tuple[str, ...]:
    interval = f"correlation, {numbers.share(1 - correlations.alpha)} interval"
    return ("", interval, "lag of the metric", "independent windows", "q")


def _groups(correlations: Correlations) -> Iterable[Group]:
    found = correlations.found
    operations = list(dict.fromkeys(found["operation"]))
    for operation in operations[:_MOST_OPERATIONS]:
        records: list[dict[Any, Any]] = found[found["operation"] == operation].to_dict("records")
        kept = records[:_MOST_METRICS]
        more = f", {len(records) - len(kept)} more in .found" if len(kept) < len(records) else ""
        yield Group(f"{operation}{more}", [_cells(row) for row in kept])
    if len(operations) > _MOST_OPERATIONS:
        yield Group(f"{len(operations) - _MOST_OPERATIONS} more operations in .found", [])


def _cells(row: dict[Any, Any]) -> tuple[str, ...]:
    lag = row["lag_s"]
    when = "at the same time" if lag == 0 else f"{numbers.duration(abs(lag) * 1e9)} {'earlier' if lag > 0 else 'later'}"
    return (
        str(row["metric"]),
        f"{row['rho']:+.2f} ({row['ci_low']:+.2f} to {row['ci_high']:+.2f})",
        when,
        numbers.count(row["n_effective"]),
        numbers.probability(row["q_value"]),
    )
