"""``quantum-pulse report``: write a report on a capture as one file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import quantum_pulse as qp
from quantum_pulse.cli.common import Misuse, add_captures, add_selection, chosen_where, opened, restricted
from quantum_pulse.shown import say

if TYPE_CHECKING:
    from quantum_pulse.cli.common import Commands


def add_command(commands: Commands) -> None:
    report = commands.add_parser(
        "report",
        help="write a report on a capture, as one file to share",
        description="Write a report on a capture into one file. The HTML is self-contained and drills down from "
        "categories to single samples in any browser; markdown is a short form for pull requests and chat, "
        "text one for terminals.",
    )
    add_captures(report)
    add_selection(report)
    report.add_argument(
        "-o", "--output", metavar="FILE", help="output file (default: CAPTURE.html; markdown and text are printed)"
    )
    report.add_argument("--baseline", metavar="CAPTURE", help="another capture to compare with")
    report.add_argument("--format", choices=("html", "markdown", "text"), help="default: by suffix of FILE, or html")
    report.add_argument("--title", help="default: the name of the capture's directory")
    report.add_argument("--open", action="store_true", help="open the report in the browser")
    report.set_defaults(command=_report)


def _report(options: argparse.Namespace) -> int:
    from quantum_pulse.view import formats

    capture = opened(options)
    where = chosen_where(options)
    output = options.output
    if output is None and options.format in (None, "html"):
        output = capture.path.resolve().with_suffix(".html").name
    try:
        kind = options.format or formats.format_of(Path(output))
        if options.open and kind != "html":
            raise Misuse(f"report: --open needs html, not {kind}")
        is_there = output is not None and Path(output).exists()
        baseline = None if options.baseline is None else restricted(qp.open(options.baseline), None, None, where)
        report = capture.report(baseline=baseline, title=options.title)
        path = None if output is None else report.write(output, kind)
    except ValueError as error:
        raise Misuse(f"report: {error}") from error
    except OSError as error:
        raise Misuse(f"report: {output}: {error.strerror or error}") from error
    if path is None:
        say(report.text(kind), end="")
        return 0
    # It is made of the capture and can be made again: replaced without being asked, but not in silence.
    say(f"{path}: {path.stat().st_size / 1000:,.0f} kB{', replaced' if is_there else ''}")
    if options.open:
        import webbrowser

        if not webbrowser.open(path.resolve().as_uri()):
            say(f"quantum-pulse: no browser could be started; open {path} yourself", file=sys.stderr)
    return 0
