"""What a recording says of where it was made."""

import json
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

import quantum_pulse as qp
from quantum_pulse.analysis import environments
from quantum_pulse.recorder import environment


class Op(qp.Operation):
    STEP = qp.op()


def test_it_stands_in_the_capture(tmp_path):
    with qp.record(tmp_path / "capture"), Op.STEP:
        pass
    (file,) = (tmp_path / "capture" / "processes").iterdir()
    found = json.loads(file.read_text())["environment"]
    assert found["cores"] >= 1
    assert found["cpu"]
    assert found["memory_bytes"] > 2**20
    assert found["packages"]["numpy"] == numpy.__version__
    assert found["packages"]["quantum_pulse"] == qp.__version__
    assert found["commit"] == environment.commit(str(Path.cwd()))
    assert found["python"].endswith(".".join(map(str, sys.version_info[:3])))


def git(folder, *arguments):
    subprocess.run(["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@x", *arguments], check=True)


@pytest.mark.parametrize("packed", [False, True])
def test_the_commit(tmp_path, monkeypatch, packed):
    git(tmp_path, "init", "-q")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert environment.found()["commit"] is None, "nothing is committed yet"
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "one")
    if packed:
        git(tmp_path, "pack-refs", "--all")
    head = subprocess.run(["git", "-C", str(tmp_path), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    assert environment.found()["commit"] == head.stdout.strip()
    git(tmp_path, "worktree", "add", "-q", str(tmp_path / "other"), "-b", "branch")
    monkeypatch.chdir(tmp_path / "other")
    assert environment.found()["commit"] == head.stdout.strip()
    git(tmp_path, "checkout", "-q", "--detach")
    monkeypatch.chdir(tmp_path)
    assert environment.found()["commit"] == head.stdout.strip()


HERE = {"cpu": "A", "cores": 2, "load_1m": 0.2, "python": "CPython 3.11.7", "packages": {"numpy": "1", "x": "1"}}


def test_differences():
    assert environments.differences([HERE], [HERE, HERE]) == []
    assert environments.differences([], [HERE]) == []
    there = {**HERE, "cpu": "B", "load_1m": 4.0, "packages": {"numpy": "2", "y": "1"}, "commit": "abc"}
    assert environments.differences([HERE], [there]) == ["CPU: A, now B", "load a core: 0.1, now 2.0", "numpy 1, now 2"]
    idle, busy = ({**HERE, "others": share} for share in (0.1, 0.6))
    said = "other processes used 10 % of the CPU, now 60 %"
    assert environments.differences([idle], [busy, busy]) == [said]
    assert environments.differences([idle, busy], [busy, busy]) == [], "that varies from run to run anyway"
    assert environments.differences([HERE], [busy]) == []
    many = [{"packages": {f"p{place}": version for place in range(9)}} for version in ("1", "2")]
    assert environments.differences(many[:1], many[1:])[-1] == "4 more packages"


def test_a_comparison_warns(tmp_path):
    for name in ("before", "after"):
        with qp.record(tmp_path / name):
            for _ in range(300):
                with Op.STEP:
                    pass
    (file,) = (tmp_path / "before" / "processes").iterdir()
    content = json.loads(file.read_text())
    content["environment"]["cpu"] = "Abacus <5000>"
    file.write_text(json.dumps(content))
    found = qp.open(tmp_path / "after").compare(qp.open(tmp_path / "before"))
    assert found.differences[0].startswith("CPU: Abacus <5000>, now ")
    for shown in (found.to_text(), found.to_markdown(), repr(found)):
        assert "The recording conditions differ: CPU: Abacus" in shown
    assert "Abacus &lt;5000&gt;" in found._repr_html_()
