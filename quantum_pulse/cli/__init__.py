"""The command line: ``quantum-pulse`` and ``python -m quantum_pulse``. A module per command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

import quantum_pulse as qp
from quantum_pulse.cli import compare, demo, export, lab, overhead, recover, report, run, stats
from quantum_pulse.cli.common import Misuse
from quantum_pulse.errors import QuantumPulseError

#: In the order in which --help shows them.
COMMANDS: Final = (demo, run, stats, report, lab, compare, export, overhead, recover)

_EXAMPLES = """\
examples:
  quantum-pulse demo                              record a trading engine at work and show what is slow in it
  quantum-pulse run server.py --port 8080         record a script; its own arguments come after it
  quantum-pulse run --into captures/t -m tests    the same for a module
  quantum-pulse stats captures/t                  the table of a capture
  quantum-pulse stats captures/t --sort p99_us --top 10
  quantum-pulse stats captures/* --by capture,operation
  quantum-pulse report captures/t -o t.html       one file to send: it opens anywhere and drills down
  quantum-pulse lab captures/t                    the same in JupyterLab, down to every single call
  quantum-pulse compare captures/main captures/branch --format markdown
  quantum-pulse export captures/t -o t.trace.json every sample, for Perfetto; others: parquet csv arrow json prom

what a script records is what it marks: `with Op.MEMBER:` or `@Op.MEMBER`, Op being a quantum_pulse.Operation.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 for what --fail-on names, 2 for misuse, or that of the
    program that was run."""
    parser = _parser()
    try:
        options = parser.parse_args(argv)
    except SystemExit as error:  # argparse has said why
        return error.code if isinstance(error.code, int) else 2
    if options.command is None:
        parser.print_help()
        return 2
    try:
        code: int = options.command(options)
        return code
    except (QuantumPulseError, Misuse) as error:
        print(f"quantum-pulse: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("quantum-pulse: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has gone. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="quantum-pulse",
        description="Record every sample of named operations, and read the recordings.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"quantum-pulse {qp.__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add_command(commands)
    return parser
