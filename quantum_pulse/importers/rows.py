"""Calls of a trace as columns, on their way from the file to the capture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import arrow

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

#: Column -> numpy's name of its type. `place` is the number of a process, `kind` that of an operation; `span` and
#: `parent` are what the trace calls the call and the one around it, 0 where it does not say.
DTYPES: Final = {
    "place": "int32",
    "thread": "int64",
    "task": "int64",
    "kind": "int32",
    "error": "int32",
    "weight": "int32",
    "start": "int64",
    "duration": "int64",
    "span": "int64",
    "parent": "int64",
}


@dataclass(frozen=True)
class Rows:
    """One array for each column of DTYPES. Times in ns."""

    columns: dict[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.columns["start"])

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.columns[name]

    def take(self, chosen: Any) -> Rows:
        """Some of the rows: a slice, a mask, or positions."""
        return Rows({name: values[chosen] for name, values in self.columns.items()})

    def with_columns(self, **columns: npt.NDArray[Any]) -> Rows:
        """These rows with some columns replaced or added."""
        return Rows({**self.columns, **columns})


def rows_of(columns: dict[str, Sequence[int]]) -> Rows:
    """Rows of lists. A column that is missing is 0; `weight` is 1."""
    import numpy as np

    length = len(columns["start"])
    return Rows(
        {
            name: np.array(columns[name], kind)
            if name in columns
            else np.full(length, 1 if name == "weight" else 0, kind)
            for name, kind in DTYPES.items()
        }
    )


def joined(pieces: Sequence[Rows]) -> Rows:
    """The rows of all pieces, one after the other. There is at least one."""
    import numpy as np

    if len(pieces) == 1:
        return pieces[0]
    return Rows({name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0].columns})


def to_arrow(rows: Rows) -> pa.RecordBatch:
    """The same as a batch of Arrow, without a copy."""
    import pyarrow as pa

    names = list(rows.columns)
    arrays = [arrow.array(rows[name], pa.from_numpy_dtype(rows[name].dtype)) for name in names]
    return pa.RecordBatch.from_arrays(arrays, names=names)


def from_arrow(batch: pa.RecordBatch) -> Rows:
    """The reverse of `to_arrow`."""
    return Rows({name: arrow.values(batch.column(place)) for place, name in enumerate(batch.schema.names)})
