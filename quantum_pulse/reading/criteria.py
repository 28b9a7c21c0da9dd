"""Which samples are wanted, in the terms of the files: a selection, resolved against a capture."""

from __future__ import annotations

import time
from typing import Final, NamedTuple, TypeAlias

#: Names of attributes and texts, of which each sample must have one of each; None: no value.
Conditions: TypeAlias = tuple[tuple[str, frozenset[str | None]], ...]


class Selection(NamedTuple):
    """Which samples: operations by their name in the column (None: all), [start_ns, end_ns) of Unix time, and values of
    attributes."""

    names: tuple[str, ...] | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    where: Conditions = ()

    def __and__(self, other: Selection) -> Selection:
        """The samples that are in both."""
        if other is EVERYTHING:
            return self
        if self.names is None or other.names is None:
            names = other.names if self.names is None else self.names
        else:
            names = tuple(sorted(set(self.names) & set(other.names)))
        starts = [start for start in (self.start_ns, other.start_ns) if start is not None]
        ends = [end for end in (self.end_ns, other.end_ns) if end is not None]
        where = (*self.where, *(one for one in other.where if one not in self.where))
        return Selection(names, max(starts, default=None), min(ends, default=None), where)

    @property
    def times(self) -> Selection:
        """The same time, whatever ran in it."""
        return Selection(None, self.start_ns, self.end_ns)

    def overlaps(self, first_ns: int | None, last_ns: int | None) -> bool:
        """Whether samples that started from `first_ns` to `last_ns` (None: unknown) may be among them."""
        too_late = self.end_ns is not None and first_ns is not None and first_ns >= self.end_ns
        too_early = self.start_ns is not None and last_ns is not None and last_ns < self.start_ns
        return not (too_late or too_early)

    def shares(self, other: Selection) -> bool:
        """Whether the times of both have a moment in common."""
        both = self & other
        return both.start_ns is None or both.end_ns is None or both.start_ns < both.end_ns

    def covers(self, first_ns: int | None, last_ns: int | None) -> bool:
        """Whether the times leave out none of the samples that started from `first_ns` to `last_ns`."""
        in_time = self.start_ns is None or (first_ns is not None and first_ns >= self.start_ns)
        return in_time and (self.end_ns is None or (last_ns is not None and last_ns < self.end_ns))

    def described(self) -> str:
        """The times and values in words: "from 2026-03-27 18:03:24 UTC, where tenant is acme"; empty for all."""
        times = [
            f"{word} {_moment(moment)} UTC"
            for word, moment in (("from", self.start_ns), ("to", self.end_ns))
            if moment is not None
        ]
        values = [f"{name} is {' or '.join(sorted(map(_value, wanted)))}" for name, wanted in self.where]
        found = [" ".join(times), f"where {' and '.join(values)}" if values else ""]
        return ", ".join(filter(None, found))


EVERYTHING: Final = Selection()


def _value(text: str | None) -> str:
    return "not set" if text is None else text


def _moment(unix_ns: int) -> str:
    """In UTC, with as many digits of a second as there are."""
    seconds, ns = divmod(unix_ns, 10**9)
    whole = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{ns:09d}".rstrip("0") if ns else whole
