"""Positions in a capture: all operations, one operation, a time interval of it, or one call."""

from __future__ import annotations

from typing import Any, NamedTuple


class Place(NamedTuple):
    """`operation` is a name (None: all of them), `begin_ns` and `end_ns` an interval of Unix time (None: all),
    `low_ns` and `high_ns` one of durations, and `rank` a call, counted from 0 among the slowest there."""

    operation: str | None = None
    begin_ns: int | None = None
    end_ns: int | None = None
    rank: int | None = None
    low_ns: int | None = None
    high_ns: int | None = None

    @property
    def steps(self) -> list[Place]:
        """The places from the outermost to this one."""
        found = [Place()]
        if self.operation is not None:
            found.append(Place(self.operation))
        if self.begin_ns is not None:
            found.append(Place(self.operation, self.begin_ns, self.end_ns))
        if self.low_ns is not None:
            found.append(self._replace(rank=None))
        if self.rank is not None:
            found.append(self)
        return found


class RefusedError(ValueError):
    """A page requests a place that does not exist."""


def follow(here: Place, asked: Any, names: list[str], ranks: int) -> Place:
    """Return the place that a page requests, `here` being where it was shown.

    The request is a dictionary of

    - ``{"to": "op-3"}``: an operation, by its number in `names`;
    - ``{"to": "call-0"}``: one of the `ranks` slowest calls of this place;
    - ``{"to": "step-1"}``: a place on the way here;
    - ``{"begin": ns, "end": ns}``: an interval of Unix time, as text, since a browser's numbers are too coarse for it;
    - ``{"low": ns, "high": ns}``: calls of such durations, also with an interval of time. Both are of the operation
      that is shown, or of the one that ``"to"`` names beside them.

    Raises RefusedError for anything else.
    """
    try:
        if "begin" in asked or "low" in asked:
            return _chosen(here, asked, names)
        kind, number = _numbered(asked["to"])
    except (KeyError, TypeError, ValueError) as error:
        raise error if isinstance(error, RefusedError) else RefusedError(f"invalid place: {asked!r}") from error
    if kind == "op" and 0 <= number < len(names):
        return Place(names[number])
    if kind == "call" and 0 <= number < ranks:
        return here._replace(rank=number)
    if kind == "step" and 0 <= number < len(here.steps):
        return here.steps[number]
    raise RefusedError(f"invalid place: {asked!r}")


def _numbered(place: Any) -> tuple[str, int]:
    kind, _, number = str(place).rpartition("-")
    return kind, int(number)


def _chosen(here: Place, asked: Any, names: list[str]) -> Place:
    """An interval of time, of durations, or both, of the operation that is shown or named."""
    there = here._replace(rank=None, low_ns=None, high_ns=None)
    if "to" in asked:
        kind, number = _numbered(asked["to"])
        if kind != "op" or not 0 <= number < len(names):
            raise RefusedError(f"invalid place: {asked!r}")
        there = Place(names[number])
    if "begin" in asked:
        there = there._replace(begin_ns=int(asked["begin"]), end_ns=int(asked["end"]))
        if there.begin_ns is None or there.end_ns is None or there.end_ns <= there.begin_ns:
            raise RefusedError(f"invalid time interval: {asked!r}")
    if "low" in asked:
        there = there._replace(low_ns=int(float(asked["low"])), high_ns=int(float(asked["high"])))
        if there.operation is None or there.low_ns is None or there.high_ns is None or there.high_ns <= there.low_ns:
            raise RefusedError(f"invalid durations: {asked!r}")
    return there
