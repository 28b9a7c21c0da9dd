"""System metrics against the kernel's own figures and independent readings of the clock."""

import gc
import json
import mmap
import os
import resource
import socket
import threading
import time
from pathlib import Path

import psutil
import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.recorder.metrics import MetricsSampler

COLUMNS = {column.name: column for column in schema.METRICS}
PRESSURE = Path("/proc/pressure")


class Sampled:
    """Rows and events that a sampler saw during the block."""

    def __init__(self, interval_s=0.01):
        self.sampler = MetricsSampler(time.perf_counter_ns, interval_s)

    def __enter__(self):
        self.before = time.perf_counter_ns()
        self.sampler.start()
        self.rows, self.events = [], []
        # The first look at the system comes after psutil is loaded; what a test does should lie behind it.
        deadline = time.monotonic() + 10
        while not self.rows and time.monotonic() < deadline:
            time.sleep(0.002)
            self.rows += self.sampler.take()[0]
        self.begin = self.rows[-1]["time"]
        return self

    def __exit__(self, *details):
        self.sampler.stop()
        self.after = time.perf_counter_ns()
        rows, events = self.sampler.take()
        self.rows += rows
        self.events += events
        #: Rows that began within the block.
        self.inside = [row for row in self.rows if row["time"] - row["interval_ns"] >= self.begin]

    def total(self, name):
        return sum(row[name] for row in self.inside)


def test_rows_have_all_columns_and_values_of_their_type():
    with Sampled() as seen:
        time.sleep(0.05)
    assert len(seen.rows) >= 3
    for row in seen.rows:
        assert set(row) == set(COLUMNS) - {"process"}, "the process is the writer's to fill in"
        for name, value in row.items():
            column = COLUMNS[name]
            if value is None:
                assert column.nullable
            elif column.type == "double":
                assert isinstance(value, float)
            else:
                assert isinstance(value, int)
            if value is not None and name != "time":
                assert value >= 0
    assert seen.events == [] or set(seen.events[0]) == {column.name for column in schema.EVENTS} - {"process"}


def test_rows_follow_each_other_without_gaps():
    with Sampled(0.005) as seen:
        time.sleep(0.08)
    for previous, row in zip(seen.rows, seen.rows[1:], strict=False):
        assert row["time"] - row["interval_ns"] == previous["time"]
    first, last = seen.rows[0], seen.rows[-1]
    assert seen.before <= first["time"] - first["interval_ns"]
    assert last["time"] <= seen.after
    # Together they cover all from the first look to the end.
    assert seen.after - last["time"] < 500_000_000
    assert len(seen.rows) >= 8


def test_the_last_row_is_taken_at_the_end():
    sampler = MetricsSampler(time.perf_counter_ns, 60)
    sampler.start()
    before = time.perf_counter_ns()
    sampler.stop()
    rows, _ = sampler.take()
    assert len(rows) == 1
    assert rows[0]["time"] >= before
    assert sampler.take() == ([], [])


def test_rows_cover_a_recording(tmp_path):
    class Step(qp.Operation):
        A = qp.op()

    with qp.record(tmp_path / "capture", metrics_interval_s=0.01):
        deadline = time.monotonic() + 0.2
        while time.monotonic() < deadline:
            with Step.A:
                time.sleep(0.01)
    capture = qp.open(tmp_path / "capture")
    metrics = capture.metrics()
    times, intervals = metrics["time"].astype("int64").to_numpy(), metrics["interval_ns"].to_numpy()
    assert (times[1:] - intervals[1:] == times[:-1]).all()
    assert (metrics["process"] == os.getpid()).all()
    process = json.loads(next((tmp_path / "capture" / "processes").iterdir()).read_text())
    assert process["started_ns"] - 1_000_000 <= times[0] - intervals[0]
    assert times[-1] <= process["stopped_ns"] + 1_000_000
    samples = capture.samples()
    ends = samples["start"].astype("int64") + samples["duration_ns"]
    assert times[-1] >= ends.max(), "the last row is taken after the last sample"


def test_a_thread_that_burns_cpu_shows():
    stopping = threading.Event()

    def burn():
        while not stopping.is_set():
            sum(range(1000))

    with Sampled(0.05) as seen:
        began, cpu = time.perf_counter(), time.process_time()
        thread = threading.Thread(target=burn)
        thread.start()
        time.sleep(0.4)
        used, wall = time.process_time() - cpu, time.perf_counter() - began
        stopping.set()
        thread.join()
    measured = sum(row["cpu_process_percent"] / 100 * row["interval_ns"] / 1e9 for row in seen.inside)
    # Half an interval at each end is not ours to know.
    assert measured == pytest.approx(used, abs=0.15)
    if used / wall < 0.7:
        pytest.skip("the machine is too busy to burn anything")
    assert max(row["cpu_process_percent"] for row in seen.inside) > 50
    assert max(row["cpu_machine_percent"] for row in seen.inside) > 50 / (os.cpu_count() or 1) / 2


def test_memory_threads_and_load():
    with Sampled() as seen:
        block = b"x" * 50_000_000
        extra = [threading.Thread(target=time.sleep, args=(0.1,)) for _ in range(5)]
        for thread in extra:
            thread.start()
        time.sleep(0.05)
        rss = psutil.Process().memory_info().rss
        for thread in extra:
            thread.join()
        assert len(block) == 50_000_000
        del block
    assert max(row["rss_bytes"] for row in seen.inside) == pytest.approx(rss, rel=0.2)
    assert max(row["threads"] for row in seen.inside) >= 7  # these, the main one, the sampler's
    assert seen.rows[-1]["load_1m"] == pytest.approx(os.getloadavg()[0], abs=1)


