"""Metrics of a process seen from outside, against the kernel's own figures and what was done to change them."""

import itertools
import json
import os
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest

from quantum_pulse import metrics, schema
from quantum_pulse.agent import procfs, threads
from quantum_pulse.agent.procfs import Machine, ProcessMetrics

COLUMNS = {column.name: column for column in schema.METRICS if column.name != "process"}
NOBODY = 65534
PRESSURE = Path("/proc/pressure")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's process")


@pytest.fixture
def observe():
    """Makes a ProcessMetrics, which is closed after the test."""
    made = []

    def make(pid, now=time.monotonic_ns, **options):
        made.append(ProcessMetrics(pid, now, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def schedstat(pid):
    """Time on a CPU, time waiting for one in ns, and time slices, over the threads that there are."""
    found = [file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return [sum(int(fields[place]) for fields in found) for place in range(3)]


def test_a_row_has_all_columns_with_values_of_their_type(child, observe):
    observed = observe(child.pid)
    child.run("burn(0.05)")
    row = observed.sample(0, 0)
    assert set(row) == set(COLUMNS)
    for name, value in row.items():
        if value is None:
            assert COLUMNS[name].nullable, name
        elif name != "time":
            assert isinstance(value, float if COLUMNS[name].type == "double" else int), name
            assert value >= 0, name
    unknown = {name for name, value in row.items() if value is None}
    may_be_missing = {name for name in metrics.NAMES if name.startswith(("container_", "pressure_"))}
    assert unknown <= may_be_missing


def test_rows_follow_each_other_without_gaps(child, observe):
    readings = []

    def now():
        readings.append(time.monotonic_ns())
        return readings[-1]

    observed = observe(child.pid, now)
    rows = [observed.sample(0, 0) for _ in range(5)]
    assert [row["time"] for row in rows] == readings[1:]
    assert [row["interval_ns"] for row in rows] == [later - earlier for earlier, later in itertools.pairwise(readings)]


def test_cpu_time_is_that_of_the_kernel(child, observe):
    def used_s():
        usage = child.run("result = usage()")
        return usage["ru_utime"] + usage["ru_stime"]

    first = used_s()
    observed = observe(child.pid)
    before = used_s()
    rows = []
    # Threads that have ended meanwhile count too.
    child.run("join(start(2, burn, 0.1))")
    rows.append(observed.sample(0, 0))
    child.run("join(start(1, burn, 0.2))")
    after = used_s()
    rows.append(observed.sample(0, 0))
    last = used_s()
    found = sum(row["cpu_process_percent"] / 100 * row["interval_ns"] / 1e9 for row in rows)
    # Microseconds, where the clock has nanoseconds.
    assert after - before - 1e-5 <= found <= last - first + 1e-5
    assert found > 0.05  # of 0.4, where others are at work


def test_cpu_time_without_the_clock_of_the_process(child, observe, monkeypatch):
    def refuse(clock):
        raise OSError("no such clock")

    monkeypatch.setattr(procfs.time, "clock_gettime_ns", refuse)
    observed = observe(child.pid)
    child.run("burn(0.3)")
    row = observed.sample(0, 0)
    used = row["cpu_process_percent"] / 100 * row["interval_ns"] / 1e9
    assert 0.05 < used < 0.5, "in hundredths of a second"


def test_the_cpu_of_the_machine_is_that_of_the_kernel(child, observe):
    def ticks():
        fields = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]))
        return sum(fields[:8]), fields[3] + fields[4], fields[7]

    observed = observe(child.pid)
    before = ticks()
    child.run("burn(0.4)")
    after = ticks()
    row = observed.sample(0, 0)
    everything, idle, stolen = (new - old for old, new in zip(before, after, strict=True))
    assert row["cpu_machine_percent"] == pytest.approx(100 * (1 - idle / everything), abs=10)
    assert row["cpu_steal_percent"] == pytest.approx(100 * stolen / everything, abs=5)
    assert row["cpu_machine_percent"] > 50 / os.cpu_count() / 2


def test_stolen_time():
    lines = ("cpu  100 0 50 800 20 0 10 20 7 0\ncpu0 ...\n", "cpu  150 0 60 900 30 0 10 50 9 0\ncpu0 ...\n")
    before, after = (procfs._ticks(line.encode()) for line in lines)
    assert procfs._machine_percent(before, after) == (pytest.approx(100 * 90 / 200), pytest.approx(100 * 30 / 200))
    assert procfs._machine_percent(before, before) == (None, None), "less than a tick"
    assert procfs._machine_percent(None, after) == (None, None)


