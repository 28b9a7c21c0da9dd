"""Where exports go: whole or not at all, never over what is there, and with an error that says what to do."""

import io
import os
import re
import resource
import signal
import subprocess
import sys
import threading

import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse.cli import main
from tests.view.captures import ENGINE

ENDINGS = ("parquet", "csv", "csv.gz", "arrow", "json", "trace.json", "trace.json.gz", "prom")


class Live(qp.Operation):
    STEP = qp.op(budget_us=1)


@pytest.fixture
def command(capsys):
    """The command line's exit code, standard output and standard error."""

    def run(*arguments):
        code = main(["export", *map(str, arguments)])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_says_what_it_wrote(ending, command, tmp_path):
    target = tmp_path / "new" / f"e.{ending}"
    code, out, err = command(ENGINE, "-o", target)
    assert (code, out) == (0, "")
    rows = "17 operations" if ending in ("json", "prom") else "33,479 samples"
    assert err.startswith(f"{target}: {rows}; ")
    assert [file.name for file in target.parent.iterdir()] == [target.name]


def test_what_is_there_stays(command, tmp_path):
    target = tmp_path / "e.json"
    target.write_text("mine")
    code, _, err = command(ENGINE, "-o", target)
    assert (code, "--force" in err, target.read_text()) == (2, True, "mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        qp.open(ENGINE).export(target)
    assert command(ENGINE, "-o", target, "--force")[0] == 0
    assert target.read_text().startswith("{")


def test_a_link_is_followed(tmp_path):
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    qp.open(ENGINE).export(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "x.html"], "parquet"),
        (["-o", "x"], "has no known suffix"),
        (["-o", "-"], "standard output needs a --format: parquet, csv"),
        (["-o", ""], "is empty"),
        (["-o", "x.csv", "--format", "xml"], "openmetrics"),
        (["-o", "x.parquet.gz"], "omit .gz"),
        (["-o", "x.csv", "--table", "sample"], "'stats'"),
        (["-o", "x.json", "--table", "stats"], "parquet, csv, arrow"),
        (["-o", "x.csv", "--operations", "Engine.PARES"], "did you mean Engine.PARSE?"),
        (["-o", "x.csv", "--operations", "Engine.PARSE,zzz"], "it has Engine.ACK_DECODE"),
        (["-o", "x.csv", "--operations", "Engine", "--table", "events"], "by time"),
        (["-o", "x.csv", "--start", "yesterdayish"], "not a valid time"),
        (["-o", "x.csv", "--start", "nan"], "start=nan is not a valid time"),
        (["-o", "x.csv", "--end", "1e30"], "end=1e+30 is too far away"),
        (["-o", "x.csv", "--start", "5", "--end", "1"], "end=1.0 is before start=5.0"),
        (["-o", "."], "Is a directory"),
        ([], "-o"),
    ],
)
def test_misuse_is_2_and_names_the_choices(arguments, said, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(ENGINE, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_and_a_place_that_is_none(command, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("")
    for target, said in ((tmp_path / "folder.csv", "directory"), (tmp_path / "file" / "x.csv", "Not a directory")):
        code, _, err = command(ENGINE, "-o", target, "--force")
        assert code == 2
        assert said in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(command, tmp_path):
    tmp_path.chmod(0o500)
    code, _, err = command(ENGINE, "-o", tmp_path / "x.csv")
    assert (code, "Permission denied" in err) == (2, True)


@pytest.mark.parametrize("kind", ["parquet", "csv", "arrow", "json", "trace", "openmetrics"])
def test_a_full_disk(kind, command):
    code, _, err = command(ENGINE, "-o", "/dev/full", "--format", kind)
    assert (code, "No space left" in err) == (2, True)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_may_not_grow_further_leaves_nothing(ending, tmp_path):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    command = [sys.executable, "-m", "quantum_pulse", "export", str(ENGINE), "-o", str(tmp_path / f"x.{ending}")]
    # Bytecode that could not be written would be reported too.
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (done.returncode, "File too large" in done.stderr) == (2, True), done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["csv", "trace.json", "parquet"])
def test_a_stream_is_the_file(ending, tmp_path):
    kind = ending.split(".")[0]
    qp.open(ENGINE).export(tmp_path / f"x.{ending}")
    command = [sys.executable, "-m", "quantum_pulse", "export", str(ENGINE), "-o", "-", "--format", kind]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0
    assert done.stdout == (tmp_path / f"x.{ending}").read_bytes()
    assert b"standard output: 33,479 samples" in done.stderr


@pytest.mark.parametrize(
    ("target", "kind", "said"),
    [
        ("-", ValueError, "sys.stdout.buffer"),
        ("", ValueError, "is empty"),
        ("x\0.csv", ValueError, "null character"),
        (5, TypeError, "must be a path, such as 'first.parquet', not 5"),
        (None, TypeError, "must be a path, such as 'first.parquet', not None"),
        (b"x.csv", TypeError, "must be a path, such as 'first.parquet', not b'x.csv'"),
        (io.StringIO(), TypeError, "is a text file: open it with 'wb'"),
    ],
)
def test_what_is_neither_a_path_nor_a_binary_file(target, kind, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=re.escape(said)):
        qp.open(ENGINE).export(target, "csv")
    assert list(tmp_path.iterdir()) == []


def test_standard_output_that_is_closed():
    command = f"{sys.executable} -m quantum_pulse export {ENGINE} -o - --format csv >&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2, "quantum-pulse: export: standard output is closed; name a file with -o\n"
    )  # fmt: skip


def test_a_reader_that_has_gone(tmp_path):
    command = f"{sys.executable} -m quantum_pulse export {ENGINE} -o - --format csv | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout.startswith('"operation"')
    assert done.stderr == ""


def test_a_pipe_is_written_to_and_stays(tmp_path):
    pipe, found = tmp_path / "pipe.csv", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    made = qp.open(ENGINE).export(pipe)
    reader.join(10)
    assert pipe.is_fifo()
    assert len(found[0]) == made.bytes


def test_nothing_chosen_is_said(command, tmp_path):
    code, _, err = command(ENGINE, "-o", tmp_path / "x.csv", "--start", "2001-01-01", "--end", "2001-01-02")
    assert code == 0
    assert "no samples: nothing matches" in err
    assert (tmp_path / "x.csv").read_text().startswith('"operation"')


def test_operations_and_times(command, tmp_path):
    samples = qp.open(ENGINE).samples()
    code, _, _ = command(ENGINE, "-o", tmp_path / "x.csv", "--operations", "Engine.PARSE, Engine.RISK", "--end", "0.1")
    chosen = samples[samples["operation"].isin(["Engine.PARSE", "Engine.RISK"])]
    within = chosen["start"] < samples["start"].min() + pd.Timedelta(seconds=0.1)
    assert code == 0
    assert len((tmp_path / "x.csv").read_text().splitlines()) - 1 == within.sum() > 0
    code, _, err = command(ENGINE, "-o", tmp_path / "y.csv", "--operations", "Engine")
    assert (code, "33,479 samples" in err) == (0, True)


def test_several_captures(command, tmp_path):
    code, _, err = command(ENGINE, ENGINE.parent / "slow_exchange", "-o", tmp_path / "x.trace.json")
    assert (code, "135,006 samples" in err) == (0, True)


def test_while_it_is_recorded_and_after_a_kill(tmp_path):
    with qp.record(tmp_path / "c") as recorder:
        with Live.STEP:
            pass
        recorder.flush()
        with Live.STEP:
            pass
        for ending in ENDINGS:
            assert qp.open(tmp_path / "c").export(tmp_path / f"live.{ending}").rows in (1, 2)
    killed = (
        "import os, sys, quantum_pulse as qp\nclass A(qp.Operation):\n    X = qp.op()\nqp.start(sys.argv[1])\n"
        "for _ in range(100):\n    with A.X: pass\nos._exit(9)"
    )
    subprocess.run([sys.executable, "-c", killed, str(tmp_path / "killed")], check=False)
    for ending in ENDINGS:
        made = qp.open(tmp_path / "killed").export(tmp_path / f"killed.{ending}")
        assert made.rows == (1 if ending in ("json", "prom") else 100)


def test_losses_are_said(command, write_capture, tmp_path):
    path = write_capture([[{"duration": 1}], [{"duration": 2}]])
    sorted((path / "samples").iterdir())[1].write_bytes(b"broken")
    code, _, err = command(path, "-o", tmp_path / "x.csv")
    assert (code, "1 samples" in err, "NOT included" in err) == (0, True, True)


def test_an_open_file(tmp_path):
    stream = io.BytesIO()
    made = qp.open(ENGINE).export(stream, "json")
    assert (made.path, made.format, made.bytes) == (None, "json", len(stream.getvalue()))
    assert not stream.closed
