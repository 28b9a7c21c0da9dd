"""`NamedTuple` as in `typing`, which takes longer to import than the rest of what a program needs to be timed.

Type checkers know only that of `typing`, so a module lets them see that one::

    from __future__ import annotations

    TYPE_CHECKING = False  # type checkers take it for true
    if TYPE_CHECKING:
        from typing import NamedTuple
    else:
        from quantum_pulse.tuples import NamedTuple
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Any


class _NamedTupleType(type):
    def __new__(cls, name: str, bases: tuple[type, ...], members: dict[str, Any]) -> type:
        if not bases:
            return super().__new__(cls, name, bases, members)
        fields = members["__annotations__"]
        defaults = [members.pop(field) for field in fields if field in members]
        base = namedtuple(name, fields, defaults=defaults, module=members["__module__"])  # type: ignore[misc]
        return type(name, (base,), {"__slots__": (), **members})


class NamedTuple(metaclass=_NamedTupleType):
    """Base of classes whose annotated attributes are the fields of a tuple, with their values as defaults.

    The module that defines them needs ``from __future__ import annotations``.
    """
