"""Read the slots of a ring: open blocks, and losses by operation and thread."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse import schema

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Unfinished(NamedTuple):
    """A block that was entered and not left.

    `operation` is a number that the journal resolves. `start` is in ns on the core's clock; 0 if the block had only
    just begun.
    """

    operation: int
    thread: int
    span: int
    start: int
    parent: int
    task: int
    weight: int


class Lost(NamedTuple):
    """Samples of an operation and thread that were lost in the whole recording, between two times on the core's clock.
    `cause` is one of the contract's."""

    operation: int
    thread: int
    samples: int
    first: int
    last: int
    cause: int


class Slots(NamedTuple):
    """The slots of a ring at one moment, as an array for each field.

    `places` are the numbers of the slots with open blocks.
    """

    open: npt.NDArray[Any]
    places: npt.NDArray[np.int64]
    lost: npt.NDArray[Any]
    nonsense: int


_CODES: Final = {"I": "u4", "i": "i4", "q": "i8", "Q": "u8"}


def _dtype(fields: Sequence[tuple[str, str, int]]) -> np.dtype[Any]:
    import numpy as np

    names, codes, offsets = zip(*fields, strict=True)
    return np.dtype(
        {
            "names": list(names),
            "formats": [_CODES[code] for code in codes],
            "offsets": list(offsets),
            "itemsize": schema.SLOT_BYTES,
        }
    )


def read(file: int, segments: Iterable[int]) -> Slots:
    """Read the slots of the ring that is open as `file`, in its header and in the segments at these offsets.

    Raises OSError.
    """
    import numpy as np

    found = [os.pread(file, schema.FIRST_SLOTS_END - schema.FIRST_SLOTS_OFFSET, schema.FIRST_SLOTS_OFFSET)]
    found += [
        os.pread(file, schema.SEGMENT_BYTES - schema.SLOTS_OFFSET, base + schema.SLOTS_OFFSET) for base in segments
    ]
    data = b"".join(one[: len(one) // schema.SLOT_BYTES * schema.SLOT_BYTES] for one in found)
    opened = np.frombuffer(data, _dtype(schema.OPEN_SLOT_FIELDS))
    lost = np.frombuffer(data, _dtype(schema.LOST_SLOT_FIELDS))
    kinds = opened["kind"]
    is_open = kinds == schema.SLOT_OPEN
    nonsense = int((kinds > schema.SLOT_LOST).sum())
    return Slots(opened[is_open], np.flatnonzero(is_open), lost[kinds == schema.SLOT_LOST], nonsense)


def unfinished(
    before: Slots, after: Slots, entered: range, ended: npt.NDArray[np.int64], known: Iterable[int]
) -> tuple[list[Unfinished], int]:
    """The blocks that were open throughout two readings, and the number of slots that made no sense.

    A running program writes slots while they are read, so only slots that did not change can be believed.
    `entered` are the numbers of blocks of the recording, `ended` those of samples that were found between the two,
    `known` the operations that have a name.
    """
    import numpy as np

    _, at, then = np.intersect1d(before.places, after.places, assume_unique=True, return_indices=True)
    rows = after.open[then][before.open[at] == after.open[then]]
    # A block gets its slot before it is counted, and keeps it for a moment after its sample is written.
    rows = rows[(rows["span"] < entered.stop) & ~np.isin(rows["span"], ended)]
    good = np.isin(rows["operation"], np.fromiter(known, np.uint32)) & (rows["span"] >= entered.start)
    good &= (rows["weight"] > 0) & (rows["parent"] >= 0) & (rows["parent"] < rows["span"]) & (rows["task"] >= 0)
    good &= (rows["start"] >= 0) & (rows["start"] < 1 << 62)
    _, first = np.unique(rows["span"], return_index=True)
    alone = np.zeros(len(rows), np.bool_)
    alone[first] = True
    good &= alone
    names = [*Unfinished._fields]
    return [Unfinished._make(row) for row in rows[names][good].tolist()], int(len(good) - good.sum()) + after.nonsense


def losses(slots: Slots, known: Iterable[int], total: int) -> tuple[list[Lost], int]:
    """Losses by operation and thread, and the number of slots that made no sense. `total` is the sum of all losses."""
    import numpy as np

    rows = slots.lost
    good = np.isin(rows["operation"], np.fromiter(known, np.uint32)) & np.isin(rows["cause"], (0, 1))
    good &= (rows["samples"] <= total) & (rows["first"] >= 0) & (rows["first"] <= rows["last"])
    good &= rows["last"] < 1 << 62
    found = [Lost._make(row) for row in rows[[*Lost._fields]][good].tolist()]
    if sum(one.samples for one in found) > total:
        return [], len(rows)
    return found, int(len(good) - good.sum())
