"""Times of a trace as whole nanoseconds, exact where the text is."""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import arrow, schema

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Decimal digits of a unit below the second.
MICROSECONDS: Final = 6
#: Digits after the point that are converted at once.
_FRACTION: Final = 9
_PRECISION: Final = 38
_EXACT: Final = decimal.Context(prec=60, traps=[decimal.InvalidOperation, decimal.Overflow])


def nanoseconds(
    values: Sequence[Any], digits: int = MICROSECONDS
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Convert numbers, or texts of numbers.

    Parameters
    ----------
    values
        Integers and texts; other values are no times.
    digits
        The unit: 0 for seconds, 3 for milliseconds, 6 for microseconds, 9 for nanoseconds.

    Returns
    -------
    tuple of two arrays
        Nanoseconds, rounded to the nearest, half to even; and whether each value is a time within the limits of the
        format. Those that are not are 0.

    Examples
    --------
    >>> nanoseconds([1795469677428699, "1795469677428699.724", "7e3", None])[0].tolist()
    [1795469677428699000, 1795469677428699724, 7000000, 0]
    """
    import numpy as np

    found = _whole(values, digits)
    if found is None:
        found = _decimals(values, digits)
    if found is not None and (not len(found) or int(np.abs(found).max()) <= schema.MOST_NS):
        return found, np.ones(len(values), np.bool_)
    singly = [nanosecond(value, digits) for value in values]
    return (
        np.array([0 if one is None else one for one in singly], np.int64),
        np.array([one is not None for one in singly], np.bool_),
    )


def nanosecond(value: Any, digits: int = MICROSECONDS) -> int | None:
    """Convert one number, or the text of one; None where it is no time within the limits of the format."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        # Of a float its shortest text, which is what was meant.
        number = decimal.Decimal(str(value) if isinstance(value, float) else value)
        ns = int(number.scaleb(9 - digits, _EXACT).to_integral_value(decimal.ROUND_HALF_EVEN, _EXACT))
    except (decimal.InvalidOperation, decimal.Overflow, ValueError, OverflowError):
        return None
    return ns if abs(ns) <= schema.MOST_NS else None


def _whole(values: Sequence[Any], digits: int) -> npt.NDArray[np.int64] | None:
    """Integers; None where some are not, or are too large."""
    import numpy as np

    scale = 10 ** (9 - digits)
    if set(map(type, values)) != {int} or max(map(abs, values)) > schema.MOST_NS // scale:
        return None
    found: npt.NDArray[np.int64] = np.array(values, np.int64) * scale
    return found


def _decimals(values: Sequence[Any], digits: int) -> npt.NDArray[np.int64] | None:
    """Texts of numbers, integers among them; None where that cannot be done for all at once."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not values or not set(map(type, values)) <= {int, str}:
        return None
    try:
        numbers: Any = pc.cast(arrow.strings(list(map(str, values))), pa.decimal128(_PRECISION, _FRACTION))
        rounded = pc.round(numbers, ndigits=9 - digits, round_mode="half_to_even")
        scaled: Any = rounded.cast(pa.decimal128(_PRECISION, 9 - digits))
    except (pa.ArrowException, UnicodeEncodeError):
        return None
    # 128 bits each, the lower half first.
    halves = np.frombuffer(scaled.buffers()[1], np.int64)[2 * scaled.offset :][: 2 * len(values)].reshape(-1, 2)
    low, high = halves[:, 0], halves[:, 1]
    found: npt.NDArray[np.int64] = low.copy()
    return found if (high == low >> 63).all() else None
