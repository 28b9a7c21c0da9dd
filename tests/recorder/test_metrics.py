"""System metrics and garbage collections of a recording. What the kernel's figures mean is tested with the agent."""

import gc
import json
import os
import threading
import time

import pytest

import quantum_pulse as qp


class Metered(qp.Operation):
    A = qp.op()


class Node:
    def __init__(self):
        self.me = self


def test_rows_cover_a_recording(tmp_path):
    with qp.record(tmp_path / "capture", metrics_interval_s=0.01):
        deadline = time.monotonic() + 0.2
        while time.monotonic() < deadline:
            with Metered.A:
                time.sleep(0.01)
    capture = qp.open(tmp_path / "capture")
    metrics = capture.metrics()
    times, intervals = metrics["time"].astype("int64").to_numpy(), metrics["interval_ns"].to_numpy()
    assert (times[1:] - intervals[1:] == times[:-1]).all()
    assert (metrics["process"] == os.getpid()).all()
    process = json.loads(next((tmp_path / "capture" / "processes").iterdir()).read_text())
    assert process["started_ns"] - 1_000_000 <= times[0] - intervals[0]
    assert times[-1] <= time.time_ns()
    samples = capture.samples()
    ends = samples["start"].astype("int64") + samples["duration_ns"]
    assert times[-1] >= ends.max(), "the last row is taken after the last sample"


def test_collections_in_a_recording(tmp_path):
    with qp.record(tmp_path / "capture", metrics_interval_s=0.01) as recorder:
        recorder.flush()
        before = time.time_ns()
        gc.disable()  # a younger collection might come first
        try:
            with Metered.A:
                for _ in range(1000):
                    Node()
                gc.collect()
        finally:
            gc.enable()
        after = time.time_ns()
        time.sleep(0.03)
    capture = qp.open(tmp_path / "capture")
    events = capture.events()
    starts = events["start"].astype("int64")
    own = events[(starts >= before - 1_000_000) & (starts <= after) & (events["generation"] == 2)]
    assert len(own) == 1
    assert own["collected"].iloc[0] >= 1000
    assert own["thread"].iloc[0] == threading.get_native_id()
    (sample,) = capture.samples()["duration_ns"]
    assert own["duration_ns"].iloc[0] <= sample


@pytest.mark.parametrize("writer", ["agent", "thread"])
def test_the_hook_in_the_garbage_collector(tmp_path, writer):
    hooks = list(gc.callbacks)
    recorder = qp.start(tmp_path / "capture", writer=writer)
    assert len(gc.callbacks) == len(hooks) + 1
    recorder.stop()
    assert gc.callbacks == hooks


def test_all_collections_are_events_and_take_no_number_of_a_sample(tmp_path):
    gc.disable()
    try:
        with qp.record(tmp_path / "capture") as recorder:
            for _ in range(10):
                with Metered.A:
                    gc.collect(0)
                gc.collect(1)
            recorder.flush()
            assert len(qp.open(tmp_path / "capture").events()) == 20
            for _ in range(10):
                gc.collect()
        assert recorder.account() == {"started": 10, "written": 10, "pending": 0, "open": 0, "lost": 0}
    finally:
        gc.enable()
    events = qp.open(tmp_path / "capture").events()
    assert events["event"].tolist() == ["gc"] * 30
    assert sorted(events["generation"]) == [0] * 10 + [1] * 10 + [2] * 10
    assert (events["thread"] == threading.get_native_id()).all()
    assert qp.open(tmp_path / "capture").samples()["span"].diff().dropna().eq(1).all()


def test_collections_in_many_threads(tmp_path):
    def collect():
        for _ in range(20):
            gc.collect(0)

    gc.disable()
    try:
        with qp.record(tmp_path / "capture"), Metered.A:
            threads = [threading.Thread(target=collect) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        gc.enable()
    # One at a time: who finds another thread at it collects nothing, and nothing happens that could be recorded.
    events = qp.open(tmp_path / "capture").events()
    assert 20 <= len(events) <= 80
    assert set(events["thread"]) <= {thread.native_id for thread in threads}
