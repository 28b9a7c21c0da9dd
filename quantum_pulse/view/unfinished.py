"""Choose the unfinished calls that are worth reporting, and render them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from quantum_pulse.analysis.comparison import OpenCalls, StillOpen
from quantum_pulse.reading import statistics, unfinished
from quantum_pulse.reading.reader import Source
from quantum_pulse.view import numbers
from quantum_pulse.view.document import Block, Cell, Column, Name, Paragraph, Row, Table

#: More of them say no more: in lines of text, and in a table.
MOST_LINES: Final = 5
MOST_ROWS: Final = 20
#: State -> its description.
_STATES: Final = {
    "running": "still running",
    "stopped": "when the recording stopped",
    "killed": "at least, when the process was killed",
}


class Unfinished(NamedTuple):
    """Unfinished calls of an operation, all in the same place: inside of calls of `path`, the outermost first.

    They are the innermost ones, so that is where it hangs. `elapsed_ns` is how long the first of them has taken, NaN
    where it had only just started, and thread, task and process are of that one. `longest_ns` is the longest
    finished call of the operation, NaN if there is none.
    """

    operation: str
    path: tuple[str, ...]
    state: str
    calls: int
    elapsed_ns: float
    longest_ns: float
    thread: int
    task: int
    process: int

    @property
    def how_long(self) -> str:
        """37.2 s, still running."""
        known = "just started" if math.isnan(self.elapsed_ns) else numbers.duration(self.elapsed_ns)
        first = "the first " if self.calls > 1 else ""
        return f"{first}{known}, {_STATES[self.state]}"

    @property
    def longest(self) -> str:
        """The longest duration of a call that has ended."""
        return "none" if math.isnan(self.longest_ns) else numbers.duration(self.longest_ns)

    @property
    def where(self) -> str:
        """Thread, task and process."""
        task = f", task {self.task}" if self.task else ""
        return f"thread {self.thread}{task}, process {self.process}"


def of(source: Source) -> list[Unfinished]:
    """The unfinished calls that are worth reporting, the longest first.

    That is all that a stopped or killed program was in the middle of, and in one that goes on what has taken longer
    than any call that ended; and of these the innermost.
    """
    frame = unfinished.frame(source, ["recording", "around", "path"])
    if frame.empty:
        return []
    # From what the parts say of themselves: the longest is exact there.
    longest = statistics.stats(source, approximate=True)["max_us"].groupby(level="operation").max()
    rows: list[Any] = [
        row
        for row in frame.itertuples()
        if row.state != "running" or not row.elapsed_us <= longest.get(row.operation, math.nan)
    ]
    enclosing = {(row.recording, span) for row in rows for span in row.around}
    groups: dict[tuple[Any, ...], Unfinished] = {}
    for row in rows:  # those that began first come first
        if (row.recording, row.span) in enclosing:
            continue
        key = (row.recording, row.operation, row.path)
        if key in groups:
            groups[key] = groups[key]._replace(calls=groups[key].calls + 1)
            continue
        highest = float(longest.get(row.operation, math.nan)) * 1000
        elapsed = float(row.elapsed_us) * 1000
        where = (row.thread, row.task, row.process)
        groups[key] = Unfinished(row.operation, row.path, row.state, 1, elapsed, highest, *where)
    return sorted(groups.values(), key=lambda one: 0.0 if math.isnan(one.elapsed_ns) else -one.elapsed_ns)


def of_side(sources: Sequence[Source]) -> StillOpen:
    """Unfinished calls of one side of a comparison; of several captures on it what `of` returns for each."""
    calls = [OpenCalls(one.operation, one.state, one.elapsed_ns, one.calls) for source in sources for one in of(source)]
    return StillOpen(
        tuple(sorted(calls, key=lambda call: 0.0 if math.isnan(call.elapsed_ns) else -call.elapsed_ns)),
        any(now_ns is not None for source in sources for _, now_ns in source.open.values()),
        sum(len({*source.recordings, *source.open}) for source in sources),
    )


def lines(found: list[Unfinished]) -> str:
    """For a terminal; empty where there is nothing to report."""
    from quantum_pulse.shown import clean
    from quantum_pulse.view.text import width

    if not found:
        return ""
    rows = []
    for one in found[:MOST_LINES]:
        name = clean(one.operation) + (f" × {numbers.count(one.calls)}" if one.calls > 1 else "")
        inside = f"inside {clean(' > '.join(one.path))}; " if one.path else ""
        rows.append((name, one.how_long, f"{inside}{one.where}; longest finished call: {one.longest}"))
    widths = [max(width(row[place]) for row in rows) for place in range(2)]
    shown = ["Unfinished calls, which these statistics leave out"]
    for name, how_long, rest in rows:
        cells = [cell + " " * (space - width(cell)) for cell, space in zip((name, how_long), widths, strict=True)]
        shown.append(f"  {cells[0]}  {cells[1]}  ({rest})")
    if len(found) > MOST_LINES:
        shown.append(f"  and {numbers.count(_calls(found[MOST_LINES:]))} more: capture.unfinished() lists all")
    return "\n".join(shown)


def blocks(found: list[Unfinished]) -> list[Block]:
    """For a document."""
    columns = [
        Column("operation", is_number=False),
        Column("inside", is_number=False),
        Column("calls"),
        Column("elapsed", is_number=False),
        Column("longest finished call"),
        Column("where", is_number=False),
    ]
    rows = [
        Row(
            [
                Cell(Name(one.operation)),
                Cell(Name(" > ".join(one.path))),
                Cell(numbers.count(one.calls), one.calls),
                Cell(one.how_long),
                Cell(one.longest, one.longest_ns),
                Cell(one.where),
            ]
        )
        for one in found[:MOST_ROWS]
    ]
    content: list[Block] = [
        Paragraph("These calls are unfinished, so the statistics leave them out.", "warning"),
        Table("Innermost unfinished calls, the longest first", columns, rows),
    ]
    if len(found) > MOST_ROWS:
        more = numbers.count(_calls(found[MOST_ROWS:]))
        content.append(Paragraph(f"{more} more are not shown; capture.unfinished() lists all.", "note"))
    return content


def _calls(found: list[Unfinished]) -> int:
    return sum(one.calls for one in found)
