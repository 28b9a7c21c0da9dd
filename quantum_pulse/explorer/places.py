"""Positions in a capture: all operations, one operation, a time interval of it, or one call."""

from __future__ import annotations

from typing import Any, NamedTuple


class Place(NamedTuple):
    """`operation` is a name (None: all of them), `begin_ns` and `end_ns` an interval of Unix time (None: all), and
    `rank` a call, counted from 0 among the slowest there."""

    operation: str | None = None
    begin_ns: int | None = None
    end_ns: int | None = None
    rank: int | None = None

    @property
    def steps(self) -> list[Place]:
        """The places from the outermost to this one."""
        found = [Place()]
        if self.operation is not None:
            found.append(Place(self.operation))
        if self.begin_ns is not None:
            found.append(Place(self.operation, self.begin_ns, self.end_ns))
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
    - ``{"begin": ns, "end": ns}``: an interval of Unix time, as text, since a browser's numbers are too coarse for it.

    Raises RefusedError for anything else.
    """
    try:
        if "begin" in asked:
            begin, end = int(asked["begin"]), int(asked["end"])
            if end <= begin:
                raise RefusedError(f"invalid time interval: {asked!r}")
            return Place(here.operation, begin, end)
        kind, _, number = str(asked["to"]).rpartition("-")
        place = int(number)
    except (KeyError, TypeError, ValueError) as error:
        raise error if isinstance(error, RefusedError) else RefusedError(f"invalid place: {asked!r}") from error
    if kind == "op" and 0 <= place < len(names):
        return Place(names[place])
    if kind == "call" and 0 <= place < ranks:
        return here._replace(rank=place)
    if kind == "step" and 0 <= place < len(here.steps):
        return here.steps[place]
    raise RefusedError(f"invalid place: {asked!r}")
