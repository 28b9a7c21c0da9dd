"""What a recording is to the program: nothing of it runs there, and nothing that it starts holds on to the program."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import quantum_pulse as qp
from quantum_pulse.agent.process import NICENESS
from quantum_pulse.rings.places import Place
from tests import agents
from tests.recorder.programs import answer, command, run, start, write
from tests.recorder.work import processes, work

LOOK = """
import gc, json

def text(path):
    with open(path) as file:
        return file.read()

def look():
    modules = {"pyarrow", "numpy", "pandas", "psutil", "asyncio", "multiprocessing.util", "logging"}
    tasks = [task for task in os.listdir("/proc/self/task")]
    return {
        "threads": len(tasks),
        "children": "".join(text(f"/proc/self/task/{task}/children") for task in tasks),
        "modules": sorted(modules & set(sys.modules)),
        "agent": sorted(name for name in sys.modules if name.startswith("quantum_pulse.agent")),
        "hooks": [str(hook.__module__) for hook in gc.callbacks],
        "signals": [str(signal.getsignal(number)) for number in signal.valid_signals()],
        "traced": [str(sys.gettrace()), str(sys.getprofile())],
    }
"""


def test_nothing_of_ours_runs_in_the_program(tmp_path):
    body = LOOK.replace("multiprocessing.util", "-") + (
        "known = set(sys.modules)\n"
        "before = look()\n"
        "with qp.record(path) as recorder:\n"
        "    started = look()\n"
        "    work(1000)\n"
        "    recorder.flush()\n"
        "    gc.collect()\n"
        "    recorder.account()\n"
        "    time.sleep(0.3)\n"
        "    recording = look()\n"
        "print(json.dumps([before, started, recording, look(), sorted(set(sys.modules) - known)]))\n"
    )
    done = run(tmp_path, body)
    assert (done.returncode, done.stderr) == (0, b"")
    before, started, recording, after, loaded = json.loads(done.stdout)
    assert before["threads"] == 1
    assert before["agent"] == []
    assert started == recording
    assert before["hooks"] == []
    assert {name.rpartition(".")[0] for name in recording["hooks"]} <= {"quantum_pulse.core", "quantum_pulse"}
    assert len(recording["hooks"]) <= 2, "the core's own"
    assert {**recording, "hooks": None} == {**before, "hooks": None}
    assert after == before
    assert loaded == [], "all that a recording needs is there before it begins"
    assert len(qp.open(tmp_path / "capture").samples()) == 1000


def stat(pid):
    """Fields of /proc/<pid>/stat, from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def wait_for_end(pid):
    give_up = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():  # nobody's child: it does not stay as a zombie
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_the_agent_has_nothing_to_do_with_the_program(tmp_path):
    body = (
        "import socket, warnings\n"
        "warnings.simplefilter('ignore', ResourceWarning)\n"
        "ours, theirs = socket.socketpair()\n"
        "for one in (ours, theirs):\n"
        "    os.set_inheritable(one.fileno(), True)\n"
        "with qp.record(path) as recorder:\n"
        "    recorder.flush()\n"
        "    print(os.getpid())\n"
        "    sys.stdout.flush()\n"
        "    sys.stdin.read()\n"
    )
    reading, writing = os.pipe()
    with start(tmp_path, body, pass_fds=[writing], cwd=tmp_path) as program:
        os.close(writing)
        assert int(program.stdout.readline()) == program.pid
        pid = agents.pid_of(tmp_path / "capture")
        assert pid != program.pid
        _, parent, group, session = stat(pid)[:4]
        assert int(parent) not in (program.pid, os.getpid())
        assert group == session
        assert int(session) not in (os.getsid(program.pid), os.getpgid(program.pid))
        assert os.getpriority(os.PRIO_PROCESS, pid) == max(NICENESS, os.getpriority(os.PRIO_PROCESS, program.pid))
        assert str(Path(f"/proc/{pid}/cwd").readlink()) == "/"
        held = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
        assert [name for name in held if name.startswith(("pipe:", "socket:"))] == []
        assert [name for name in held if name.startswith(str(tmp_path)) and "/rings/" not in name] == []
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert [line for line in environment if line.startswith((b"QUANTUM_PULSE=", b"QUANTUM_PULSE_INHERITED="))] == []
        program.stdin.close()
        # Whoever waits for the end of what the program writes does not wait for the agent.
        assert select.select([reading], [], [], 30)[0]
        assert os.read(reading, 1) == b""
        assert program.wait(30) == 0
        assert program.stdout.read() == ""
        lingers = Place(str(tmp_path / "capture")).has_agent()
        os.close(reading)
    assert lingers, "else this shows nothing"
    agents.wait_until_gone(tmp_path / "capture")


