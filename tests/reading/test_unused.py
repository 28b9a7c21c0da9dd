"""Operations that were defined and never ran: a capture knows them without the program."""

import signal
import subprocess
import sys

import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from tests.recorder.work import processes

PROGRAM = """
import os, sys, quantum_pulse as qp
class Job(qp.Operation):
    RAN = qp.op("What ran", category="Work")
    DEAD = qp.op("Never reached", category="Work", budget_us=5, priority=1)
with qp.record("capture") as recorder:
    with Job.RAN: pass
    class Late(qp.Operation):
        DEAD = qp.op()
"""
FORKS = """
    for number in range(2):
        if not (pid := os.fork()):
            class Child(qp.Operation):
                DEAD = qp.op()
                RAN = qp.op()
            with Child.RAN: pass
            os._exit(0)
        os.waitpid(pid, 0)
"""


def run(folder, end="", code=0):
    done = subprocess.run([sys.executable, "-c", PROGRAM + end], cwd=folder, check=False)
    assert done.returncode == code
    return qp.open(folder / "capture")


def counts(capture):
    return capture.stats(include_empty=True)["count"].droplevel("category").to_dict()


def test_what_never_ran_is_listed(tmp_path):
    capture = run(tmp_path)
    assert counts(capture) == {"Job.RAN": 1, "Job.DEAD": 0, "Late.DEAD": 0}
    assert capture.definitions().loc["Job.DEAD"].to_dict() == {
        "category": "Work", "description": "Never reached", "priority": 1, "budget_us": 5.0, "changed": "",
    }  # fmt: skip
    assert list(capture.operations) == ["Job.DEAD", "Job.RAN", "Late.DEAD"]
    assert capture.samples(capture.operations.Job.DEAD).empty
    assert capture.stats(operations=[capture.operations.Job.DEAD], include_empty=True)["count"].tolist() == [0]
    # What is listed is no row where nobody has asked for it.
    assert list(capture.stats().index) == [("Work", "Job.RAN")]
    assert capture.budgets().empty
    qp.History(tmp_path / "history").add(capture)
    assert "Job.DEAD" not in capture.report().text("text")
    # The file of a process names only these: what ran is in the footers.
    assert [one["name"] for one in processes(capture.path)[0]["unused"]] == ["Job.DEAD", "Late.DEAD"]


@pytest.mark.parametrize("recovers", [False, True])
def test_of_a_process_that_was_killed(tmp_path, recovers):
    kills = f"    os.kill(os.getpid(), {signal.SIGKILL:d})"
    done = subprocess.run([sys.executable, "-c", PROGRAM + kills], cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL
    if recovers:
        subprocess.run([sys.executable, "-m", "quantum_pulse", "recover", "capture"], cwd=tmp_path, check=True)
    assert counts(qp.open(tmp_path / "capture")) == {"Job.RAN": 1, "Job.DEAD": 0, "Late.DEAD": 0}


def test_while_it_is_recorded_and_of_its_children(tmp_path):
    shown = """
    recorder.flush()
    capture = qp.open("capture")
    assert capture.stats(include_empty=True)["count"].droplevel("category")["Job.DEAD"] == 0, "while it is recorded"
"""
    found = counts(run(tmp_path, shown + FORKS))
    assert found == {"Job.RAN": 1, "Job.DEAD": 0, "Late.DEAD": 0, "Child.RAN": 2, "Child.DEAD": 0}


def test_what_ran_elsewhere_decides_what_it_is(tmp_path):
    """An operation that did not run in one recording has the definition of the samples that it has in another."""
    run(tmp_path)
    changed = PROGRAM.replace("budget_us=5", "budget_us=7").replace("with Job.RAN: pass", "with Job.DEAD: pass")
    subprocess.run([sys.executable, "-c", changed], cwd=tmp_path, check=True)
    row = qp.open(tmp_path / "capture").definitions().loc["Job.DEAD"]
    assert (row["budget_us"], row["changed"]) == (7.0, "budget_us: 5")
    assert counts(qp.open(tmp_path / "capture")) == {"Job.RAN": 1, "Job.DEAD": 1, "Late.DEAD": 0}


def test_a_file_that_makes_no_sense_is_left_out(tmp_path):
    capture = run(tmp_path)
    file = next((capture.path / schema.PROCESSES).glob("*.json"))
    file.write_text(file.read_text().replace('"name": "Job.DEAD"', '"name": 5'))
    again = qp.open(capture.path)
    assert again.losses()["cause"].str.contains("'unused' makes no sense").any()
    assert list(again.operations) == ["Job.RAN"]
