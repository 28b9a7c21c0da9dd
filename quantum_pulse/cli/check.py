"""``quantum-pulse check``: do operations keep their budgets? For CI, without a baseline."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree

from quantum_pulse.cli.common import (
    NOTHING_MEASURED,
    Misuse,
    add_captures,
    add_operations,
    add_selection,
    chosen_operations,
    opened,
)
from quantum_pulse.shown import clean, say

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.cli.common import Commands

#: What --fail-on takes: verdicts of `Capture.budgets`.
VERDICTS: Final = ("missed", "inconclusive", "too_few")


def add_command(commands: Commands) -> None:
    check = commands.add_parser(
        "check",
        help="check that operations keep their budgets",
        description="Test the budgets of a capture's operations, op(budget_us=...), without a baseline. Exit status: "
        "0, 1 if any has a verdict that --fail-on names, 2 for misuse, 3 if no operation with a budget was measured.",
    )
    add_captures(check)
    add_operations(check)
    add_selection(check)
    check.add_argument(
        "--fail-on",
        metavar="WHAT",
        type=_verdicts,
        default=("missed",),
        help=f"what makes the exit status 1: {', '.join(VERDICTS)}, or none; separate several by commas "
        "(default: missed)",
    )
    check.add_argument("--alpha", metavar="SHARE", type=float, default=0.05, help="accepted false discovery rate")
    check.add_argument("--format", choices=("text", "markdown", "json", "junit"), default="text", help="default: text")
    check.set_defaults(command=_check)


def _verdicts(text: str) -> tuple[str, ...]:
    wanted = tuple(word.strip() for word in text.split(","))
    if wanted == ("none",):
        return ()
    for word in wanted:
        if word not in VERDICTS:
            raise argparse.ArgumentTypeError(f"{word!r} is not one of {', '.join(VERDICTS)}, or none")
    return wanted


def _check(options: argparse.Namespace) -> int:
    capture = opened(options)
    operations = chosen_operations(capture, options)
    try:
        budgets = capture.budgets(alpha=options.alpha)
    except ValueError as error:
        raise Misuse(f"check: {error}") from error
    if operations is not None:
        budgets = budgets[budgets.index.isin(operations)]
    if not len(budgets):
        say(f"nothing measured: no operation with a budget ran in {capture!r}", file=sys.stderr)
        return NOTHING_MEASURED
    say(_WRITERS[options.format](budgets, options.fail_on))
    return 1 if budgets["verdict"].isin(options.fail_on).any() else 0


def _text(budgets: pd.DataFrame, _: tuple[str, ...]) -> str:
    from quantum_pulse.view import budgets as words

    return words.lines(budgets.to_dict("index"))


def _markdown(budgets: pd.DataFrame, _: tuple[str, ...]) -> str:
    from quantum_pulse.view import budgets as words
    from quantum_pulse.view import markdown

    return markdown.table(words.table(budgets.to_dict("index")))


def _json(budgets: pd.DataFrame, fail_on: tuple[str, ...]) -> str:
    rows = json.loads(budgets.reset_index().to_json(orient="records"))
    return json.dumps({"failed": bool(budgets["verdict"].isin(fail_on).any()), "budgets": rows})


def _junit(budgets: pd.DataFrame, fail_on: tuple[str, ...]) -> str:
    """A test case an operation, as servers of CI show them; what is not known well enough is skipped."""
    from quantum_pulse.view import budgets as words

    failed = budgets["verdict"].isin(fail_on)
    unknown = budgets["verdict"].isin(["inconclusive", "too_few"]) & ~failed
    counts = {"tests": len(budgets), "failures": int(failed.sum()), "skipped": int(unknown.sum())}
    suite = ElementTree.Element("testsuite", {"name": "budgets"} | {name: str(count) for name, count in counts.items()})
    for name, row in words.ordered(budgets):
        case = ElementTree.SubElement(suite, "testcase", classname="budgets", name=clean(name))
        said = f"{words.word(row)}: {clean(words.details(row))}"
        if failed[name]:
            ElementTree.SubElement(case, "failure", message=said)
        elif unknown[name]:
            ElementTree.SubElement(case, "skipped", message=said)
        else:
            ElementTree.SubElement(case, "system-out").text = said
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


_WRITERS: Final = {"text": _text, "markdown": _markdown, "json": _json, "junit": _junit}