def test_an_interrupt_of_all_that_the_terminal_has_started(tmp_path):
    """Ctrl-C is for the program, which may go on."""
    body = (
        "signal.signal(signal.SIGINT, lambda *_: print('interrupted', flush=True))\n"
        "with qp.record(path) as recorder:\n"
        "    work(10)\n"
        "    recorder.flush()\n"
        "    print('ready', flush=True)\n"
        "    for line in sys.stdin:\n"
        "        work(10)\n"
        "        recorder.flush()\n"
        "        print(recorder.account()['written'], flush=True)\n"
    )
    path = tmp_path / "capture"
    with start(tmp_path, body, start_new_session=True) as program:
        assert program.stdout.readline() == "ready\n"
        pid = agents.pid_of(path)
        for number in (signal.SIGINT, signal.SIGINT):
            os.killpg(program.pid, number)
            assert program.stdout.readline() == "interrupted\n"
        # And whoever means the agent itself does not mean it so.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
        assert answer(program) == "20"
        assert agents.pid_of(path) == pid
        program.stdin.close()
        assert program.wait(30) == 0
    (process,) = processes(path)
    assert (process["state"], process["account"]["written"]) == ("finished", 20)


def test_the_agent_ends_after_the_last_recording(tmp_path):
    path = tmp_path / "capture"
    with qp.record(path) as recorder:
        work(10)
        recorder.flush()
        pid = agents.pid_of(path)
    assert not (path / "rings").exists(), "at once"
    agents.wait_until_gone(path)
    wait_for_end(pid)
    assert not Path(Place(str(path)).control).exists()


def test_the_agent_serves_the_next_recording_too(tmp_path):
    path = tmp_path / "capture"
    pids = set()
    for _ in range(3):
        with qp.record(path) as recorder:
            work(10)
            recorder.flush()
            pids.add(agents.pid_of(path))
    assert len(pids) == 1
    assert len(qp.open(path).samples()) == 30


def test_the_agent_ends_when_the_capture_is_deleted(tmp_path):
    path = tmp_path / "capture"
    recorder = qp.start(path)
    work(10)
    recorder.flush()
    pid = agents.pid_of(path)
    path.rename(tmp_path / "deleted")
    shutil.rmtree(tmp_path / "deleted")
    wait_for_end(pid)
    work(10)
    recorder.stop()
    assert not path.exists()
    agents.wait_until_gone(path)
    assert not Path(Place(str(path)).control).exists()


def test_a_capture_that_is_deleted_after_its_recording(tmp_path):
    path = tmp_path / "capture"
    with qp.record(path):
        work(10)
    shutil.rmtree(path)
    agents.wait_until_gone(path)
    assert not path.exists()
    assert not Path(Place(str(path)).control).exists()


def test_a_program_that_closes_all_its_files(tmp_path):
    """As one does that becomes a daemon, before it records; then it has no standard streams."""
    body = "os.closerange(0, 256)\nwith qp.record(path) as recorder:\n    work(10)\n    recorder.flush()\n"
    with contextlib.ExitStack() as stack:
        program = stack.enter_context(
            subprocess.Popen(command(write(tmp_path, body), tmp_path / "capture"), stdin=subprocess.DEVNULL)
        )
        assert program.wait(60) == 0
    assert len(qp.open(tmp_path / "capture").samples()) == 10
