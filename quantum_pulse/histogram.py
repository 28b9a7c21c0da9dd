"""Log-linear buckets of durations: what each part's footer counts, so that a first look reads footers only.

The layout is that of HDR histograms (G. Tene, hdrhistogram.org): an octave is cut into 2**HISTOGRAM_BITS equal
buckets. Bucket numbers are exact integers, so histograms of any parts and processes are merged by adding counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.schema import HISTOGRAM_BITS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Buckets in an octave. Values below it have a bucket each.
LINEAR: Final = 1 << HISTOGRAM_BITS
#: Buckets that the whole range of a non-negative int64 needs.
BUCKETS: Final = (64 - HISTOGRAM_BITS) * LINEAR


def bucket_of(value: int) -> int:
    """Number of the bucket that holds `value`, in ns, not negative."""
    octave = max(value.bit_length() - 1 - HISTOGRAM_BITS, 0)
    return octave * LINEAR + (value >> octave)


def lower_edge(bucket: int) -> int:
    """Smallest value in `bucket`, in ns. The bucket ends just before the lower edge of the next one."""
    octave = max(bucket // LINEAR - 1, 0)
    return (bucket - octave * LINEAR) << octave


def middle(bucket: int) -> float:
    """Middle of `bucket`, in ns: within 1/2**(HISTOGRAM_BITS + 1) of each value in it."""
    return (lower_edge(bucket) + lower_edge(bucket + 1) - 1) / 2


def buckets_of(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """`bucket_of` for an array of non-negative int64 values; same shape."""
    import numpy as np

    # A float64 is stored as exponent and mantissa: read as an integer and cut after HISTOGRAM_BITS of the mantissa, it
    # counts buckets. Large integers are cut before the conversion, which would round some of them up to the next one.
    mantissa_bits, bias = 52, 1023
    exact = np.where(values >> (mantissa_bits + 1), values & ~np.int64(2047), values)
    numbers = exact.astype(np.float64).view(np.int64) >> (mantissa_bits - HISTOGRAM_BITS)
    numbers -= (bias + HISTOGRAM_BITS - 1) * LINEAR
    return np.where(values < LINEAR, values, numbers)


def count(durations: npt.NDArray[np.int64], weights: npt.NDArray[Any]) -> list[tuple[int, int]]:
    """Pairs (bucket, calls) in order of buckets, empty ones left out. `weights` are the calls of each duration."""
    import numpy as np

    numbers = buckets_of(durations)
    if numbers.size == 0:
        return []
    lowest = int(numbers.min())
    # As floats, exact up to 2**53 calls.
    calls = np.bincount(numbers - lowest, weights=weights)
    filled = np.flatnonzero(calls)
    return list(zip((filled + lowest).tolist(), calls[filled].astype(np.int64).tolist(), strict=True))
