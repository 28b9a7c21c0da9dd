"""Blocks that had not ended: which of them are worth telling, and how."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from quantum_pulse.analysis.comparison import OpenCall, StillOpen
from quantum_pulse.capture import statistics, unfinished
from quantum_pulse.capture.reader import Source
from quantum_pulse.view import numbers
from quantum_pulse.view.document import Block, Cell, Column, Name, Paragraph, Row, Table

#: More of them say no more.
MOST_SHOWN: Final = 20
#: What became of it, as one reads it.
_STATES: Final = {
    "running": "still running",
    "stopped": "until the recording stopped",
    "killed": "until the process was killed, at least",
}


class Unfinished(NamedTuple):
    """A block that had not ended, `inside` of another one, or of none.

    `longest_ns` is the longest call of its operation that had ended, NaN for none; `elapsed_ns` is NaN where the block
    had only just begun.
    """

    operation: str
    inside: str
    state: str
    elapsed_ns: float
    longest_ns: float
    thread: int
    task: int
    process: int

    @property
    def how_long(self) -> str:
        """37.2 s, still running."""
        known = "just begun" if math.isnan(self.elapsed_ns) else numbers.duration(self.elapsed_ns)
        return f"{known}, {_STATES[self.state]}"

    @property
    def longest(self) -> str:
        return "none has" if math.isnan(self.longest_ns) else numbers.duration(self.longest_ns)

    @property
    def where(self) -> str:
        task = f", task {self.task}" if self.task else ""
        return f"thread {self.thread}{task}, process {self.process}"


def of(source: Source) -> list[Unfinished]:
    """What is worth telling, what takes longest first.

    That is all that a stopped or killed program was in the middle of, and in one that goes on what has taken longer
    than any call that ended.
    """
    frame = unfinished.frame(source, ["inside"])
    if frame.empty:
        return []
    # From what the parts say of themselves: the longest is exact there.
    longest = statistics.stats(source, approximate=True)["max_us"].groupby(level="operation").max()
    found = []
    for row in frame.itertuples():
        one: Any = row
        highest = float(longest.get(one.operation, math.nan)) * 1000
        elapsed = float(one.elapsed_us) * 1000
        if one.state != "running" or not elapsed <= highest:
            found.append(
                Unfinished(
                    one.operation,
                    one.inside,
                    one.state,
                    elapsed,
                    highest,
                    one.thread,
                    one.task,
                    one.process,
                )
            )
    return sorted(found, key=lambda one: 0.0 if math.isnan(one.elapsed_ns) else -one.elapsed_ns)


def of_side(sources: Sequence[Source]) -> StillOpen:
    """What had not ended in one side of a comparison; of several captures on it what `of` tells of each."""
    calls = [OpenCall(one.operation, one.state, one.elapsed_ns) for source in sources for one in of(source)]
    return StillOpen(
        tuple(sorted(calls, key=lambda call: 0.0 if math.isnan(call.elapsed_ns) else -call.elapsed_ns)),
        any(now_ns is not None for source in sources for _, now_ns in source.open.values()),
        sum(len({*source.recordings, *source.open}) for source in sources),
    )


def lines(found: list[Unfinished]) -> str:
    """For a terminal; empty where there is nothing to tell."""
    from quantum_pulse.view.text import clean, width

    if not found:
        return ""
    rows = []
    for one in found[:MOST_SHOWN]:
        inside = f"inside {clean(one.inside)}, " if one.inside else ""
        rows.append((clean(one.operation), one.how_long, f"{inside}{one.where}; longest that ended: {one.longest}"))
    widths = [max(width(row[place]) for row in rows) for place in range(2)]
    told = ["Not ended, and so in none of these figures"]
    for name, how_long, rest in rows:
        cells = [cell + " " * (space - width(cell)) for cell, space in zip((name, how_long), widths, strict=True)]
        told.append(f"  {cells[0]}  {cells[1]}  ({rest})")
    if len(found) > MOST_SHOWN:
        told.append(f"  and {numbers.count(len(found) - MOST_SHOWN)} more: capture.unfinished()")
    return "\n".join(told)


def blocks(found: list[Unfinished]) -> list[Block]:
    """For a document."""
    columns = [
        Column("operation", is_number=False),
        Column("inside", is_number=False),
        Column("for", is_number=False),
        Column("longest that ended"),
        Column("where", is_number=False),
    ]
    rows = [
        Row(
            [
                Cell(Name(one.operation)),
                Cell(Name(one.inside)),
                Cell(one.how_long),
                Cell(one.longest, one.longest_ns),
                Cell(one.where),
            ]
        )
        for one in found[:MOST_SHOWN]
    ]
    content: list[Block] = [
        Paragraph("These calls had not ended, so they are in none of the figures.", "warning"),
        Table("Calls that had not ended", columns, rows),
    ]
    if len(found) > MOST_SHOWN:
        more = numbers.count(len(found) - MOST_SHOWN)
        content.append(Paragraph(f"And {more} more: capture.unfinished() has them all.", "note"))
    return content
