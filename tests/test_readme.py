"""What the README shows works as it stands."""

import os
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


def test_it_is_read_in_one_go():
    assert len(README.splitlines()) <= 150


def test_what_the_first_example_has_recorded(folder):
    assert qp.open(folder / "captures" / "first").stats()["count"].tolist() == [10_000]


def test_a_variable_records_without_a_line_changed(folder):
    (variable,) = set(re.findall(r"`QUANTUM_PULSE=(\S+)`", README))
    code = "import quantum_pulse as qp\nclass Job(qp.Operation):\n    STEP = qp.op()\nwith Job.STEP: pass"
    subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**os.environ, "QUANTUM_PULSE": variable}, check=True, timeout=60
    )
    assert qp.open(folder / variable).stats()["count"].tolist() == [1]


def test_the_sql(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (statement,) = blocks("sql")
    rows = duckdb.sql(statement).fetchall()
    assert [name for name, _ in rows] == ["Shop.PARSE"]


def test_the_commands(folder, monkeypatch):
    monkeypatch.chdir(folder)
    lines = "".join(blocks("sh")).splitlines() + re.findall(r"`(quantum-pulse \w+ [^`]+)`", README)
    commands = [shlex.split(line, comments=True) for line in lines if line.strip()]
    assert {command[1] for command in commands} >= {"demo", "test", "stats", "report", "compare", "lab"}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in commands:
        if command[0] == "make":
            assert command[1] in targets
        elif command[1] == "lab":
            pass  # tests/explorer/test_lab.py opens it
        elif command[1] == "compare":
            assert cli.main(command[1:]) in (0, 1), "the machine decides"
        else:
            assert cli.main(command[1:]) == 0


def test_what_it_links_to_is_there():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_benchmarks_that_it_names_are_there():
    for name in re.findall(r"ONLY=(\w+)", README):
        assert (ROOT / "tests" / "perf" / f"{name}.py").exists(), name


def test_the_figures_are_those_of_the_page_about_costs():
    def figures(text):
        return set(re.findall(r"\d[\d.,]* (?:µs|ms|MB|ns|GB)|\b\d\.\d\d\b", text))

    costs = README[README.index("## What it costs") : README.index("## Platforms")]
    page = (ROOT / "docs" / "explanation" / "cost.md").read_text(encoding="utf-8")
    assert figures(costs) <= figures(page)
