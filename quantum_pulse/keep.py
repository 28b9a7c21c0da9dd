"""`keep=`: how much of a capture stays, as a length of time or as bytes on disk."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from quantum_pulse.errors import RecordingError

_SECOND_NS: Final = 10**9
_AGES: Final = {
    "s": _SECOND_NS,
    "m": 60 * _SECOND_NS,
    "h": 3600 * _SECOND_NS,
    "d": 86_400 * _SECOND_NS,
    "w": 7 * 86_400 * _SECOND_NS,
}
_SIZES: Final = {
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", 1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", 1)},
}
#: What people write instead -> the unit that they mean.
_MEANT: Final = {
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("hour", "hours", "hr", "hrs", "H"), "h"),
    **dict.fromkeys(("day", "days", "D"), "d"),
    **dict.fromkeys(("week", "weeks", "W"), "w"),
    **dict.fromkeys(("k", "K"), "kB"),
    "M": "MB",
    **dict.fromkeys(("g", "G"), "GB"),
    **dict.fromkeys(("t", "T"), "TB"),
}
_SPEC: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-zµ]*)\s*", re.ASCII)
_CHOICES: Final = "a length of time such as '30d', '12h' or '90m', or a size on disk such as '20GB' or '500MB'"
#: Longer ages do not fit a time in nanoseconds.
_LONGEST_NS: Final = 1 << 62


class Keep(NamedTuple):
    """A bound of a capture: samples up to `age_ns` old, or `bytes` on disk. The other one is None."""

    age_ns: int | None = None
    bytes: int | None = None


def parse(spec: str | Keep | None) -> Keep | None:
    """The bound that `spec` names, None for no bound.

    Parameters
    ----------
    spec
        A number and a unit: ``s``, ``m``, ``h``, ``d`` or ``w`` for an age; ``kB``, ``MB``, ``GB`` or ``TB`` (powers
        of 1000) or ``KiB``, ``MiB``, ``GiB`` or ``TiB`` (powers of 1024) for a size.

    Raises
    ------
    RecordingError
        Says what was wrong and what would be right.

    Examples
    --------
    >>> parse("30d").age_ns == 30 * 86_400 * 10**9
    True
    >>> parse("20GB")
    Keep(age_ns=None, bytes=20000000000)
    """
    if spec is None or isinstance(spec, Keep):
        return spec
    if not isinstance(spec, str):
        raise RecordingError(f"keep must be {_CHOICES}, not {spec!r}")
    found = _SPEC.fullmatch(spec)
    if found is None:
        raise RecordingError(f"keep={spec!r} is not a number and a unit; write {_CHOICES}")
    number, unit = found.groups()
    if not unit:
        raise RecordingError(f"keep={spec!r} has no unit; did you mean '{number}d' or '{number}GB'?")
    # "m" is a minute and "M" an abbreviated megabyte, so ages are lower-case only.
    age, size = _AGES.get(unit), _SIZES.get(unit.lower())
    if age is None and size is None:
        raise RecordingError(f"keep={spec!r} has the unknown unit {unit!r}; {_hint(number, unit)}")
    amount = _scaled(number, age or size or 0)
    if amount <= 0:
        raise RecordingError(f"keep={spec!r} would keep nothing; write {_CHOICES}")
    if amount > _LONGEST_NS:
        raise RecordingError(f"keep={spec!r} is more than any capture reaches; omit keep to keep everything")
    return Keep(age_ns=amount) if age is not None else Keep(bytes=amount)


def _scaled(number: str, unit: int) -> int:
    """`number` times `unit`, rounded down; exact, where floats are not."""
    whole, _, digits = number.partition(".")
    return int(whole + digits) * unit // int(10 ** len(digits))


def _hint(number: str, unit: str) -> str:
    meant = _MEANT.get(unit, _MEANT.get(unit.lower()))
    return f"did you mean '{number}{meant}'?" if meant else f"write {_CHOICES}"
