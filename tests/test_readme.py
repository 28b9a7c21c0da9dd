"""What the README shows works as it stands."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

import quantum_pulse as qp
from quantum_pulse import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def run(folder, *examples):
    """What examples print. In a process of their own, or their enums would be known in tests that come later."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(examples)],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the first example has run."""
    folder = tmp_path_factory.mktemp("readme")
    assert "Shop.PARSE" in run(folder, blocks("python")[0])
    for name in ("main", "branch"):
        shutil.copytree(folder / "captures" / "first", folder / "captures" / name)
    return folder


def test_the_first_example_is_short():
    assert len([line for line in blocks("python")[0].splitlines() if line.strip()]) <= 10


def test_the_other_examples(folder):
    assert qp.open(folder / "captures" / "first").stats()["count"].tolist() == [10_000]
    run(folder, "import quantum_pulse as qp", *blocks("python")[1:], "assert Trading.ORDER_SUBMISSION.budget_us == 100")


def test_the_sql(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (statement,) = blocks("sql")
    rows = duckdb.sql(statement).fetchall()
    assert [name for name, _ in rows] == ["Shop.PARSE"]


def test_the_commands(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    lines = "".join(blocks("sh")).splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if line.strip()]
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in commands:
        if command[0] == "make":
            assert command[1] in targets
        elif command[1] == "run":
            Path(command[2]).write_text("import sys\nprint(sys.argv)\n", encoding="utf-8")
            assert cli.main(command[1:]) == 0
            assert str(command[2:]) in capsys.readouterr().out
        elif command[1] == "lab":
            pass  # tests/explorer/test_lab.py opens it
        elif command[1] == "compare":
            assert cli.main(command[1:]) in (0, 1), "the machine decides"
        else:
            assert cli.main(command[1:]) == 0


def test_what_it_links_to_is_there():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target
    for path in re.findall(r"`(quantum_pulse/[a-z_/]+(?:\.py)?)`", README):
        assert (ROOT / path).exists(), path


def test_every_public_method_of_a_capture_is_shown():
    shown = set(re.findall(r"capture\.(\w+)", README))
    methods = {name for name in vars(qp.Capture) if not name.startswith("_")}
    assert methods - shown <= {"path", "categories"}
