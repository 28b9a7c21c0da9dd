"""The command line."""

import fcntl
import os
import struct
import subprocess
import sys
import termios
import threading

import pytest

import quantum_pulse as qp
from quantum_pulse.cli import main
from tests.view.captures import ENGINE

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


def test_import_and_plan(tmp_path, capfd):
    trace = tmp_path / "t.json"
    trace.write_text('[{"ph": "X", "name": "load", "cat": "io", "pid": 1, "tid": 1, "ts": 5, "dur": 2}, {"ph": "X"}]')
    target = tmp_path / "c"
    arguments = ["import", str(trace), "-o", str(target), "--enum", str(tmp_path / "operations.py")]
    assert main(arguments) == 0
    shown = capfd.readouterr()
    assert "1 samples of 2 events" in shown.out
    assert "LOST" in shown.out
    assert "missing in the capture" in shown.err
    assert "class Io(qp.Operation)" in (tmp_path / "operations.py").read_text()
    assert main(["stats", str(target)]) == 0
    assert "refused when the trace was imported" in capfd.readouterr().out
    assert main(arguments) == 2
    assert "--force replaces it" in capfd.readouterr().err
    assert main([*arguments, "--force"]) == 0
    assert main(["import", str(trace), "-o", str(target), "--format", "crome", "--force"]) == 2
    assert "'chrome'" in capfd.readouterr().err
    plan = ["plan", "--rate", "20000", "--operations", "40", "--hosts", "100", "--days", "30"]
    assert main(plan) == 0
    shown = capfd.readouterr().out
    for line in ("samples a day, each host", "disk for 30 days, 100 hosts", "upload, 100 hosts", "timeline of an hour"):
        assert line in shown
    assert main(["plan", "--rate", "-1"]) == 2
    assert "rate must be" in capfd.readouterr().err
    # Last, because output is dropped after an error of a file.
    assert main(["import", str(tmp_path / "none.json"), "-o", str(target)]) == 2
    assert "none.json: No such file" in capfd.readouterr().err


def test_help_shows_examples(capsys):
    assert main(["--help"]) == 0
    assert "quantum-pulse run --into captures/t -m tests" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["run"], ["run", "no-such.py"], ["stats", "no-such"]])
def test_misuse_is_2(arguments, capsys):
    assert main(arguments) == 2
    out = capsys.readouterr()
    assert out.out + out.err


class Cli(qp.Operation):
    FIRST = qp.op(budget_us=1000)
    SECOND = qp.op()


@pytest.fixture
def two(tmp_path):
    """Two captures, of which both operations are in both."""
    for name in ("one", "two"):
        with qp.record(tmp_path / name):
            for _ in range(5):
                with Cli.FIRST, Cli.SECOND:
                    pass
    return str(tmp_path / "one"), str(tmp_path / "two")


@pytest.mark.parametrize(
    ("command", "end"),
    [
        ("stats", []), ("overhead", []), ("report", ["--format", "text"]), ("recover", []),
        ("export", ["-o", "-", "--format", "csv"]),
    ],
)  # fmt: skip
def test_every_command_takes_several_captures(two, command, end, capsysbinary, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main([command, *two, *end]) == 0
    out, err = capsysbinary.readouterr()
    assert out, err
    if command in ("stats", "report", "overhead"):
        assert b"  10  " in out.replace(b"10 calls", b"  10  "), "calls of both together"


@pytest.mark.parametrize(
    ("command", "end"),
    [("stats", []), ("overhead", []), ("compare", ["--all"]), ("export", ["-o", "-", "--format", "csv"])],
)
def test_operations_are_chosen_everywhere(two, command, end, capsysbinary):
    paths = two if command == "compare" else two[:1]
    assert main([command, *paths, *end, "--operations", "Cli.SECOND"]) == 0
    out = capsysbinary.readouterr().out
    assert b"Cli.SECOND" in out
    assert b"Cli.FIRST" not in out
    assert main([command, *paths, *end, "--operations", "Cli.SECNOD"]) == 2
    assert b"did you mean Cli.SECOND?" in capsysbinary.readouterr().err


@pytest.mark.parametrize(
    ("command", "end"), [("stats", []), ("overhead", []), ("export", ["-o", "-", "--format", "csv"])]
)
def test_a_part_of_the_time_is_chosen_everywhere(two, command, end, capsysbinary):
    for arguments, is_there in ((["--start", "1h"], False), (["--end", "1h"], True), (["--start", "0"], True)):
        assert main([command, two[0], *end, *arguments]) == 0
        assert (b"Cli.FIRST" in capsysbinary.readouterr().out) == is_there
    assert main([command, two[0], *end, "--start", "soon"]) == 2
    assert b"start='soon' is not a valid time" in capsysbinary.readouterr().err


def test_what_only_workers_defined_was_defined(tmp_path, capsys):
    (tmp_path / "work.py").write_text(
        "import subprocess, sys\n"
        "code = 'import quantum_pulse as qp\\nclass Job(qp.Operation):\\n    STEP = qp.op()'\n"
        "subprocess.run([sys.executable, '-c', code], check=True)\n"
    )
    into = tmp_path / "capture"
    command = [sys.executable, "-m", "quantum_pulse", "run", "--into", str(into), str(tmp_path / "work.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "no operation was defined" not in done.stderr
    assert "no operation ran during the recording (1 are defined)" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stast"], "there is no 'stast'; did you mean stats?"),
        (["stats", "x", "--unit", "sec"], "--unit: there is no 'sec'; did you mean s?"),
        (["report", "x", "--format", "htm"], "--format: there is no 'htm'; did you mean html?"),
        (["zzzzz"], "choose from demo, run,"),
        (["stats", "x", "--srot", "p99_us"], "unrecognized arguments: --srot p99_us; did you mean --sort?"),
    ],
)
def test_a_mistyped_choice_names_the_nearest(arguments, said, capsys):
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stats", ""], "quantum-pulse: the path of a capture is empty; it must be a path, such as 'captures/monday'"),
        (["stats", "x", "--top", "0"], "argument --top: must be a whole number of at least 1, not '0'; see"),
        (["xyzzy"], "there is no 'xyzzy'; choose from demo"),
        (["run", ""], "quantum-pulse: run: there is no script ''"),
        (["run", "-m", ""], "quantum-pulse: run: there is no module ''"),
        (["run", "--into", "", "job.py"], "quantum-pulse: --into is empty"),
        (["recover", ""], "quantum-pulse: '' does not exist"),
        (["recover", "none"], "quantum-pulse: 'none' does not exist"),
        (["lab", str(ENGINE), "-o", ""], "quantum-pulse: lab: '' is not the name of a notebook"),
        (
            ["lab", str(ENGINE), "-o", "folder.ipynb"],
            "quantum-pulse: lab: 'folder.ipynb' is not the name of a notebook",
        ),
        (["lab", str(ENGINE), "--baseline", ""], "quantum-pulse: the path of a capture is empty"),
        (["demo", "--into", str(ENGINE)], "already holds a capture; choose another directory with --into"),
        (["demo", "--into", "job.py"], "is a file; a capture is a directory"),
    ],
)
def test_misuse_is_one_line(script, tmp_path, monkeypatch, capsys, arguments, said):
    script()
    (tmp_path / "folder.ipynb").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"job.py", "folder.ipynb"}


