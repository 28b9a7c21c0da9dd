"""The answer below a cell: how long it took, whether that was usual, and what ran inside."""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import facade
from quantum_pulse.analysis import runs
from quantum_pulse.errors import EmptyCaptureError
from quantum_pulse.operations import Operation
from quantum_pulse.view import numbers, text

if TYPE_CHECKING:
    import pandas as pd

_BARS: Final = "▁▂▃▄▅▆▇█"
_SIGNS: Final = {"slower": "▲ slower", "faster": "▼ faster", "usual": "● as usual"}
#: Rows of what ran inside that are shown.
_MOST_INSIDE: Final = 15

# Colours come from the page around, so that it fits light and dark; a sign stands beside each word that judges.
_STYLE: Final = (
    "<style>.qp-pulse{font-variant-numeric:tabular-nums;line-height:1.5;border-left:3px solid currentColor;"
    "padding:.1em 0 .1em .8em;margin:.3em 0}.qp-pulse b{font-weight:600}.qp-pulse .aside{opacity:.75}"
    ".qp-pulse table{border-collapse:collapse;margin-top:.4em}.qp-pulse th,.qp-pulse td{padding:.1em .8em .1em 0;"
    "text-align:right;background:transparent;color:inherit;font-weight:400}.qp-pulse th:first-child{text-align:left}"
    ".qp-pulse thead th{border-bottom:1px solid currentColor;opacity:.75}</style>"
)


@dataclass(frozen=True, eq=False)
class Pulse:
    """What ``%%pulse`` found. Durations are in ns, in the order in which they ran."""

    name: str
    #: The capture that keeps the samples.
    path: Path
    durations_ns: list[int]
    #: Of the same operation, earlier in this session.
    earlier_ns: list[int]
    #: Type names of exceptions that ended runs.
    errors: list[str]
    budget_us: float | None
    #: Index: path of operations inside of the cell; depth, count, total_us, p50_us, p99_us.
    inside: pd.DataFrame
    baseline: str = ""
    baseline_ns: list[int] = field(default_factory=list)

    @property
    def duration_ns(self) -> int | None:
        """The median of the runs; None when nothing was recorded."""
        return round(runs.median_interval(self.durations_ns)[0]) if self.durations_ns else None

    @property
    def judgement(self) -> runs.Judgement | None:
        """Against the earlier runs of this session."""
        return runs.judge(self.durations_ns, self.earlier_ns) if self.durations_ns else None

    @property
    def capture(self) -> facade.Capture:
        """The capture that keeps the samples, read anew."""
        return facade.open(self.path)

    def lines(self) -> list[str]:
        """The answer: the duration, the verdict, the baseline if there is one, budget and errors if there are."""
        if not self.durations_ns:
            return [f"{self.name}: not recorded; qp.open({str(self.path)!r}).losses() may say why"]
        lines = [self._took(), self._verdict(self.earlier_ns, "{} earlier run{}", "the first run in this session")]
        if self.baseline:
            where = self.baseline.replace("{", "").replace("}", "")
            lines.append(self._verdict(self.baseline_ns, "{} run{} in " + where, f"it never ran in {self.baseline}"))
        return lines + [line for line in (self._budget(), self._failures()) if line]

    def _took(self) -> str:
        shown = [numbers.duration(value) for value in runs.median_interval(self.durations_ns)]
        if len(self.durations_ns) == 1:
            return f"{self.name}: {shown[0]}"
        spread = f"{numbers.duration(min(self.durations_ns))} to {numbers.duration(max(self.durations_ns))}"
        return (
            f"{self.name}: median {shown[0]} (95 % interval {shown[1]} to {shown[2]}) of "
            f"{numbers.count(len(self.durations_ns))} runs, {spread} {self._histogram()}"
        )

    def _histogram(self) -> str:
        """Runs over the logarithm of their duration, as a line of bars."""
        logs = [math.log(max(value, 1)) for value in self.durations_ns]
        low, high = min(logs), max(logs)
        if high == low:
            return ""
        places = 16
        counts = [0] * places
        for value in logs:
            counts[min(int((value - low) / (high - low) * places), places - 1)] += 1
        most = max(counts)
        return "".join(_BARS[math.ceil(count / most * (len(_BARS) - 1))] if count else " " for count in counts)

    def _verdict(self, earlier: list[int], what: str, first: str) -> str:
        found = runs.judge(self.durations_ns, earlier)
        if found.verdict == "first":
            return f"○ {first}"
        shown = (runs.median_interval(earlier)[0], min(earlier), max(earlier))
        usual, low, high = map(numbers.duration, shown)
        beside = what.format(f"{numbers.count(found.earlier)}", "" if found.earlier == 1 else "s")
        change = _change(found.change)
        if found.verdict == "too_few":
            return f"○ {change}against the median of {beside}, {usual}: too few to judge"
        return f"{_SIGNS[found.verdict]}: {change}against the median of {beside}, {usual} ({low} to {high})"

    def _budget(self) -> str:
        if self.budget_us is None:
            return ""
        over = sum(value > self.budget_us * 1000 for value in self.durations_ns)
        budget = numbers.duration(self.budget_us * 1000)
        if not over:
            return f"✓ within its budget of {budget}"
        return f"✗ over its budget of {budget}" + (f" in {over} of {len(self.durations_ns)}" if over > 1 else "")

    def _failures(self) -> str:
        if not self.errors:
            return ""
        kinds = ", ".join(sorted({text.clean(kind) for kind in self.errors}))
        return f"✗ ended by {kinds}"

    def _rows(self) -> list[list[str]]:
        return [
            [
                "  " * (int(row["depth"]) - 1) + text.clean(str(row["operation"])),
                numbers.count(row["count"]),
                *(numbers.duration(row[key] * 1000) for key in ("total_us", "p50_us", "p99_us")),
            ]
            for _, row in self.inside.head(_MOST_INSIDE).iterrows()
        ]

    def _left_out(self) -> str:
        left = len(self.inside) - _MOST_INSIDE
        return f"and {left} more" if left > 0 else ""

    def __repr__(self) -> str:
        rows = [["inside", "calls", "total", "p50", "p99"], *self._rows()] if len(self.inside) else []
        widths = [max(len(row[place]) for row in rows) for place in range(5)] if rows else []
        table = [
            "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            )
            for row in rows
        ]
        return "\n".join([*self.lines(), *table, *filter(None, [self._left_out()])])

    def _repr_html_(self) -> str:
        first, *others = self.lines()
        body = f"<div><b>{escape(first)}</b></div>" + "".join(f"<div>{escape(line)}</div>" for line in others)
        if len(self.inside):
            rows = "".join(
                f'<tr><th scope="row" style="padding-left:{len(cells[0]) - len(cells[0].lstrip())}ch">'
                f"{escape(cells[0].strip())}</th>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells[1:]) + "</tr>"
                for cells in self._rows()
            )
            heads = "".join(f'<th scope="col">{name}</th>' for name in ("inside", "calls", "total", "p50", "p99"))
            body += f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
            body += f'<div class="aside">{self._left_out()}</div>' if self._left_out() else ""
        return f'{_STYLE}<div class="qp-pulse">{body}</div>'


