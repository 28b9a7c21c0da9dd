"""Contenders timed side by side: what one costs is only worth knowing as a ratio to another in the same run."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Mapping

Contender = Callable[[range], object]


def race(contenders: Mapping[str, Contender], loops: int, rounds: int = 25) -> dict[str, float]:
    """Nanoseconds of one turn of each contender's loop, that of an empty loop taken off.

    A contender is called with a range and runs its block once for each number. The rounds are interleaved, so that a
    slow second of the machine hits all of them, and the best round counts: noise only ever adds.
    """
    spent = _rounds({"": _empty, **contenders}, loops, rounds)
    floor = min(spent.pop(""))
    return {name: min(times) - floor for name, times in spent.items()}


def difference(plain: Contender, more: Contender, loops: int, rounds: int = 41) -> float:
    """Nanoseconds that a turn of `more` takes longer than one of `plain`: the median over rounds of the two in a row.

    For what is small beside the noise of what surrounds it, where two minima are of different luck.
    """
    spent = _rounds({"plain": plain, "more": more}, loops, rounds)
    return statistics.median(b - a for a, b in zip(spent["plain"], spent["more"], strict=True))


def _rounds(contenders: Mapping[str, Contender], loops: int, rounds: int) -> dict[str, list[float]]:
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    turns = range(loops)
    for _ in range(rounds):
        for name, contender in contenders.items():
            gc.collect()
            gc.disable()
            try:
                start = time.perf_counter_ns()
                contender(turns)
                spent[name].append((time.perf_counter_ns() - start) / loops)
            finally:
                gc.enable()
    return spent


def _empty(turns: range) -> None:
    for _ in turns:
        pass


def table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """Rows as Markdown, the first column to the left."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def shown(line: list[str]) -> str:
        rest = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        return f"| {' | '.join([line[0].ljust(widths[0]), *rest])} |"

    rule = f"| {' | '.join(['-' * widths[0], *('-' * (width - 1) + ':' for width in widths[1:])])} |"
    return "\n".join([shown(lines[0]), rule, *map(shown, lines[1:])])
