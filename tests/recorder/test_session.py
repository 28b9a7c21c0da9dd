"""The life of a recording, with real threads, processes and disks. What leaves a process runs in one of its own."""

import gc
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time

import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.errors import RecordingError
from quantum_pulse.recorder import session

SMALLEST = schema.RING_HEADER_BYTES + schema.SEGMENT_BYTES


class Step(qp.Operation):
    A = qp.op("First")
    B = qp.op("Second", category="Other")


def work(count=1, operation=Step.A):
    for _ in range(count):
        with operation:
            pass


def processes(path):
    """What the process files of a capture say, oldest recording first."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in (path / schema.PROCESSES).glob("*.json")]
    return sorted(found, key=lambda process: process["started_ns"])


def assert_is_whole(path):
    """Nothing but finished files: no rings, no temporary files, nothing hidden."""
    assert not (path / schema.RINGS).exists()
    names = [file.name for file in path.rglob("*") if file.is_file()]
    assert all(name.endswith((".parquet", ".json")) and not name.startswith(".") for name in names), names


def assert_balances(account):
    assert account["started"] == account["written"] + account["pending"] + account["open"] + account["lost"]
    assert min(account.values()) >= 0


# ---- start and stop --------------------------------------------------------------------------------------------------


def test_record_makes_a_whole_capture(tmp_path):
    path = tmp_path / "some" / "where" / "capture"
    before = time.time_ns()
    with qp.record(path) as recorder:
        assert session.active() is recorder
        assert recorder.is_recording
        assert recorder.path == path
        assert "recording" in repr(recorder)
        work(10)
    after = time.time_ns()
    assert session.active() is None
    assert not recorder.is_recording
    assert "stopped" in repr(recorder)
    assert_is_whole(path)
    manifest = json.loads((path / schema.MANIFEST).read_text())
    assert manifest["format"] == schema.FORMAT_VERSION
    assert manifest["writer"] == f"quantum_pulse {qp.__version__}"
    samples = qp.open(path).samples()
    assert len(samples) == 10
    starts = samples["start"].astype("int64")
    # The anchor between the two clocks is found by a handful of readings, so allow it a little.
    assert before - 1_000_000 <= starts.min() <= starts.max() <= after + 1_000_000
    assert samples["process"].unique().tolist() == [os.getpid()]


def test_start_and_stop(tmp_path):
    recorder = qp.start(tmp_path / "capture")
    work(3)
    qp.stop()
    assert len(qp.open(tmp_path / "capture").samples()) == 3
    recorder.stop()  # harmless
    with pytest.raises(RecordingError, match=r"nothing is being recorded.*qp\.start"):
        qp.stop()


def test_paths_of_all_kinds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with qp.record("relative") as recorder:
        monkeypatch.chdir("/")  # a service that changes its directory keeps its capture
        work()
    assert recorder.path == tmp_path / "relative"
    assert len(qp.open(tmp_path / "relative").samples()) == 1
    unusual = tmp_path / "мой захват * [1] ? % 🚀"
    with qp.record(str(unusual)):
        work()
    assert qp.open(unusual).stats()["count"].tolist() == [1]


def test_a_second_start_is_refused_and_the_first_goes_on(tmp_path):
    with qp.record(tmp_path / "first"):
        work()
        with pytest.raises(RecordingError, match=r"already recording into .*first.*qp\.stop\(\)"):
            qp.start(tmp_path / "second")
        assert not (tmp_path / "second").exists()
        work()
    assert len(qp.open(tmp_path / "first").samples()) == 2


@pytest.mark.parametrize("below", [False, True])
def test_a_path_that_cannot_be_a_directory(tmp_path, below):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(RecordingError, match="file"):
        qp.start(file / "capture" if below else file)
    assert session.active() is None
    assert file.read_text() == "mine"
    with qp.record(tmp_path / "other"):
        work()


@pytest.mark.parametrize(
    "options",
    [
        {"if_exists": "overwrite"},
        {"if_exists": None},
        {"metrics_interval_s": 0},
        {"metrics_interval_s": -1},
        {"metrics_interval_s": float("nan")},
        {"budget_bytes": 0},
        {"budget_bytes": SMALLEST - 1},
        {"budget_bytes": -SMALLEST},
    ],
    ids=str,
)
def test_options_that_make_no_sense(tmp_path, options):
    (name,) = options
    with pytest.raises(RecordingError, match=name):
        qp.start(tmp_path / "capture", **options)
    assert session.active() is None
    assert not (tmp_path / "capture").exists()


@pytest.mark.parametrize(
    "options",
    [{"budget_bytes": "a lot"}, {"budget_bytes": 1e9}, {"metrics_interval_s": "fast"}, {"no_such_option": 1}],
    ids=str,
)
def test_options_of_another_kind(tmp_path, options):
    """Either it works or it is refused with nothing left behind."""
    try:
        qp.start(tmp_path / "capture", **options).stop()
    except (TypeError, RecordingError):
        assert not list((tmp_path / "capture").rglob("*.*"))


@pytest.mark.parametrize("interval", [float("inf"), 1e10, 1e-9])
def test_metrics_at_odd_intervals_say_nothing(tmp_path, caplog, interval):
    try:
        with qp.record(tmp_path / "capture", metrics_interval_s=interval):
            work()
            time.sleep(0.02)
    except RecordingError:
        return
    assert caplog.messages == []
    assert not qp.open(tmp_path / "capture").metrics().empty


def test_a_budget_that_no_disk_has(tmp_path):
    with pytest.raises(RecordingError, match="cannot record into"):
        qp.start(tmp_path / "capture", budget_bytes=2**61)
    assert session.active() is None
    left = [file for file in (tmp_path / "capture").rglob("*") if file.is_file() and file.name != schema.MANIFEST]
    assert left == [], "what never began is not a recording"
    with qp.record(tmp_path / "capture"):
        work()
    assert_is_whole(tmp_path / "capture")


def test_if_exists(tmp_path):
    path = tmp_path / "capture"
    for count, if_exists in ((1, "error"), (2, "append"), (4, "append")):
        with qp.record(path, if_exists=if_exists):
            work(count)
    assert len(qp.open(path).samples()) == 7
    with pytest.raises(RecordingError, match="holds a capture already"):
        qp.start(path, if_exists="error")
    assert len(qp.open(path).samples()) == 7
    mine = path / "notes.txt"
    mine.write_text("not ours to delete")
    with qp.record(path, if_exists="replace"):
        work(3)
    assert len(qp.open(path).samples()) == 3
    assert len(processes(path)) == 1
    assert mine.read_text() == "not ours to delete"


@pytest.mark.parametrize("if_exists", ["append", "replace", "error"])
def test_a_directory_that_is_no_capture_keeps_its_files(tmp_path, if_exists):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "mine.txt").write_text("mine")
    with qp.record(tmp_path, if_exists=if_exists):
        work()
    assert (tmp_path / "mine.txt").read_text() == (tmp_path / "samples" / "mine.txt").read_text() == "mine"
    assert len(qp.open(tmp_path).samples()) == 1


@pytest.mark.parametrize("content", ['{"format": 99}', "{", "[]", "{}"])
def test_nothing_is_added_to_a_capture_of_another_format(tmp_path, content):
    (tmp_path / schema.MANIFEST).write_text(content)
    with pytest.raises(RecordingError):
        qp.start(tmp_path)
    assert (tmp_path / schema.MANIFEST).read_text() == content
    assert [file.name for file in tmp_path.iterdir()] == [schema.MANIFEST]


def test_two_recordings_into_one_capture(tmp_path):
    path = tmp_path / "capture"
    manifest = None
    for count in (5, 7):
        with qp.record(path):
            work(count)
        manifest = manifest or (path / schema.MANIFEST).read_text()
    assert (path / schema.MANIFEST).read_text() == manifest
    samples = qp.open(path).samples()
    assert len(samples) == 12
    assert samples["span"].is_unique
    assert [process["account"]["written"] for process in processes(path)] == [5, 7]


def test_start_while_another_thread_stops(tmp_path):
    """Until the first recording is at its end, the answer is ours and not that of something inside."""
    for attempt in range(3):
        first = qp.start(tmp_path / f"first{attempt}")
        work(20_000)
        stopper = threading.Thread(target=first.stop)
        stopper.start()
        while session.active() is first:
            time.sleep(0)
        second = None
        while second is None:
            try:
                second = qp.start(tmp_path / f"second{attempt}")
            except RecordingError:
                time.sleep(0.001)
        work(3)
        stopper.join()
        second.stop()
        assert len(qp.open(tmp_path / f"first{attempt}").samples()) == 20_000
        assert len(qp.open(tmp_path / f"second{attempt}").samples()) == 3


def test_stop_from_many_threads_at_once(tmp_path):
    recorder = qp.start(tmp_path / "capture")
    work(1000)
    threads = [threading.Thread(target=recorder.stop) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(qp.open(tmp_path / "capture").samples()) == 1000


def test_stop_in_the_middle_of_everything(tmp_path):
    """Threads that work and threads that flush meanwhile: none fails, none waits for ever, nothing goes astray."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for attempt in range(8):
            path, stopping, failures = tmp_path / str(attempt), threading.Event(), []
            recorder = qp.start(path, metrics_interval_s=60)

            def repeat(action, *args, stopping=stopping, failures=failures):
                try:
                    while not stopping.is_set():
                        action(*args)
                except BaseException as error:  # noqa: BLE001 - shown below
                    failures.append(error)

            actions = [(work, 5), (work, 5), (recorder.flush,), (recorder.flush,)]
            threads = [threading.Thread(target=repeat, args=action, daemon=True) for action in actions]
            for thread in threads:
                thread.start()
            time.sleep(0.01)
            recorder.stop()
            stopping.set()
            for thread in threads:
                thread.join(5)
            assert [thread.name for thread in threads if thread.is_alive()] == [], "a thread waits for ever"
            assert failures == []
            (process,) = processes(path)
            assert_balances(process["account"])
            assert process["account"]["pending"] == 0
            rows = sum(pq.read_metadata(file).num_rows for file in (path / "samples").iterdir())
            assert rows == process["account"]["written"]
    finally:
        sys.setswitchinterval(interval)


