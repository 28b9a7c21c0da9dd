"""Attributes of operations: what may be declared, what values are as text, and what is said of a mistake.

A core checks values and keeps them; it knows attributes by what `for_core` says of them.
"""

from __future__ import annotations

import enum
import keyword
import sys
import types
from collections.abc import Mapping

from quantum_pulse import schema
from quantum_pulse.core import contract
from quantum_pulse.errors import DefinitionError

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Final, NamedTuple
else:
    from quantum_pulse.tuples import NamedTuple

#: Types of values.
TEXT: Final = "str"
INTEGER: Final = "int"
REAL: Final = "float"
FLAG: Final = "bool"

_TYPES: Final[dict[Any, str]] = {str: TEXT, int: INTEGER, float: REAL, bool: FLAG}
_IN_CORE: Final = {TEXT: contract.TEXT, INTEGER: contract.INTEGER, REAL: contract.REAL, FLAG: contract.FLAG}
_ARTICLES: Final = {TEXT: "a str", INTEGER: "an int", REAL: "a float", FLAG: "a bool"}

#: Names that mean something else where attributes are given or asked for.
_TAKEN: Final = {"elapsed": "an argument of timer()", **{one.name: "a column of samples" for one in schema.SAMPLES}}


class Attribute(NamedTuple):
    """An attribute that an operation declares.

    Attributes
    ----------
    name : str
        Its name, which is a keyword argument of the operation.
    type : {"str", "int", "float", "bool"}
        The type of its values.
    choices : tuple of str or None
        The texts that its values can be, if an Enum or a Literal was declared.
    optional : bool
        Whether its value may be None.

    See Also
    --------
    op : Define an operation.

    Examples
    --------
    >>> class Api(qp.Operation):
    ...     REQUEST = qp.op("One request", attributes={"route": str, "status": int})
    >>> [(one.name, one.type) for one in Api.REQUEST.attributes]
    [('route', 'str'), ('status', 'int')]
    """

    name: str
    type: str
    choices: tuple[str, ...] | None = None
    optional: bool = False


def plain_attribute(attribute: Attribute) -> dict[str, Any]:
    """Return the attribute as JSON can have it."""
    choices = None if attribute.choices is None else list(attribute.choices)
    return {**attribute._asdict(), "choices": choices}


def attribute_of(plain: dict[str, Any]) -> Attribute:
    """Return the attribute that `plain` was made of. Raises KeyError or TypeError where it is something else."""
    choices = plain.get("choices")
    return Attribute(
        plain["name"], plain["type"], None if choices is None else tuple(choices), bool(plain.get("optional"))
    )


def text_of(value: object) -> str:
    """`value` as samples have it: numbers in Python's notation, true and false, members of an enum by name.

    Members of an enum that are strings or integers themselves, as those of `http.HTTPStatus`, are shown as those.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return str.__str__(value)[: schema.MOST_TEXT]
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value + 0.0)
    if isinstance(value, enum.Enum):
        return value.name
    if hasattr(value, "__index__"):
        return int.__repr__(value.__index__())
    if hasattr(value, "__float__"):
        return float.__repr__(value.__float__() + 0.0)
    raise TypeError(f"the value of an attribute is a string, a number, a bool or a member of an enum, not {value!r}")


def declared(given: object) -> tuple[Attribute, ...]:
    """The attributes that ``op(attributes=given)`` declares. Raises DefinitionError."""
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        raise DefinitionError(
            f"op(): attributes must map names to types, as in {{'route': str, 'status': int}}, not {given!r}"
        )
    if len(given) > schema.MOST_ATTRIBUTES:
        raise DefinitionError(f"op(): an operation has at most {schema.MOST_ATTRIBUTES} attributes, not {len(given)}")
    return tuple(_attribute(name, kind) for name, kind in given.items())


def for_core(given: object) -> tuple[tuple[str, int, dict[Any, str] | None, bool], ...]:
    """The same as a core takes it: name, type, the texts of the values that are allowed or None, whether None is."""
    found = []
    for one, kind in zip(declared(given), dict(given or {}).values(), strict=True):  # type: ignore[call-overload]
        found.append((one.name, _IN_CORE[one.type], _choices(_without_none(kind)[0]), one.optional))
    return tuple(found)


def _attribute(name: object, kind: object) -> Attribute:
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise DefinitionError(
            f"op(): the name of an attribute must be one that a keyword argument can have, not {name!r}"
        )
    if name in _TAKEN:
        raise DefinitionError(f"op(): an attribute cannot be called {name!r}, which is {_TAKEN[name]}")
    own, optional = _without_none(kind)
    choices = _choices(own)
    if choices is not None:
        return Attribute(name, TEXT, tuple(dict.fromkeys(choices.values())), optional)
    type_ = _TYPES.get(own) if isinstance(own, type) else None
    if type_ is None:
        raise DefinitionError(
            f"op(): the type of attribute {name!r} must be str, int, float, bool, an Enum or a Literal, not {kind!r}"
        )
    return Attribute(name, type_, None, optional)


def _without_none(kind: Any) -> tuple[Any, bool]:
    """`kind` without ``| None``, and whether it had that."""
    typing = sys.modules.get("typing")  # whoever uses Literal or Optional has imported it
    is_union = isinstance(kind, types.UnionType) or (typing is not None and typing.get_origin(kind) is typing.Union)
    if not is_union:
        return kind, _is_literal(kind) and None in kind.__args__
    others = [one for one in kind.__args__ if one is not type(None)]
    return (others[0] if len(others) == 1 else kind), len(others) < len(kind.__args__)


def _is_literal(kind: Any) -> bool:
    typing = sys.modules.get("typing")
    return typing is not None and typing.get_origin(kind) is typing.Literal


def _choices(kind: Any) -> dict[Any, str] | None:
    """The values that an Enum or a Literal allows, with their texts."""
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        values: Iterable[Any] = kind
    elif _is_literal(kind):
        values = [value for value in kind.__args__ if value is not None]
    else:
        return None
    choices = {value: text_of(value) for value in values}
    if not choices:
        raise DefinitionError(f"op(): {kind!r} has no members, so that no attribute could be one")
    return choices


def refuse(operation: str, attributes: tuple[Attribute, ...], name: str, value: object) -> None:
    """Raise the TypeError that says what is wrong with `name` = `value` of an operation with these attributes."""
    own = next((one for one in attributes if one.name == name), None)
    if own is not None:
        raise TypeError(f"{operation}: attribute {name!r} must be {_must(own)}, not {value!r}")
    if not attributes:
        raise TypeError(
            f"{operation} has no attribute {name!r}; it declares none: "
            f"op(attributes={{{name!r}: {type(value).__name__}}}) would"
        )
    from quantum_pulse.arguments import nearest

    names = [one.name for one in attributes]
    near = nearest(name, names)
    hint = f"did you mean {near!r}?" if near else f"it declares {', '.join(map(repr, names))}"
    raise TypeError(f"{operation} has no attribute {name!r}; {hint}")


def _must(attribute: Attribute) -> str:
    must = _ARTICLES[attribute.type]
    if attribute.type == INTEGER:
        must += " of 64 bits"
    if attribute.choices is not None:
        must = f"one of {', '.join(map(repr, attribute.choices[:12]))}{', …' if len(attribute.choices) > 12 else ''}"
    return f"{must} or None" if attribute.optional else must
