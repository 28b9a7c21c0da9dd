"""What may stand on the line of a magic."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from IPython.core.error import UsageError

from quantum_pulse.notebook.names import did_you_mean


@dataclass
class Options:
    """The line of a magic, read."""

    operation: str = ""
    statement: str = ""
    repeat: int | None = None
    seconds: float | None = None
    warmup: int = 0
    into: str | None = None
    baseline: str | None = None
    name: str | None = None
    quiet: bool = False


def _at_least(least: float, kind: Callable[[str], float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if not least <= value < float("inf"):
            raise ValueError
        return value

    return read


def _identifier(text: str) -> str:
    if not text.isidentifier():
        raise ValueError
    return text


#: Option -> field, how its value is read (None: it has none), what it must be.
OPTIONS: Final[dict[str, tuple[str, Callable[[str], Any] | None, str]]] = {
    "--repeat": ("repeat", _at_least(1, int), "a whole number of at least 1"),
    "--for": ("seconds", _at_least(0, float), "a number of seconds"),
    "--warmup": ("warmup", _at_least(0, int), "a whole number"),
    "--into": ("into", str, "the directory of a capture"),
    "--baseline": ("baseline", str, "a capture, last or none"),
    "--as": ("name", _identifier, "the name of a variable"),
    "--quiet": ("quiet", None, ""),
}


def continued(line: str, cell: str) -> tuple[str, str, int]:
    """The line with those of the cell that continue it after a backslash, the rest of the cell, how many were taken."""
    taken = 0
    while line.rstrip().endswith("\\"):
        more, _, cell = cell.partition("\n")
        line = f"{line.rstrip()[:-1]} {more}"
        taken += 1
    return line, cell, taken


def parse(line: str, *, takes_statement: bool = False) -> Options:
    """Read the line: an operation, with options before or after it; with `takes_statement` the rest is code.

    Raises UsageError that says what was wrong, and what would be right.
    """
    found = Options()
    rest = line.strip()
    while rest:
        word, after = _parted(rest)
        if takes_statement and found.operation and not word.startswith("--"):
            found.statement = rest
            break
        if word.startswith("--"):
            rest = _option(found, word, after)
        elif not found.operation:
            found.operation, rest = word, after
        else:
            raise UsageError(f"%%pulse takes one operation; what is {word!r}?")
    return found


def _option(found: Options, word: str, after: str) -> str:
    """Take one option over; what follows it is returned."""
    name, equals, value = word.partition("=")
    if name not in OPTIONS:
        raise UsageError(f"%%pulse has no option {name}" + (did_you_mean(name, OPTIONS) or f": {', '.join(OPTIONS)}"))
    field, read, what = OPTIONS[name]
    if read is None:
        setattr(found, field, True)
        return after
    if not equals:
        value, after = _word(after)
    try:
        if not value:
            raise ValueError
        setattr(found, field, read(value))
    except ValueError:
        raise UsageError(f"%%pulse: {name} needs {what}, not {value!r}") from None
    return after


def _word(text: str) -> tuple[str, str]:
    """The first word, quoted when it contains spaces, and the rest."""
    if text[:1] in ("'", '"') and text.find(text[0], 1) > 0:
        end = text.find(text[0], 1) + 1
        return shlex.split(text[:end])[0], text[end:].strip()
    return _parted(text)


def _parted(text: str) -> tuple[str, str]:
    """The first word, and what follows it."""
    word, after, *_ = [*text.split(maxsplit=1), "", ""]
    return word, after
