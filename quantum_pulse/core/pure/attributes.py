"""Attributes and CPU time of blocks: values that were given, checked, and as rows have them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from quantum_pulse import schema
from quantum_pulse.core import contract

if TYPE_CHECKING:
    from quantum_pulse.core.pure.rings import Session

_REAL = struct.Struct("=d")
_WORD = struct.Struct("=q")


class Declared(NamedTuple):
    """An attribute that a probe declares."""

    name: str
    type: int
    choices: dict[Any, str] | None
    may_be_none: bool


#: By number of the probe; the latest.
specs: dict[int, tuple[Declared, ...]] = {}
_refusal: Callable[[int, str, object], None] | None = None


def set_refusal(function: Callable[[int, str, object], None]) -> None:
    global _refusal
    _refusal = function


def _refuse(probe_id: int, name: str, value: object) -> None:
    if _refusal is not None:
        _refusal(probe_id, name, value)
    raise TypeError(f"attribute {name!r} cannot be {value!r}")


def read_values(probe_id: int, spec: tuple[Declared, ...], given: dict[str, Any]) -> dict[int, int | str]:
    """The values of attributes by their places: texts, or numbers as rows have them. Raises what the refusal raises."""
    places = {one.name: place for place, one in enumerate(spec)}
    values: dict[int, int | str] = {}
    for name, value in given.items():
        place = places.get(name)
        if place is None:
            _refuse(probe_id, name, value)
            continue
        if value is None and spec[place].may_be_none:
            continue
        try:
            values[place] = _read(spec[place], value)
        except (TypeError, ValueError, OverflowError, KeyError, AttributeError):
            _refuse(probe_id, name, value)
    return values


def _read(declared: Declared, value: Any) -> int | str:
    if declared.choices is not None:
        return declared.choices[value]
    if isinstance(value, bool) != (declared.type == contract.FLAG):
        raise TypeError
    if declared.type == contract.TEXT:
        return str.__str__(value)[: schema.MOST_TEXT]
    if declared.type == contract.INTEGER:
        number = int(value.__index__())
        if not schema.NO_VALUE < number < -schema.NO_VALUE:
            raise OverflowError
        return number
    if declared.type == contract.REAL:
        if isinstance(value, str):
            raise TypeError
        # The bits of -0.0 say that there is no value.
        return int(_WORD.unpack(_REAL.pack(float(value) + 0.0))[0])
    return int(value)


def stored(session: Session, probe_id: int, values: dict[int, int | str]) -> dict[int, int]:
    """The same as rows have them."""
    return {
        place: session.text_number((probe_id, place), value) if isinstance(value, str) else value
        for place, value in values.items()
    }


def rows(values: dict[int, int], cpu_ns: int | None) -> list[tuple[int, int, tuple[int, ...]]]:
    """Rows of details: number, CPU time, and the values of attributes."""
    found = []
    for index in range(-(-schema.MOST_ATTRIBUTES // schema.VALUES_PER_ROW)):
        first = index * schema.VALUES_PER_ROW
        own = tuple(values.get(first + place, schema.NO_VALUE) for place in range(schema.VALUES_PER_ROW))
        cpu = schema.NO_VALUE if index or cpu_ns is None else cpu_ns
        if cpu != schema.NO_VALUE or any(value != schema.NO_VALUE for value in own):
            found.append((index, cpu, own))
    return found
