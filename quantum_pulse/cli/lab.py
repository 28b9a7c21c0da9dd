"""``quantum-pulse lab``: open JupyterLab with a notebook for a capture."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import quantum_pulse as qp
from quantum_pulse import files
from quantum_pulse.cli.common import Misuse, add_captures, add_selection, chosen_where, opened
from quantum_pulse.shown import say

if TYPE_CHECKING:
    from quantum_pulse.cli.common import Commands

#: Without it JupyterLab asks which one to start.
_KERNEL: Final = {"name": "python3", "display_name": "Python 3", "language": "python"}
_TEXT: Final = """\
# {name}

What is slow, since when, and why? Run the cell, then drill down from an operation to a time interval to a single call.
"""
_CODE: Final = """\
import quantum_pulse as qp

capture = qp.open({path!r})
capture.explore({arguments})"""


def add_command(commands: Commands) -> None:
    lab = commands.add_parser(
        "lab",
        help="open JupyterLab with a notebook for a capture",
        description="Write a notebook that explores a capture, unless it already exists, and open it in JupyterLab. "
        "The server listens on this machine only, and ends with Ctrl-C.",
    )
    add_captures(lab)
    add_selection(lab)
    lab.add_argument(
        "-o", "--output", metavar="NOTEBOOK", help="the notebook (default: CAPTURE.ipynb, in this directory)"
    )
    lab.add_argument("--baseline", metavar="CAPTURE", help="another capture to compare with")
    lab.add_argument("--no-browser", action="store_true", help="only print the address of the server")
    lab.set_defaults(command=_lab)


def _lab(options: argparse.Namespace) -> int:
    capture = opened(options)  # report its errors here rather than in a cell
    if options.baseline is not None:
        qp.open(options.baseline)
    if importlib.util.find_spec("jupyterlab") is None:
        raise Misuse("lab: JupyterLab is not installed; pip install jupyterlab")
    name = f"{capture.path.resolve().name}.ipynb" if options.output is None else options.output
    target = Path(name)
    if target.suffix != ".ipynb" or target.is_dir():
        raise Misuse(f"lab: {name!r} is not the name of a notebook; use a file name that ends in .ipynb")
    if target.exists():
        say(f"{target} already exists and is left unchanged")
    else:
        _write(target, capture.path.resolve().name, options)
    command = [sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", str(target)]
    if options.no_browser:
        command.append("--no-browser")
    sys.stdout.flush()
    os.execv(sys.executable, command)


def _write(target: Path, name: str, options: argparse.Namespace) -> None:
    import nbformat

    def from_there(path: str) -> str:
        # A notebook runs in its own directory.
        return os.path.relpath(path, target.parent)

    new: Any = nbformat.v4
    given = {
        "baseline": None if options.baseline is None else from_there(options.baseline),
        "start": options.start,
        "end": options.end,
        "where": chosen_where(options),
    }
    arguments = ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
    paths = [from_there(path) for path in options.captures]
    cells = [
        new.new_markdown_cell(_TEXT.format(name=name)),
        new.new_code_cell(_CODE.format(path=paths[0] if len(paths) == 1 else paths, arguments=arguments)),
    ]
    notebook = nbformat.writes(new.new_notebook(cells=cells, metadata={"kernelspec": _KERNEL}))  # type: ignore[no-untyped-call]
    try:
        with files.replacing(target) as file:
            file.write(f"{notebook}\n".encode())
    except OSError as error:
        raise Misuse(f"lab: {target}: {error.strerror or error}") from error
    say(f"{target} written")
