"""``quantum-pulse recover``: recover the samples that killed processes left behind."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from quantum_pulse import schema
from quantum_pulse.cli.common import Misuse
from quantum_pulse.errors import NotACaptureError
from quantum_pulse.shown import say

if TYPE_CHECKING:
    from quantum_pulse.cli.common import Commands


def add_command(commands: Commands) -> None:
    recover = commands.add_parser(
        "recover",
        help="recover the samples that killed processes left in a capture",
        description="Write the samples that killed processes had finished, but not yet written, into parts of their "
        "capture. Active recordings are left alone. It is safe to run this again.",
    )
    recover.add_argument("captures", metavar="CAPTURE", nargs="+", help="the directory of a capture, or several")
    recover.set_defaults(command=_recover)


def _recover(options: argparse.Namespace) -> int:
    for capture in options.captures:
        if not os.path.lexists(capture):
            raise NotACaptureError(f"{capture!r} does not exist; name the directory of a capture")
        if not (Path(capture) / schema.MANIFEST).is_file():
            raise NotACaptureError(f"{capture} is not a capture: it has no {schema.MANIFEST}")
    for capture in options.captures:
        _recover_one(Path(capture))
    return 0


def _recover_one(path: Path) -> None:
    from quantum_pulse.agent.recover import recover
    from quantum_pulse.view import numbers

    try:
        found = recover(path)
    except OSError as error:
        raise Misuse(f"recover: {path}: {error.strerror or error}") from error
    for one in found:
        say(
            f"process {one.process}: {numbers.count(one.samples)} samples recovered, {numbers.count(one.open)} "
            f"unfinished calls, {numbers.count(one.lost)} samples lost before"
        )
        for damage in one.damage:
            say(f"  damaged: {damage}")
    if not found:
        say("nothing to recover")
