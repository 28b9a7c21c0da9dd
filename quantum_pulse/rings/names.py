"""The journal beside a ring, which says what the numbers in it mean."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import NamedTuple

from quantum_pulse import files, schema
from quantum_pulse.operations import Definition


class Names(NamedTuple):
    """What the journal beside a ring says; see `Contents`. An operation of which nothing is known is None."""

    operations: list[Definition | None]
    errors: list[str]
    anchor_ns: int | None
    written: dict[str, int]
    damage: list[str]


def read_names(ring: Path) -> Names:
    """What the journal beside `ring` says, as far as it can be read."""
    journal = ring.with_suffix(schema.NAMES_SUFFIX)
    operations: dict[int, Definition] = {}
    errors: dict[int, str] = {0: ""}
    anchor_ns = None
    written: dict[str, int] = {}
    damage = []
    try:
        files.check(journal)
        lines = journal.read_bytes().splitlines()
    except OSError as error:
        lines, damage = [], [f"its names cannot be read: {files.reason(error)}"]
    for line in lines:
        try:
            checksum, _, text = line.partition(b" ")
            if int(checksum, 16) != zlib.crc32(text):
                raise ValueError
            entry = json.loads(text)
            if "operation" in entry:
                operations[int(entry["operation"])] = Definition.from_plain(entry["definition"])
            elif "clock_anchor_ns" in entry:
                anchor_ns = int(entry["clock_anchor_ns"])
            elif "link" in entry:
                continue  # for whoever finds it in a folder of its own
            elif "written" in entry:
                written = {str(table): int(rows) for table, rows in entry["written"].items()}
            else:
                errors[int(entry["error"])] = str(entry["name"])
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError):
            damage.append("a line of its names makes no sense")
    if len(operations) > 1_000_000 or max(operations, default=0) > 10_000_000 or max(errors) > 10_000_000:
        return Names([], [""], anchor_ns, written, ["its names make no sense"])
    return Names(
        [operations.get(number) for number in range(max(operations, default=-1) + 1)],
        [errors.get(number, "?") for number in range(max(errors) + 1)],
        anchor_ns,
        written,
        damage,
    )
