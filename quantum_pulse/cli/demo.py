"""``quantum-pulse demo``: record a sample program and show what is slow in it."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from typing import TYPE_CHECKING

import quantum_pulse as qp
from quantum_pulse import files, schema
from quantum_pulse.cli.common import Misuse, into, positive, show
from quantum_pulse.shown import say

if TYPE_CHECKING:
    from quantum_pulse.cli.common import Commands
    from quantum_pulse.demo.engine import DemoResult

DEFAULT_MESSAGES = 32_000


def add_command(commands: Commands) -> None:
    demo = commands.add_parser(
        "demo",
        help="record a sample program and show what is slow in it",
        description="Record an order-handling engine (feeds, risk, a loopback exchange, SQLite), check the "
        "capture against the engine's own counts, and show the result. Takes about 15 seconds.",
    )
    demo.add_argument("--into", metavar="DIR", help="where the capture goes (default: captures/demo-TIME)")
    demo.add_argument(
        "--messages", metavar="N", type=positive, default=DEFAULT_MESSAGES, help="feed messages (default: %(default)s)"
    )
    demo.add_argument(
        "--incident", action="store_true", help="slow the exchange down for a while, so that there is something to find"
    )
    demo.set_defaults(command=_demo)


def _demo(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from quantum_pulse.demo import engine
    from quantum_pulse.view import numbers

    path = into(options.into, "demo")
    if (path / schema.MANIFEST).exists():
        raise Misuse(f"demo: {path} already holds a capture; choose another directory with --into")
    say(f"Recording an order-handling engine into {path} ...")
    with (
        qp.record(path, if_exists="error"),
        tqdm(total=options.messages, unit="message", file=sys.stderr, dynamic_ncols=True) as bar,
    ):
        result = engine.run(messages=options.messages, progress=bar.update, incident=options.incident)
    capture = qp.open(path)
    say(
        f"\n{numbers.count(result.orders)} orders and {numbers.count(result.fills)} fills "
        f"in {numbers.duration(result.seconds * 1e9)}.\n"
    )
    agree = _compare_counts(capture, result)
    say()
    show(capture, capture.stats())
    picture = path.with_suffix(".png")
    with files.replacing(picture) as file:
        capture.plot().savefig(file, dpi=150, format="png")
    # As it was called: `make demo` runs it from a virtual environment that is not on the path.
    command = "quantum-pulse" if shutil.which("quantum-pulse") else os.path.relpath(sys.argv[0])
    steps = {
        f"{command} stats {path}": "this table again",
        str(picture): "the same as a chart",
        f"{command} report {path}": "a report as one HTML file, down to single calls",
        "make lab": "start JupyterLab; open notebooks/01-first-pulse.ipynb, or 02-post-mortem.ipynb for the explorer",
        "in Python": f"capture = quantum_pulse.open({str(path)!r}); capture.samples(); capture.metrics()",
    }
    column = max(map(len, steps))
    say("\nNext steps")
    for step, what in steps.items():
        say(f"  {step:<{column}}   {what}")
    return 0 if agree else 1


def _compare_counts(capture: qp.Capture, result: DemoResult) -> bool:
    from quantum_pulse.view import numbers

    sums = capture.stats()["count"].groupby("operation").sum()
    recorded = {str(name): int(calls) for name, calls in sums.items()}
    counted = {str(name): calls for name, calls in result.calls.items() if calls}
    differing = sorted(name for name in recorded.keys() | counted.keys() if recorded.get(name) != counted.get(name))
    if not differing:
        total = numbers.count(sum(counted.values()))
        say(f"The capture is complete: {total} calls counted by the engine = {total} samples in the capture.")
        return True
    say("The capture differs from the counts of the engine:")
    for name in differing:
        say(f"  {name}: {counted.get(name, 0)} calls, {recorded.get(name, 0)} samples")
    return False
