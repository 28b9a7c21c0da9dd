"""The pytest plugin, in runs of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import quantum_pulse as qp

ROOT = Path(__file__).parents[2]

SHOP = """
import time
import pytest
import quantum_pulse as qp

class Shop(qp.Operation):
    PARSE = qp.op("Parsing")

@pytest.mark.parametrize("number", range(60))
def test_parse(number):
    with Shop.PARSE:
        time.sleep({sleep})

class TestCart:
    def test_total(self, pulse):
        with Shop.PARSE:
            pass
        assert pulse.stats().droplevel("category").loc["Shop.PARSE", "count"] == 1
        assert pulse.capture().samples()["operation"].eq("Shop.PARSE").sum() >= 1

def test_nothing(pulse):
    assert "Shop.PARSE" not in pulse.stats().droplevel("category").index if len(pulse.stats()) else True
"""


def run(folder, *options, sleep=0.001, text=None, **environment):
    (folder / "test_shop.py").write_text(SHOP.replace("{sleep}", str(sleep)) if text is None else text)
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:quantum_pulse"),
            *("-p", "quantum_pulse.integrations.pytest_plugin", *options, "test_shop.py"),
        ],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def counts(path):
    return qp.open(path).stats().droplevel("category")["count"].to_dict()


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_a_recorded_run(tmp_path, options):
    done = run(tmp_path, "--pulse-record", "captures/run", *options)
    assert done.returncode == 0, done.stdout
    assert counts(tmp_path / "captures" / "run") == {
        "Shop.PARSE": 61,
        "Tests.test_shop__test_parse": 60,
        "Tests.test_shop__TestCart__test_total": 1,
        "Tests.test_shop__test_nothing": 1,
    }
    capture = qp.open(tmp_path / "captures" / "run")
    assert capture.tree().loc["Tests.test_shop__test_parse > Shop.PARSE", "count"] == 60


def test_a_test_that_fails_is_an_error(tmp_path):
    done = run(tmp_path, "--pulse-record", "run", text="def test_it():\n    raise KeyError('no')\n")
    assert done.returncode == 1
    assert list(qp.open(tmp_path / "run").samples()["error"]) == ["KeyError"]


def test_a_slower_run_says_why_and_fails_where_that_is_asked_for(tmp_path):
    """One run against one cannot tell a slower commit from a slower hour."""
    assert run(tmp_path, "--pulse-record", "base").returncode == 0
    same = run(tmp_path, "--pulse-record", "same", "--pulse-baseline", "base", sleep=0.00101)
    compared = ("--pulse-record", "slower", "--pulse-baseline", "base", "--pulse-fail-on", "differs")
    slower = run(tmp_path, *compared, sleep=0.01)
    assert slower.returncode == 1, slower.stdout
    assert run(tmp_path, "--pulse-record", "again", "--pulse-baseline", "base", sleep=0.01).returncode == 0
    assert "Shop.PARSE" in slower.stdout.partition("quantum_pulse")[2]
    assert "62 passed" in slower.stdout
    assert "= quantum_pulse =" in same.stdout


def test_a_baseline_that_is_not_there(tmp_path):
    done = run(tmp_path, "--pulse-record", "run", "--pulse-baseline", "nowhere")
    assert done.returncode == 1
    assert "no comparison" in done.stdout
    assert "nowhere" in done.stdout


def test_what_fails_a_run_is_one_of_the_verdicts(tmp_path):
    done = run(tmp_path, "--pulse-record", "run", "--pulse-fail-on", "slower")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--pulse-fail-on: 'slower' is not among regressed, improved" in done.stderr + done.stdout


def test_a_baseline_needs_a_recording(tmp_path):
    done = run(tmp_path, "--pulse-baseline", "base")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--pulse-record" in done.stderr + done.stdout


def test_the_fixture_records_on_its_own(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] in ([], ["__pycache__"])


def test_a_recording_from_the_environment_gives_way(tmp_path):
    done = run(tmp_path, "--pulse-record", "run", QUANTUM_PULSE="other")
    assert done.returncode == 0, done.stdout
    assert counts(tmp_path / "run")["Shop.PARSE"] == 61
