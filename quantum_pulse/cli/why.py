"""``quantum-pulse why``: explain why the slow calls of an operation are slow."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from quantum_pulse.cli.common import Misuse, add_captures, add_selection, opened, recorded
from quantum_pulse.shown import say

if TYPE_CHECKING:
    from quantum_pulse.cli.common import Commands


def add_command(commands: Commands) -> None:
    why = commands.add_parser(
        "why",
        help="explain why the slow calls of an operation are slow",
        description="Explain the time by which the calls above a quantile exceed a typical call: by attributes, "
        "garbage collections, waiting for a CPU, operations that ran beside them, calls inside and more, each with its "
        "share, and what the quantile would be without it.",
    )
    why.add_argument("operation", metavar="OPERATION", help="such as Trading.ORDER_SUBMISSION")
    add_captures(why)
    why.add_argument(
        "--quantile", metavar="SHARE", type=float, default=0.99, help="calls above it are slow (default: 0.99)"
    )
    add_selection(why)
    why.add_argument("--alpha", metavar="SHARE", type=float, default=0.05, help="accepted false discovery rate")
    why.add_argument("--format", choices=("text", "markdown", "json"), default="text", help="default: text")
    why.set_defaults(command=_why)


def _why(options: argparse.Namespace) -> int:
    from quantum_pulse.view import causes as shown

    capture = opened(options)
    names = recorded(capture, options.operation)
    if len(names) != 1:
        raise Misuse(f"why: {options.operation} is {len(names)} operations; choose one, such as {names[0]}")
    try:
        causes = capture.why(names[0], quantile=options.quantile, alpha=options.alpha)
    except ValueError as error:
        raise Misuse(f"why: {error}") from error
    if options.format == "json":
        say(json.dumps({"summary": causes.summary, "causes": json.loads(causes.table.to_json(orient="records"))}))
    else:
        say(shown.as_markdown(causes) if options.format == "markdown" else shown.as_text(causes))
    return 0
