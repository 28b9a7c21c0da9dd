"""Argument types, options and output that several commands share."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import quantum_pulse as qp
from quantum_pulse.arguments import nearest
from quantum_pulse.shown import clean, say

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.reading.selection import Recorded

    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]


#: Exit status where there is nothing to judge: the capture is empty, or what was asked for never ran.
NOTHING_MEASURED: Final = 3


class Misuse(Exception):  # noqa: N818 - never leaves the command line
    """The request is invalid; the message says why, and what would be valid."""


def positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return number


def floats(text: str) -> list[float]:
    try:
        return [float(one) for one in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers with commas, such as 0.5,0.99, not {text!r}") from None


def moment(text: str) -> str | float:
    """A time as `Capture.samples` takes it; a number is one of seconds after the first sample."""
    try:
        return float(text)
    except ValueError:
        return text


def add_captures(parser: argparse.ArgumentParser, nargs: str = "+") -> None:
    """The captures that a command is about."""
    parser.add_argument(
        "captures", metavar="CAPTURE", nargs=nargs, help="the directory of a capture; several are read as one"
    )


def opened(options: argparse.Namespace) -> qp.Capture:
    """What `add_captures` was given, as one, and of that what `add_selection` was given. Raises Misuse."""
    found = qp.open(options.captures[0] if len(options.captures) == 1 else options.captures)
    return restricted(found, options.start, options.end, chosen_where(options))


def is_restricted(options: argparse.Namespace) -> bool:
    """Whether `add_selection` was given anything."""
    return options.start is not None or options.end is not None or bool(options.where)


def restricted(
    capture: qp.Capture, start: str | float | None, end: str | float | None, where: dict[str, list[str]] | None
) -> qp.Capture:
    """The capture at some time, and of some calls. Raises Misuse."""
    try:
        chosen = capture if start is None and end is None else capture.between(start, end)
        return chosen if where is None else chosen.where(where)
    except ValueError as error:
        raise Misuse(str(error)) from error


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Which calls: at what time, and with which attributes."""
    _add_times(parser)
    _add_where(parser)


def add_operations(parser: argparse.ArgumentParser) -> None:
    """Which operations."""
    parser.add_argument(
        "--operations", metavar="NAMES", help="only these, such as Trading.ORDER_SUBMISSION,Trading.RISK"
    )


def _add_times(parser: argparse.ArgumentParser) -> None:
    """Which part of the time."""
    parser.add_argument(
        "--start",
        metavar="TIME",
        type=moment,
        help="start of the time interval: a timestamp (UTC), a time of day, or 1.5s (or 1.5) after the first sample",
    )
    parser.add_argument("--end", metavar="TIME", type=moment, help="end of the time interval, in the same form")


def _add_where(parser: argparse.ArgumentParser) -> None:
    """An option to choose samples by their attributes."""
    parser.add_argument(
        "--where",
        metavar="NAME=VALUE",
        action="append",
        type=_condition,
        default=[],
        help="only calls with this attribute, or this error; again for other values of it, and for other attributes",
    )


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} must be a name and a value, as in tenant=acme")
    return name, value


def chosen_where(options: argparse.Namespace) -> dict[str, list[str]] | None:
    """What `add_selection` was given of attributes, None for all."""
    found: dict[str, list[str]] = {}
    for name, value in options.where:
        found.setdefault(name, []).append(value)
    return found or None


def chosen_operations(capture: qp.Capture, options: argparse.Namespace) -> list[Recorded] | None:
    """What `add_operations` was given, None for all. Raises Misuse."""
    return None if options.operations is None else recorded(capture, options.operations)


def recorded(capture: qp.Capture, text: str) -> list[Recorded]:
    """Operations by their names in the capture, separated by commas; the name of an enum means all of its members.

    Raises Misuse with the nearest name.
    """
    known = list(capture.operations)
    found: list[Recorded] = []
    # A name that holds a comma itself can be asked for alone.
    for word in [text] if text in known else [part.strip() for part in text.split(",")]:
        own = [name for name in known if name == word or name.rpartition(".")[0] == word]
        if not own:
            near = nearest(word, known)
            hint = f"; did you mean {near}?" if near else f"; it has {', '.join(known[:8])}"
            raise Misuse(f"{capture.path} has no operation {word!r}{hint}")
        found += own
    return found


def into(wanted: str | None, name: str) -> Path:
    """Where a capture goes. Raises Misuse for an empty name, as of a variable that is not set."""
    if wanted == "":
        raise Misuse("--into is empty; omit it to record into captures/")
    return Path(wanted) if wanted else Path("captures") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def show(
    capture: qp.Capture,
    stats: pd.DataFrame,
    unit: str = "auto",
    *,
    keep_order: bool = False,
    is_whole: bool = True,
) -> None:
    """Print statistics, and, where they are of the whole capture, notes on them."""
    from quantum_pulse.facade import notes
    from quantum_pulse.reading import definitions
    from quantum_pulse.view import numbers, statistics, text

    priorities = definitions.priorities(capture._source).operations
    table = statistics.table(stats, capture.categories, unit=unit, keep_order=keep_order, priorities=priorities)
    say(text.table(table))
    if is_whole:
        for note in notes.below(capture):
            say(f"\n{note}")
    losses = capture.losses()
    if len(losses):
        known = int(losses["count"].sum())
        how_many = [numbers.count(known)] if known else []
        how_many += ["an unknown number of"] if losses["count"].isna().any() else []
        say(f"\nNOT in this table: {' and '.join(how_many)} samples that were lost or are unreadable:")
        for cause, rows in losses.groupby("cause", sort=False):
            lost = numbers.count(int(rows["count"].sum())) if rows["count"].notna().all() else "?"
            say(f"  {clean(str(cause))}: {lost}")
