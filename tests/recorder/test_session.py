"""The life of a recording from start to stop: where it may go, and who may end it."""

import gc
import json
import os
import sys
import threading
import time

import psutil
import pyarrow.parquet as pq
import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.errors import RecordingError
from quantum_pulse.recorder import session
from tests.recorder.work import Step, assert_balances, assert_is_whole, processes, work


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


def test_if_exists(tmp_path):
    path = tmp_path / "capture"
    for count, if_exists in ((1, "error"), (2, "append"), (4, "append")):
        with qp.record(path, if_exists=if_exists):
            work(count)
    assert len(qp.open(path).samples()) == 7
    with pytest.raises(RecordingError, match="already holds a capture"):
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


@pytest.mark.slow
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
    assert process.num_threads() <= threads, "those of other libraries may end"
    assert process.memory_info().rss - memory < 16 * 2**20, "16 kB a recording would be a leak"
    assert len(qp.open(tmp_path / "capture").samples()) == 10
    assert not list((tmp_path / "capture" / "rings").glob("*"))
