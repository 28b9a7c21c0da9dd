"""Log-linear buckets of durations: what each part's footer counts, so that a first look reads footers only.

The layout is that of HDR histograms (G. Tene, hdrhistogram.org): an octave is cut into 2**HISTOGRAM_BITS equal
buckets. Bucket numbers are exact integers, so histograms of any parts and processes are merged by adding counts.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.schema import HISTOGRAM_BITS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Buckets in an octave. Values below it have a bucket each.
LINEAR: Final = 1 << HISTOGRAM_BITS
#: Buckets that the whole range of a non-negative int64 needs.
BUCKETS: Final = (64 - HISTOGRAM_BITS) * LINEAR
_PIECE_ROWS: Final = 1 << 15


def bucket_of(value: int) -> int:
    """Number of the bucket that holds `value`, in ns, not negative."""
    octave = max(value.bit_length() - 1 - HISTOGRAM_BITS, 0)
    return octave * LINEAR + (value >> octave)


def lower_edge(bucket: int) -> int:
    """Smallest value in `bucket`, in ns. The bucket ends just before the lower edge of the next one."""
    octave = max(bucket // LINEAR - 1, 0)
    return (bucket - octave * LINEAR) << octave


@functools.cache
def lower_edges() -> npt.NDArray[np.uint64]:
    """Lower edges of all buckets, and where the last one ends: BUCKETS + 1 values, the last of which is 2**63."""
    import numpy as np

    return np.array([lower_edge(bucket) for bucket in range(BUCKETS + 1)], np.uint64)


def middle(bucket: int) -> float:
    """Middle of `bucket`, in ns: within 1/2**(HISTOGRAM_BITS + 1) of each value in it."""
    return (lower_edge(bucket) + lower_edge(bucket + 1) - 1) / 2


def buckets_of(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """`bucket_of` for an array of non-negative int64 values; same shape."""
    import numpy as np

    if values.size == 0:
        return values
    # A float64 is stored as exponent and mantissa: read as an integer and cut after HISTOGRAM_BITS of the mantissa, it
    # counts buckets. Large integers are cut before the conversion, which would round some of them up to the next one.
    mantissa_bits, bias = 52, 1023
    exact = values
    if int(values.max()) >> (mantissa_bits + 1):
        exact = np.where(values >> (mantissa_bits + 1), values & ~np.int64(2047), values)
    numbers = exact.astype(np.float64).view(np.int64)
    numbers >>= mantissa_bits - HISTOGRAM_BITS
    numbers -= (bias + HISTOGRAM_BITS - 1) * LINEAR
    return numbers if int(values.min()) >= LINEAR else np.where(values < LINEAR, values, numbers)


def pieces(rows: int) -> Iterator[slice]:
    """Slices that cover `rows` rows, each of which a cache holds with what is computed from it."""
    return (slice(first, first + _PIECE_ROWS) for first in range(0, rows, _PIECE_ROWS))


def count(
    durations: npt.NDArray[np.int64], weights: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The buckets that are not empty, ascending, and the calls in each. `weights` are the calls of each duration."""
    import numpy as np

    calls = np.zeros(0, np.int64)
    for rows in pieces(len(durations)):
        # As floats, exact up to 2**53 calls.
        own = np.bincount(buckets_of(durations[rows]), weights=weights[rows]).astype(np.int64)
        if len(own) > len(calls):
            own, calls = calls, own
        calls[: len(own)] += own
    filled = np.flatnonzero(calls)
    return filled, calls[filled]


def pack(buckets: npt.NDArray[np.int64], calls: npt.NDArray[np.int64]) -> str:
    """What `count` found as text: 1.3 characters a bucket where few calls are in each. `unpack` reads it.

    A sequence of integers from bucket 0 on, the calls of a bucket or, negative, how many empty buckets follow; each as
    ZigZag and LEB128, all of it in base64. So HdrHistogram writes its version 2 payload, but for its ninth bytes.
    """
    import numpy as np

    return pack_all(np.zeros(len(buckets), np.int64), buckets, calls, 1)[0]


def pack_all(
    which: npt.NDArray[np.int64], buckets: npt.NDArray[np.int64], calls: npt.NDArray[np.int64], texts: int
) -> list[str]:
    """`pack` of many, the reverse of `unpack_all`: `which` of the `texts` each bucket is in, ascending."""
    import numpy as np

    is_first = np.diff(which, prepend=-1) != 0
    gaps = np.where(is_first, buckets, np.diff(buckets, prepend=0) - 1)
    numbers = np.column_stack([-gaps, calls]).ravel()
    is_there = numbers != 0
    numbers = numbers[is_there]
    zigzag = ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)
    shifted = zigzag[:, None] >> np.arange(0, 64, 7, dtype=np.uint64)
    is_more = shifted > 127
    groups = (shifted & np.uint64(127)).astype(np.uint8) | (is_more.astype(np.uint8) << 7)
    # A byte belongs to the number if it is the first or the one before it said that more follow.
    is_used = np.column_stack([np.ones(len(numbers), np.bool_), is_more[:, :-1]])
    sizes = np.bincount(np.repeat(which, 2)[is_there], weights=is_used.sum(axis=1), minlength=texts)
    data = groups[is_used].tobytes()
    ends = np.cumsum(sizes.astype(np.int64)).tolist()
    return [base64.b64encode(data[begin:end]).decode("ascii") for begin, end in zip([0, *ends], ends, strict=False)]


def unpack(text: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Buckets in ascending order and the calls in each, from the text that `pack` made. Raises ValueError."""
    _, buckets, calls = unpack_all([text])
    return buckets, calls


def unpack_all(
    texts: list[str],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """`unpack` of many: position of the text, number of the bucket, calls in it. Raises ValueError."""
    import numpy as np

    pieces = [base64.b64decode(text, validate=True) for text in texts]
    data = np.frombuffer(b"".join(pieces), np.uint8)
    ends = np.flatnonzero(data < 128)
    stops = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    if len(data) == 0:
        return ends, ends, ends
    starts = np.concatenate([[0], ends[:-1] + 1])
    longest = int((ends - starts).max()) + 1 if len(ends) else 11
    # Each text ends with the last byte of a number, and 64 bits need no more than ten.
    if (data[stops[stops > 0] - 1] > 127).any() or longest > 10:
        raise ValueError("a histogram is cut off or damaged")
    zigzag = (data[starts] & np.uint8(127)).astype(np.uint64)
    for place in range(1, longest):
        # The numbers that have so many bytes: ever fewer.
        long = np.flatnonzero(ends - starts >= place)
        zigzag[long] |= (data[starts[long] + place] & np.uint8(127)).astype(np.uint64) << np.uint64(7 * place)
    numbers = (zigzag >> np.uint64(1)).view(np.int64) ^ -(zigzag & np.uint64(1)).view(np.int64)
    if int(numbers.min()) < -BUCKETS:
        raise ValueError("a histogram has buckets that do not exist")
    # Numbers up to the end of each text.
    until = np.searchsorted(ends, stops)
    which = np.repeat(np.arange(len(texts)), np.diff(until, prepend=0))
    steps = np.where(numbers < 0, -numbers, 1)
    reached = np.cumsum(steps)
    before = np.concatenate([[0], reached])[np.concatenate([[0], until[:-1]])]
    buckets = reached - before[which] - 1
    if int(buckets.max()) >= BUCKETS:
        raise ValueError("a histogram has buckets that do not exist")
    filled = numbers > 0
    return which[filled], buckets[filled], numbers[filled]
