"""Rows that were copied out of rings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

_NUMPY: Final = {"q": "int64", "I": "uint32", "i": "int32"}
#: Column -> numpy's name of its type: those of the ring, and the thread of their segment.
DTYPES: Final = {**{name: _NUMPY[code] for name, code in schema.RING_COLUMNS}, "thread": "int64"}


class Batch(NamedTuple):
    """Finished samples: one array for each column of DTYPES. `start` is in ns on the core's clock."""

    columns: dict[str, npt.NDArray[Any]]

    @property
    def rows(self) -> int:
        """How many samples there are."""
        return len(self.columns["span"])

    def where(self, chosen: npt.NDArray[np.bool_]) -> Batch:
        """The rows for which `chosen` is true."""
        if chosen.all():
            return self
        return Batch({name: values[chosen] for name, values in self.columns.items()})

    def part(self, first: int, most: int) -> Batch:
        """At most `most` rows, from the row `first` on."""
        return Batch({name: values[first : first + most] for name, values in self.columns.items()})

    def split_collections(self) -> tuple[Batch, Batch]:
        """The samples, and the garbage collections among them."""
        is_sample = self.columns["operation"] != schema.COLLECTION
        return self.where(is_sample), self.where(~is_sample)


def nothing() -> Batch:
    """A batch without rows."""
    import numpy as np

    return Batch({name: np.zeros(0, kind) for name, kind in DTYPES.items()})


def joined(batches: Sequence[Batch]) -> Batch:
    """The rows of all batches, one batch after the other."""
    import numpy as np

    if len(batches) == 1:
        return batches[0]
    if not batches:
        return nothing()
    return Batch({name: np.concatenate([batch.columns[name] for batch in batches]) for name in DTYPES})
