"""What functions were given, checked: an error names the argument, says what it must be, and what it was."""

from __future__ import annotations

import math
import os

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path
    from typing import Any


def real(value: object) -> float:
    """`value` as a float, NaN where it is not a number, such as a bool or text that looks like a number."""
    if isinstance(value, bool):
        return math.nan
    if not isinstance(value, int | float):
        import numbers

        if not isinstance(value, numbers.Real):
            return math.nan
    number: Any = value
    try:
        return float(number)
    except OverflowError:  # a whole number beyond all floats
        return math.inf if number > 0 else -math.inf
    except TypeError:  # numpy's lengths of time take themselves for whole numbers
        return math.nan


def between(value: object, name: str, low: float, high: float) -> float:
    """`value` if it is a number between `low` and `high`, both excluded. Raises ValueError."""
    if not low < (number := real(value)) < high:
        raise ValueError(f"{name} must be a number between {low:g} and {high:g}, not {value!r}")
    return number


def whole(value: object, name: str, least: int, most: float = math.inf) -> int:
    """`value` if it is a whole number from `least` to `most`. Raises ValueError."""
    import numbers

    number = int(value) if isinstance(value, numbers.Integral) and not isinstance(value, bool) else None
    if number is None or not least <= number <= most:
        limits = f"of at least {least}" if most == math.inf else f"from {least} to {most:g}"
        raise ValueError(f"{name} must be a whole number {limits}, not {value!r}")
    return number


def one_of(value: object, name: str, choices: Collection[str]) -> str:
    """`value` if it is one of `choices`. Raises ValueError that names them."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")
    return value


def path(value: object, name: str, example: str) -> Path:
    """`value` as a path. Raises TypeError, and ValueError for text that cannot be one."""
    from pathlib import Path

    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a path, such as {example!r}, not {value!r}")
    # Path("") is the current directory, which nobody means who hands over a variable that is not set.
    if not text:
        raise ValueError(f"{name} is empty; it must be a path, such as {example!r}")
    if "\0" in text:
        raise ValueError(f"{name} must be a path, without null characters, not {text!r}")
    if is_url(text):
        raise ValueError(f"{name} must be a path on this machine, such as {example!r}, not the URL {text!r}")
    return Path(text)


def is_url(text: str) -> bool:
    """Whether `text` is a URL, which as a path would be a folder of the name of its scheme."""
    scheme, colon, _ = text.partition("://")
    return bool(colon) and len(scheme) > 1 and scheme.isascii() and scheme.replace("+", "").isalnum()


def nearest(text: str, names: Iterable[str]) -> str | None:
    """The name that `text` is most like, with its enum or without; None where it is like none."""
    import difflib

    names = list(names)
    short = {name.rsplit(".", 1)[-1].lower(): name for name in names}
    lowered = {name.lower(): name for name in names} | short
    near = difflib.get_close_matches(text.lower(), lowered, n=1, cutoff=0.4)
    return lowered[near[0]] if near else None
