"""Show a comparison: unfinished calls and the verdict first, then what changed, then all rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from quantum_pulse.analysis.compared import BATCHED, DIFFERS, ENDED_STATES, ENOUGH_RUNS, MOVED, VERDICTS, directed
from quantum_pulse.shown import clean, visible
from quantum_pulse.view import budgets as words
from quantum_pulse.view import html, markdown, numbers, text
from quantum_pulse.view.document import (
    Block,
    Bullets,
    Cell,
    Column,
    Fold,
    Name,
    Paragraph,
    Row,
    Table,
    Text,
    marked,
    with_names,
)
from quantum_pulse.view.numbers import change

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.analysis import Comparison
    from quantum_pulse.analysis.compared import OpenCalls

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


#: Verdict -> how its cell is coloured.
_KINDS: Final[dict[str, Literal["slower", "faster"]]] = {"regressed": "slower", "improved": "faster"}


def blocks(
    comparison: Comparison,
    *,
    everything: bool = False,
    baseline: Sequence[str | Name] = (),
    links: Mapping[str, str] | None = None,
) -> list[Block]:
    """All that is to be said of a comparison.

    Remarkable rows are in a table, and all of them in a fold; or, with `everything`, all in a table that can be sorted.
    `baseline` is said before the summary, and `links` are those of operations.
    """
    content: list[Block] = [Paragraph(line, "warning") for line in unfinished_lines(comparison)]
    content.append(Paragraph([*baseline, *summary(comparison)], "" if baseline else "lead"))
    if lines := reasons(comparison):
        content.append(Bullets(lines))
    rows = _records(comparison)
    short = [row for row in rows if row["verdict"] not in UNREMARKABLE]
    if everything:
        content.append(_table(comparison, rows, links or {}, "grid"))
    else:
        if short:
            content.append(_table(comparison, short))
        if len(short) < len(rows):
            content.append(Fold(f"All {len(rows)} rows", [_table(comparison, rows)]))
    if comparison.budgets is not None and (lines := words.failing(comparison.budgets)):
        content.append(Bullets(lines, "Budgets"))
    return content


def summary(comparison: Comparison) -> list[str | Name]:
    """The verdict in a sentence or two, with what limits it."""
    return with_names(_sentences(comparison, marked), are_code=False)


def plain_summary(comparison: Comparison) -> str:
    """The same as text alone."""
    return _sentences(comparison, visible)


def _sentences(comparison: Comparison, quoted: Callable[[str], str]) -> str:
    """The summary, with names from outside made safe to show by `quoted`."""
    if comparison.same_recording:
        return "Both sides are the same recording, so there is nothing to compare."
    operations = comparison.judged.groupby("operation", sort=False)["verdict"].agg(set)
    order = (*VERDICTS, MOVED, BATCHED)
    # Each operation counts once, for what matters most of it.
    worst = [next(verdict for verdict in order if verdict in found) for found in operations]
    counts = [f"{worst.count(verdict)} {verdict.replace('_', ' ')}" for verdict in order if verdict in worst]
    text = f"Of {len(operations)} operations: {', '.join(counts)}." if counts else "Nothing to compare."
    if set(comparison.table["verdict"]) <= {"added", "removed"}:
        text += " No operation has calls on both sides, so nothing was compared."
    if not comparison.between_runs:
        text += (
            " There is one run per side, so variation between runs is unknown and may explain the differences: "
            f"record {ENOUGH_RUNS} runs per side, each at another time, or keep a history."
        )
    if len(comparison.warmup):
        text += (
            f" Excluded as warm-up: the first {int(comparison.warmup['set_aside'].sum()):,} of "
            f"{int(comparison.warmup['samples'].sum()):,} samples of {_first(comparison.warmup['operation'], quoted)}."
        )
    if comparison.differences:
        text += f" The recording conditions differ: {'; '.join(map(quoted, comparison.differences))}."
    return text


def _first(operations: pd.Series[Any], quoted: Callable[[str], str]) -> str:
    """Up to three of the operations by name."""
    names = list(dict.fromkeys(map(str, operations)))
    return ", ".join(map(quoted, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def reasons(comparison: Comparison) -> list[Text]:
    """What got slower, a line per cause, which costs have merely moved, and what got faster together."""
    found = comparison.explanation
    if found is None:
        return []
    causes = {str(row["operation"]): row for row in found.causes.to_dict("records")}
    slower = SIGNS["regressed" if comparison.between_runs else DIFFERS]
    lines = []
    for group in found.groups.to_dict("records"):
        lead, others = str(group["lead"]), [str(name) for name in group["with"]]
        line = f"{slower} {marked(lead)} {change(group['change'])} at p{group['quantile'] * 100:g}"
        if causes[lead]["reason"] == "more calls inside":
            line += f", because it spends more time in {marked(causes[lead]['inside'])}, whose calls are not slower"
        if others:
            line += f"; together with {_names([marked(name) for name in others])}, {_TOGETHER[group['reason']]}"
        lines.append(line)
    if len(lines) > _MOST_CAUSES:
        lines[_MOST_CAUSES:] = [f"{slower} and {len(lines) - _MOST_CAUSES} more"]
    for row in found.shifts.to_dict("records"):
        lines.append(
            f"{SIGNS['moved']} time moved from {marked(row['from'])} to {marked(row['operation'])}: "
            f"{numbers.us(row['gained_us'])} per call, out of {numbers.us(row['given_us'])} "
            "saved; not a regression"
        )
    for row in found.batches.to_dict("records"):
        took = [numbers.us(row[side]) for side in ("baseline_us", "current_us")]
        lines.append(
            f"{SIGNS['batched']} fewer, larger calls of {marked(row['operation'])} in {marked(row['around'])}: "
            f"{row['baseline_calls']:.3g} → {row['current_calls']:.3g} per call, which take "
            f"{took[0]} → {took[1]}; not a regression"
        )
    return [with_names(line) for line in lines + _improvements(comparison)]


def _improvements(comparison: Comparison) -> list[str]:
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
        if others := [marked(str(name)) for name in group["with"]]:
            what = f"{marked(str(group['lead']))} {change(group['change'])} at p{group['quantile'] * 100:g}"
            lines.append(f"{faster} {what}; together with {_names(others)}, {_TOGETHER_FASTER[group['reason']]}")
    return lines[:_MOST_CAUSES]


def unfinished_lines(comparison: Comparison) -> list[Text]:
    """Unfinished calls of the current side, which the statistics leave out: a line for each state."""
    found = comparison.unfinished
    lines = []
    for state in ENDED_STATES:
        if calls := found.of_state(state):
            whose = "CURRENT" if found.processes <= 1 else "A process of CURRENT"
            many = sum(call.calls for call in calls)
            had = f"{numbers.count(many)} unfinished call{'s' if many > 1 else ''}"
            lines.append(f"{UNFINISHED} {whose} was {state}; {had}: {_open(calls)}")
    if found.still_recorded:
        line = f"{UNFINISHED} CURRENT is still being recorded, so the run is incomplete"
        if calls := found.of_state("running"):
            line += f"; running for longer than any finished call: {_open(calls)}"
        lines.append(line)
    return [with_names(line) for line in lines]


def _open(calls: list[OpenCalls]) -> str:
    """H.CALL for 3.2 s and H.STEP 12 times, for up to 1.0 s: an operation once, by its longest call."""
    counts = Counter[str]()
    for call in calls:
        counts[call.operation] += call.calls
    shown = []
    for name, count in counts.items():
        longest = next(call for call in calls if call.operation == name)
        times = f" {numbers.count(count)} times," if count > 1 else ""
        known = f" for {'up to ' if count > 1 else ''}{numbers.duration(longest.elapsed_ns)}"
        shown.append(f"{marked(name)}{times}{' just started' if math.isnan(longest.elapsed_ns) else known}")
    return _names(shown)


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
    """For a terminal; rows without a finding only with `everything`."""
    return text.blocks(blocks(comparison, everything=everything))


def as_markdown(comparison: Comparison, *, everything: bool = False) -> str:
    """For a pull request: all rows are in a fold when only some are remarkable."""
    title = f"### {SIGNS[comparison.verdict]} Latency: {_title(comparison)}"
    return f"{title}\n\n{markdown.blocks(blocks(comparison, everything=everything))}\n"


def as_html(comparison: Comparison) -> str:
    """For a notebook."""
    return html.card(blocks(comparison))


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


def _records(comparison: Comparison) -> list[dict[Any, Any]]:
    """The rows of the comparison: what got slower most comes first."""
    records: list[dict[Any, Any]] = comparison.judged.to_dict("records")
    order = {verdict: place for place, verdict in enumerate(SIGNS)}
    return sorted(
        records, key=lambda row: (order[row["verdict"]], -abs(row["change"]) if row["change"] == row["change"] else 0)
    )


def _table(
    comparison: Comparison,
    rows: Sequence[Mapping[Any, Any]],
    links: Mapping[str, str] | None = None,
    kind: Literal["", "grid"] = "",
) -> Table:
    """A row for each operation and quantile."""
    columns = [
        Column("operation", is_number=False),
        Column("quantile"),
        Column("baseline"),
        Column("current"),
        Column("change"),
        Column(f"{numbers.share(1 - comparison.alpha)} interval"),
        Column("q", title="p-value of the change, corrected for all rows of the table"),
        Column("verdict", is_number=False),
    ]
    shown = []
    for row in rows:
        name, verdict = str(row["operation"]), str(row["verdict"])
        known = row["ci_low"] == row["ci_low"]
        cells = [
            Cell(Name(name, (links or {}).get(name, ""), is_code=True)),
            Cell(f"p{row['quantile'] * 100:g}", row["quantile"]),
            Cell(numbers.us(row["baseline_us"]), row["baseline_us"]),
            Cell(numbers.us(row["current_us"]), row["current_us"]),
            Cell(change(row["change"]), row["change"]),
            Cell(f"{change(row['ci_low'])} to {change(row['ci_high'])}" if known else "–"),
            Cell(numbers.probability(row["q_value"]), row["q_value"]),
            Cell(f"{SIGNS[verdict]} {verdict.replace('_', ' ')}", kind=_KINDS.get(verdict, "")),
        ]
        shown.append(Row(cells))
    return Table("Quantiles and their changes" if kind == "grid" else "", columns, shown, kind)


def _request_lines(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    """Calls that nothing encloses, of operations that both sides have: mean, p50, p99 and share of errors."""
    lines = []
    for name in after.index.intersection(before.index):
        then, now = before.loc[name], after.loc[name]
        figures = [
            f"{what} {numbers.us(then[key])} → {numbers.us(now[key])} "
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
    """Requests, then each operation's mean before and after, and the sums: tables as of `Evidence`."""
    verdicts: dict[str, set[str]] = {}
    for operation, verdict in zip(comparison.judged["operation"], comparison.judged["verdict"], strict=True):
        verdicts.setdefault(str(operation), set()).add(str(verdict))
    means: dict[Any, float] = before["mean_us"].to_dict()
    lines = [*_request_lines(requests_before, requests_after), "Operations, before and after", ""]
    for key, row in after.sort_values("total_us", ascending=False).iterrows():
        name = str(key[1])  # type: ignore[index]  # (category, operation)
        usual = means.get(key)
        if usual is None:
            lines.append(f"{clean(name)}: {numbers.us(row['mean_us'])} (new)")
            continue
        found = verdicts.get(name, set())
        shown = [
            f"{SIGNS[one]} {one}" for one in ("regressed", "improved", "differs", "moved", "batched") if one in found
        ] or ["no significant change"]
        lines.append(
            f"{clean(name)}: {numbers.us(usual)} → {numbers.us(row['mean_us'])} "
            f"({change(row['mean_us'] / usual - 1 if usual else float('nan'))}; {' and '.join(shown)})"
        )
    lines += [f"{clean(str(key[1]))}: removed" for key in before.index.difference(after.index)]
    took = [float(side["total_us"].sum()) for side in (before, after)]
    failed = [float(side["errors"].sum() / max(side["count"].sum(), 1)) for side in (before, after)]
    lines += [
        "",
        f"Total measured time per run: {numbers.us(took[0])} → {numbers.us(took[1])} "
        f"({change(took[1] / took[0] - 1 if took[0] else float('nan'))})",
        f"Failed calls: {numbers.share(failed[0])} → {numbers.share(failed[1])}",
    ]
    return "\n".join(lines)