def answer(operation: Operation, path: Path, begun_ns: int, baseline: Path | None) -> Pulse:
    """What the capture at `path` says of the runs of `operation` that this thread has begun since `begun_ns`."""
    import pandas as pd

    name, budget = str(operation), operation.budget_us
    begun = pd.Timestamp(begun_ns, tz="UTC")
    none = pd.DataFrame({"depth": [], "operation": [], "count": [], "total_us": [], "p50_us": [], "p99_us": []})
    try:
        capture = facade.open(path)
    except EmptyCaptureError:
        return Pulse(name, path, [], [], [], budget, none)
    own = capture.samples(operation)
    own = _outermost(own[own["process"] == os.getpid()])
    now: Any = own[(own["start"] >= begun) & (own["thread"] == threading.get_native_id())]
    inside = _inside(capture, operation, begun) if len(now) else none
    return Pulse(
        name,
        path,
        now["duration_ns"].tolist(),
        own[own["start"] < begun]["duration_ns"].tolist(),
        [kind for kind in now["error"] if isinstance(kind, str)],
        budget,
        inside,
        *(("", []) if baseline is None else (baseline.name, _durations(baseline, operation))),
    )


def _durations(path: Path, operation: Operation) -> list[int]:
    own = _outermost(facade.open(path).samples(operation))
    return [int(value) for value in own["duration_ns"]]


def _outermost(samples: pd.DataFrame) -> pd.DataFrame:
    """Without those that ran inside another of them: a cell may call what it is timed as."""
    kept = []
    ends: dict[tuple[int, int, int], int] = {}
    rows = zip(
        samples["process"],
        samples["thread"],
        samples["task"],
        samples["start"].astype("int64"),
        samples["duration_ns"],
        strict=True,
    )
    for process, thread, task, start, duration in rows:
        key = (process, thread, task)
        kept.append(start >= ends.get(key, 0))
        ends[key] = max(ends.get(key, 0), start + duration)
    return samples[kept]


def _inside(capture: facade.Capture, operation: Operation, begun: Any) -> pd.DataFrame:
    tree = capture.tree(operation, start=begun)
    tree = tree[tree["depth"] > 0]
    stats = capture.stats(start=begun).droplevel("category") if len(tree) else None
    rows = tree[["depth", "operation", "count", "total_us"]].copy()
    for key in ("p50_us", "p99_us"):
        rows[key] = [] if stats is None else stats[key].reindex(rows["operation"]).to_numpy()
    return rows


def _change(change: float) -> str:
    """A change in words that one takes in: +12 % against, or, where that would be a long number, 515 times as long."""
    if math.isnan(change):
        return ""
    return f"{change + 1:,.0f} times as long, " if change >= 3 else f"{change * 100:+.0f} % ".replace("-", "−")
