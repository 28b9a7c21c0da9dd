"""Show unfinished calls: as lines below statistics, and as a section of a report."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from quantum_pulse.view import numbers, text
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


def lines(found: list[Unfinished]) -> str:
    """As text; empty where there is nothing to report."""
    rows = []
    for one in found[:MOST_LINES]:
        calls = f" × {numbers.count(one.calls)}" if one.calls > 1 else ""
        inside: list[str | Name] = ["inside ", Name(" > ".join(one.path)), "; "] if one.path else []
        rest = ["(", *inside, f"{one.where}; longest finished call: {one.longest})"]
        rows.append(Row([Cell([Name(one.operation), calls]), Cell(one.how_long), Cell(rest)]))
    shown = text.table(Table("", [Column("", is_number=False)] * 3, rows)).splitlines()
    if len(found) > MOST_LINES:
        shown.append(f"and {numbers.count(_calls(found[MOST_LINES:]))} more: capture.unfinished() lists all")
    return text.listing("Unfinished calls, which these statistics leave out", shown)


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
