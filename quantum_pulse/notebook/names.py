"""Resolve the names of operations in a namespace, by attribute access only: nothing is evaluated."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, Final

from IPython.core.error import UsageError

from quantum_pulse.operations import Operation

#: Names in one message.
_MOST: Final = 8


def resolve(dotted: str, namespace: Mapping[str, Any], magic: str) -> Operation:
    """The member that `dotted`, on the line of `magic`, names in `namespace`.

    Raises UsageError, which names the nearest member, when there is none.
    """
    if not dotted:
        raise UsageError(f"{magic} needs an operation, such as {magic} Op.MEMBER" + _nearest(dotted, namespace))
    names = dotted.split(".")
    if not all(name.isidentifier() for name in names):
        raise UsageError(
            f"{magic} needs the name of an operation, such as Op.MEMBER, not {dotted!r}" + _nearest(dotted, namespace)
        )
    if names[0] not in namespace:
        raise UsageError(f"{magic} {dotted}: {names[0]} is not defined" + _nearest(dotted, namespace))
    found = namespace[names[0]]
    for name in names[1:]:
        try:
            found = getattr(found, name)
        except AttributeError:
            raise UsageError(f"{magic} {dotted}: it has no attribute {name}" + _nearest(dotted, namespace)) from None
    if isinstance(found, enum.EnumType) and issubclass(found, Operation) and found.__members__:
        members = ", ".join(f"{dotted}.{name}" for name in list(found.__members__)[:_MOST])
        raise UsageError(f"{magic} {dotted}: this is an enum; its operations are {members}")
    if not isinstance(found, Operation):
        raise UsageError(
            f"{magic} {dotted}: this is not an operation but a {type(found).__name__}" + _nearest(dotted, namespace)
        )
    return found


def enums(namespace: Mapping[str, Any]) -> dict[str, type[Operation]]:
    """The enums of operations in `namespace`, and in modules that are in it, by the names to type."""
    found: dict[str, type[Operation]] = {}
    for name, value in list(namespace.items()):
        if name.startswith("_"):
            continue
        inside = vars(value).items() if isinstance(value, ModuleType) else ()
        for typed, one in ((name, value), *((f"{name}.{inner}", one) for inner, one in list(inside))):
            if isinstance(one, enum.EnumType) and issubclass(one, Operation) and one is not Operation:
                found[typed] = one
    return found


def known(namespace: Mapping[str, Any]) -> list[str]:
    """All members of these enums, as Op.MEMBER."""
    return [f"{name}.{member}" for name, value in enums(namespace).items() for member in value.__members__]


def near(word: str, words: Iterable[str], most: int, cutoff: float = 0.4) -> list[str]:
    """Those of `words` that are spelt like `word`, the nearest first, `most` of them. `cutoff`: that of `difflib`."""
    lowered = {one.lower(): one for one in words}
    return [lowered[one] for one in difflib.get_close_matches(word.lower(), lowered, n=most, cutoff=cutoff)]


def did_you_mean(word: str, words: Iterable[str], cutoff: float = 0.4) -> str:
    """A hint at the nearest of `words`, or an empty text."""
    return "".join(f"; did you mean {one}?" for one in near(word, words, 1, cutoff))


def _nearest(dotted: str, namespace: Mapping[str, Any]) -> str:
    names = known(namespace)
    if not names:
        return "; define one: class Op(qp.Operation): MEMBER = qp.op('what it does')"
    return did_you_mean(dotted, names) or f"; defined are {', '.join(names[:_MOST])}"
