"""``quantum-pulse overhead``: measure the cost of recording, on this machine or in a capture."""

from __future__ import annotations

import argparse
import tempfile
from typing import TYPE_CHECKING, Any

import quantum_pulse as qp
from quantum_pulse.cli.common import (
    Misuse,
    add_captures,
    add_operations,
    add_selection,
    chosen_operations,
    is_restricted,
    opened,
)
from quantum_pulse.shown import say

if TYPE_CHECKING:
    from quantum_pulse.cli.common import Commands

#: Description of each clock; older captures do not name it.
_CLOCKS = {"counter": ", the processor's counter set by CLOCK_MONOTONIC", "monotonic": ", CLOCK_MONOTONIC"}
#: Rows of the table of shares that are shown.
SHOWN = 20


def add_command(commands: Commands) -> None:
    overhead = commands.add_parser(
        "overhead",
        help="measure the cost of recording",
        description="Measure the clock and the cost of a sample on this machine, now. With a capture: show what was "
        "measured when its recording began, and the share of recording overhead in each operation's time.",
    )
    add_captures(overhead, "*")
    add_operations(overhead)
    add_selection(overhead)
    overhead.set_defaults(command=_overhead)


def _overhead(options: argparse.Namespace) -> int:
    if options.captures:
        return _of_capture(opened(options), options)
    if options.operations is not None or is_restricted(options):
        raise Misuse("overhead: --operations, --start, --end and --where need a capture")
    return _here()


def _here() -> int:
    from quantum_pulse import core
    from quantum_pulse.recorder import overhead

    with tempfile.TemporaryDirectory() as folder:
        try:
            measured = overhead.measure(folder)
        except OSError as error:
            raise Misuse(f"overhead: {folder}: {error.strerror or error}") from error
    say(f"{core.core.NAME} core on this machine, now")
    _print({**measured._asdict(), "clock": core.core.clock()})
    return 0


def _of_capture(capture: qp.Capture, options: argparse.Namespace) -> int:
    from quantum_pulse.view import numbers, text
    from quantum_pulse.view.document import Cell, Column, Name, Row, Table

    try:
        shares = capture.overhead(chosen_operations(capture, options))
    except ValueError as error:
        raise Misuse(f"overhead: {error}") from error
    recordings = shares.attrs["recordings"]
    for process in recordings:
        say(f"{process['core']} core, process {process['process']}, at the start of its recording")
        _print(process)
    if not recordings:
        say("the cost of a sample was not measured when this was recorded")
        return 0
    rows = [
        Row(
            [
                Cell(Name(str(name))),
                Cell(numbers.count(row["count"])),
                Cell(numbers.us(row["total_us"])),
                Cell(numbers.us(row["own_us"])),
                Cell(f"{row['share']:.1%}"),
            ]
        )
        for name, row in shares.head(SHOWN).to_dict("index").items()
    ]
    columns = [Column("operation", is_number=False), *map(Column, ("calls", "time", "overhead", "share"))]
    say(f"\n{text.table(Table('', columns, rows, empty='no samples'))}")
    if len(shares) > SHOWN:
        say(f"and {len(shares) - SHOWN} more with smaller shares")
    return 0


def _print(measured: dict[str, Any]) -> None:
    read_ns, step_ns = measured["clock_read_ns"], measured["clock_resolution_ns"]
    say(f"  clock: {read_ns:.0f} ns per reading, resolution {step_ns:.0f} ns{_CLOCKS.get(measured['clock'], '')}")
    say(f"  sample: {measured['sample_ns']:.0f} ns, of which {measured['inside_ns']:.0f} ns are part of its duration")
