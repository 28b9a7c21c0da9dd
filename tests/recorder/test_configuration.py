"""Levels, sampling and the like from outside the program, and while it runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import quantum_pulse as qp
from quantum_pulse.errors import RecordingError
from quantum_pulse.recorder import configuration
from quantum_pulse.recorder.configuration import CONFIG, PROFILES, Settings

ROOT = Path(__file__).parents[2]
PROGRAM = """
import subprocess, sys
import quantum_pulse as qp

class Sampled(qp.Operation):
    EACH = qp.op()
    SOME = qp.op(category="Database")
    DETAIL = qp.op(detail=True)

for _ in range(1_000):
    with Sampled.EACH, Sampled.SOME, Sampled.DETAIL:
        pass
if sys.argv[1:] == ["parent"]:
    subprocess.run([sys.executable, __file__], check=True)
"""
FILE = 'profile = "production"\nkeep = "7d"\n[sampling]\nDatabase = 10\n"Sampled.EACH" = 5\n'


class Changing(qp.Operation):
    EACH = qp.op()
    DETAIL = qp.op(detail=True)
    OTHER = qp.op(category="Changing elsewhere", sample_every=10)


def calls(count=1_000):
    for _ in range(count):
        with Changing.EACH, Changing.DETAIL, Changing.OTHER:
            pass


def run(folder, *arguments, **variables):
    (folder / "program.py").write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def rows_and_counts(path):
    capture = qp.open(path)
    samples = capture.samples()
    counts = capture.stats()["count"].droplevel("category").to_dict()
    return {name: (int((samples["operation"] == name).sum()), count) for name, count in counts.items()}


TWO_PROCESSES = {"Sampled.EACH": (400, 2_000), "Sampled.SOME": (200, 2_000)}


def test_a_file_sets_what_a_program_and_its_workers_do_not(tmp_path):
    (tmp_path / "service.toml").write_text(FILE)
    done = run(tmp_path, "program.py", "parent", QUANTUM_PULSE="capture", **{CONFIG: "service.toml"})
    assert done.returncode == 0, done.stderr
    assert rows_and_counts(tmp_path / "capture") == TWO_PROCESSES


def test_options_of_run_count_for_workers_too_and_over_the_file(tmp_path):
    (tmp_path / "service.toml").write_text(FILE)
    done = run(
        tmp_path, "-m", "quantum_pulse", "run", "--into", "capture", "--config", "service.toml", "--level", "full",
        "--sample", "Sampled=4", "--sample", "Sampled.EACH=2", "program.py", "parent",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert rows_and_counts(tmp_path / "capture") == {
        "Sampled.EACH": (1_000, 2_000),
        "Sampled.SOME": (500, 2_000),
        "Sampled.DETAIL": (500, 2_000),
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('levl = "full"', "no option 'levl'; did you mean 'level'?"),
        ('profile = "prodction"', "no profile 'prodction'; did you mean 'production'?"),
        ('level = "everything"', "level must be 'full', 'production' or 'off', not 'everything'"),
        ('on_full = "ignore"', "on_full must be"),
        ('keep = "a while"', "a while"),
        ('[sampling]\n"Trading.PARSE" = 0', "sampling of Trading.PARSE: it must be a whole number from 1"),
        ("sampling = 5", "sampling must map"),
        ("level = ", "is not TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, text, says):
    (tmp_path / "service.toml").write_text(text)
    with pytest.raises(RecordingError) as raised:
        configuration.named_settings(str(tmp_path / "service.toml"))
    assert says in str(raised.value)
    assert "service.toml" in str(raised.value)
    refused = run(tmp_path, "-m", "quantum_pulse", "run", "--config", "service.toml", "program.py")
    assert refused.returncode == 2
    assert says in refused.stderr
    logged = run(tmp_path, "program.py", QUANTUM_PULSE="capture", **{CONFIG: "service.toml"})
    assert logged.returncode == 0, "whoever set the variable may not have written the program"
    assert says in logged.stderr
    assert rows_and_counts(tmp_path / "capture")["Sampled.DETAIL"] == (1_000, 1_000)


def test_files_and_profiles_that_do_not_exist(tmp_path):
    with pytest.raises(RecordingError, match="no profile 'stagin'; did you mean 'staging'"):
        configuration.named_settings("stagin")
    with pytest.raises(RecordingError, match="No such file"):
        configuration.named_settings(str(tmp_path / "nothing.toml"))


@pytest.mark.parametrize("name", PROFILES)
def test_profiles(tmp_path, monkeypatch, name):
    monkeypatch.setenv(CONFIG, name)
    with qp.record(tmp_path / "capture") as recorder:
        calls(10)
    options = recorder._options
    assert (options.level, options.on_full, options.keep) == PROFILES[name][:3]
    with qp.record(tmp_path / "own", level="full", on_full="drop", keep="1d", sampling={}) as recorder:
        pass
    options = recorder._options
    assert (options.level, options.on_full, options.keep) == ("full", "drop", "1d"), "the program's own go first"


def test_a_file_that_is_written_is_read_back(tmp_path):
    chosen = Settings("production", "wait", "20GB", {'a "quoted" é': 3, "Trading.PARSE": 100})
    (tmp_path / "run.toml").write_text(configuration.toml(chosen), encoding="utf-8")
    assert configuration.named_settings(str(tmp_path / "run.toml")) == chosen


def test_changes_while_a_recording_runs(tmp_path):
    with qp.record(tmp_path / "capture") as recorder:
        calls()
        recorder.set_level("production")
        calls()
        recorder.set_level("off")
        calls()
        recorder.set_level("full")
        recorder.set_sampling({Changing: 4, "Changing elsewhere": 100, Changing.EACH: 2})
        calls()
        recorder.set_sampling({})
        calls()
    assert rows_and_counts(tmp_path / "capture") == {
        "Changing.EACH": (1_000 + 1_000 + 500 + 1_000, 4_000),
        "Changing.DETAIL": (1_000 + 250 + 1_000, 3_000),
        "Changing.OTHER": (100 + 100 + 250 + 100, 4_000),
    }
    assert Changing.EACH.probe_every == 1
    assert Changing.OTHER.probe_every == 10


def test_sampling_counts_for_operations_that_are_defined_later(tmp_path):
    with qp.record(tmp_path / "capture", sampling={"Later.ONE": 10}):

        class Later(qp.Operation):
            ONE = qp.op()

        for _ in range(1_000):
            with Later.ONE:
                pass
    assert rows_and_counts(tmp_path / "capture") == {"Later.ONE": (100, 1_000)}
    assert Later.ONE.probe_every == 1


def test_a_forked_child_begins_with_what_was_set_meanwhile(tmp_path):
    with qp.record(tmp_path / "capture") as recorder:
        recorder.set_level("production")
        recorder.set_sampling({Changing.EACH: 10})
        child = os.fork()
        if not child:
            calls()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert rows_and_counts(tmp_path / "capture") == {"Changing.EACH": (100, 1_000), "Changing.OTHER": (100, 1_000)}


def test_what_cannot_be_set(tmp_path):
    with qp.record(tmp_path / "capture") as recorder:
        with pytest.raises(RecordingError, match="level must be"):
            recorder.set_level("some")
        for wrong in ({Changing.EACH: 0}, {Changing.EACH: True}, {Changing.EACH: 1.5}, {5: 5}, {"": 5}, 7):
            with pytest.raises(RecordingError, match="sampling"):
                recorder.set_sampling(wrong)
    for change in (lambda: recorder.set_level("full"), lambda: recorder.set_sampling({})):
        with pytest.raises(RecordingError, match="has ended"):
            change()
    with qp.record(tmp_path / "off", level="off") as recorder:
        recorder.set_level("full")
        with pytest.raises(RecordingError, match="sampling"):
            recorder.set_sampling({Changing.EACH: 0})
    assert not (tmp_path / "off").exists()
