"""Map values to positions on an axis, and choose the labels of the axis."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from quantum_pulse.view import numbers

_STEPS: Final = (1, 2, 5)
#: More labels than these on an axis would touch each other.
_MOST_LABELS: Final = 9


class Tick(NamedTuple):
    """A line across the chart; `label` is empty where there is no room for one."""

    position: float
    label: str


class LogScale(NamedTuple):
    """Durations in ns on a logarithmic axis from `start` to `end`, which are positions."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, low: float, high: float, start: float, end: float) -> LogScale:
        """Reaches from the step of 1-2-5 below `low` to the one above `high`. There is no zero on it: 1 ns is least."""
        low = step(max(low, 1.0), up=False)
        high = step(max(high, 1.0), up=True)
        return cls(low, high if high > low else step(low * 1.01, up=True), start, end)

    def at(self, ns: float) -> float:
        """Position of `ns`; what is off the axis lies at its end."""
        share = math.log(min(max(ns, self.low), self.high) / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[Tick]:
        """At 1, 2 and 5 of each decade, labelled where there is room: all of them, or the ones."""
        values = []
        exponent = math.floor(math.log10(self.low))
        while 10**exponent <= self.high * 1.001:
            values += [unit * 10.0**exponent for unit in _STEPS]
            exponent += 1
        values = [value for value in values if self.low * 0.999 <= value <= self.high * 1.001]
        few = len(values) <= _MOST_LABELS
        return [Tick(self.at(value), label(value) if few or _is_decade(value) else "") for value in values]


def _is_decade(value: float) -> bool:
    return abs(math.log10(value) - round(math.log10(value))) < 1e-6


def step(value: float, *, up: bool) -> float:
    """The number of 1, 2, 5, 10, 20 ... next to `value`, or `value` itself if it is one."""
    decade = 10.0 ** math.floor(math.log10(value))
    steps = [factor * decade for factor in (*_STEPS, 10)]
    if up:
        return next(one for one in steps if one >= value * 0.999999)
    return next(one for one in reversed(steps) if one <= value * 1.000001)


def label(ns: float) -> str:
    """A round duration without decimals: 200 ns, 5 µs, 1 ms."""
    return numbers.duration(ns).replace(".0 ", " ")


class TimeScale(NamedTuple):
    """Unix time in ns on a linear axis."""

    low: int
    high: int
    start: float
    end: float

    def at(self, ns: float) -> float:
        """Position of the time `ns`."""
        return self.start + (ns - self.low) / max(self.high - self.low, 1) * (self.end - self.start)

    def ticks(self) -> list[Tick]:
        """At round distances from the beginning, labelled with them: +0, +200 ms ..."""
        span = max(self.high - self.low, 1)
        width = step(span / 8, up=True)
        count = int(span / width + 1e-9)
        return [
            Tick(self.at(self.low + number * width), f"+{label(number * width)}" if number else "0")
            for number in range(count + 1)
        ]
