"""Programs that record, in processes of their own: how they end, and what they fork."""

import pytest

import quantum_pulse as qp
from tests.recorder.programs import run
from tests.recorder.work import assert_balances, assert_is_whole, processes


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise KeyError('on purpose')", 1),
        ("os._exit(qp.stop() or 4)", 4),
        ("threading.Thread(target=lambda: (time.sleep(0.1), work(5))).start()", 0),
    ],
)
def test_a_program_that_never_stops_its_recording(tmp_path, end, code):
    done = run(tmp_path, f"qp.start(path)\nwork(1000)\n{end}\n")
    assert done.returncode == code, done.stderr
    assert (done.stderr == b"") == (code in (0, 3, 4)), done.stderr
    assert qp.open(tmp_path / "capture").stats()["count"].tolist() == [1005 if "Thread" in end else 1000]
    assert_is_whole(tmp_path / "capture")
    (process,) = processes(tmp_path / "capture")
    assert process["state"] == "finished"


def test_exits_in_the_block(tmp_path):
    done = run(tmp_path, "with qp.record(path):\n    work(10)\n    with Step.B:\n        sys.exit(5)\n")
    assert (done.returncode, done.stderr) == (5, b"")
    samples = qp.open(tmp_path / "capture").samples()
    assert samples["error"].dropna().tolist() == ["SystemExit"]
    assert len(samples) == 11
    assert_is_whole(tmp_path / "capture")


def test_what_runs_at_exit_is_recorded_too(tmp_path):
    """What was registered after us runs before us."""
    done = run(tmp_path, "atexit.register(work, 7, Step.B)\nqp.start(path)\nwork(3)\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert qp.open(tmp_path / "capture").stats()["count"].tolist() == [3, 7]


def test_arguments_that_are_not_text(tmp_path):
    """A program may be given any bytes."""
    done = run(tmp_path, "with qp.record(path):\n    work(3)\n", b"caf\xe9")
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(qp.open(tmp_path / "capture").samples()) == 3
    assert len(processes(tmp_path / "capture")[0]["argv"]) == 3


FORK = """
def child(number):
    work(50)                                    # a child goes on with the parent's recording
    try:
        with qp.record(os.path.join(path, "..", f"own{number}")):
            work(number)
    finally:
        assert not [t for t in threading.enumerate() if t.name.startswith("quantum-pulse")]

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    with qp.record(path):
        work(100)
        children = [context.Process(target=child, args=(number,)) for number in (1, 2)]
        for one in children:
            one.start()
        work(100)
        for one in children:
            one.join()
        assert [one.exitcode for one in children] == [0, 0]
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes(tmp_path, method):
    done = run(tmp_path, FORK, method)
    assert (done.returncode, done.stderr) == (0, b"")
    assert qp.open(tmp_path / "capture").stats()["count"].tolist() == [200 + 50 * 2]
    assert qp.open(tmp_path / "capture").samples()["process"].nunique() == 3
    parent, *children = processes(tmp_path / "capture")
    assert parent["account"]["written"] == 200
    if method == "fork":  # they ended soon, and are one recording
        (workers,) = children
        assert (workers["workers"], workers["ended"]) == (2, {"stop": 2})
        assert workers["account"] == {"started": 100, "written": 100, "pending": 0, "open": 0, "lost": 0}
    else:
        assert [child["account"]["written"] for child in children] == [50, 50]
        assert [child["ended"] for child in children] == ["stop", "stop"]
    assert_is_whole(tmp_path / "capture")
    for number in (1, 2):
        assert qp.open(tmp_path / f"own{number}").stats()["count"].tolist() == [number]
        assert_is_whole(tmp_path / f"own{number}")


SHARED = """
with qp.record(path) as recorder:
    work(100)
    with Step.B:
        child = os.fork()
    if child == 0:
        recorder.stop()                          # the parent's: harmless here
        recorder.flush()
        work(5)
        with qp.record(path):
            work(30)
            try:
                with Step.B:
                    raise KeyError
            except KeyError:
                pass
        sys.exit(0)                              # leaves the parent's block, and runs what is registered at exit
    work(100)
    assert os.waitpid(child, 0)[1] == 0
    work(100)
"""


def test_a_forked_child_records_into_the_same_capture(tmp_path):
    done = run(tmp_path, SHARED)
    assert (done.returncode, done.stderr) == (0, b"")
    path = tmp_path / "capture"
    assert_is_whole(path)
    parent, child = processes(path)
    assert (parent["account"]["written"], child["account"]["written"]) == (301, 31)
    samples = qp.open(path).samples()
    assert samples.groupby("process").size().to_dict() == {parent["pid"]: 301, child["pid"]: 31}
    assert qp.open(path).stats()["count"].tolist() == [330, 2]
    assert qp.open(path).losses().empty


BUSY = """
stopping = threading.Event()

def hammer():
    while not stopping.is_set():
        work(10)
        time.sleep(0.0005)

with qp.record(path):
    threads = [threading.Thread(target=hammer) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(8):
        child = os.fork()
        if child == 0:
            work(10)
            class Later(qp.Operation):           # takes the lock of the registry
                X = qp.op()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    stopping.set()
    for thread in threads:
        thread.join()
"""


def test_forks_in_the_middle_of_work(tmp_path):
    done = run(tmp_path, BUSY)
    assert (done.returncode, done.stderr) == (0, b"")
    process, workers = processes(tmp_path / "capture")
    assert process["ended"] == "stop"
    assert_balances(process["account"])
    samples = qp.open(tmp_path / "capture").samples()
    # The children ended without a word: what they recorded was in their rings.
    assert len(samples) == process["account"]["written"] + 8 * 10
    assert process["account"]["written"] > 0
    assert workers["workers"] == sum(workers["ended"].values()) == 8
    assert workers["account"] == {"started": 80, "written": 80, "pending": 0, "open": 0, "lost": 0}
    assert workers["state"] == "finished"
    assert samples["process"].nunique() == 9


IMPORTING = """
import signal

with qp.record(path, writer=sys.argv[2]) as recorder:
    work(10)
    writing = threading.Thread(target=recorder.flush)
    writing.start()
    children = []
    for _ in range(6):
        child = os.fork()
        if child == 0:
            signal.alarm(8)
            import numpy, psutil, pyarrow.parquet
            numpy.zeros(3), psutil.Process(), pyarrow.parquet.write_table
            os._exit(0)
        children.append(child)
        time.sleep(0.03)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    writing.join()
    assert codes == [0] * 6, codes
"""


@pytest.mark.parametrize("writer", ["agent", "thread"])
def test_forks_while_our_threads_import(tmp_path, writer):
    """A lock of the import system that is held by a thread of ours would be held in the child for ever."""
    done = run(tmp_path, IMPORTING, writer)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(qp.open(tmp_path / "capture").samples()) == 10
