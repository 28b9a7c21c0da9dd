"""The journal beside a ring, which resolves the numbers in the ring."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, Final, NamedTuple

from quantum_pulse import files, records, schema
from quantum_pulse.operations import Definition, definition_of

#: More operations than any program defines: a larger number is damage.
_MOST: Final = 1_000_000


class Names(NamedTuple):
    """The content of the journal beside a ring.

    `operations` are indexed by their numbers; None is an unknown one. `rates` are pairs of the number of an operation
    and a weight that its samples may have beside the declared one. `anchor_ns` converts `start` to Unix time, as of
    the start of the recording. `process` describes the recording at its beginning, and `end` at its end; both are empty
    until they are written. `damage` describes what could not be read.
    """

    operations: list[Definition | None]
    rates: set[tuple[int, int]]
    anchor_ns: int | None
    process: dict[str, Any]
    end: dict[str, Any]
    damage: list[str]


def journal_of(ring: Path) -> Path:
    """The journal beside `ring`."""
    return ring.with_name(f"{ring.name.removesuffix(schema.RING_SUFFIX)}{schema.NAMES_SUFFIX}")


def read_names(ring: Path) -> Names:
    """Read the journal beside `ring`, as far as that is possible."""
    journal = journal_of(ring)
    operations: dict[int, Definition] = {}
    rates: set[tuple[int, int]] = set()
    anchor_ns = None
    process: dict[str, Any] = {}
    end: dict[str, Any] = {}
    damage = []
    try:
        lines = files.read(journal).splitlines()
    except OSError as error:
        lines, damage = [], [f"its names cannot be read: {files.reason(error)}"]
    for line in lines:
        try:
            entry = _parsed(line)
            if "operation" in entry:
                operations[_number(entry["operation"])] = _definition(entry["definition"])
            elif "rates" in entry:
                rates |= {(_number(number), _weight(every)) for number, every in entry["rates"].items()}
            elif "clock_anchor_ns" in entry:
                anchor_ns = records.time_ns(entry["clock_anchor_ns"])
            elif "process" in entry:
                process = records.checked_process(dict(entry["process"]))
            elif "end" in entry:
                end = records.checked_end(dict(entry["end"]))
            else:
                raise ValueError("it says nothing")
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError):
            damage.append("a line of its names makes no sense")
    numbers = range(max(operations, default=-1) + 1)
    return Names([operations.get(number) for number in numbers], rates, anchor_ns, process, end, damage)


def _parsed(line: bytes) -> dict[str, Any]:
    """Parse a line of a journal. Raises ValueError."""
    checksum, _, text = line.partition(b" ")
    if int(checksum, 16) != zlib.crc32(text):
        raise ValueError("its checksum is wrong")
    entry = json.loads(text)
    if not isinstance(entry, dict):
        raise ValueError("it is no JSON object")
    return entry


def _definition(plain: Any) -> Definition:
    if not records.is_definition(plain):
        raise ValueError("no program defines such an operation")
    return definition_of(plain)


def _weight(value: Any) -> int:
    if not 1 <= int(value) < 1 << 31:
        raise ValueError("no sample represents so many calls")
    return int(value)


def _number(value: Any) -> int:
    if not 0 <= int(value) <= _MOST:
        raise ValueError("no program defines so many")
    return int(value)
