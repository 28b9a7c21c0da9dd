"""Resolve the selection of samples, by operations and a time interval."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from quantum_pulse.operations import Operation, checked
from quantum_pulse.reading import attributes, moments
from quantum_pulse.reading.attributes import Where as Where
from quantum_pulse.reading.criteria import EVERYTHING as EVERYTHING
from quantum_pulse.reading.criteria import Selection as Selection
from quantum_pulse.reading.moments import Moment as Moment
from quantum_pulse.reading.reader import Source


class Recorded(str):
    """An operation of a capture by its name, for code that does not have the recorded program.

    See Also
    --------
    Capture.operations : The operations of a capture.

    Examples
    --------
    >>> qp.sample("engine").operations.Engine.ORDER
    <Engine.ORDER>
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{self}>"


#: One member, several, a whole enum, or None for all.
Operations: TypeAlias = Operation | Recorded | type[Operation] | Iterable[Operation | Recorded] | None


def select(
    source: Source, operations: Operations = None, start: Moment = None, end: Moment = None, where: Where = None
) -> Selection:
    """What a user chose, resolved against a capture. Raises TypeError and ValueError that say what was wrong."""
    names = None if operations is None else tuple(recorded_names(source, operations))
    return Selection(names, *interval_bounds_ns(source, start, end), attributes.conditions(source, where))


def restricted(source: Source, start: Moment = None, end: Moment = None, where: Where = None) -> Source:
    """What of `source` a user chose, as a source itself. Raises as `select`."""
    chosen = select(source, None, start, end, where)
    return source if chosen == EVERYTHING else source.restricted(chosen)


def extent_ns(source: Source) -> tuple[int, int]:
    """When the first and the last sample started, as far as the parts say, Unix time; equal where there are none."""
    first = first_ns(source)
    last = max((part.last_ns or first for part in source.sound("samples")), default=first)
    end_ns = source.within.end_ns
    return first, last if end_ns is None else max(min(last, end_ns - 1), first)


def interval_bounds_ns(source: Source, start: Moment, end: Moment) -> tuple[int | None, int | None]:
    """Unix time in ns of `start` and `end`, None where there is no bound. Raises as `select`."""

    def extent() -> tuple[int, int]:
        return first_ns(source), last_ns(source)

    begin_ns = None if start is None else moments.unix_ns(start, "start", extent)
    end_ns = None if end is None else moments.unix_ns(end, "end", extent)
    if begin_ns is not None and end_ns is not None and end_ns < begin_ns:
        raise ValueError(f"end={end!r} is before start={start!r}; the time interval must end after it starts")
    return begin_ns, end_ns


def recorded_names(source: Source, operations: Operation | Recorded | Iterable[Operation | Recorded]) -> list[str]:
    """Names in the `operation` column of these operations. A string among them is a TypeError."""
    definitions = source.definitions()
    names: set[str] = set()
    for operation in members(source, operations):
        if isinstance(operation, Recorded):
            names.add(str(operation))
            continue
        own = operation.definition
        # Two classes of one name in a capture are distinguished by the module, which the recorder then puts before it.
        spellings = (own.name, f"{own.module}.{own.name}")
        same = {d["name"] for d in definitions if d.get("module") == own.module and d["name"] in spellings}
        names |= same or {own.name}
    return sorted(names)


def members(
    source: Source, operations: Operation | Recorded | Iterable[Operation | Recorded]
) -> list[Operation | Recorded]:
    """The operations one by one. A string among them is a TypeError that names the nearest member."""
    # A string is iterable too, and its letters would make a poor error.
    if isinstance(operations, Operation | str) or not isinstance(operations, Iterable):
        operations = [operations]
    return [member(source, one) for one in operations]


def member(source: Source, operation: Operation | Recorded) -> Operation | Recorded:
    """`operation` if it is one. A string is a TypeError that names the nearest member."""
    if isinstance(operation, Operation | Recorded):
        return operation
    return checked(operation, {str(definition["name"]) for definition in source.definitions()})


def some(source: Source, operations: Operations) -> list[Operation | Recorded] | None:
    """As `members`, None for all, where there must be some. Raises ValueError for none."""
    if operations is None:
        return None
    found = members(source, operations)
    if not found:
        raise ValueError("operations is empty; omit it for all operations")
    return found


def first_ns(source: Source) -> int:
    """When the first sample started, Unix time; of a restricted source, from when on samples are wanted."""
    begin_ns = source.within.start_ns or 0
    known = [part.first_ns for part in source.sound("samples") if part.rows]
    if known and all(first is not None for first in known):
        return max(min(first for first in known if first is not None), begin_ns)
    import pyarrow as pa
    import pyarrow.compute as pc

    from quantum_pulse.reading.tables import read

    lowest = pc.min(read(source, "samples", ["start"], EVERYTHING)["start"]).cast(pa.int64()).as_py()
    return int(lowest or begin_ns)


def last_ns(source: Source) -> int:
    """When the last sample started, as far as the parts say, Unix time."""
    return extent_ns(source)[1]
