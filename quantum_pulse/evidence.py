"""What reading hands to analysis: plain types, so that neither imports the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Durations in ns in the order recorded, and for how many calls each stands.
Run: TypeAlias = "tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]"


class Budget(NamedTuple):
    """`quantile` of the durations may be `limit_us` at most."""

    limit_us: float
    quantile: float


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
