"""Sampling that a recording is given from outside: one of so many calls, by operation, enum or category."""

from __future__ import annotations

from quantum_pulse.errors import RecordingError
from quantum_pulse.operations import Category, Operation

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

#: The weight of a sample has 31 bits.
MOST_EVERY: Final = 2**31 - 1


def checked(sampling: Mapping[Any, Any] | None) -> dict[str, int]:
    """`sampling` by name. Raises RecordingError.

    Keys are operations, enums of operations, categories, or names of these.
    """
    if sampling is None:
        return {}
    if not hasattr(sampling, "items"):
        raise RecordingError(f"sampling must map operations or categories to numbers, not {sampling!r}")
    return {_name(key): _every(key, every) for key, every in sampling.items()}


def _name(key: object) -> str:
    if isinstance(key, Operation):
        return key.definition.name
    if isinstance(key, type) and issubclass(key, Operation):
        return key.__name__
    if isinstance(key, Category):
        return key.name
    if isinstance(key, str) and key:
        return key
    raise RecordingError(
        f"sampling: an operation, an enum of operations, a category or a name is required, not {key!r}"
    )


def _every(key: object, every: object) -> int:
    if isinstance(every, bool) or not isinstance(every, int) or not 1 <= every <= MOST_EVERY:
        raise RecordingError(
            f"sampling of {key}: it must be a whole number from 1, as in 100 for one call in a hundred, not {every!r}"
        )
    return every
