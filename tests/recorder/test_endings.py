"""How a program ends, and what the capture says of it."""

import os
import platform
import re
from pathlib import Path

import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse.recorder import recording
from tests import agents
from tests.recorder.programs import run
from tests.recorder.work import assert_balances, assert_is_whole, processes

#: Before Linux 6.15, how a process ended is known only if its parent was slow to ask.
IS_KNOWN = tuple(map(int, re.findall(r"\d+", platform.release())[:2])) >= (6, 15)

BEGIN = """
qp.start(path, metrics_interval_s=0.01).flush()  # the agent is there
for _ in range(30):
    work(10)
    time.sleep(0.01)
"""
#: What uvicorn does: it shuts down in good order, and then dies of the signal that asked for it.
SHUTDOWN = """
asked = []
known = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
os.kill(os.getpid(), signal.SIGTERM)
while not asked:
    time.sleep(0.001)
work(10, Step.B)
signal.signal(signal.SIGTERM, known)
signal.raise_signal(asked.pop())
"""


def kill(name):
    return f"signal.signal(signal.{name}, signal.SIG_DFL)\nos.kill(os.getpid(), signal.{name})\ntime.sleep(60)\n"


def ended(tmp_path, end, code):
    done = run(tmp_path, BEGIN + end)
    assert done.returncode == code, done.stderr
    path = tmp_path / "capture"
    agents.wait_until_taken(path)
    assert_is_whole(path)
    (process,) = processes(path)
    assert_balances(process["account"])
    assert process["account"]["pending"] == process["account"]["lost"] == 0
    assert process["failure"] is None
    assert process["losses"] == []
    capture = qp.open(path)
    assert capture.losses().empty
    samples, metrics = capture.samples(), capture.metrics()
    assert len(samples) == process["account"]["written"] == process["rows"]["samples"]
    assert len(metrics) == process["rows"]["metrics"]
    # They go on to the end, which is half a second after the start at least.
    assert metrics["time"].iloc[-1] > samples["start"].iloc[-1] - pd.Timedelta(seconds=0.3)
    return process, capture


@pytest.mark.parametrize(
    ("end", "code", "how", "more"),
    [
        ("", 0, "stop", 0),
        ("sys.exit(3)", 3, "stop", 0),
        ("raise KeyError", 1, "stop", 0),
        ("os._exit(0)", 0, "exit status 0", 0),
        ("os._exit(3)", 3, "exit status 3", 0),
        (kill("SIGTERM"), -15, "SIGTERM", 0),
        (kill("SIGHUP"), -1, "SIGHUP", 0),
        (kill("SIGINT"), -2, "SIGINT", 0),
        (SHUTDOWN, -15, "SIGTERM", 10),
    ],
    ids=["end", "exit", "error", "_exit", "_exit 3", "SIGTERM", "SIGHUP", "SIGINT", "shutdown"],
)
def test_programs_that_end_in_good_order(tmp_path, end, code, how, more):
    process, capture = ended(tmp_path, end, code)
    assert process["state"] == "finished"
    assert process["ended"] in ({how} if IS_KNOWN or how == "stop" else {how, None})
    assert process["account"] == {"started": 300 + more, "written": 300 + more, "pending": 0, "open": 0, "lost": 0}
    assert process["unfinished"] == []
    assert process["stopped_ns"] > process["started_ns"]
    assert capture.stats()["count"].sum() == 300 + more


@pytest.mark.parametrize(
    ("end", "code", "how"),
    [
        (kill("SIGTERM"), -15, "SIGTERM"),
        ("os._exit(0)", 0, "exit status 0"),
    ],
    ids=["SIGTERM", "_exit"],
)
@pytest.mark.skipif(not IS_KNOWN, reason="this kernel does not tell how a process ended")
def test_a_program_that_ends_in_the_middle_of_a_block(tmp_path, end, code, how):
    process, _ = ended(tmp_path, f"Step.B.__enter__()\n{end}", code)
    assert (process["state"], process["ended"]) == ("finished", how)
    assert process["account"] == {"started": 301, "written": 300, "pending": 0, "open": 1, "lost": 0}
    assert [block["operation"] for block in process["unfinished"]] == ["Step.B"]


