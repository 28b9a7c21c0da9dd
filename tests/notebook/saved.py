"""Notebooks as they are saved: run anew by ``python -m tests.notebook.saved``, after what they show has changed."""

import copy
import re
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
#: Those that show the same each time: what others show are measurements.
FIXED = [path for path in NOTEBOOKS if path.stem == "02-post-mortem"]

#: Of an output, what readers see who have no kernel.
_SHOWN = ("text/plain", "text/html", "image/png", "image/svg+xml")
_PROGRESS = re.compile(r"\w+: +\d+%\|")
_NUMBER = re.compile(r"\b[0-9a-f]{32}\b")


def execute(notebook, folder, **options):
    """Run a notebook from top to bottom."""
    client = nbclient.NotebookClient(
        notebook, timeout=100, kernel_name="python3", resources={"metadata": {"path": str(folder)}}, **options
    )
    return client.execute()


def without_kernel(notebook):
    """A notebook that was run, without what only its kernel could fill: widgets and bars of progress."""
    kept = copy.deepcopy(notebook)
    kept.metadata.pop("widgets", None)
    kept.metadata["language_info"] = {"name": "python"}
    for cell in kept.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_shown, cell.outputs) if output is not None]
    return kept


def _shown(output):
    if "data" not in output:
        return output
    data = {kind: value for kind, value in output["data"].items() if kind in _SHOWN}
    if not data or _PROGRESS.match(str(data.get("text/plain", ""))):
        return None
    output["data"] = data
    return output


def outputs(notebook):
    """What each cell shows, without numbers that are made anew each time."""
    shown = without_kernel(notebook)
    cells = [cell for cell in shown.cells if cell.cell_type == "code"]
    return [[_masked(output) for output in cell.outputs] for cell in cells]


def _masked(output):
    shown = output.get("data", {"text": output.get("text")})
    return {kind: _NUMBER.sub("*", str(value)) for kind, value in shown.items()}


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]) if sys.argv[1:] else FIXED:
        with tempfile.TemporaryDirectory() as folder:
            done = execute(nbformat.read(path, as_version=4), folder)
        nbformat.write(without_kernel(done), path)
        print(f"{path} written")
