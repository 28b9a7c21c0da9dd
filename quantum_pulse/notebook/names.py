"""Operations by the names that people type: found by attributes only, nothing is evaluated."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from IPython.core.error import UsageError

from quantum_pulse.operations import Operation


def resolve(dotted: str, namespace: Mapping[str, Any]) -> Operation:
    """The member that `dotted` names in `namespace`.

    Raises UsageError, which names the nearest member, when there is none.
    """
    if not dotted:
        raise UsageError("%%pulse needs an operation, as in %%pulse Op.MEMBER" + _nearest(dotted, namespace))
    names = dotted.split(".")
    if not all(name.isidentifier() for name in names):
        raise UsageError(f"%%pulse needs the name of an operation, as in Op.MEMBER, not {dotted!r}")
    if names[0] not in namespace:
        raise UsageError(f"%%pulse {dotted}: there is no {names[0]}" + _nearest(dotted, namespace))
    found = namespace[names[0]]
    for name in names[1:]:
        try:
            found = getattr(found, name)
        except AttributeError:
            raise UsageError(f"%%pulse {dotted}: there is no {name} in it" + _nearest(dotted, namespace)) from None
    if not isinstance(found, Operation):
        raise UsageError(
            f"%%pulse {dotted}: that is no operation but a {type(found).__name__}" + _nearest(dotted, namespace)
        )
    return found


def enums(namespace: Mapping[str, Any]) -> dict[str, type[Operation]]:
    """The enums of operations in `namespace`, and in modules that are in it, by the names that one types."""
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


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A hint at the nearest of `words`, or an empty text."""
    lowered = {one.lower(): one for one in words}
    near = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.4)
    return f"; did you mean {lowered[near[0]]}?" if near else ""


def _nearest(dotted: str, namespace: Mapping[str, Any]) -> str:
    names = known(namespace)
    if not names:
        return "; define one: class Op(qp.Operation): MEMBER = qp.op('what it does')"
    return did_you_mean(dotted, names) or f"; there are {', '.join(names[:8])}"