def test_faults_are_those_of_the_kernel(child, observe):
    touch = "fresh = mmap.mmap(-1, 200 * mmap.PAGESIZE)\nfor page in range(200): fresh[page * mmap.PAGESIZE] = 1"
    first = child.run("result = usage()")
    observed = observe(child.pid)
    before = child.run("result = usage()")
    child.run(touch)
    after = child.run("result = usage()")
    row = observed.sample(0, 0)
    last = child.run("result = usage()")
    for name, field in (("minor_faults", "ru_minflt"), ("major_faults", "ru_majflt")):
        assert after[field] - before[field] <= row[name] <= last[field] - first[field]
    assert row["minor_faults"] >= 20  # the kernel may hand out several pages at once


def test_switches_are_those_of_all_threads(child, observe):
    child.run("stop = threading.Event()\nrest = start(5, stop.wait)")
    first = child.run("result = usage()")
    observed = observe(child.pid)
    before = child.run("result = usage()")
    child.run("busy = start(3, lambda: [time.sleep(0.001) for _ in range(100)] and stop.wait())\ntime.sleep(0.5)")
    after = child.run("result = usage()")
    row = observed.sample(0, 0)
    last = child.run("result = usage()")
    for name, field in (("voluntary_switches", "ru_nvcsw"), ("involuntary_switches", "ru_nivcsw")):
        assert after[field] - before[field] <= row[name] <= last[field] - first[field]
    assert row["voluntary_switches"] >= 300
    assert row["threads"] == 9


def test_processes_that_share_a_cpu_wait_for_it(start_child, observe):
    cpu = min(os.sched_getaffinity(0))
    alone, rival = start_child(), start_child()
    for one in (alone, rival):
        os.sched_setaffinity(one.pid, {cpu})
    observed = observe(alone.pid)
    before = schedstat(alone.pid)
    for one in (alone, rival):
        one.send("burn(0.8)")
    for one in (alone, rival):
        one.answer()
    row = observed.sample(0, 0)
    _, waited_ns, slices = (new - old for old, new in zip(before, schedstat(alone.pid), strict=True))
    assert row["run_queue_us"] == pytest.approx(waited_ns / 1000, rel=0.02, abs=100)
    assert row["time_slices"] == pytest.approx(slices, abs=3)
    assert row["run_queue_us"] > 200_000, "each of two has to wait for half of the time"
    assert row["involuntary_switches"] >= 5


def test_waiting_threads_of_one_process_add_up(child, observe):
    child.run("os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})")
    observed = observe(child.pid)
    before = schedstat(child.pid)
    # In C, so that the threads do not wait for the interpreter's lock instead.
    child.run(
        "import hashlib\nstop = threading.Event()\n"
        "def work():\n hashlib.pbkdf2_hmac('sha256', b'a', b'b', 400_000)\n stop.wait()\n"
        "rest = start(4, work)\ntime.sleep(1.5)"
    )
    least = schedstat(child.pid)[1] - before[1]
    row = observed.sample(0, 0)
    most = schedstat(child.pid)[1] - before[1]
    assert least / 1000 - 1 <= row["run_queue_us"] <= most / 1000 + 1
    assert row["run_queue_us"] > 200_000


