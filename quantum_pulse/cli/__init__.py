"""The command line: ``quantum-pulse`` and ``python -m quantum_pulse``, with a module per command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import quantum_pulse as qp
from quantum_pulse import files
from quantum_pulse.arguments import nearest
from quantum_pulse.cli import (
    compare,
    demo,
    export,
    import_trace,
    lab,
    overhead,
    plan,
    recover,
    report,
    run,
    serve,
    stats,
    why,
)
from quantum_pulse.cli.common import NOTHING_MEASURED, Misuse
from quantum_pulse.errors import EmptyCaptureError, QuantumPulseError
from quantum_pulse.shown import say

#: In the order in which --help shows them.
COMMANDS: Final = (
    demo,
    run,
    stats,
    report,
    lab,
    why,
    serve,
    compare,
    export,
    import_trace,
    plan,
    overhead,
    recover,
)

_EXAMPLES = """\
examples:
  quantum-pulse demo                              record a trading engine and show what is slow in it
  quantum-pulse run server.py --port 8080         record a script; its arguments follow it
  quantum-pulse run --into captures/t -m tests    the same for a module
  quantum-pulse stats captures/t                  show the statistics of a capture
  quantum-pulse stats captures/t --sort p99_us --top 10
  quantum-pulse stats captures/* --by capture,operation
  quantum-pulse report captures/t -o t.html       write a self-contained interactive HTML file
  quantum-pulse lab captures/t                    explore it in JupyterLab, down to single calls
  quantum-pulse serve captures/service            metrics for Prometheus, JSON and a live page, on this machine
  quantum-pulse compare captures/main captures/branch --format markdown
  quantum-pulse export captures/t -o t.trace.json every sample, for Perfetto; also parquet csv arrow json prom
  quantum-pulse import trace.json -o captures/t   make a capture of a trace of Chrome, PyTorch, Perfetto, OpenTelemetry
  quantum-pulse plan --rate 20000 --hosts 100     what a fleet's captures take: disk, upload, time of queries

a script records what it marks with `with Op.MEMBER:` or `@Op.MEMBER`, where Op is a quantum_pulse.Operation.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 for what --fail-on names, 2 for misuse, 3 where nothing was
    measured, or that of the recorded program."""
    try:
        code = _run(argv)
        if sys.stdout is not None:  # it may have been closed
            sys.stdout.flush()  # report write errors here rather than when Python exits
        return code
    except EmptyCaptureError as error:
        say(f"quantum-pulse: {error}", file=sys.stderr)
        return NOTHING_MEASURED
    except (QuantumPulseError, Misuse) as error:
        say(f"quantum-pulse: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        say("quantum-pulse: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has gone.
        _drop_output()
        return 1
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        say(f"quantum-pulse: {where}{files.reason(error)}", file=sys.stderr)
        _drop_output()
        return 2


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser()
    try:
        options = parser.parse_args(argv)
    except SystemExit as error:  # argparse has said why
        return error.code if isinstance(error.code, int) else 2
    if options.command is None:
        parser.print_help()
        return 2
    code: int = options.command(options)
    return code


def _drop_output() -> None:
    """Discard the remaining output: Python would report the error again when it flushes at exit."""
    if sys.stdout is not None:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line."""

    #: Options of all commands: the top-level parser reports those that a command does not have.
    options_of_commands: Sequence[str] = ()

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = list(map(str, action.choices))
            near = nearest(str(value), choices)
            hint = f"did you mean {near}?" if near else f"choose from {', '.join(choices)}"
            raise argparse.ArgumentError(action, f"there is no {str(value)!r}; {hint}")

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ").split()
        if message.startswith("unrecognized") and unknown[0].startswith("--"):
            near = nearest(unknown[0], self.options_of_commands)
            message += f"; did you mean {near}?" if near else ""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
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
    parser.options_of_commands = [name for one in commands.choices.values() for name in one._option_string_actions]
    return parser