def test_an_exception_in_the_block(tmp_path):
    with pytest.raises(ZeroDivisionError), qp.record(tmp_path / "capture"), Step.A:
        raise ZeroDivisionError
    assert qp.open(tmp_path / "capture").samples()["error"].tolist() == ["ZeroDivisionError"]
    assert_is_whole(tmp_path / "capture")


# ---- while it runs ---------------------------------------------------------------------------------------------------


def test_flush_and_stats_live(tmp_path):
    with qp.record(tmp_path / "capture") as recorder:
        for round_ in range(1, 4):
            work(100)
            work(10, Step.B)
            recorder.flush()
            assert len(qp.open(tmp_path / "capture").samples()) == 110 * round_
            stats = recorder.stats()
            assert stats["count"].to_dict() == {("Other", "Step.B"): 10 * round_, ("Step", "Step.A"): 100 * round_}
        live = recorder.stats()
    recorder.flush()  # harmless
    # The spread is added up in another order once parts are merged.
    pd.testing.assert_frame_equal(qp.open(tmp_path / "capture").stats(), live, rtol=1e-12)


def test_flush_from_many_threads(tmp_path):
    counts = []

    def write(recorder):
        for _ in range(10):
            work(10)
            recorder.flush()
        counts.append(len(qp.open(tmp_path / "capture").samples()))

    with qp.record(tmp_path / "capture") as recorder:
        threads = [threading.Thread(target=write, args=(recorder,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert max(counts) == 400
        assert min(counts) >= 100


def test_stats_before_the_first_sample_say_so(tmp_path):
    with qp.record(tmp_path / "capture") as recorder, pytest.raises(qp.QuantumPulseError, match="nothing has been"):
        recorder.stats()


def test_a_capture_that_is_open_while_recording(tmp_path):
    with qp.record(tmp_path / "capture") as recorder:
        work(5)
        recorder.flush()
        early = qp.open(tmp_path / "capture")
        work(7)
        recorder.flush()
        assert len(early.samples()) == 5, "a capture is as it stood when it was opened"
        assert len(qp.open(tmp_path / "capture").samples()) == 12
        assert early.losses().empty
        assert [process["state"] for process in processes(tmp_path / "capture")] == ["recording"]
    assert len(early.samples()) == 5


def test_the_account_live_and_afterwards(tmp_path):
    with qp.record(tmp_path / "capture") as recorder:
        with Step.A:
            work(100)
            recorder.flush()
            account = recorder.account()
            assert account == {"started": 101, "written": 100, "pending": 0, "open": 1, "lost": 0}
        account = recorder.account()
        assert (account["started"], account["pending"] + account["written"]) == (101, 101)
    assert recorder.account() == {"started": 101, "written": 101, "pending": 0, "open": 0, "lost": 0}


@pytest.mark.parametrize("segments", [1, 4])
def test_losses_are_counted_exactly(tmp_path, segments):
    """Threads in a tight loop and rings that are far too small."""
    path, live, count = tmp_path / "capture", [], 20_000
    ready = threading.Barrier(4)

    def hammer():
        ready.wait()
        for _ in range(count):
            with Step.A:
                pass
            with Step.B:
                pass

    with qp.record(path, budget_bytes=schema.RING_HEADER_BYTES + segments * schema.SEGMENT_BYTES) as recorder:
        threads = [threading.Thread(target=hammer) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            recorder.flush()
            live.append(recorder.account())
    for account in live:
        assert account["started"] >= account["written"]
        assert min(account.values()) >= 0
    (process,) = processes(path)
    account = process["account"]
    assert_balances(account)
    assert account["started"] == 4 * 2 * count
    assert account["open"] == account["pending"] == 0
    assert account["lost"] > 0, "the budget was too large for this test"
    capture = qp.open(path)
    assert len(capture.samples()) == account["written"] > 0
    losses = capture.losses()
    assert losses["count"].sum() == account["lost"]
    assert set(losses["operation"]) <= {"Step.A", "Step.B"}
    assert set(losses["cause"]) == {"rings full"}
    assert (losses["start"] <= losses["end"]).all()
    assert losses["start"].astype("int64").min() >= process["started_ns"] - 1_000_000
    assert losses["end"].astype("int64").max() <= process["stopped_ns"] + 1_000_000
    # A thread's own equation, where its id was not given to another one.
    written = capture.samples().groupby(["operation", "thread"], observed=True).size()
    lost = losses.groupby(["operation", "thread"])["count"].sum()
    together = written.add(lost, fill_value=0)
    assert together.sum() == 4 * 2 * count
    assert (together % count == 0).all()


def test_many_short_lived_threads_lose_nothing(tmp_path):
    """Each takes a segment of its own for one sample: the writer must give segments back before they run out."""
    segments, threads = 256, 1000
    with qp.record(tmp_path / "capture", budget_bytes=schema.RING_HEADER_BYTES + segments * schema.SEGMENT_BYTES):
        for _ in range(threads):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            time.sleep(0.0005)
    (process,) = processes(tmp_path / "capture")
    assert process["account"]["written"] == threads
    assert qp.open(tmp_path / "capture").losses().empty


def test_a_long_burst_fits_the_default_budget(tmp_path):
    with qp.record(tmp_path / "capture"):
        work(300_000)
    (process,) = processes(tmp_path / "capture")
    assert process["account"]["written"] == 300_000


def test_the_process_file(tmp_path):
    before = time.time_ns()
    with qp.record(tmp_path / "capture"):
        (live,) = processes(tmp_path / "capture")
        work(2)
    (process,) = processes(tmp_path / "capture")
    assert set(process) >= {
        "pid",
        "state",
        "started_ns",
        "stopped_ns",
        "clock_anchor_ns",
        "core",
        "python",
        "argv",
        "host",
        "account",
        "losses",
    }
    assert (live["state"], live["stopped_ns"], live["account"]) == ("recording", None, None)
    assert process["state"] == "finished"
    assert process["pid"] == os.getpid()
    assert before <= process["started_ns"] <= process["stopped_ns"] <= time.time_ns()
    assert process["core"] == session.core.NAME
    assert process["python"] == sys.version.split()[0]
    assert process["argv"] == sys.argv
    assert process["losses"] == []
    assert process["account"] == {"started": 2, "written": 2, "pending": 0, "open": 0, "lost": 0}
    now = process["clock_anchor_ns"] + session.core.now()
    assert abs(now - time.time_ns()) < 100_000_000


def test_new_errors_in_many_threads_keep_their_names(tmp_path):
    count, each = 8, 60
    ready = threading.Barrier(count)
    operations = list(qp.Operation("Failing", {f"N{number}": qp.op() for number in range(count)}))

    def fail(operation):
        kinds = [type(f"{operation.name}x{index}", (Exception,), {}) for index in range(each)]
        ready.wait()
        for kind in kinds:
            try:
                with operation:
                    raise kind
            except kind:
                pass

    interval = sys.getswitchinterval()
    with qp.record(tmp_path / "capture"):
        sys.setswitchinterval(1e-6)
        try:
            threads = [threading.Thread(target=fail, args=(operation,)) for operation in operations]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
    capture = qp.open(tmp_path / "capture")
    for operation in operations:
        expected = [f"{operation.name}x{index}" for index in range(each)]
        assert capture.samples(operation)["error"].tolist() == expected


# ---- when the disk fails ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["capture", "samples"])
def test_a_capture_that_is_deleted_while_recording(tmp_path, caplog, what):
    path = tmp_path / "capture"
    with caplog.at_level(logging.DEBUG, logger="quantum_pulse"):
        recorder = qp.start(path)
        work(10)
        recorder.flush()
        shutil.rmtree(path if what == "capture" else path / what)
        for _ in range(3):
            work(10)
            with pytest.raises(KeyError), Step.B:
                raise KeyError
            recorder.flush()
        assert session.active() is recorder
        account = recorder.account()
        recorder.stop()
        recorder.stop()
    assert [record.levelname for record in caplog.records if record.levelname != "DEBUG"] == ["ERROR"]
    assert str(path) in caplog.text
    assert_balances(account)
    assert account["written"] == 10
    assert account["lost" if what == "capture" else "pending"] >= 11
    assert session.active() is None
    with qp.record(tmp_path / "next"):
        work()
    assert len(qp.open(tmp_path / "next").samples()) == 1
    if what == "samples":
        (process,) = processes(path)
        assert process["state"] == "failed"
        assert_balances(process["account"])


def test_after_a_failure_probes_cost_nothing_and_record_nothing(tmp_path, caplog):
    recorder = qp.start(tmp_path / "capture")
    shutil.rmtree(tmp_path / "capture")
    work()
    recorder.flush()
    started = recorder.account()["started"]
    work(100)
    assert recorder.account()["started"] == started
    recorder.stop()


# ---- processes -------------------------------------------------------------------------------------------------------

HEAD = """
import atexit, multiprocessing, os, sys, threading, time
import quantum_pulse as qp

class Step(qp.Operation):
    A = qp.op("First")
    B = qp.op("Second")

def work(count, operation=Step.A):
    for _ in range(count):
        with operation:
            pass

path = sys.argv[1]
"""


def run(tmp_path, body, *args):
    """Run a script that gets the path of the capture as its first argument."""
    script = tmp_path / "script.py"
    script.write_text(HEAD + body, encoding="utf-8")
    # Where the native core was not built, that is said once, and is tested elsewhere.
    silent = ["-W", "error", "-W", "ignore:quantum_pulse records with its Python core"]
    command = [sys.executable, *silent, str(script), str(tmp_path / "capture"), *args]
    return subprocess.run(command, capture_output=True, check=False, timeout=60)


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
    work(50)                                    # a forked child goes on with the parent's recording
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
    forked = 2 if method == "fork" else 0
    assert qp.open(tmp_path / "capture").stats()["count"].tolist() == [200 + 50 * forked]
    assert len(processes(tmp_path / "capture")) == 1 + forked
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
    (process,) = [process for process in processes(tmp_path / "capture") if process["state"] == "finished"]
    assert_balances(process["account"])
    samples = qp.open(tmp_path / "capture").samples()
    # The children ended without a word: what they recorded stands in their rings.
    assert len(samples) == process["account"]["written"] + 8 * 10
    assert process["account"]["written"] > 0


IMPORTING = """
import signal

with qp.record(path) as recorder:
    work(10)
    writing = threading.Thread(target=recorder.flush)
    writing.start()                              # loads pyarrow in the writing thread
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


def test_forks_while_our_threads_import(tmp_path):
    """A lock of the import system that is held by a thread of ours would be held in the child for ever."""
    done = run(tmp_path, IMPORTING)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(qp.open(tmp_path / "capture").samples()) == 10


@pytest.mark.timeout(300)
def test_a_thousand_recordings_leave_nothing(tmp_path):
    process = psutil.Process()

    def one():
        with qp.record(tmp_path / "capture", if_exists="replace"):
            work(10)

    for _ in range(50):
        one()
    gc.collect()
    files, threads, memory = process.num_fds(), process.num_threads(), process.memory_info().rss
    for _ in range(1000):
        one()
    gc.collect()
    assert process.num_fds() == files
    assert process.num_threads() == threads
    assert process.memory_info().rss - memory < 16 * 2**20, "16 kB a recording would be a leak"
    assert len(qp.open(tmp_path / "capture").samples()) == 10
    assert not list((tmp_path / "capture" / "rings").glob("*"))
