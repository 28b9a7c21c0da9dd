"""Rows that were copied out of rings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

_NUMPY: Final = {"q": "int64", "I": "uint32", "i": "int32"}
#: Column -> numpy's name of its type: the columns of the ring, and the thread of the segment.
DTYPES: Final = {**{name: _NUMPY[code] for name, code in schema.RING_COLUMNS}, "thread": "int64"}

#: Columns of a batch in which some sample has details: CPU time, and attribute values by their positions in the
#: operation's declaration. They are int64; schema.NO_VALUE means unknown.
CPU: Final = "cpu"
VALUES: Final = tuple(f"value {place}" for place in range(schema.MOST_ATTRIBUTES))


class Batch(NamedTuple):
    """Finished samples: an array for each column of DTYPES, and for each column of details. `start` is in ns on the
    core's clock."""

    columns: dict[str, npt.NDArray[Any]]

    @property
    def rows(self) -> int:
        """The number of samples."""
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
        """Split rows as a ring has them into samples with their details, and garbage collections."""
        rows = self._with_details()
        is_sample = rows.columns["operation"] != schema.COLLECTION
        return rows.where(is_sample), Batch({name: rows.columns[name] for name in DTYPES}).where(~is_sample)

    def _with_details(self) -> Batch:
        """Turn rows of details into columns of their samples. Details without a sample are dropped."""
        import numpy as np

        operation, span = self.columns["operation"], self.columns["span"]
        is_detail = operation == schema.DETAILS
        if not is_detail.any():
            return self
        at = np.flatnonzero(is_detail)
        # Each row of details follows its sample.
        sample = np.maximum.accumulate(np.where(is_detail, -1, np.arange(len(operation))))[at]
        index = self.columns["error"][at].astype(np.int64)
        good = (sample >= 0) & (operation[sample] != schema.COLLECTION) & (span[sample] == span[at])
        good &= index * schema.VALUES_PER_ROW < schema.MOST_ATTRIBUTES
        at, sample, index = at[good], sample[good], index[good]
        added = {CPU: np.full(len(operation), schema.NO_VALUE, np.int64)}
        is_first = index == 0
        added[CPU][sample[is_first]] = self.columns["start"][at[is_first]]
        for number in range(int(index.max(initial=-1)) + 1):
            is_this = index == number
            for place, column in enumerate(schema.DETAIL_COLUMNS, number * schema.VALUES_PER_ROW):
                values = added[VALUES[place]] = np.full(len(operation), schema.NO_VALUE, np.int64)
                values[sample[is_this]] = self.columns[column][at[is_this]]
        return Batch({**self.columns, **added}).where(~is_detail)


def nothing() -> Batch:
    """A batch without rows."""
    import numpy as np

    return Batch({name: np.zeros(0, kind) for name, kind in DTYPES.items()})


def joined(batches: Sequence[Batch]) -> Batch:
    """Concatenate the rows of all batches."""
    import numpy as np

    if len(batches) == 1:
        return batches[0]
    if not batches:
        return nothing()
    details = {name for batch in batches for name in batch.columns} - DTYPES.keys()
    columns = {name: np.concatenate([batch.columns[name] for batch in batches]) for name in DTYPES}
    for name in sorted(details):
        columns[name] = np.concatenate(
            [batch.columns.get(name, np.full(batch.rows, schema.NO_VALUE, np.int64)) for batch in batches]
        )
    return Batch(columns)
