"""The agent of a capture: one for all, started again when it is gone, replaced by a thread where there can be none."""

import contextlib
import logging
import os
import signal
import threading
import time
import warnings
from pathlib import Path

import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.errors import RecordingError
from quantum_pulse.recorder import launching, session
from quantum_pulse.rings.places import Place
from tests import agents
from tests.recorder.programs import answer, start
from tests.recorder.work import Step, assert_balances, assert_is_whole, processes, work


def processes_of_agents(capture):
    """Their numbers, also of those that have not become the agent yet."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if os.fsencode(capture) in words and any(b"quantum_pulse.agent" in word for word in words):
                found.add(int(process.name))
    return found


def assert_has(path, count):
    """Each sample once, and none lost."""
    capture = qp.open(path)
    samples = capture.samples()
    assert len(samples) == count
    assert not samples.duplicated(["process", "span"]).any()
    assert capture.losses().empty


# ---- an agent that is killed -----------------------------------------------------------------------------------------


def test_a_flush_starts_another(tmp_path):
    path = tmp_path / "capture"
    pids = set()
    with qp.record(path) as recorder:
        for _ in range(4):
            work(100)
            recorder.flush()
            pids.add(agents.pid_of(path))
            work(100)
            agents.kill(path)
        recorder.flush()
        assert_has(path, 800)
    assert len(pids) == 4
    assert recorder.account() == {"started": 800, "written": 800, "pending": 0, "open": 0, "lost": 0}
    assert_has(path, 800)
    (process,) = processes(path)
    assert process["rows"]["samples"] == 800
    assert process["state"] == "finished"
    agents.wait_until_gone(path)
    assert_is_whole(path)


def test_the_end_starts_another(tmp_path):
    path = tmp_path / "capture"
    with qp.record(path) as recorder:
        work(100)
        recorder.flush()
        work(100)
        agents.kill(path)
    assert recorder.account() == {"started": 200, "written": 200, "pending": 0, "open": 0, "lost": 0}
    assert_has(path, 200)
    agents.wait_until_gone(path)
    assert_is_whole(path)


def test_full_rings_start_another(tmp_path):
    """Nobody asks for anything but room."""
    path = tmp_path / "capture"
    budget = schema.RING_HEADER_BYTES + 4 * schema.SEGMENT_BYTES
    with qp.record(path, budget_bytes=budget, on_full="wait") as recorder:
        work(100)
        recorder.flush()
        first = agents.pid_of(path)
        agents.kill(path)
        work(20_000)
        assert agents.pid_of(path) != first
    assert recorder.account() == {"started": 20_100, "written": 20_100, "pending": 0, "open": 0, "lost": 0}
    assert_has(path, 20_100)


def test_a_fork_starts_another(tmp_path):
    path = tmp_path / "capture"
    with qp.record(path) as recorder:
        work(100)
        recorder.flush()
        agents.kill(path)
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                work(50)
                recorder.flush()
                os._exit(0 if agents.pid_of(path) else 1)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        work(10)
    assert_has(path, 160)
    agents.wait_until_gone(path)
    assert_is_whole(path)


def test_it_is_killed_at_any_moment(tmp_path):
    """While threads record, and while it writes and merges what they have recorded."""
    path, stopping, counts = tmp_path / "capture", threading.Event(), []

    def hammer():
        count = 0
        while not stopping.is_set():
            work(500)
            count += 500
            time.sleep(0.005)
        counts.append(count)

    with qp.record(path) as recorder:
        threads = [threading.Thread(target=hammer) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(6):
            recorder.flush()
            time.sleep(0.02 * number)
            agents.kill(path)
        stopping.set()
        for thread in threads:
            thread.join()
    assert recorder.account() == {
        "started": sum(counts),
        "written": sum(counts),
        "pending": 0,
        "open": 0,
        "lost": 0,
    }
    assert_has(path, sum(counts))
    agents.wait_until_gone(path)
    assert_has(path, sum(counts))
    assert_is_whole(path)


@pytest.mark.parametrize("flushes", [0, 1])
def test_it_is_killed_with_workers(tmp_path, flushes):
    """They have ended, and another agent takes over what the first had not."""
    path = tmp_path / "capture"
    with qp.record(path) as recorder:
        work(10)
        recorder.flush()
        for _ in range(3):
            with agents.stopped(path):
                for _ in range(4):
                    if os.fork() == 0:
                        work(5)
                        os._exit(0)
                for _ in range(4):
                    os.wait()
            for _ in range(flushes):
                recorder.flush()
            agents.kill(path)
            recorder.flush()
    agents.wait_until_gone(path)
    assert_has(path, 10 + 3 * 4 * 5)
    found = processes(path)
    assert sum(process["account"]["written"] for process in found) == 70
    assert sum(process.get("workers", 0) for process in found) == 12
    assert_is_whole(path)


def test_a_program_and_its_agent_are_killed(tmp_path):
    """What is left then is taken over by whoever comes next."""
    path = tmp_path / "capture"
    body = "qp.start(path).flush()\nwork(10)\nStep.B.__enter__()\nprint('ready', flush=True)\nsys.stdin.read()\n"
    with start(tmp_path, body) as program:
        assert program.stdout.readline() == "ready\n"
        agents.kill(path)
        program.kill()
    assert len(agents.rings(path)) == 1
    assert_has(path, 10)
    with qp.record(path):
        work(5)
    agents.wait_until_gone(path)
    assert_has(path, 15)
    assert sorted(process["state"] for process in processes(path)) == ["finished", "recovered"]
    assert_is_whole(path)


# ---- one for all -----------------------------------------------------------------------------------------------------

SERVED = """
print("ready", flush=True)
sys.stdin.readline()
recorder = qp.start(path)
work(10)
recorder.flush()
print(os.getpid(), flush=True)
sys.stdin.readline()
work(10)
qp.stop()
print("stopped", flush=True)
sys.stdin.readline()
"""


def test_programs_that_are_started_at_once_share_one(tmp_path):
    path = tmp_path / "capture"
    with contextlib.ExitStack() as stack:
        programs = [stack.enter_context(start(tmp_path, SERVED, name=f"script{number}.py")) for number in range(4)]
        for program in programs:
            assert program.stdout.readline() == "ready\n"
        for program in programs:
            program.stdin.write("\n")
            program.stdin.flush()
        pids = {int(program.stdout.readline()) for program in programs}
        assert pids == {program.pid for program in programs}
        pid = agents.pid_of(path)
        give_up = time.monotonic() + 10
        while processes_of_agents(path) != {pid}:  # those that came too late have to find that out
            assert time.monotonic() < give_up
            time.sleep(0.01)
        assert len(agents.rings(path)) == 4
        assert_has(path, 40)
        for program in programs:
            assert answer(program) == "stopped"
        assert agents.pid_of(path) == pid
        for program in programs:
            program.communicate("\n")
            assert program.returncode == 0
    assert_has(path, 80)
    agents.wait_until_gone(path)
    assert [process["account"]["written"] for process in processes(path)] == [20] * 4
    assert_is_whole(path)


def test_captures_have_agents_of_their_own(tmp_path):
    with qp.record(tmp_path / "first") as recorder:
        recorder.flush()
        first = agents.pid_of(tmp_path / "first")
    with qp.record(tmp_path / "second") as recorder:
        recorder.flush()
        assert agents.pid_of(tmp_path / "second") != first


def test_a_capture_under_two_names_has_one_agent(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    pids = set()
    for name in ("real", "link"):
        with qp.record(tmp_path / name) as recorder:
            work(5)
            recorder.flush()
            pids.add(agents.pid_of(tmp_path / name))
    assert len(pids) == 1
    assert_has(tmp_path / "real", 10)


def test_two_hundred_recordings_at_full_speed(tmp_path):
    path = tmp_path / "capture"
    for _ in range(200):
        with qp.record(path):
            work()
    assert len(processes_of_agents(path)) <= 2
    assert_has(path, 200)
    found = processes(path)
    assert [process["account"]["written"] for process in found] == [1] * 200
    assert {process["state"] for process in found} == {"finished"}
    assert not (path / "rings").exists()
    agents.wait_until_gone(path)
    assert_is_whole(path)


# ---- a thread instead ------------------------------------------------------------------------------------------------


def our_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("quantum-pulse")]


def test_a_thread_that_was_asked_for(tmp_path):
    path = tmp_path / "capture"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with qp.record(path, writer="thread") as recorder:
            work(100)
            recorder.flush()
            assert our_threads() == ["quantum-pulse-agent"]
            assert processes_of_agents(path) == set()
            assert agents.pid_of(path) == os.getpid()
            assert_has(path, 100)
            work(100)
    assert our_threads() == []
    assert_has(path, 200)
    assert not Place(str(path)).has_agent()
    assert_is_whole(path)
    (process,) = processes(path)
    assert (process["state"], process["ended"]) == ("finished", "stop")


def test_a_thread_and_forks(tmp_path):
    path = tmp_path / "capture"
    with qp.record(path, writer="thread") as recorder:
        work(10)
        recorder.flush()
        for end in (0, 1):
            child = os.fork()
            if child == 0:
                with contextlib.suppress(BaseException):
                    work(5)
                    assert our_threads() == []
                    if end:
                        recorder.flush()
                        recorder.stop()
                    os._exit(0)
                os._exit(1)
            assert os.waitpid(child, 0)[1] == 0
        work(10)
    agents.wait_until_gone(path)
    assert_has(path, 30)
    assert_is_whole(path)


def test_a_thread_where_another_process_has_an_agent(tmp_path):
    path = tmp_path / "capture"
    body = "qp.start(path).flush()\nwork(10)\nprint('ready', flush=True)\nsys.stdin.read()\n"
    with start(tmp_path, body) as program:
        assert program.stdout.readline() == "ready\n"
        with qp.record(path, writer="thread") as recorder:
            work(5)
            recorder.flush()
            assert our_threads() == []
        program.stdin.close()
        assert program.wait(30) == 0
    assert_has(path, 15)


def refuse(*_):
    raise OSError(1, "Operation not permitted")


def test_where_no_process_can_be_started(tmp_path, monkeypatch):
    monkeypatch.setattr(launching.core, "launch", refuse)
    path = tmp_path / "capture"
    with pytest.warns(RuntimeWarning, match=r"writes from a thread of this program.*not permitted") as said:  # noqa: PT031 - one warning in all
        recorder = qp.start(path)
        work(100)
        recorder.flush()
        assert our_threads() == ["quantum-pulse-agent"]
        assert_has(path, 100)
        work(100)
        recorder.flush()
        recorder.stop()
    assert len(said) == 1
    assert our_threads() == []
    assert_has(path, 200)
    assert_is_whole(path)


def test_where_processes_end_at_once(tmp_path, monkeypatch):
    """As where the interpreter cannot be started by itself."""
    launched = []
    monkeypatch.setattr(launching, "STARTING_S", 0.1)
    monkeypatch.setattr(launching.core, "launch", lambda *arguments: launched.append(arguments))
    path = tmp_path / "capture"
    with pytest.warns(RuntimeWarning, match="the agent that was started has ended") as said:  # noqa: PT031 - one warning in all
        recorder = qp.start(path)
        work(100)
        recorder.flush()
        recorder.stop()
    assert len(said) == 1
    assert len(launched) == launching.MOST_ATTEMPTS
    assert_has(path, 100)
    assert our_threads() == []


def test_where_it_is_not_known_how_to_start_python(tmp_path, monkeypatch):
    monkeypatch.setattr(launching.sys, "executable", "")
    for name in ("_base_executable", "prefix", "base_prefix"):
        monkeypatch.setattr(launching.sys, name, "/nowhere", raising=False)
    with pytest.warns(RuntimeWarning, match="no Python interpreter was found"):
        recorder = qp.start(tmp_path / "capture")
    work(5)
    recorder.stop()
    assert_has(tmp_path / "capture", 5)


def no_thread(*_):
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("writer", ["agent", "thread"])
def test_where_nothing_can_be_started(tmp_path, monkeypatch, writer):
    """The program is told, and goes on."""
    path = tmp_path / "capture"
    with monkeypatch.context() as patch:
        patch.setattr(launching.core, "launch", refuse)
        patch.setattr(threading.Thread, "start", no_thread)
        context = pytest.warns(RuntimeWarning) if writer == "agent" else contextlib.nullcontext()
        with context, pytest.raises(RecordingError, match=r"cannot write into .*: can't start new thread"):
            qp.start(path, writer=writer)
        assert session.active() is None
        work(10)
        with pytest.raises(RecordingError, match="nothing is being recorded"):
            qp.stop()
    assert not (path / "rings").exists()
    assert not Place(str(path)).has_agent()
    assert not Path(Place(str(path)).control).exists()
    with qp.record(path):
        work(5)
    assert_has(path, 5)


def test_where_nothing_can_be_started_any_more(tmp_path, monkeypatch, caplog):
    """The agent is killed, and the program has no process and no thread left to start."""
    path = tmp_path / "capture"
    monkeypatch.setattr("quantum_pulse.recorder.recording.LONGEST_WAIT_S", 2)
    recorder = qp.start(path)
    work(10)
    recorder.flush()
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, logger="quantum_pulse"):
        patch.setattr(launching.core, "launch", refuse)
        patch.setattr(threading.Thread, "start", no_thread)
        agents.kill(path)
        with pytest.warns(RuntimeWarning, match="writes from a thread"):  # noqa: PT031
            for _ in range(2):
                work(10)
                recorder.flush()
        account = recorder.account()
    assert_balances(account)
    assert (account["started"], account["written"], account["pending"]) == (30, 10, 20)
    assert len([record for record in caplog.records if "cannot write into" in record.getMessage()]) == 1
    assert_has(path, 30)  # a reader finds what is in the rings
    recorder.stop()  # by now there is room for a thread
    assert recorder.account()["written"] == 30
    assert_has(path, 30)
    agents.wait_until_gone(path)
    assert_is_whole(path)


def test_an_agent_that_hangs(tmp_path, monkeypatch, caplog):
    """The program waits for a while, and goes on; what was not written stays where it can be found."""
    path = tmp_path / "capture"
    monkeypatch.setattr("quantum_pulse.recorder.recording.LONGEST_WAIT_S", 0.5)
    recorder = qp.start(path)
    work(10)
    recorder.flush()
    if not recorder.account()["written"]:  # it takes its time to start
        time.sleep(2)
        recorder.flush()
    with agents.stopped(path):
        work(10)
        before = time.monotonic()
        recorder.flush()
        recorder.stop()
        assert time.monotonic() - before < 5
        assert "nothing has been written for" in caplog.text
        assert_has(path, 20)
    agents.wait_until_gone(path)
    assert_has(path, 20)
    (process,) = processes(path)
    assert (process["state"], process["ended"]) == ("finished", "stop")


def test_a_signal_handler_that_records_and_flushes(tmp_path):
    """It may come at any moment, also while the program waits for the agent."""
    path, times = tmp_path / "capture", []

    def handle(*_):
        work(1, Step.B)
        times.append(1)

    known = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        with qp.record(path) as recorder:
            for _ in range(20):
                work(100)
                recorder.flush()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, known)
    assert times
    counts = qp.open(path).stats()["count"].droplevel("category").to_dict()
    assert counts["Step.A"] == 2000
    assert_balances(recorder.account())


def test_the_thread_holds_nothing_in_a_fork(tmp_path):
    with qp.record(tmp_path / "capture", writer="thread") as recorder:
        recorder.flush()
        child = os.fork()
        if child == 0:
            held = []
            for link in Path("/proc/self/fd").iterdir():
                with contextlib.suppress(OSError):  # what the folder was read with
                    held.append(link.readlink().name)
            os._exit(held.count("agent.lock"))
        assert os.waitpid(child, 0)[1] == 0
