"""Parse moments as users write them; ambiguous ones are rejected."""

from __future__ import annotations

import datetime as dt
import numbers
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from quantum_pulse import lengths
from quantum_pulse.arguments import real

#: A timestamp or its text (UTC unless it says otherwise), a time of day, or a length of time (a number: of seconds)
#: after the first sample.
Moment: TypeAlias = str | dt.datetime | dt.timedelta | float | None

#: From the first to the last moment that a capture covers, Unix time in ns.
Extent: TypeAlias = Callable[[], tuple[int, int]]

#: The largest Unix time that 64 bits of ns can hold; the smallest means no time at all.
_LATEST_NS: Final = 2**63 - 1
_DAY_NS: Final = 86_400 * 10**9

_TIME_OF_DAY: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d(?:\.\d{1,9})?))?\s*(?:UTC|Z)?")
_HAS_YEAR: Final = re.compile(r"(?<!\d)\d{4}(?!\d)|^\d{8}(?!\d)")
_NUMBERS_ONLY: Final = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})(?!\d)(.*)")
_ZONE: Final = re.compile(r"(.*\S)\s*[\s\[]([A-Z][A-Za-z_+\-0-9]*(?:/[A-Za-z_+\-0-9]+)*)\]?")
_FORMS: Final = "'2026-03-27 18:03:24', '18:03:24' or '1.5s' after the first sample"


def unix_ns(moment: Moment, name: str, extent: Extent) -> int:
    """Unix time in ns of the moment that is given as the argument `name`.

    A time without a zone is taken for UTC, as everything in a capture is. Where only local time would fall into the
    capture, that is an error which names the choices.

    Raises
    ------
    TypeError, ValueError
        Say what was wrong and what would be right.
    """
    import numpy as np
    import pandas as pd

    given: Any = moment
    is_timedelta = isinstance(given, dt.timedelta | np.timedelta64)
    # numpy's timedelta64 is registered as a whole number.
    is_number = isinstance(given, numbers.Real) and not isinstance(given, bool) and not is_timedelta
    is_length = is_number or is_timedelta
    if not (is_length or isinstance(given, str | dt.datetime | np.datetime64 | type(pd.NaT))):
        raise TypeError(f"{name} must be a timestamp, its text, or seconds after the first sample, not {moment!r}")
    try:
        if isinstance(given, str):
            found = _of_text(given.strip(), extent)
        elif is_length:
            length = pd.Timedelta(real(given), unit="s") if is_number else pd.Timedelta(given)
            found = extent()[0] + _nanoseconds(length)
        else:
            found = _of_stamp(pd.Timestamp(given), extent)
    except (pd.errors.OutOfBoundsTimedelta, pd.errors.OutOfBoundsDatetime, OverflowError):
        found = _LATEST_NS + 1
    except ValueError as error:
        raise ValueError(f"{name}={moment!r} is not a valid time: {error}") from error
    if abs(found) > _LATEST_NS:
        raise ValueError(
            f"{name}={moment!r} is too far away: times in nanoseconds reach from 1677 to 2262; omit it for no bound"
        )
    return found


def _of_text(text: str, extent: Extent) -> int:
    import pandas as pd

    length_ns = lengths.nanoseconds(text.removeprefix("+"))
    if length_ns is not None:
        return extent()[0] + length_ns
    if time_of_day := _TIME_OF_DAY.fullmatch(text):
        hours, minutes, seconds = (float(part or 0) for part in time_of_day.groups())
        return _on_its_day(text, round((hours * 3600 + minutes * 60 + seconds) * 1e9), extent)
    if text == "now":
        return _nanoseconds(pd.Timestamp.now("UTC"))
    if swapped := _NUMBERS_ONLY.match(text):
        first, second, year, rest = swapped.group(1, 3, 4, 5)
        if int(first) <= 12 and int(second) <= 12 and first != second:
            orders = ((first, second), (second, first))
            choices = [f"'{year}-{int(month):02}-{int(day):02}{rest}'" for day, month in orders]
            raise ValueError(f"it may be {' or '.join(choices)}")
    zone = None
    if named := _ZONE.fullmatch(text):
        text, zone = (named[1], named[2]) if _is_zone(named[2]) else (text, None)
    if text and text.lower() not in ("nan", "nat") and not _HAS_YEAR.search(text):
        raise ValueError(f"write it as {_FORMS}")
    stamp: Any = pd.Timestamp(text)
    return _of_stamp(stamp if zone is None or stamp is pd.NaT else _in_zone(stamp, zone), extent)