@pytest.mark.parametrize("arguments", [["-m", "no_such_module"], ["folder"]])
def test_what_cannot_be_run_has_no_traceback(tmp_path, arguments):
    (tmp_path / "folder").mkdir()
    command = [sys.executable, "-m", "quantum_pulse", "run", "--into", "c", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("quantum-pulse: run: ")
    assert "Traceback" not in done.stderr


def test_output_that_nothing_takes():
    command = f"{sys.executable} -m quantum_pulse stats {ENGINE}"

    def run(redirection):
        done = subprocess.run(command + redirection, shell=True, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    assert run(" >/dev/full") == (2, "quantum-pulse: No space left on device\n")
    assert run(" >&-") == (0, "")
    assert run(" | true") == (0, ""), "of true"


SPAWNS = """
import multiprocessing
import quantum_pulse as qp

class Spawned(qp.Operation):
    MASTER = qp.op()
    WORKER = qp.op()

def work(number):
    with Spawned.WORKER:
        return number

if __name__ == "__main__":
    with Spawned.MASTER, multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.map(work, range(3))
        pool.close()
        pool.join()
"""


def test_run_records_workers_that_are_not_forked(tmp_path, monkeypatch):
    monkeypatch.delenv("QUANTUM_PULSE", raising=False)
    (tmp_path / "spawns.py").write_text(SPAWNS)
    command = [sys.executable, "-m", "quantum_pulse", "run", "--into", str(tmp_path / "c"), str(tmp_path / "spawns.py")]
    subprocess.run(command, check=True, timeout=60)
    samples = qp.open(tmp_path / "c").samples()
    assert samples["operation"].value_counts().to_dict() == {"Spawned.WORKER": 3, "Spawned.MASTER": 1}
    assert samples["process"].nunique() == 2


#: Commands whose work takes two seconds, whatever the machine.
SLOW = """
import sys, time
from quantum_pulse.reading import slowest
from quantum_pulse.cli import main
from quantum_pulse.export.exporters import trace

def slowed(function):
    def call(*arguments):
        time.sleep(0.1)
        return function(*arguments)
    return call

slowest.slowest = slowed(slowest.slowest)
trace._Recording.add = slowed(trace._Recording.add)
trace._PROGRESS_ROWS, trace._CHUNK = 1, 1 << 12
sys.exit(main())
"""


def told(arguments, lines):
    """What a command writes to standard error, which is a terminal of so many lines; None: a pipe."""
    command = [sys.executable, "-c", SLOW, *arguments]
    if lines is None:
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", lines, lines and 80, 0, 0))
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        with subprocess.Popen(command, stderr=theirs, stdout=subprocess.PIPE) as child:
            os.close(theirs)
            shown = []
            try:
                while chunk := terminal.read(4096):
                    shown.append(chunk)
            except OSError:
                pass  # that is how a terminal ends whose other side is closed
        assert child.returncode == 0
    return b"".join(shown).decode()


def test_work_over_a_second_shows_progress_in_a_terminal(tmp_path):
    assert "\rreport: " in told(["report", str(ENGINE), "-o", str(tmp_path / "out.html")], 24)
    arguments = ["export", str(ENGINE), "-o", str(tmp_path / "out.trace.json"), "--force"]
    for lines in (24, 0):
        assert "\rtrace: " in told(arguments, lines), f"{lines} lines"
    assert "\r" not in told(arguments, None)
