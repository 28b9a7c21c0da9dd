"""Show the runs of a cell: how long it took, whether that was usual, what ran inside."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

from quantum_pulse import shown
from quantum_pulse.analysis.runs import MANY, Judgement, Runs, median_interval
from quantum_pulse.view import chart, html, numbers, sparks, svg, text
from quantum_pulse.view.document import Cell, Column, Name, Row, Table

#: Rows of what ran inside that are shown.
_MOST_INSIDE: Final = 15
_AMOUNT: Final = re.compile(r"\b[\d.,]+ (?:ns|µs|ms|s|min|h|%)(?!\w)")

# Text has the colour of the page, except verdicts, which have a sign and a word as well.
_STYLE: Final = """<style>
.qp-pulse{color-scheme:light dark;--qp-bad:light-dark(#a32a06,#ff9c7a);--qp-good:light-dark(#0a6640,#6fcf9c);
line-height:1.5;font-variant-numeric:tabular-nums;border-left:3px solid;border-color:light-dark(#b9c2cb,#56616c);
padding:0 0 0 .9em;margin:.35em 0 .5em;display:flex;flex-wrap:wrap;gap:.2em 2.2em;align-items:flex-start}
[data-jp-theme-light="true"] .qp-pulse,.vscode-light .qp-pulse{color-scheme:light}
[data-jp-theme-light="false"] .qp-pulse,.vscode-dark .qp-pulse{color-scheme:dark}
.qp-pulse .lines{flex:1 1 25em;max-width:62em}.qp-pulse .unit{white-space:nowrap}
.qp-pulse b{font-weight:600}.qp-pulse .took{font-size:1.15em}.qp-pulse .aside{opacity:.78}
.qp-pulse .bad b{color:var(--qp-bad)}.qp-pulse .good b{color:var(--qp-good)}
.qp-pulse .sign{display:inline-block;width:1.3em}
.qp-pulse .runs{margin:.25em 0 0}.qp-pulse svg{display:block}.qp-pulse .ends{display:flex;justify-content:space-between;
gap:1.5em;font-size:.85em;line-height:1.3}
.qp-pulse .inside{flex-basis:100%;overflow-x:auto}
.qp-pulse table{border-collapse:collapse;margin:.25em 0 .1em;border:0;font-size:.95em}
.qp-pulse .scroll{overflow-x:auto}
.qp-pulse th,.qp-pulse td{padding:.1em 1.6em .1em 0;text-align:right;background:transparent;color:inherit;
font-weight:400;white-space:nowrap;border:0}
.qp-pulse .left{text-align:left}.qp-pulse th.d2{padding-left:2ch}.qp-pulse th.d3{padding-left:4ch}
.qp-pulse th.d4{padding-left:6ch}.qp-pulse th.d5{padding-left:8ch}
.qp-pulse :is(th.d6,th.d7,th.d8,th.d9,th.d10,th.d11,th.d12){padding-left:10ch}
.qp-pulse th:last-child,.qp-pulse td:last-child{padding-right:.3em}
.qp-pulse thead th{border-bottom:1px solid;border-color:light-dark(#b9c2cb,#56616c)}
.qp-pulse thead th span{opacity:.78}
</style>"""


class Line(NamedTuple):
    """A line of the answer: a sign, the finding, and its context. `kind`: good, bad or nothing."""

    sign: str
    found: str
    beside: str
    kind: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, [self.sign, self.found + self.beside]))


def lines(runs: Runs) -> list[Line]:
    """The answer: the duration, the verdict, and if there are any, comparison with a baseline, budget and errors."""
    found = [_took(runs)]
    judgement, against = runs.judgement, runs.against_baseline
    if judgement is not None:
        where = shown.clean(runs.capture_name) or "this session"
        found.append(_verdict(judgement, runs.earlier_ns, "earlier run{}", f"the first run in {where}"))
    if against is not None:
        never = f"no finished run in {shown.clean(runs.baseline)}"
        found.append(_verdict(against, runs.baseline_ns, "run{} in " + _literal(runs.baseline), never))
    if runs.not_compared and runs.durations_ns:
        found.append(Line("○", "not compared", f": {shown.clean(runs.not_compared)}"))
    return found + [line for line in (_budget(runs), _failures(runs)) if line is not None]


def as_text(runs: Runs) -> str:
    """For a terminal: the lines, and a table of what ran inside."""
    first, *others = map(str, lines(runs))
    if shape := sparks.write(_shape(runs)):
        first += f"  {shape}  {_span(min(runs.durations_ns), max(runs.durations_ns))}"
    table = text.table(_inside(runs)) if _count(runs) else ""
    return "\n".join([first, *others, *filter(None, [table, _left_out(runs)])])


def as_html(runs: Runs) -> str:
    """The same as self-contained HTML that fits light and dark pages."""
    first, *others = lines(runs)
    beside = f'<span class="aside">{_unbroken(first.beside)}</span>'
    body = f'<div><b class="took">{_unbroken(first.found)}</b>{beside}</div>'
    for line in others:
        sign = f'<span class="sign">{line.sign}</span>'
        beside = f'<span class="aside">{_unbroken(line.beside)}</span>'
        body += f'<div class="{line.kind or "plain"}"><b>{sign}{escape(line.found)}</b>{beside}</div>'
    body = f'<div class="lines">{body}</div>{_histogram(runs)}'
    if _count(runs):
        left = f'<div class="aside">{_left_out(runs)}</div>' if _left_out(runs) else ""
        body += f'<div class="inside">{html.table(_inside(runs))}{left}</div>'
    return f'{_STYLE}<div class="qp-pulse">{body}</div>'


def _unbroken(words: str) -> str:
    """As HTML; a number stays on a line with its unit."""
    return _AMOUNT.sub(r'<span class="unit">\g<0></span>', escape(words))


def _took(runs: Runs) -> Line:
    name = shown.clean(runs.name)
    if not runs.durations_ns:
        if runs.errors:
            return Line("", f"{name}: did not finish", "")
        return Line("", f"{name}: not recorded", f"; {runs.reason}" if runs.reason else "")
    middle, low, high = median_interval(runs.durations_ns)
    count = len(runs.durations_ns)
    if count == 1:
        return Line("", f"{name}: {numbers.duration(middle)}", "")
    # With fewer runs the interval is the range, which covers less.
    interval = "95 % interval " if count >= 6 else ""
    beside = f" of {numbers.count(count)} runs, {interval}{_span(low, high)}"
    return Line("", f"{name}: median {numbers.duration(middle)}", beside)


def _verdict(judged: Judgement, earlier: Sequence[int], what: str, first: str) -> Line:
    if judged.verdict == "first":
        return Line("○", first, "")
    usual = numbers.duration(median_interval(earlier)[0])
    beside = f"{numbers.count(judged.earlier)} {what.format('' if judged.earlier == 1 else 's')}"
    where = "the median" if judged.quantile == 0.5 else f"the p{judged.quantile * 100:g}"
    change = _change(judged.change)
    if judged.quantile != 0.5:
        word = f"{judged.verdict} at the p{judged.quantile * 100:g} only"
        sign = "▲" if judged.verdict == "slower" else "▼"
        kind = "bad" if judged.verdict == "slower" else "good"
        return Line(sign, word, f": {change}against that of {beside}", kind)
    if judged.verdict == "too_few":
        return Line("○", "too few runs to judge", f": {change}against {where} of {beside}, {usual}")
    if judged.verdict == "usual" and not 0.5 < judged.change + 1 < 2:
        # Twice or half as long is nothing that one would call usual: the earlier runs leave no room for a verdict.
        differ = f"which vary widely ({_range(earlier)})"
        return Line("○", "inconclusive", f": {change}against {where} of {beside}, {usual}, {differ}")
    sign, word, kind = {
        "slower": ("▲", "slower", "bad"),
        "faster": ("▼", "faster", "good"),
        "usual": ("●", "as usual", ""),
    }[judged.verdict]
    return Line(sign, word, f": {change}against {where} of {beside}, {usual} ({_range(earlier)})", kind)


def _range(earlier: Sequence[int]) -> str:
    """From the fastest to the slowest; of many runs without the twentieth at either end."""
    ordered = sorted(earlier)
    cut = len(ordered) // 20 if len(ordered) >= MANY else 0
    most = "90 % of them " if cut else ""
    return f"{most}{_span(ordered[cut], ordered[-1 - cut])}"


def _span(low: float, high: float) -> str:
    """Two durations: 5.4 to 8.7 ms, 850 ns to 1.2 µs."""
    first, last = numbers.duration(low), numbers.duration(high)
    amount, _, unit = first.rpartition(" ")
    return f"{amount if last.endswith(f' {unit}') else first} to {last}"


def _budget(runs: Runs) -> Line | None:
    if runs.budget_us is None or not runs.durations_ns:
        return None
    budget, verdict = numbers.duration(runs.budget_us * 1000), runs.budget_verdict
    level = f"p{runs.budget_quantile * 100:.10g}"
    if verdict == "kept":
        return Line("✓", "keeps its budget", f" of {budget} at the {level}")
    if not runs.over_budget:
        return Line("✓", "within its budget", f" of {budget}")
    count = len(runs.durations_ns)
    times = f" in {numbers.count(runs.over_budget)} of {numbers.count(count)} runs" if count > 1 else ""
    if verdict == "missed":
        return Line("✗", "misses its budget", f" of {budget} at the {level}, exceeded{times}", "bad")
    # Single runs may be over a budget that a quantile keeps.
    doubt = "too few runs to tell" if verdict == "too_few" else "inconclusive as to"
    return Line("○", "over its budget", f" of {budget}{times}, {doubt} whether its {level} is")


def _failures(runs: Runs) -> Line | None:
    if not runs.errors:
        return None
    kinds = ", ".join(sorted({shown.clean(kind) for kind in runs.errors}))
    after = f" after {numbers.duration(runs.failed_ns[0])}" if len(runs.failed_ns) == 1 else ""
    return Line("✗", f"raised {kinds}", f"{after}; failed runs are not judged", "bad")


def _change(change: float) -> str:
    """A change in words: +12 % against, or, where a percentage is hard to grasp, 515 times, or 1/515, as long."""
    if math.isnan(change):
        return ""
    if change >= 3:
        return f"{change + 1:,.0f} times as long, "
    if -1 < change <= -0.75:
        return f"1/{1 / (change + 1):,.0f} as long, "
    return "±0 % " if abs(change) < 0.005 else f"{change * 100:+.0f} % ".replace("-", "−")


def _literal(name: str) -> str:
    """A name that `str.format` leaves as it is."""
    return shown.clean(name).replace("{", "{{").replace("}", "}}")


def _shape(runs: Runs) -> chart.Runs | None:
    if not runs.durations_ns:
        return None
    return chart.Runs(runs.durations_ns, median_interval(runs.durations_ns)[0])


def _histogram(runs: Runs) -> str:
    """A small chart; the text beside it has the same figures."""
    shape = _shape(runs)
    drawn = "" if shape is None else svg.draw(shape)
    if not drawn:
        return ""
    low, high = (numbers.duration(end(runs.durations_ns)) for end in (min, max))
    ends = f"<span>{low}</span><span>▲ median</span><span>{high}</span>"
    return f'<div class="runs">{drawn}<div class="ends aside">{ends}</div></div>'


def _count(runs: Runs) -> int:
    return 0 if runs.inside is None else len(runs.inside)


def _inside(runs: Runs) -> Table:
    """What ran inside, a row for each path."""
    assert runs.inside is not None
    columns = [Column("inside", is_number=False), *map(Column, ("calls", "total", "mean", "max"))]
    rows = [
        Row(
            [
                Cell(Name(str(row["operation"]))),
                Cell(numbers.count(row["count"])),
                *(Cell(numbers.us(row[key])) for key in ("total_us", "mean_us", "max_us")),
            ],
            level=int(row["depth"]),
        )
        for _, row in runs.inside.head(_MOST_INSIDE).iterrows()
    ]
    return Table("", columns, rows)


def _left_out(runs: Runs) -> str:
    left = _count(runs) - _MOST_INSIDE
    return f"and {left} more" if left > 0 else ""