def _of_stamp(stamp: Any, extent: Extent) -> int:
    import pandas as pd

    # NaN, NaT and empty text all become NaT, which would be compared like any number.
    if stamp is pd.NaT or stamp.tzinfo is not None:
        return _nanoseconds(stamp)
    found = _nanoseconds(stamp.tz_localize("UTC"))
    _refuse_local_time([found], extent)
    return found


def _on_its_day(text: str, within_day_ns: int, extent: Extent) -> int:
    """The moment of a time of day, which is on the day of the capture where that has several."""
    import pandas as pd

    first, last = extent()
    days = range(first // _DAY_NS, last // _DAY_NS + 1)
    all_days = [day * _DAY_NS + within_day_ns for day in days]
    # Whole seconds: what is printed may have been cut off.
    inside = [moment for moment in all_days if first // 10**9 <= moment // 10**9 <= last // 10**9]
    if len(inside) == 1:
        return inside[0]
    if not inside:
        _refuse_local_time(all_days, extent)
    if len(days) == 1:
        return all_days[0]
    shown = [f"'{pd.Timestamp(moment, tz='UTC'):%Y-%m-%d} {text}'" for moment in inside or all_days]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    raise ValueError(f"the capture spans several days, so it may be {', '.join(shown[:3])}{more}")


def _refuse_local_time(as_utc: list[int], extent: Extent) -> None:
    """Raise ValueError where none of these moments is in the capture as UTC, and some are as local time."""
    first, last = (moment // 10**9 for moment in extent())
    if any(first <= moment // 10**9 <= last for moment in as_utc):
        return
    readings = [reading for moment in as_utc for reading in _local_readings(moment)]
    local = [reading for reading in readings if first <= reading.timestamp() <= last + 1]
    if local:
        choices = " or ".join(f"'{one.isoformat(sep=' ')}'" for one in local)
        raise ValueError(
            f"without a zone it is taken for UTC, where the capture has no samples; in local time it is {choices}"
        )


def _local_readings(as_utc_ns: int) -> list[dt.datetime]:
    """What the digits of a time in UTC mean in the zone of this machine: two moments in an hour that comes twice."""
    try:
        naive = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=as_utc_ns // 1000)
        readings = [naive.replace(fold=fold).astimezone() for fold in (0, 1)]
    except (OverflowError, OSError, ValueError):  # too far away
        return []
    return (
        readings if readings[0] != readings[1] or readings[0].utcoffset() != readings[1].utcoffset() else readings[:1]
    )


def _is_zone(name: str) -> bool:
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _in_zone(stamp: Any, zone: str) -> Any:
    """A time in a zone that was named. Raises ValueError where the clock shows it twice, or never."""
    import zoneinfo

    if stamp.tzinfo is not None:
        raise ValueError(f"it has an offset as well as the zone {zone}")
    naive = stamp.to_pydatetime(warn=False)
    readings = [naive.replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=fold) for fold in (0, 1)]
    offsets = [reading.utcoffset() for reading in readings]
    if offsets[0] != offsets[1]:
        if readings[0].astimezone(dt.UTC).astimezone(readings[0].tzinfo).replace(tzinfo=None) != naive:
            raise ValueError(f"the clocks of {zone} skipped it")
        choices = " or ".join(f"'{reading.isoformat(sep=' ')}'" for reading in readings)
        raise ValueError(f"the clocks of {zone} showed it twice: {choices}")
    return stamp.tz_localize(zone)


def _nanoseconds(stamp: Any) -> int:
    import pandas as pd

    if stamp is pd.NaT:
        raise ValueError("omit it for no bound")
    return int(stamp.as_unit("ns").value)
