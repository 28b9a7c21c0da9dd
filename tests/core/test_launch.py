"""Starting a program that has nothing to do with this one."""

import json
import os
import signal
import sys
import threading
import time

import pytest

from tests.core.rig import HAS_NATIVE, MODULES

# What the program tells of itself. Nothing of it is Python's doing: that ignores some signals by itself.
PROGRAM = """
import json, os, sys, time
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
files = {}
for name in os.listdir("/proc/self/fd"):
    try:
        files[name] = os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        pass
found = {
    "arguments": sys.argv[2:], "environment": dict(os.environ), "files": files, "folder": os.getcwd(),
    "parent": os.getppid(), "pid": os.getpid(), "session": os.getsid(0), "group": os.getpgrp(),
    "blocked": int(status["SigBlk"], 16), "ignored": int(status["SigIgn"], 16),
}
with open(sys.argv[1] + ".new", "w") as file:
    json.dump(found, file)
os.rename(sys.argv[1] + ".new", sys.argv[1])
"""


@pytest.fixture(params=MODULES)
def core(request):
    if request.param == "native" and not HAS_NATIVE:
        pytest.skip("it was not built")
    return __import__(MODULES[request.param], fromlist=["launch"])


def arguments(path, *more, program=PROGRAM):
    python = os.fsencode(sys.executable)
    return (python, b"-I", b"-S", b"-c", program.encode(), os.fsencode(path), *more)


def wait_for(path):
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.005)
    return json.loads(path.read_text())


def test_what_it_is_given(core, tmp_path):
    core.launch(arguments(tmp_path / "told", b"one", b"", b"\xff"), (b"A=1", b"B=x=y", b"C="))
    found = wait_for(tmp_path / "told")
    assert found["arguments"] == ["one", "", "\udcff"]
    environment = {name: found["environment"].get(name) for name in "ABC"}
    assert environment == {"A": "1", "B": "x=y", "C": ""}
    assert set(found["environment"]) <= {"A", "B", "C", "LC_CTYPE"}  # that is Python's


def test_it_is_nobodys_child(core, tmp_path):
    core.launch(arguments(tmp_path / "told"), ())
    found = wait_for(tmp_path / "told")
    assert found["parent"] != os.getpid()
    assert found["session"] == found["group"] != os.getsid(0)
    assert found["folder"] == "/"
    with pytest.raises(ChildProcessError):
        os.wait()
    with pytest.raises(ChildProcessError):
        os.waitpid(found["pid"], os.WNOHANG)


def test_its_session_is_its_own(core, tmp_path):
    if core.NAME == "python":
        pytest.skip("it is the session of the process in between, which is gone")
    core.launch(arguments(tmp_path / "told"), ())
    found = wait_for(tmp_path / "told")
    assert found["session"] == found["pid"]


def test_it_has_no_files_of_ours(core, tmp_path):
    opened = [os.open(tmp_path, os.O_RDONLY) for _ in range(300)]
    reading, writing = os.pipe()
    try:
        for descriptor in (*opened, reading, writing):
            os.set_inheritable(descriptor, True)
        core.launch(arguments(tmp_path / "told"), ())
        os.close(writing)
        assert os.read(reading, 1) == b"", "nobody else has the other end"
    finally:
        for descriptor in (*opened, reading):
            os.close(descriptor)
    assert wait_for(tmp_path / "told")["files"] == dict.fromkeys("012", "/dev/null")


def test_where_our_own_files_are_closed(core, tmp_path):
    """A daemon may have closed its standard streams."""
    kept = [os.dup(number) for number in range(3)]
    try:
        for number in range(3):
            os.close(number)
        core.launch(arguments(tmp_path / "told"), ())
    finally:
        for number, copy in enumerate(kept):
            os.dup2(copy, number)
            os.close(copy)
    assert wait_for(tmp_path / "told")["files"] == dict.fromkeys("012", "/dev/null")


def test_it_has_no_signals_of_ours(core, tmp_path):
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        core.launch(arguments(tmp_path / "told"), ())
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {signal.SIGUSR2}, "ours are as they were"
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        signal.signal(signal.SIGUSR1, before)
    found = wait_for(tmp_path / "told")
    assert found["blocked"] == 0
    ignored = {number for number in signal.valid_signals() if found["ignored"] >> number - 1 & 1}
    assert ignored == {signal.SIGPIPE, signal.SIGXFSZ}, "as Python does by itself"


def test_no_signal_tells_of_it(core, tmp_path):
    if core.NAME == "python":
        pytest.skip("the process in between is a child")
    calls = []
    before = signal.signal(signal.SIGCHLD, lambda *_: calls.append(1))
    try:
        for number in range(5):
            core.launch(arguments(tmp_path / f"told{number}"), ())
        for number in range(5):
            wait_for(tmp_path / f"told{number}")
        time.sleep(0.05)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert calls == []


def test_children_that_are_not_waited_for(core, tmp_path):
    """The system waits for children where SIGCHLD is ignored; a start is no error for that."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        core.launch(arguments(tmp_path / "told"), ())
    finally:
        signal.signal(signal.SIGCHLD, before)
    wait_for(tmp_path / "told")


def test_other_children_are_left_alone(core, tmp_path):
    child = os.fork()
    if child == 0:
        os._exit(7)
    time.sleep(0.05)
    core.launch(arguments(tmp_path / "told"), ())
    wait_for(tmp_path / "told")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_many_threads_at_once(core, tmp_path):
    """Others run, record signals and allocate, while a thread starts a program."""
    stopping = threading.Event()
    busy = threading.Thread(target=lambda: [bytes(5000) for _ in iter(stopping.is_set, True)])
    busy.start()
    threads = [
        threading.Thread(target=core.launch, args=(arguments(tmp_path / f"told{number}"), (b"N=%d" % number,)))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [wait_for(tmp_path / f"told{number}") for number in range(8)]
    stopping.set()
    busy.join()
    assert [one["environment"]["N"] for one in found] == [str(number) for number in range(8)]
    assert len({one["pid"] for one in found}) == 8


def test_errors(core, tmp_path):
    (tmp_path / "text").write_text("no program")
    for path, kind in ((b"/none/such", FileNotFoundError), (os.fsencode(tmp_path / "text"), PermissionError)):
        with pytest.raises(kind):
            core.launch((path,), ())
    for name in ("/none/such", b"/none/such"):
        with pytest.raises((TypeError, FileNotFoundError)):
            core.launch((name,), ())
    with pytest.raises(ChildProcessError):
        os.wait()


def test_nonsense_is_refused():
    native = pytest.importorskip(MODULES["native"])
    for nonsense in (
        ((), ()),
        (["/bin/true"], ()),
        (("/bin/true",), ()),
        ((b"/bin/true",), ("A=1",)),
        ((b"a\0b",), ()),
    ):
        with pytest.raises((TypeError, ValueError)):
            native.launch(*nonsense)


def test_it_outlives_this_process(core, tmp_path):
    """Its process group may be killed as a whole."""
    program = "import time\ntime.sleep(0.3)\n" + PROGRAM
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        core.launch(arguments(tmp_path / "told", program=program), ())
        os.killpg(0, signal.SIGKILL)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    wait_for(tmp_path / "told")
