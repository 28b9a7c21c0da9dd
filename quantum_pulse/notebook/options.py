"""Parse the line of a magic."""

from __future__ import annotations

import keyword
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from IPython.core.error import UsageError

from quantum_pulse import lengths
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
    if not text.isidentifier() or keyword.iskeyword(text):
        raise ValueError
    return text


#: Option -> field, how its value is read (None: it has none), what it must be.
OPTIONS: Final[dict[str, tuple[str, Callable[[str], Any] | None, str]]] = {
    "--repeat": ("repeat", _at_least(1, int), "a whole number of at least 1"),
    "--for": ("seconds", _at_least(0, lengths.seconds), "a duration, such as 1s or 500ms"),
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


def parse(line: str, magic: str) -> Options:
    """Read the line of `magic`: an operation, with options before or after it; what follows in that of %pulse is code.

    Raises UsageError that says what is wrong, and what would be right.
    """
    found = Options()
    takes_statement = magic == "%pulse"
    rest = line.strip()
    while rest:
        word, after = parted(rest)
        # A statement may begin with one minus.
        is_option = word.startswith("--" if takes_statement and found.operation else "-")
        if is_option:
            rest = _option(found, rest, magic)
        elif not found.operation:
            found.operation, rest = word, after
        elif takes_statement:
            found.statement = rest
            break
        else:
            raise UsageError(f"{magic} takes one operation, {found.operation}; unexpected {word!r}")
    return found


def _option(found: Options, text: str, magic: str) -> str:
    """Take the option over that `text` begins with; what follows it is returned."""
    word, after = parted(text)
    name, equals, given = word.partition("=")
    if name not in OPTIONS:
        listed = f"; it has {', '.join(OPTIONS)}; see %%pulse?"
        raise UsageError(f"{magic} has no option {name}" + (did_you_mean(name, OPTIONS, cutoff=0.7) or listed))
    field, read, what = OPTIONS[name]
    if read is None:
        if equals:
            raise UsageError(f"{magic}: {name} takes no value, but got {given!r}")
        setattr(found, field, True)
        return after
    # From what is not cut into words yet: it may be quoted, with spaces.
    given, after = value(text[len(name) + 1 :] if equals else after)
    try:
        if not given:
            raise ValueError
        setattr(found, field, read(given))
    except ValueError:
        raise UsageError(f"{magic}: {name} needs {what}" + (f", not {given!r}" if given else "")) from None
    return after


def value(text: str) -> tuple[str, str]:
    """The first word, in quotes when it contains spaces, without them, and the rest."""
    if text[:1] in ("'", '"') and text.find(text[0], 1) > 0:
        end = text.find(text[0], 1) + 1
        return shlex.split(text[:end])[0], text[end:].strip()
    return parted(text)


def parted(text: str) -> tuple[str, str]:
    """The first word, and what follows it."""
    word, after, *_ = [*text.split(maxsplit=1), "", ""]
    return word, after
