"""What reading hands to analysis and view: plain types, so that these need not know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from quantum_pulse.operations import DEFAULT_PRIORITY

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Durations in ns in the order recorded, and for how many calls each stands.
Run: TypeAlias = "tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]"


class Budget(NamedTuple):
    """`quantile` of the durations may be `limit_us` at most."""

    limit_us: float
    quantile: float


class Priorities(NamedTuple):
    """Priorities by name, as they were defined last: 1 comes first."""

    categories: Mapping[str, int]
    operations: Mapping[str, int]

    def category(self, name: str) -> int:
        """That of a category."""
        return self.categories.get(name, DEFAULT_PRIORITY)

    def operation(self, name: str) -> int:
        """That of an operation."""
        return self.operations.get(name, DEFAULT_PRIORITY)

    @property
    def are_set(self) -> bool:
        """Whether any is another than the usual one."""
        return {*self.categories.values(), *self.operations.values()} - {DEFAULT_PRIORITY} != set()


@dataclass(frozen=True)
class Calls:
    """The recorded calls of an operation in one run, in the order in which they started; arrays of shape (calls,)."""

    #: ns, Unix time.
    start: npt.NDArray[np.int64]
    duration: npt.NDArray[np.int64]
    #: ns that no call inside accounts for, never negative; empty where calls inside were recorded only now and then.
    self_time: npt.NDArray[np.float64]
    #: Time in ns that these calls took in all, by the operation that encloses them.
    inside: dict[str, float]
