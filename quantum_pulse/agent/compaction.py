"""Which rollup files become one, and which become coarser, so that their number and their bytes stay bounded.

Files of about as many rows are merged eight at a time, so that each row is written a few times only. The files by the
minute and those by the hour may each take so many bytes; beyond that the oldest of them is made coarser.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from quantum_pulse import schema
from quantum_pulse.agent.inventory import Filed

#: Files that are merged into one.
FAN_IN: Final = 8
#: Rows up to which a file is of the first, second or third size. Those of more than half of MOST_ROWS are left alone.
_SIZES: Final = (1 << 10, 1 << 13, 1 << 15)
MOST_ROWS: Final = 1 << 16
#: Bytes of all rollup files by the minute and by the hour, and in what proportion. Those by the day are small: about
#: 50 kB a day for 100 busy operations.
LARGEST_BYTES: Final = 256 * 10**6
_SHARES: Final = (0.25, 0.75)
#: Of a capture that is bounded by bytes, rollups may take this share, or LEAST_BYTES where that is more.
SHARE_OF_CAPTURE: Final = 1 / 8
LEAST_BYTES: Final = 16 * 10**6


class Step(NamedTuple):
    """Make one file by `interval_ns` of `files`, the oldest of which comes first."""

    files: Sequence[Filed]
    interval_ns: int


def next_step(filed: Sequence[Filed], keep_bytes: int | None) -> Step | None:
    """What should be done next, of a capture that is bounded by so many bytes or by age; None if nothing."""
    ordered = sorted(filed, key=lambda one: (one.part.first_ns or 0, one.name))
    return _merging(ordered) or _coarsening(ordered, keep_bytes)


def _merging(ordered: Sequence[Filed]) -> Step | None:
    alike: dict[tuple[int, int], list[Filed]] = {}
    for one in ordered:
        size = next((place for place, rows in enumerate(_SIZES) if one.part.rows < rows), None)
        if size is not None:
            alike.setdefault((one.interval_ns, size), []).append(one)
    for (interval_ns, _), files in alike.items():
        if len(files) >= FAN_IN:
            return Step(_first(files), interval_ns)
    return None


def _first(files: Sequence[Filed]) -> list[Filed]:
    """The first FAN_IN of `files`, or as many as fill one."""
    chosen, rows = list[Filed](), 0
    for one in files[:FAN_IN]:
        rows += one.part.rows
        if rows > MOST_ROWS:
            break
        chosen.append(one)
    return chosen


def _coarsening(ordered: Sequence[Filed], keep_bytes: int | None) -> Step | None:
    most: float = LARGEST_BYTES
    if keep_bytes is not None:
        most = min(max(keep_bytes * SHARE_OF_CAPTURE, LEAST_BYTES), LARGEST_BYTES)
    finer = zip(schema.ROLLUP_INTERVALS_NS, schema.ROLLUP_INTERVALS_NS[1:], _SHARES, strict=False)
    for interval_ns, coarser_ns, share in finer:
        own = [one for one in ordered if one.interval_ns == interval_ns and one.part.rows]
        if sum(one.entry.bytes for one in own) > most * share:
            return Step(own[:1], coarser_ns)
    return None
