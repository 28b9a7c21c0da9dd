"""What MkDocs adds to pages as it reads them: the help of each command, and the files in the repository's root."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

#: A line in a page, and what takes its place: `<!-- help -->`, `<!-- options -->`, or `<!-- include: CHANGELOG.md -->`.
_MARK = re.compile(r"^<!-- (?P<what>help|options|include: (?P<file>[\w.]+)) -->$", re.MULTILINE)
#: Width of the help, in columns, whatever terminal the site is built in.
_COLUMNS = "88"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this with the text of each page."""
    return expanded(markdown)


def expanded(markdown: str) -> str:
    """`markdown` with each mark replaced."""
    return _MARK.sub(_replacement, markdown)


def _replacement(mark: re.Match[str]) -> str:
    if mark["file"]:
        return _included(mark["file"])
    return command_help() if mark["what"] == "help" else command_options()


def _included(name: str) -> str:
    # Links in the repository's root begin with docs/, on the site they do not.
    return (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")


def command_help() -> str:
    """A section for each command with what `quantum-pulse COMMAND --help` prints."""
    sections = [
        f"## {' '.join(parser.prog.split())}\n\n```text\n{text.rstrip()}\n```\n" for parser, text in each_parser()
    ]
    return "\n".join(sections)


def command_options() -> str:
    """A table of the options of the commands, a row for each meaning, with the commands in which it has that."""
    rows: dict[tuple[str, str], list[str]] = {}
    for parser, _ in each_parser()[1:]:
        for action in parser._actions:
            if not action.option_strings or isinstance(action, argparse._HelpAction):
                continue
            value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
            option = ", ".join(f"`{name}{value}`" for name in action.option_strings)
            meaning = parser._get_formatter()._expand_help(action)
            meaning = f"{meaning[:1].upper()}{meaning[1:]}.".replace("|", "\\|")
            rows.setdefault((option, meaning), []).append(f"`{parser.prog.split()[-1]}`")
    lines = [f"| {option} | {', '.join(commands)} | {meaning} |" for (option, meaning), commands in rows.items()]
    return "\n".join(["| Option | Commands | Meaning |", "| --- | --- | --- |", *lines])


def each_parser() -> list[tuple[argparse.ArgumentParser, str]]:
    """The parser of the command line, then that of each command, with the help that it prints."""
    from quantum_pulse import cli

    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _COLUMNS
    try:
        parsers = [cli._parser()]
        for parser in parsers:
            for action in parser._actions:
                if isinstance(action, argparse._SubParsersAction):
                    parsers += dict.fromkeys(action.choices.values())
        return [(parser, parser.format_help()) for parser in parsers]
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