@pytest.mark.parametrize("descriptors", [None, 0, 10])
def test_many_threads_take_turns(child, observe, monkeypatch, descriptors):
    monkeypatch.setattr(threads, "SCHEDSTATS_NS", 0)
    monkeypatch.setattr(threads, "STATUSES_NS", 0)
    machine = Machine()
    if descriptors is not None:
        machine.allowance = threads.Allowance(descriptors)
    child.run("stop = threading.Event()\nrest = start(100, stop.wait)")
    first = child.run("result = usage()")
    observed = observe(child.pid, machine=machine)
    before, begin = child.run("result = usage()"), schedstat(child.pid)
    child.run("more = start(50, lambda: [time.sleep(0.001) for _ in range(20)] and stop.wait())\ntime.sleep(0.5)")
    after, end = child.run("result = usage()"), schedstat(child.pid)
    rows = [observed.sample(0, 0) for _ in range(-(-151 // threads.FEWEST) * 3)]
    last = child.run("result = usage()")
    assert rows[0]["time_slices"] < end[2] - begin[2]
    assert sum(row["time_slices"] for row in rows) == pytest.approx(end[2] - begin[2], abs=3)
    total = sum(row["voluntary_switches"] for row in rows)
    assert after["ru_nvcsw"] - before["ru_nvcsw"] <= total <= last["ru_nvcsw"] - first["ru_nvcsw"]
    assert total >= 50 * 20
    # Threads that have ended are forgotten.
    child.run("stop.set(); join(rest); join(more)")
    for _ in range(2 * -(-151 // threads.FEWEST)):
        observed.sample(0, 0)
    assert len(observed._threads._known) == 1
    assert observed.sample(0, 0)["threads"] == 1


def test_a_kernel_without_schedstat(child, observe, monkeypatch):
    content = threads.Threads._content
    monkeypatch.setattr(threads.Threads, "_held", lambda *_: None)
    monkeypatch.setattr(
        threads.Threads, "_content", lambda self, path: None if path.endswith("schedstat") else content(self, path)
    )
    observed = observe(child.pid)
    child.run("for _ in range(50): time.sleep(0.001)")
    row = observed.sample(0, 0)
    assert (row["run_queue_us"], row["time_slices"]) == (None, None)
    assert row["voluntary_switches"] >= 50


def test_memory_and_threads(child, observe):
    observed = observe(child.pid)
    child.run("block = bytearray(b'x' * 50_000_000)\nstop = threading.Event()\nrest = start(7, stop.wait)")
    row = observed.sample(0, 0)
    assert row["rss_bytes"] == pytest.approx(psutil.Process(child.pid).memory_info().rss, rel=0.02)
    assert row["rss_bytes"] > 50_000_000
    assert row["threads"] == 8


def test_disk_bytes_are_those_of_the_process(child, observe, tmp_path):
    def counters():
        lines = Path(f"/proc/{child.pid}/io").read_text().splitlines()
        return {name: int(value) for name, value in (line.split(": ") for line in lines)}

    observed = observe(child.pid)
    before = counters()
    path = str(tmp_path / "file")
    child.run(f"file = open({path!r}, 'wb'); file.write(os.urandom(1_000_000)); file.flush(); os.fsync(file.fileno())")
    row, after = observed.sample(0, 0), counters()
    assert row["disk_write_bytes"] == after["write_bytes"] - before["write_bytes"]
    assert row["disk_read_bytes"] == after["read_bytes"] - before["read_bytes"]


def test_network_bytes_rise_with_loopback_traffic(child, observe):
    size = 3_000_000
    observed = observe(child.pid)
    with socket.create_server(("127.0.0.1", 0)) as server:
        child.send(f"import socket; socket.create_connection({server.getsockname()!r}).sendall(b'x' * {size})")
        connection, _ = server.accept()
        with connection:
            received = 0
            while received < size:
                received += len(connection.recv(1 << 16))
        child.answer()
    row = observed.sample(0, 0)
    assert row["net_sent_bytes"] >= size
    assert row["net_received_bytes"] >= size


@pytest.mark.skipif(not PRESSURE.exists(), reason="this kernel has no pressure stall information")
def test_pressure_is_that_of_the_kernel(start_child, observe):
    def totals():
        text = {kind: (PRESSURE / kind).read_text() for kind in ("cpu", "memory", "io")}
        return {kind: int(lines.splitlines()[0].rpartition("=")[2]) for kind, lines in text.items()}

    try:
        first = totals()
    except OSError:
        pytest.skip("pressure stall information is switched off")
    children = [start_child() for _ in range(2)]
    observed = observe(children[0].pid)
    before = totals()
    for one in children:
        os.sched_setaffinity(one.pid, {min(os.sched_getaffinity(0))})
        one.send("burn(0.3)")
    for one in children:
        one.answer()
    after = totals()
    row = observed.sample(0, 0)
    last = totals()
    for kind in before:
        assert after[kind] - before[kind] <= row[f"pressure_{kind}_us"] <= last[kind] - first[kind]
    assert row["pressure_cpu_us"] > 10_000


def test_collections_are_growth(child, observe):
    observed = observe(child.pid, gc_collections=10, gc_pause_ns=1_000_000)
    row = observed.sample(12, 1_500_500)
    assert (row["gc_collections"], row["gc_pause_us"]) == (2, 500.5)
    row = observed.sample(12, 1_500_500)
    assert (row["gc_collections"], row["gc_pause_us"]) == (0, 0.0)


def test_processes_of_one_tick_share_what_the_machine_says(start_child, observe, monkeypatch):
    machine = Machine()
    observed = [observe(start_child().pid, machine=machine) for _ in range(3)]
    read, take = [], machine._read
    monkeypatch.setattr(machine, "_read", lambda: read.append(1) or take())
    time.sleep(0.01)
    rows = [one.sample(0, 0) for one in observed]
    assert len(read) <= 2, "one, or two on a busy machine"
    if len(read) == 1:
        assert len({row["load_1m"] for row in rows}) == 1
    assert len({id(one._group) for one in observed}) == 1, "they belong to one control group"
    time.sleep(0.01)
    observed[0].sample(0, 0)
    assert len(read) >= 2


def test_a_process_that_ends(start_child, observe):
    child = start_child()
    observed = observe(child.pid)
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    # First it is a zombie, then nothing.
    with pytest.raises(ProcessLookupError, match=f"process {child.pid} has ended"):
        observed.sample(0, 0)
    with pytest.raises(ProcessLookupError):
        ProcessMetrics(child.pid, time.monotonic_ns)
    child.process.wait()
    with pytest.raises(ProcessLookupError, match=f"process {child.pid} has ended"):
        observed.sample(0, 0)
    with pytest.raises(ProcessLookupError, match=f"there is no process {child.pid}"):
        ProcessMetrics(child.pid, time.monotonic_ns)


def test_threads_that_go_on_without_the_main_thread(child, observe):
    """Its state is that of a zombie."""
    observed = observe(child.pid)
    child.send(
        "import ctypes\nthreading.Thread(target=lambda: burn(1.0)).start()\nctypes.CDLL(None).pthread_exit(None)"
    )
    deadline = time.monotonic() + 10
    while "Z" not in Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert observed.sample(0, 0)["threads"] == 2


def test_another_process_of_the_same_number(start_child, observe):
    last_pid = Path("/proc/sys/kernel/ns_last_pid")
    child = start_child()
    observed = observe(child.pid)
    child.close()
    heir = None
    for _ in range(50):
        try:
            last_pid.write_text(str(child.pid - 1))
        except OSError:
            pytest.skip("numbers of processes cannot be chosen here")
        heir = start_child()
        if heir.pid == child.pid:
            break
        heir.close()
    else:
        pytest.skip("others were faster")
    with pytest.raises(ProcessLookupError):
        observed.sample(0, 0)
    # Whoever knows when the process started does not mistake the other for it.
    with pytest.raises(ProcessLookupError):
        ProcessMetrics(child.pid, time.monotonic_ns, start_ticks=observed.start_ticks)
    assert observe(child.pid).start_ticks != observed.start_ticks


@needs_root
def test_another_users_process_is_seen_by_root(child, observe):
    child.run(f"os.setuid({NOBODY})")
    observed = observe(child.pid)
    child.run("burn(0.1)")
    row = observed.sample(0, 0)
    assert row["cpu_process_percent"] > 10
    assert row["disk_write_bytes"] is not None


@needs_root
def test_what_is_not_permitted_is_none(child):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setuid(NOBODY)
        try:
            observed = ProcessMetrics(child.pid, time.monotonic_ns)
            time.sleep(0.1)
            answer = observed.sample(0, 0)
        except BaseException as error:  # noqa: BLE001 - to be told
            answer = repr(error)
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        row = json.loads(pipe.read())
    os.waitpid(pid, 0)
    assert row["disk_read_bytes"] is None
    assert row["disk_write_bytes"] is None
    for name in ("rss_bytes", "voluntary_switches", "run_queue_us", "cpu_process_percent", "cpu_machine_percent"):
        assert row[name] is not None


def test_a_system_that_says_little(child, observe, monkeypatch):
    """As in a sandbox that emulates the kernel: only the process itself can be seen."""

    class Missing(procfs.KernelFile):
        def __init__(self, path, folder=None):
            super().__init__(path if path == "stat" else "/nowhere", folder)

    monkeypatch.setattr(procfs, "KernelFile", Missing)
    monkeypatch.setattr(procfs, "SlowFile", Missing)
    observed = observe(child.pid)
    child.run("burn(0.05)")
    row = observed.sample(3, 0)
    known = {name for name, value in row.items() if value is not None}
    assert known == {name for name, column in COLUMNS.items() if not column.nullable}
    assert row["cpu_process_percent"] > 0


def test_no_descriptor_is_left_open(child):
    def count():
        return len(list(Path("/proc/self/fd").iterdir()))

    machine = Machine()
    before, left = count(), machine.allowance._left
    for _ in range(3):
        observed = ProcessMetrics(child.pid, time.monotonic_ns, machine=machine)
        observed.sample(0, 0)
        observed.close()
        with pytest.raises(ProcessLookupError):
            observed.sample(0, 0)
    assert count() == before
    assert machine.allowance._left == left
    ProcessMetrics(child.pid, time.monotonic_ns, machine=machine)
    assert count() == before


def test_every_metric_has_a_reader(child, observe):
    row = observe(child.pid).sample(0, 0)
    machine, process = ({one.name for one in metrics.METRICS if one.scope == scope} for scope in ("machine", "process"))
    assert {name for name in machine | process if row[name] is None} <= {
        *(name for name in machine if name.startswith("pressure_")),
        # Less than a tick may have passed.
        "cpu_machine_percent",
        "cpu_steal_percent",
    }
