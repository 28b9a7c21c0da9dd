"""The command line."""

import subprocess
import sys
import threading

import pytest

import quantum_pulse as qp
from quantum_pulse.cli import main

SCRIPT = """
import sys
import threading
import quantum_pulse as qp

class Job(qp.Operation):
    STEP = qp.op("A step", category="Work")

def later():
    with Job.STEP:
        pass

assert __name__ == "__main__"
with Job.STEP:
    print(sys.argv[1:])
threading.Timer(0.2, later).start()
"""


@pytest.fixture
def script(tmp_path):
    def write(end=""):
        file = tmp_path / "job.py"
        file.write_text(SCRIPT + end)
        return str(file)

    return write


def test_help_shows_examples(capsys):
    assert main(["--help"]) == 0
    assert "quantum-pulse run --into captures/t -m tests" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["run"], ["run", "no-such.py"], ["stats", "no-such"]])
def test_misuse_is_2(arguments, capsys):
    assert main(arguments) == 2
    out = capsys.readouterr()
    assert out.out + out.err


@pytest.mark.parametrize(
    ("end", "code"), [("", 0), ("sys.exit(7)", 7), ("sys.exit('so')", 1), ("raise ValueError('on purpose')", 1)]
)
def test_run_keeps_the_exit_code_and_the_capture(script, tmp_path, capsys, end, code):
    argv, threads = sys.argv[:], threading.active_count()
    assert main(["run", "--into", str(tmp_path / "c"), script(end), "-m", "--into", "x"]) == code
    out = capsys.readouterr()
    assert "['-m', '--into', 'x']" in out.out
    assert ("ValueError: on purpose" in out.err) == ("ValueError" in end)
    assert "run.py" not in out.err, "our own frames tell nobody anything"
    assert qp.open(tmp_path / "c").stats()["count"].tolist() == [2]
    assert sys.argv == argv
    assert threading.active_count() == threads


def test_run_a_module(script, tmp_path):
    script()
    command = [sys.executable, "-m", "quantum_pulse", "run", "--into", "c", "-m", "job", "--flag"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "['--flag']\n"), done.stderr
    assert qp.open(tmp_path / "c").stats()["count"].tolist() == [2]


def test_stats(script, tmp_path, capsys):
    main(["run", "--into", str(tmp_path / "c"), script()])
    capsys.readouterr()
    assert main(["stats", str(tmp_path / "c")]) == 0
    assert "Job.STEP" in capsys.readouterr().out
    assert main(["stats", str(tmp_path / "c"), "--by", "category"]) == 0
    assert "Work" in capsys.readouterr().out


def test_the_table_can_be_sorted_cut_and_grouped(tmp_path, script, capsys):
    for name in ("a", "b"):
        assert main(["run", "--into", str(tmp_path / name), script()]) == 0
    captures = [str(tmp_path / "a"), str(tmp_path / "b")]
    capsys.readouterr()

    def shown(*options):
        assert main(["stats", *captures, *options]) == 0
        return capsys.readouterr().out.splitlines()

    assert sorted(line.split()[:2] for line in shown("--by", "capture")[2:]) == [["a", "2"], ["b", "2"]]
    assert shown("--by", "capture,operation", "--quantiles", "0.5,0.9999", "--unit", "us")[0].split()[-3:] == [
        "p50", "p9999", "max"
    ]  # fmt: skip
    assert len(shown("--by", "thread", "--sort", "max_us", "--top", "1")) == 3
    assert shown("--min-count", "1000") == ["no samples"]
    assert "Job.STEP" in "".join(shown("--approximate"))
    for wrong in (
        ["--by", "threads"],
        ["--sort", "p98_us"],
        ["--quantiles", "x"],
        ["--quantiles", "99"],
        ["--unit", "h"],
    ):
        assert main(["stats", *captures, *wrong]) == 2
        assert capsys.readouterr().err
