"""``quantum-pulse export``: export a capture for other tools."""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import TYPE_CHECKING

from quantum_pulse.cli.common import (
    Misuse,
    add_captures,
    add_operations,
    add_selection,
    chosen_operations,
    opened,
)
from quantum_pulse.shown import say

if TYPE_CHECKING:
    from quantum_pulse.cli.common import Commands
    from quantum_pulse.export.exporting import Exported


def add_command(commands: Commands) -> None:
    from quantum_pulse.export import formats

    described = "\n".join(f"  {name:<12} {one.about}" for name, one in formats.FORMATS.items())
    export = commands.add_parser(
        "export",
        help="export a capture for other tools",
        description="Write a capture, or part of it, in a format that other tools read.",
        epilog=f"formats:\n{described}\n\nby the suffix of FILE: {' '.join(formats.ENDINGS)}; text also with .gz\n"
        "docs/export.md describes each format.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_captures(export)
    export.add_argument("-o", "--output", metavar="FILE", required=True, help="output file; - is standard output")
    export.add_argument("--format", metavar="FORMAT", help="default: by the suffix of FILE")
    export.add_argument(
        "--table", metavar="TABLE", default="samples",
        help=f"for {', '.join(formats.TABULAR)}, one of: {' '.join(formats.TABLES)} (default: samples)",
    )  # fmt: skip
    add_operations(export)
    add_selection(export)
    export.add_argument("--force", action="store_true", help="replace FILE if it exists")
    export.set_defaults(command=_export)


def _export(options: argparse.Namespace) -> int:
    from quantum_pulse.export import formats

    capture = opened(options)
    is_stream = options.output == "-"
    if is_stream and sys.stdout is None:
        raise Misuse("export: standard output is closed; name a file with -o")
    if is_stream and options.format is None:
        raise Misuse(f"export: standard output needs a --format: {', '.join(formats.FORMATS)}")
    exporter = formats.FORMATS.get(options.format)
    if is_stream and exporter is not None and not exporter.is_text and sys.stdout.isatty():
        raise Misuse(f"export: {options.format} is binary; name a file with -o, or pipe it")
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", UserWarning)
            made = capture.export(
                sys.stdout.buffer if is_stream else options.output,
                options.format,
                table=options.table,
                operations=chosen_operations(capture, options),
                overwrite=options.force,
            )
    except ValueError as error:
        raise Misuse(f"export: {error}") from error
    except BrokenPipeError:
        raise
    except FileExistsError as error:
        raise Misuse(f"export: {options.output} already exists; --force replaces it") from error
    except OSError as error:
        raise Misuse(f"export: {options.output}: {error.strerror or error}") from error
    # On standard error: standard output may be the export.
    say(_said(made, "standard output" if is_stream else options.output), file=sys.stderr)
    for one in warned:
        say(f"quantum-pulse: {str(one.message).replace('operations=', '--operations')}", file=sys.stderr)
    lost = capture.losses()
    if len(lost):
        say("NOT included: samples that were lost or are unreadable; quantum-pulse stats lists them", file=sys.stderr)
    return 0


def _said(made: Exported, where: str) -> str:
    from quantum_pulse.view import numbers

    what = {"stats": "rows of statistics", "metrics": "rows of metrics"}.get(made.what, made.what)
    rows = f"{numbers.count(made.rows)} {what}" if made.rows else f"no {what}: nothing matches the selection"
    return f"{where}: {rows}; {made.format}, {numbers.size(made.bytes)}"