@pytest.mark.parametrize(
    ("end", "code", "how"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", -9, "SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", -11, "SIGSEGV"),
        ("os.abort()", -6, "SIGABRT"),
    ],
    ids=["SIGKILL", "segfault", "abort"],
)
def test_programs_that_die(tmp_path, end, code, how):
    process, capture = ended(tmp_path, f"Step.B.__enter__()\n{end}", code)
    assert process["state"] == "recovered"
    assert process["ended"] in ({how} if IS_KNOWN else {how, None})
    assert process["account"] == {"started": 301, "written": 300, "pending": 0, "open": 1, "lost": 0}
    assert [block["operation"] for block in process["unfinished"]] == ["Step.B"]
    assert capture.unfinished()["operation"].tolist() == ["Step.B"]
    assert capture.stats()["count"].sum() == 300


def test_a_program_that_dies_at_once(tmp_path):
    """Before the agent has looked at it at all."""
    done = run(tmp_path, "qp.start(path)\nwork(10)\nos.kill(os.getpid(), signal.SIGKILL)\n")
    assert done.returncode == -9
    agents.wait_until_taken(tmp_path / "capture")
    (process,) = processes(tmp_path / "capture")
    assert process["account"] == {"started": 10, "written": 10, "pending": 0, "open": 0, "lost": 0}
    assert len(qp.open(tmp_path / "capture").samples()) == 10
    assert_is_whole(tmp_path / "capture")


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(3)"])
def test_forks_that_end(tmp_path, end):
    """They are one recording, which counts how they ended."""
    body = f"""
with qp.record(path) as recorder:
    work(10)
    recorder.flush()
    for _ in range(5):
        if os.fork() == 0:
            work(7)
            time.sleep(0.5)  # so that it is seen; else nobody knows how it ended
            {end}
    for _ in range(5):
        os.wait()
    work(10)
"""
    done = run(tmp_path, body)
    assert (done.returncode, done.stderr) == (0, b"")
    agents.wait_until_taken(tmp_path / "capture")
    assert_is_whole(tmp_path / "capture")
    parent, workers = processes(tmp_path / "capture")
    assert parent["account"]["written"] == 20
    assert workers["account"] == {"started": 35, "written": 35, "pending": 0, "open": 0, "lost": 0}
    how = {"os._exit(3)": "exit status 3", "sys.exit(3)": "stop"}.get(end, "SIGKILL")
    assert workers["workers"] == 5
    if IS_KNOWN:
        assert workers["ended"] == {how: 5}
        assert workers["state"] == ("recovered" if how == "SIGKILL" else "finished")
    samples = qp.open(tmp_path / "capture").samples()
    assert sorted(samples.groupby("process").size()) == [7] * 5 + [20]
    assert not samples.duplicated(["process", "span"]).any()


def test_a_fork_that_lives_on(tmp_path):
    """The process that was started first ends, the agent stays with the other."""
    body = """
qp.start(path)
work(10)
if os.fork() == 0:
    time.sleep(3.5)
    work(7)
    os._exit(0)
"""
    done = run(tmp_path, body, stdout=None, stderr=None, capture_output=False)
    assert done.returncode == 0
    agents.wait_until_taken(tmp_path / "capture", within_s=20)
    samples = qp.open(tmp_path / "capture").samples()
    assert sorted(samples.groupby("process").size()) == [7, 10]
    assert {process["state"] for process in processes(tmp_path / "capture")} == {"finished"}
    assert_is_whole(tmp_path / "capture")


def test_this_process_is_not_alone(tmp_path):
    """A fork of this process, which goes on."""
    with qp.record(tmp_path / "capture") as recorder:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if qp.last is not None and recorder.is_recording and recorder._is_inherited else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert not recorder._is_inherited


@pytest.mark.parametrize("others", ["nobody else", "one that was killed"])
def test_where_nothing_ran_it_says_so_unless_others_have_recorded(tmp_path, monkeypatch, caplog, others):
    """What one left that was killed may still be in its ring."""
    monkeypatch.setattr(recording, "SAY_EMPTY_AFTER_NS", 0)
    recorder = qp.start(tmp_path / "capture")
    if others == "one that was killed":
        ring = recorder._place.rings + "/1-0000ffff.ring"
        Path(ring).write_bytes(b"not yet taken over")
    qp.stop()
    said = any(message.startswith("nothing was recorded into") for message in caplog.messages)
    assert said == (others == "nobody else")
    if others == "one that was killed":
        Path(ring).unlink()
