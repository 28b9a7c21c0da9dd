"""Render a comparison as text, Markdown and HTML: the verdict first, then what changed, then all rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from html import escape
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.analysis.comparison import DIFFERS, ENDED_STATES, directed
from quantum_pulse.shown import clean, markdown
from quantum_pulse.view import budgets as words
from quantum_pulse.view import html, numbers, text

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.analysis import Comparison
    from quantum_pulse.analysis.comparison import OpenCalls

HEADINGS: Final = ("operation", "quantile", "baseline", "current", "change", "95 % interval", "q", "verdict")

#: A sign beside each verdict, so that colour is never the only cue.
SIGNS: Final = {
    "regressed": "▲",
    "improved": "▼",
    "differs": "≠",
    "moved": "⇄",
    "batched": "⊞",
    "equivalent": "=",
    "inconclusive": "?",
    "too_few": "·",
    "added": "+",
    "removed": "-",
    "same_recording": "=",
}
#: Before unfinished calls: they say something about the run rather than about an operation.
UNFINISHED: Final = "✗"
#: Operations that are named in a line; of the rest only the number is given.
_MOST_NAMES: Final = 6
#: Causes that have a line.
_MOST_CAUSES: Final = 20
#: Verdicts that a short list leaves out.
UNREMARKABLE: Final = ("equivalent", "inconclusive", "too_few")


def change(value: float) -> str:
    """A ratio minus one, in percent with its sign: +12 %, -3.4 %; a dash where it is not known."""
    if value != value:  # NaN
        return "–"
    if value == float("inf"):
        return "+∞"
    shown = f"{100 * value:+.1f}" if abs(value) < 0.1 else f"{100 * value:+,.0f}"
    return f"{shown} %"


def reasons(comparison: Comparison, quoted: Callable[[str], str] = clean) -> list[str]:
    """What got slower, a line per cause, which costs have merely moved, and what got faster together.

    `quoted` makes the name of an operation safe to show.
    """
    found = comparison.explanation
    if found is None:
        return []
    causes = {str(row["operation"]): row for row in found.causes.to_dict("records")}
    slower = SIGNS["regressed" if comparison.between_runs else DIFFERS]
    lines = []
    for group in found.groups.to_dict("records"):
        lead, others = str(group["lead"]), [str(name) for name in group["with"]]
        line = f"{slower} {quoted(lead)} {change(group['change'])} at p{group['quantile'] * 100:g}"
        if causes[lead]["reason"] == "more calls inside":
            line += f", because it spends more time in {quoted(causes[lead]['inside'])}, whose calls are not slower"
        if others:
            line += f"; together with {_names([quoted(name) for name in others])}, {_TOGETHER[group['reason']]}"
        lines.append(line)
    if len(lines) > _MOST_CAUSES:
        lines[_MOST_CAUSES:] = [f"{slower} and {len(lines) - _MOST_CAUSES} more"]
    for row in found.shifts.to_dict("records"):
        lines.append(
            f"{SIGNS['moved']} time moved from {quoted(row['from'])} to {quoted(row['operation'])}: "
            f"{numbers.duration(row['gained_us'] * 1000)} per call, out of {numbers.duration(row['given_us'] * 1000)} "
            "saved; not a regression"
        )
    for row in found.batches.to_dict("records"):
        took = [numbers.duration(row[side] * 1000) for side in ("baseline_us", "current_us")]
        lines.append(
            f"{SIGNS['batched']} fewer, larger calls of {quoted(row['operation'])} in {quoted(row['around'])}: "
            f"{row['baseline_calls']:.3g} → {row['current_calls']:.3g} per call, which take "
            f"{took[0]} → {took[1]}; not a regression"
        )
    return lines + _improvements(comparison, quoted)


def _improvements(comparison: Comparison, quoted: Callable[[str], str]) -> list[str]:
    """What got faster together, a line per group: several operations may share one cause."""
    rows = directed(comparison.judged)
    if (
        rows.loc[rows["verdict"] == "improved", "operation"].nunique() < 2
        or (groups := comparison.improvement_groups) is None
    ):
        return []
    faster = SIGNS["improved" if comparison.between_runs else DIFFERS]
    lines = []
    for group in groups.to_dict("records"):
        if others := [quoted(str(name)) for name in group["with"]]:
            what = f"{quoted(str(group['lead']))} {change(group['change'])} at p{group['quantile'] * 100:g}"
            lines.append(f"{faster} {what}; together with {_names(others)}, {_TOGETHER_FASTER[group['reason']]}")
    return lines[:_MOST_CAUSES]


def unfinished_lines(comparison: Comparison, quoted: Callable[[str], str] = clean) -> list[str]:
    """Unfinished calls of the current side, which the statistics leave out: a line for each state."""
    found = comparison.unfinished
    lines = []
    for state in ENDED_STATES:
        if calls := found.of_state(state):
            whose = "CURRENT" if found.processes <= 1 else "A process of CURRENT"
            many = sum(call.calls for call in calls)
            had = f"{numbers.count(many)} unfinished call{'s' if many > 1 else ''}"
            lines.append(f"{UNFINISHED} {whose} was {state}; {had}: {_open(calls, quoted)}")
    if found.still_recorded:
        line = f"{UNFINISHED} CURRENT is still being recorded, so the run is incomplete"
        if calls := found.of_state("running"):
            line += f"; running for longer than any finished call: {_open(calls, quoted)}"
        lines.append(line)
    return lines


def _open(calls: list[OpenCalls], quoted: Callable[[str], str]) -> str:
    """H.CALL for 3.2 s and H.STEP 12 times, for up to 1.0 s: an operation once, by its longest call."""
    counts = Counter[str]()
    for call in calls:
        counts[call.operation] += call.calls
    shown = []
    for name, count in counts.items():
        longest = next(call for call in calls if call.operation == name)
        times = f" {numbers.count(count)} times," if count > 1 else ""
        known = f" for {'up to ' if count > 1 else ''}{numbers.duration(longest.elapsed_ns)}"
        shown.append(f"{quoted(name)}{times}{' just started' if math.isnan(longest.elapsed_ns) else known}")
    return _names(shown)


def budget_lines(budgets: pd.DataFrame, quoted: Callable[[str], str] = clean) -> list[str]:
    """A line for each budget that is not shown to be kept, and the number of those that are."""
    lines = [
        f"{words.SIGNS[words.verdict(row)]} {words.word(row)}: {quoted(name)}, {words.details(row)}"
        for name, row in words.ordered(budgets)
        if row["verdict"] != "kept"
    ]
    kept = int((budgets["verdict"] == "kept").sum())
    return [*lines, f"{words.SIGNS['kept']} kept: {kept} of {len(budgets)}"] if len(budgets) else []


#: Why operations are reported together.
_TOGETHER: Final = {
    "nested": "which enclose it",
    "same time": "slow at the same times",
    "nested and same time": "which enclose it or are slow at the same times",
}
_TOGETHER_FASTER: Final = {
    "nested": "which enclose it",
    "same time": "slow at the same times before",
    "nested and same time": "which enclose it or were slow at the same times before",
}


def _names(names: list[str]) -> str:
    shown = names[:_MOST_NAMES]
    if len(names) > len(shown):
        shown.append(f"{len(names) - len(shown)} more")
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]


def as_text(comparison: Comparison, *, everything: bool = False) -> str:
    """The summary and a table for a terminal; rows without a finding only with `everything`."""
    rows = list(_rows(comparison, everything=everything))
    above = "\n".join(
        [*unfinished_lines(comparison), comparison.summary, *(f"  {line}" for line in reasons(comparison))]
    )
    told = [] if comparison.budgets is None else budget_lines(comparison.budgets)
    below = "".join(f"\n{line}" for line in (["", "Budgets", *(f"  {line}" for line in told)] if told else []))
    if not rows:
        return above + below
    lines = [_headings(comparison), *rows]
    widths = [max(text.width(line[column]) for line in lines) for column in range(len(HEADINGS))]

    def aligned(line: tuple[str, ...]) -> str:
        cells = []
        for column, (cell, width) in enumerate(zip(line, widths, strict=True)):
            space = " " * (width - text.width(cell))
            cells.append(cell + space if column in (0, len(line) - 1) else space + cell)
        return "  ".join(cells).rstrip()

    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([above, "", aligned(lines[0]), rule, *map(aligned, rows)]) + below


def as_markdown(comparison: Comparison, *, everything: bool = False) -> str:
    """The same as Markdown, for a pull request: all rows are behind a fold when only some are remarkable."""
    parts = [f"### {SIGNS[comparison.verdict]} Latency: {_title(comparison)}", ""]
    # A paragraph each.
    parts += [part for line in unfinished_lines(comparison, quoted=in_code) for part in (f"**{line}**", "")]
    parts += [comparison.summarised(markdown), ""]
    told = [f"- {line}" for line in reasons(comparison, quoted=in_code)]
    parts += [*told, ""] if told else []
    short, whole = (list(_rows(comparison, everything=flag)) for flag in (False, True))
    if everything or len(short) == len(whole):
        parts += _markdown_table(comparison, whole)
    else:
        parts += _markdown_table(comparison, short) if short else []
        parts += ["", f"<details><summary>All {len(whole)} rows</summary>", "", *_markdown_table(comparison, whole)]
        parts += ["", "</details>"]
    if comparison.budgets is not None and (told := budget_lines(comparison.budgets, quoted=in_code)):
        parts += ["", "#### Budgets", "", *(f"- {line}" for line in told)]
    return "\n".join(parts).strip() + "\n"


def as_html(comparison: Comparison) -> str:
    """The same as self-contained HTML: remarkable rows, and all of them in a fold."""
    short, whole = (list(_rows(comparison, everything=flag)) for flag in (False, True))
    first = [*unfinished_lines(comparison), comparison.summary]
    parts = [html.STYLE, *(f"<div><strong>{escape(line)}</strong></div>" for line in first)]
    if told := reasons(comparison):
        parts.append(f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in told)}</ul>")
    if short:
        parts.append(_html_table(comparison, short))
    if len(short) < len(whole):
        parts.append(f"<details><summary>All {len(whole)} rows</summary>{_html_table(comparison, whole)}</details>")
    if comparison.budgets is not None and (told := budget_lines(comparison.budgets)):
        parts.append(f"<div>Budgets</div><ul>{''.join(f'<li>{escape(line)}</li>' for line in told)}</ul>")
    return "\n".join(parts)


def _title(comparison: Comparison) -> str:
    found = set(comparison.judged["verdict"])
    if {"regressed", "improved"} <= found:
        return "some operations are slower, some faster"
    if comparison.same_recording:
        return "the same recording"
    words = {
        "regressed": "slower",
        "improved": "faster",
        "equivalent": "unchanged",
        "differs": "differs in these two runs",
    }
    return words.get(comparison.verdict, "inconclusive")


def _headings(comparison: Comparison) -> tuple[str, ...]:
    interval = f"{numbers.share(1 - comparison.alpha)} interval"
    return tuple(interval if name == "95 % interval" else name for name in HEADINGS)


def _rows(comparison: Comparison, *, everything: bool) -> Iterable[tuple[str, ...]]:
    records: list[dict[Any, Any]] = comparison.judged.to_dict("records")
    order = {verdict: place for place, verdict in enumerate(SIGNS)}
    # What got slower most comes first.
    records.sort(key=lambda row: (order[row["verdict"]], -abs(row["change"]) if row["change"] == row["change"] else 0))
    for row in records:
        if not everything and row["verdict"] in UNREMARKABLE:
            continue
        known = row["ci_low"] == row["ci_low"]
        interval = f"{change(row['ci_low'])} to {change(row['ci_high'])}" if known else "–"
        yield (
            clean(str(row["operation"])),
            f"p{row['quantile'] * 100:g}",
            numbers.duration(row["baseline_us"] * 1000),
            numbers.duration(row["current_us"] * 1000),
            change(row["change"]),
            interval,
            numbers.probability(row["q_value"]),
            f"{SIGNS[row['verdict']]} {row['verdict'].replace('_', ' ')}",
        )


def _markdown_table(comparison: Comparison, rows: list[tuple[str, ...]]) -> list[str]:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    rule = ["---", *["--:"] * (len(HEADINGS) - 2), "---"]
    quoted = [(in_code(row[0]), *row[1:]) for row in rows]
    return [line(_headings(comparison)), line(rule), *map(line, quoted)]


def in_code(name: str) -> str:
    """In code marks a name is a name, whatever characters it has."""
    return f"`{clean(name).replace('`', chr(39))}`"


def _html_table(comparison: Comparison, rows: list[tuple[str, ...]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in _headings(comparison))
    body = "".join(
        f'<tr><th scope="row"><bdi>{escape(row[0])}</bdi></th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f'<table class="qp-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _request_lines(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    """Calls that nothing encloses, of operations that both sides have: mean, p50, p99 and share of errors."""
    lines = []
    for name in after.index.intersection(before.index):
        then, now = before.loc[name], after.loc[name]
        figures = [
            f"{what} {numbers.duration(then[key] * 1000)} → {numbers.duration(now[key] * 1000)} "
            f"({change(now[key] / then[key] - 1 if then[key] else float('nan'))})"
            for what, key in (("mean", "mean_us"), ("p50", "p50_us"), ("p99", "p99_us"))
        ]
        errors = f"errors {numbers.share(then['error_share'])} → {numbers.share(now['error_share'])}"
        lines.append(f"{clean(str(name))}: {', '.join(figures)}; {errors}")
    return ["Requests, before and after", "", *lines, ""] if lines else []


def improvements(
    comparison: Comparison,
    before: pd.DataFrame,
    after: pd.DataFrame,
    requests_before: pd.DataFrame,
    requests_after: pd.DataFrame,
) -> str:
    """Requests, then each operation's mean before and after, and the sums: tables as of `results.Evidence`."""
    verdicts: dict[str, set[str]] = {}
    for operation, verdict in zip(comparison.judged["operation"], comparison.judged["verdict"], strict=True):
        verdicts.setdefault(str(operation), set()).add(str(verdict))
    means: dict[Any, float] = before["mean_us"].to_dict()
    lines = [*_request_lines(requests_before, requests_after), "Operations, before and after", ""]
    for key, row in after.sort_values("total_us", ascending=False).iterrows():
        name = str(key[1])  # type: ignore[index]  # (category, operation)
        usual = means.get(key)
        if usual is None:
            lines.append(f"{clean(name)}: {numbers.duration(row['mean_us'] * 1000)} (new)")
            continue
        found = verdicts.get(name, set())
        shown = [
            f"{SIGNS[one]} {one}" for one in ("regressed", "improved", "differs", "moved", "batched") if one in found
        ] or ["no significant change"]
        lines.append(
            f"{clean(name)}: {numbers.duration(usual * 1000)} → {numbers.duration(row['mean_us'] * 1000)} "
            f"({change(row['mean_us'] / usual - 1 if usual else float('nan'))}; {' and '.join(shown)})"
        )
    lines += [f"{clean(str(key[1]))}: removed" for key in before.index.difference(after.index)]
    took = [float(side["total_us"].sum()) for side in (before, after)]
    failed = [float(side["errors"].sum() / max(side["count"].sum(), 1)) for side in (before, after)]
    lines += [
        "",
        f"Total measured time per run: {numbers.duration(took[0] * 1000)} → {numbers.duration(took[1] * 1000)} "
        f"({change(took[1] / took[0] - 1 if took[0] else float('nan'))})",
        f"Failed calls: {numbers.share(failed[0])} → {numbers.share(failed[1])}",
    ]
    return "\n".join(lines)
