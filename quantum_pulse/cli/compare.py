"""``quantum-pulse compare``: did it get slower? Made for CI."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

import quantum_pulse as qp
from quantum_pulse.cli.common import Misuse

if TYPE_CHECKING:
    from quantum_pulse.cli.common import Commands

#: What `compare` may fail on: verdicts, and budgets that the current side breaks.
FAIL_ON = ("regressed", "improved", "inconclusive", "removed", "budget")


def add_command(commands: Commands) -> None:
    compare = commands.add_parser(
        "compare",
        help="did it get slower?",
        description="Compare captures, operation by operation and quantile by quantile: what regressed, what improved, "
        "what is the same, and what cannot be told. Several captures a side, separated by commas, show what varies "
        "from run to run. Exit status: 0, 1 when something was found that --fail-on names, 2 for misuse.",
    )
    compare.add_argument("baseline", metavar="BASE", help="a capture, or several: captures/a,captures/b")
    compare.add_argument("current", metavar="CURRENT", help="the same, of what is to be judged")
    compare.add_argument(
        "--fail-on",
        metavar="WHAT",
        type=_verdicts,
        default=("regressed",),
        help=f"what makes the exit status 1: {', '.join(FAIL_ON)}, or none; several with commas (default: regressed)",
    )
    compare.add_argument("--format", choices=("text", "markdown", "json"), default="text", help="default: text")
    compare.add_argument("--min-effect", metavar="SHARE", type=float, default=0.05, help="smallest change that matters")
    compare.add_argument("--alpha", metavar="SHARE", type=float, default=0.05, help="share of false reports accepted")
    compare.add_argument("--all", action="store_true", help="also rows where nothing was found")
    compare.set_defaults(command=_compare)


def _verdicts(text: str) -> tuple[str, ...]:
    wanted = tuple(word for word in text.split(",") if word)
    if wanted == ("none",):
        return ()
    for word in wanted:
        if word not in FAIL_ON:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(FAIL_ON)}, none")
    return wanted


def _compare(options: argparse.Namespace) -> int:
    from quantum_pulse.view import text

    before, (current, *also) = (
        [qp.open(path) for path in side.split(",")] for side in (options.baseline, options.current)
    )
    try:
        found = current.compare(before, also=also, min_effect=options.min_effect, alpha=options.alpha)
    except ValueError as error:
        raise Misuse(f"compare: {error}") from error
    broken: dict[str, float] = {}
    if "budget" in options.fail_on:
        for capture in (current, *also):
            rows = capture.budgets()
            # The budget is for the p99: more than one call in a hundred was above it.
            broken.update({str(name): float(share) for name, share in rows["share"].items() if share > 0.01})
    if options.format == "json":
        rows = json.loads(found.table.to_json(orient="records"))
        print(json.dumps({"verdict": found.verdict, "summary": found.summary, "over_budget": broken, "rows": rows}))
    else:
        print(
            found.to_markdown(everything=options.all)
            if options.format == "markdown"
            else found.to_text(everything=options.all)
        )
        for name, share in broken.items():
            print(f"over budget: {text.clean(str(name))}, {share:.1%} of its calls")
    verdicts = set(found.table["verdict"])
    return 1 if broken or verdicts & set(options.fail_on) else 0
