"""A typo is an error of the type checker: programs with marked mistakes, under mypy and under pyright's engine."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))
MARK = "  # error"


def marked(program):
    """Numbers of the lines of `program` that must be refused."""
    lines = program.read_text().splitlines()
    return [number for number, line in enumerate(lines, 1) if line.endswith(MARK)]


@pytest.fixture(scope="module")
def by_mypy():
    """For each program, the lines that mypy refuses and what it says of them."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context"]
    done = subprocess.run([*command, *map(str, PROGRAMS)], cwd=ROOT, capture_output=True, text=True, check=False)
    found = {program: {} for program in PROGRAMS}
    for line in done.stdout.splitlines():
        match = re.fullmatch(r"(.+?):(\d+): error: (.*)", line)
        if match:
            found[ROOT / match[1]].setdefault(int(match[2]), match[3])
    return found


@pytest.fixture(scope="module")
def by_pyright(tmp_path_factory):
    """For each program, the lines that pyright refuses and what it says of them."""
    folder = tmp_path_factory.mktemp("pyright")
    settings = {"include": list(map(str, PROGRAMS)), "typeCheckingMode": "standard", "extraPaths": [str(ROOT)]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run([*command, "-p", str(folder)], cwd=folder, capture_output=True, text=True, check=False)
    found = {program: {} for program in PROGRAMS}
    for one in json.loads(done.stdout)["generalDiagnostics"]:
        if one["severity"] == "error":
            found[Path(one["file"])].setdefault(one["range"]["start"]["line"] + 1, one["message"])
    return found


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
@pytest.mark.parametrize("checker", ["by_mypy", "by_pyright"])
def test_what_is_refused(program, checker, request):
    found = request.getfixturevalue(checker)[program]
    assert list(found) and sorted(found) == marked(program), found  # noqa: PT018 - one without the other says nothing
