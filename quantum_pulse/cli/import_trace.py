"""``quantum-pulse import``: make a capture of a trace that another tool has written."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import quantum_pulse as qp
from quantum_pulse.cli.common import Misuse
from quantum_pulse.shown import say

if TYPE_CHECKING:
    from quantum_pulse.cli.common import Commands


def add_command(commands: Commands) -> None:
    from quantum_pulse.importers.formats import formats

    described = "\n".join(f"  {one.name:<12} {one.about}" for one in formats().values())
    command = commands.add_parser(
        "import",
        help="make a capture of another tool's trace",
        description="Make a capture of a trace that another tool has written. FILE may be compressed with gzip.",
        epilog=f"formats:\n{described}\n\ndocs/how-to/import.md describes what becomes of each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("file", metavar="FILE", help="the trace")
    command.add_argument("-o", "--output", metavar="CAPTURE", required=True, help="directory of the capture")
    command.add_argument("--format", metavar="FORMAT", help="default: what FILE looks like")
    command.add_argument("--enum", metavar="FILE.py", help="also write the operations as enums in Python")
    command.add_argument("--force", action="store_true", help="replace CAPTURE if it exists")
    command.set_defaults(command=_import)


def _import(options: argparse.Namespace) -> int:
    try:
        made = qp.import_trace(options.file, options.output, format=options.format, overwrite=options.force)
        if options.enum is not None:
            made.write_enum(options.enum)
    except FileExistsError as error:
        hint = "; --force replaces it" if "overwrite" in str(error.strerror) else ""
        reason = str(error.strerror).partition("; overwrite")[0]
        raise Misuse(f"import: {options.output}: {reason}{hint}") from error
    except ValueError as error:
        raise Misuse(f"import: {error}") from error
    say(made)
    if options.enum is not None:
        say(f"{options.enum}: the operations as enums")
    if made.lost:
        lost = sum(made.lost.values())
        say(f"quantum-pulse: {lost:,} events describe calls that are missing in the capture", file=sys.stderr)
    return 0