def test_faults_and_switches_are_those_of_the_kernel():
    before = resource.getrusage(resource.RUSAGE_SELF)
    with Sampled() as seen:
        for _ in range(20):
            time.sleep(0.001)
            with mmap.mmap(-1, 50 * mmap.PAGESIZE) as fresh:
                for page in range(50):
                    fresh[page * mmap.PAGESIZE] = 1
    after = resource.getrusage(resource.RUSAGE_SELF)
    for name, field in (
        ("minor_faults", "ru_minflt"),
        ("major_faults", "ru_majflt"),
        ("voluntary_switches", "ru_nvcsw"),
        ("involuntary_switches", "ru_nivcsw"),
    ):
        assert sum(row[name] for row in seen.rows) <= getattr(after, field) - getattr(before, field)
    # Each page is new to the process, unless the kernel hands out several at once.
    assert seen.total("minor_faults") >= 20
    assert seen.total("voluntary_switches") >= 10


@pytest.mark.skipif(not PRESSURE.exists(), reason="this kernel has no pressure stall information")
def test_pressure_is_that_of_the_kernel():
    def totals():
        found = {}
        for kind in ("cpu", "memory", "io"):
            for line in (PRESSURE / kind).read_text().splitlines():
                if line.startswith("some"):
                    found[kind] = int(line.rpartition("=")[2])
        return found

    try:
        before = totals()
    except OSError:
        pytest.skip("pressure stall information is switched off")
    with Sampled(0.02) as seen:
        time.sleep(0.15)
    after = totals()
    for kind, value in before.items():
        measured = [row[f"pressure_{kind}_us"] for row in seen.rows]
        assert None not in measured
        assert 0 <= sum(measured) <= after[kind] - value


def test_network_bytes_rise_with_loopback_traffic():
    if psutil.net_io_counters() is None or "lo" not in psutil.net_io_counters(pernic=True):
        pytest.skip("no loopback interface is counted here")
    size = 3_000_000
    with socket.create_server(("127.0.0.1", 0)) as server, Sampled() as seen:

        def send():
            with socket.create_connection(server.getsockname()) as client:
                client.sendall(b"x" * size)

        thread = threading.Thread(target=send)
        thread.start()
        connection, _ = server.accept()
        with connection:
            received = 0
            while chunk := connection.recv(1 << 16):
                received += len(chunk)
        thread.join()
        assert received == size
    assert seen.total("net_sent_bytes") >= size
    assert seen.total("net_received_bytes") >= size


def test_disk_bytes_are_those_of_the_process(tmp_path):
    if not hasattr(psutil.Process(), "io_counters"):
        pytest.skip("this system does not count them")
    before = psutil.Process().io_counters()
    with Sampled() as seen, open(tmp_path / "file", "wb") as file:
        file.write(os.urandom(1_000_000))
        file.flush()
        os.fsync(file.fileno())
    after = psutil.Process().io_counters()
    assert seen.total("disk_write_bytes") <= after.write_bytes - before.write_bytes
    assert seen.total("disk_read_bytes") <= after.read_bytes - before.read_bytes


class Node:
    def __init__(self):
        self.me = self


def test_a_collection_is_an_event():
    count = 20_000
    gc.collect()
    shares = []
    # gc.collect() does nothing besides, so the event takes most of the time around it, unless this thread has to wait
    # for a processor just then.
    while max(shares, default=0) < 0.5 and len(shares) < 20:
        with Sampled() as seen:
            gc.disable()
            try:
                for _ in range(count):
                    Node()
                seen.events.clear()
                before = time.perf_counter_ns()
                found = gc.collect()
                after = time.perf_counter_ns()
            finally:
                gc.enable()
            time.sleep(0.03)
        assert found >= count
        (event,) = [event for event in seen.events if before <= event["start"] <= after]
        assert event["event"] == "gc"
        assert event["generation"] == 2
        assert event["collected"] == found
        assert event["thread"] == threading.get_native_id()
        assert event["start"] + event["duration_ns"] <= after
        shares.append(event["duration_ns"] / (after - before))
        # It counts in the row in which it ended.
        rows = [row for row in seen.rows if row["time"] >= before]
        assert sum(row["gc_collections"] for row in rows) >= 1
        assert sum(row["gc_pause_us"] for row in rows) >= event["duration_ns"] / 1000 * 0.999
    assert max(shares) >= 0.5


def test_collections_in_a_recording(tmp_path):
    class Step(qp.Operation):
        A = qp.op()

    with qp.record(tmp_path / "capture", metrics_interval_s=0.01) as recorder:
        recorder.flush()
        before = time.time_ns()
        gc.disable()  # a younger collection might come first
        try:
            with Step.A:
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


def test_no_hook_is_left():
    hooks = list(gc.callbacks)
    sampler = MetricsSampler(time.perf_counter_ns, 0.01)
    sampler.start()
    assert len(gc.callbacks) == len(hooks) + 1
    sampler.stop()
    assert gc.callbacks == hooks
    sampler.abandon()  # harmless


def test_what_cannot_be_read_says_so_once(caplog):
    """A clock that fails stands for whatever may go wrong in that thread."""
    readings = iter(range(3))

    def fails():
        try:
            return next(readings)
        except StopIteration:
            raise OSError("no clock") from None

    sampler = MetricsSampler(fails, 0.002)
    sampler.start()
    time.sleep(0.1)
    sampler.stop()
    assert caplog.messages == ["system metrics have stopped, samples go on: no clock"]
