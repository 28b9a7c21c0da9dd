"""Format durations, counts, sizes and shares for people."""

from __future__ import annotations

import math
from typing import Final

from quantum_pulse import metrics

#: Largest value below which a unit is used, the unit, and its size, all in ns.
_UNITS = ((1e3, "ns", 1.0), (1e6, "µs", 1e3), (1e9, "ms", 1e6), (60e9, "s", 1e9), (3600e9, "min", 60e9))


#: Units that a table can be shown in, and their size in ns; "auto" is the one that fits each number.
UNITS: Final = {"us": ("µs", 1e3), "ms": ("ms", 1e6), "s": ("s", 1e9)}


def duration(ns: float, unit: str = "auto") -> str:
    """`ns` nanoseconds in a unit that leaves about three digits: 850 ns, 12.3 µs, 4.5 ms, 1.2 s, 2.5 min, 3.1 h.

    Or in a unit of UNITS, to the nanosecond: 12.345 µs. Not a number is shown as a dash. Raises ValueError for another
    unit.
    """
    if unit != "auto" and unit not in UNITS:
        raise ValueError(f"unit must be 'auto' or one of {', '.join(map(repr, UNITS))}, not {unit!r}")
    if math.isnan(ns):
        return "–"
    if math.isinf(ns):
        return "∞" if ns > 0 else "-∞"
    if unit != "auto":
        shown, factor = UNITS[unit]
        return f"{ns / factor:,.{round(math.log10(factor))}f} {shown}"
    sign, size = "-" if ns < 0 else "", abs(ns)
    for limit, fitting, factor in _UNITS:
        # The rounded value decides: 999.97 µs is 1.0 ms, not 1000 µs.
        text = _three(size / factor, whole=factor == 1.0)
        if float(text) < limit / factor:
            return f"{sign}{text} {fitting}"
    return f"{sign}{_three(size / 3600e9, whole=False)} h"


def us(value: float, unit: str = "auto") -> str:
    """`value` microseconds, as `duration` writes nanoseconds."""
    return duration(value * 1000, unit)


def change(value: float) -> str:
    """A ratio minus one, in percent with its sign: +12 %, -3.4 %; a dash where it is not known."""
    if math.isnan(value):
        return "–"
    if value == math.inf:
        return "+∞"
    shown = f"{100 * value:+.1f}" if abs(value) < 0.1 else f"{100 * value:+,.0f}"
    return f"{shown} %"


def _three(value: float, *, whole: bool) -> str:
    return f"{value:.0f}" if whole or round(value, 1) >= 100 else f"{value:.1f}"


def share(value: float) -> str:
    """A share of 1 in percent: 12 %, 1.2 %, < 0.1 %."""
    if 0 < value < 0.001:
        return "< 0.1 %"
    return f"{value:.0%}".replace("%", " %") if value >= 0.1 else f"{value:.1%}".replace("%", " %")


def count(value: float) -> str:
    """A count with separators between the thousands: 1,234,567."""
    return f"{round(value):,}"


def short(value: float) -> str:
    """A count in little room: 950, 1.2 k, 34 k, 5.6 M."""
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            size = value / factor
            return f"{size:.0f} {unit}" if size >= 10 or size == round(size) else f"{size:.1f} {unit}"
    return f"{value:.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.1f}"


def size(value: float) -> str:
    """Bytes: 512 B, 1.2 kB, 34 MB."""
    return f"{short(value)}B" if abs(value) >= 1000 else f"{value:.0f} B"


def metric(name: str, value: float) -> str:
    """A value of the system metric `name`, in its unit."""
    if math.isnan(value):
        return "–"
    unit = metrics.UNITS.get(name)
    if unit == "bytes":
        return size(value)
    if unit == "us":
        return duration(value * 1000)
    return f"{value:.0f} %" if unit == "%" else short(value)


def probability(value: float) -> str:
    """A p-value or q-value: 0.012, < 0.001; a dash where it is not known."""
    return "–" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
