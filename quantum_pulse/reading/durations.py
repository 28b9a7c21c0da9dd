"""Read the durations of operations in the order recorded, a few operations at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import arrow
from quantum_pulse.evidence import Run
from quantum_pulse.reading import scan, tables
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import EVERYTHING, Selection

if TYPE_CHECKING:
    pass

#: Samples of several operations that are read at once: about 400 MB while they are taken apart.
AT_ONCE: Final = 8_000_000


def of_each(source: Source, names: Sequence[str], chosen: Selection = EVERYTHING) -> Iterator[tuple[str, list[Run]]]:
    """Each of the operations `names` that ran, with its durations in each capture.

    As many operations at once in memory as have AT_ONCE samples together, at least one.
    """
    several = [tables.CAPTURE] if source.captures else []
    for own in _together(source, names, chosen):
        wanted = [*several, "operation", "start", "duration_ns", "weight"]
        rows = tables.read(source, "samples", wanted, chosen._replace(names=own)).combine_chunks()
        if not rows.num_rows:
            continue
        by_name = _split(rows, "operation")
        for name in own:
            if (found := by_name.get(name)) is not None:
                parts = _split(found, tables.CAPTURE).values() if several else [found]
                yield name, [_in_order(part) for part in parts]


def _together(source: Source, names: Sequence[str], chosen: Selection) -> Iterator[tuple[str, ...]]:
    """`names`, as many at a time as may be read at once."""
    together: list[str] = []
    rows = 0
    for name in names:
        own = scan.rows_at_most(source, chosen._replace(names=(name,)))
        if together and rows + own > AT_ONCE:
            yield tuple(together)
            together, rows = [], 0
        together.append(name)
        rows += own
    if together:
        yield tuple(together)


def _split(rows: Any, column: str) -> dict[str, Any]:
    """The rows of a table for each value of a dictionary column, in the order that they have."""
    import numpy as np
    import pyarrow as pa

    coded: Any = rows[column].combine_chunks()
    codes, values = arrow.values(coded.indices), coded.dictionary.to_pylist()
    # Numbers of 16 bits are sorted by their digits.
    order = np.argsort(codes.astype(np.uint16) if len(values) <= 1 << 16 else codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(values))).tolist()
    ordered = rows.drop_columns([column]).take(arrow.array(order, pa.int64()))
    return {
        value: ordered.slice(first, end - first)
        for value, first, end in zip(values, [0, *ends], ends, strict=False)
        if end > first
    }


def _in_order(rows: Any) -> Run:
    import numpy as np

    start = arrow.values(rows["start"])
    duration, weight = arrow.values(rows["duration_ns"]), arrow.values(rows["weight"])
    if np.all(start[1:] >= start[:-1]):
        return duration, weight
    order = np.argsort(start, kind="stable")
    return duration[order], weight[order]
