"""``quantum-pulse compare``: compare captures, for CI."""

from __future__ import annotations

import argparse
import json
import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import quantum_pulse as qp
from quantum_pulse.analysis.compared import FAIL_ON, USUAL_FAIL_ON
from quantum_pulse.cli.common import (
    NOTHING_MEASURED,
    Misuse,
    add_operations,
    add_selection,
    chosen_operations,
    chosen_where,
    moment,
    restricted,
)
from quantum_pulse.shown import say

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.analysis import Comparison
    from quantum_pulse.cli.common import Commands

    Moment = str | float | None


def add_command(commands: Commands) -> None:
    compare = commands.add_parser(
        "compare",
        help="compare captures: what got slower?",
        description="Compare captures, operation by operation and quantile by quantile: what regressed, what improved, "
        "what is unchanged, and what is inconclusive. Several captures per side, separated by commas, account for the "
        "variation from run to run; with one each, --history does. Exit status: 0, 1 if anything named by --fail-on "
        "was found, 2 for misuse, 3 if nothing could be compared because a side has no calls.",
    )
    compare.add_argument("baseline", metavar="BASE", help="a capture, or several: captures/a,captures/b")
    compare.add_argument("current", metavar="CURRENT", help="the captures to judge, in the same form")
    compare.add_argument(
        "--fail-on",
        metavar="WHAT",
        type=_verdicts,
        default=USUAL_FAIL_ON,
        help=f"what makes the exit status 1: {', '.join(FAIL_ON)}, or none; separate several by commas "
        f"(default: {','.join(USUAL_FAIL_ON)})",
    )
    add_operations(compare)
    add_selection(compare)
    compare.add_argument(
        "--baseline-start", metavar="TIME", type=moment, help="start of the time interval of BASE, if it is another"
    )
    compare.add_argument(
        "--baseline-end", metavar="TIME", type=moment, help="end of the time interval of BASE, if it is another"
    )
    compare.add_argument("--format", choices=("text", "markdown", "json"), default="text", help="default: text")
    compare.add_argument("--min-effect", metavar="SHARE", type=float, default=0.05, help="smallest change that matters")
    compare.add_argument("--alpha", metavar="SHARE", type=float, default=0.05, help="accepted false discovery rate")
    compare.add_argument(
        "--keep-warmup", action="store_true", help="include the first samples, which are still warming up"
    )
    compare.add_argument(
        "--history", metavar="DIR", help="earlier runs, which show how much runs of the same program differ"
    )
    compare.add_argument("--all", action="store_true", help="also show rows without a finding")
    compare.set_defaults(command=_compare)


def _verdicts(text: str) -> tuple[str, ...]:
    wanted = tuple(word.strip() for word in text.split(","))
    if wanted == ("none",):
        return ()
    for word in wanted:
        if word == "none":
            raise argparse.ArgumentTypeError(f"'none' cannot be combined with other values; remove it from {text!r}")
        if word not in FAIL_ON:
            raise argparse.ArgumentTypeError(f"{word!r} is not one of {', '.join(FAIL_ON)}, or none")
    return wanted


def _side(text: str, start: Moment, end: Moment, options: argparse.Namespace) -> list[qp.Capture]:
    """The captures that an argument names, at some time. Raises Misuse for a comma too many."""
    # One whose name holds a comma itself can be named alone.
    paths = [text] if os.path.lexists(text) else text.split(",")
    if len(paths) > 1 and not all(paths):
        raise Misuse(f"compare: {text!r} has an empty name; name captures as in captures/a,captures/b")
    return [restricted(qp.open(path), start, end, chosen_where(options)) for path in paths]


def _compare(options: argparse.Namespace) -> int:
    is_other = options.baseline_start is not None or options.baseline_end is not None
    start, end = (options.baseline_start, options.baseline_end) if is_other else (options.start, options.end)
    before = _side(options.baseline, start, end, options)
    current, *also = _side(options.current, options.start, options.end, options)
    operations = chosen_operations(current, options)
    try:
        found = current.compare(
            before,
            also=also,
            operations=operations,
            min_effect=options.min_effect,
            alpha=options.alpha,
            skip_warmup=not options.keep_warmup,
            history=None if options.history is None else qp.History(options.history),
        )
    except ValueError as error:
        raise Misuse(f"compare: {error}") from error
    if "budget" in options.fail_on:
        budgets = _budgets([current, *also], options)
        if operations is not None:
            budgets = budgets[budgets.index.isin(operations)]
        found = replace(found, budgets=budgets)
    if options.format == "json":
        say(json.dumps(_as_json(found)))
    elif options.format == "markdown":
        say(found.to_markdown(everything=options.all))
    else:
        say(found.to_text(everything=options.all))
    if found.failures(options.fail_on):
        return 1
    return NOTHING_MEASURED if set(found.table["verdict"]) <= {"added", "removed"} else 0


def _budgets(captures: list[qp.Capture], options: argparse.Namespace) -> pd.DataFrame:
    """Those of one side: several captures are several runs."""
    if len(captures) == 1:
        return captures[0].budgets(alpha=options.alpha)
    together = qp.open([capture.path for capture in captures])
    return restricted(together, options.start, options.end, chosen_where(options)).budgets(alpha=options.alpha)


def _as_json(found: Comparison) -> dict[str, Any]:
    def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
        return json.loads(frame.to_json(orient="records"))  # type: ignore[no-any-return]

    content: dict[str, Any] = {
        "verdict": found.verdict,
        "summary": found.summary,
        "rows": rows(found.judged),
        "groups": rows(found.groups),
        "improvement_groups": rows(found.improvement_groups),
        "shifts": rows(found.shifts),
        "batches": rows(found.batches),
        "warmup": rows(found.warmup),
        "unfinished": {
            "still_recorded": found.unfinished.still_recorded,
            "calls": [
                {
                    "operation": call.operation,
                    "state": call.state,
                    "calls": call.calls,
                    "elapsed_us": None if math.isnan(call.elapsed_ns) else call.elapsed_ns / 1000,
                }
                for call in found.unfinished.calls
            ],
        },
    }
    if (budgets := found.budgets) is not None:
        missed = budgets[budgets["verdict"] == "missed"]
        content["over_budget"] = {str(name): float(share) for name, share in missed["share"].items()}
        content["budgets"] = rows(budgets.reset_index())
    return content
