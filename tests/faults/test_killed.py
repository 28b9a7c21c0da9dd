"""Processes that die: all that had ended is there, once, and nothing else.

``KILLS=200 pytest tests/faults/test_killed.py`` kills as often as that; by default it is done a few times.
"""

import os
import shutil
import signal
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.agent.recover import recover
from quantum_pulse.errors import EmptyCaptureError
from quantum_pulse.rings import owners
from tests import agents
from tests.faults import account
from tests.faults.program import running

NURSERY = Path(__file__).with_name("nursery.py")
KILLS = int(os.environ.get("KILLS", "12"))
NAMES = [*(f"OUTER_{n}" for n in range(4)), *(f"INNER_{n}" for n in range(4)), "TASK"]


def raise_and_kill(folder, kills, way, seed=1):
    subprocess.run(
        [sys.executable, str(NURSERY), str(folder), str(kills), str(seed), way], check=True, timeout=60 + 6 * kills
    )
    return sorted(path for path in folder.iterdir() if path.is_dir())


def check_same(before, after):
    """Both have the same samples. Clocks are compared again and again, so their times may differ a little."""
    before, after = (table.sort_values("span", ignore_index=True) for table in (before, after))
    assert ((before["start"] - after["start"]).abs() < pd.Timedelta(milliseconds=1)).all()
    pd.testing.assert_frame_equal(before.drop(columns="start"), after.drop(columns="start"))


def check(folder):
    """What was recovered against what the child counted. Returns the samples, and how many came from rings."""
    if not (folder / "capture" / "capture.json").exists():
        return 0, 0  # killed before the recording began
    try:
        before = qp.open(folder / "capture").samples()
    except EmptyCaptureError:
        before = None
    recovered = recover(folder / "capture")
    agents.wait_until_taken(folder / "capture")
    counters = struct.unpack(f"{2 * len(NAMES)}Q", (folder / "counters").read_bytes()[: 16 * len(NAMES)])
    entered, finished = counters[: len(NAMES)], counters[len(NAMES) :]
    assert not list((folder / "capture").glob("samples/.*"))
    try:
        capture = qp.open(folder / "capture")
    except EmptyCaptureError:
        assert before is None
        assert not any(finished)
        return 0, 0
    samples = capture.samples()
    check_same(before, samples)
    assert capture.losses().empty, capture.losses()["cause"].tolist()
    found = samples["operation"].value_counts().to_dict()
    (process,) = account.processes(folder / "capture").values()
    account.check_each(process, account.samples_of(folder / "capture", *account.processes(folder / "capture")))
    left_open = Counter(operation for operation, _ in account.open_in(process).elements())
    for name, begun, ended in zip(NAMES, entered, finished, strict=True):
        operation, slack = f"Work.{name}", 5 if name == "TASK" else 1  # one for each that works on it
        there = found.get(operation, 0)
        assert ended <= there <= ended + slack, name
        assert begun - slack <= there + left_open[operation] <= begun, name
        assert left_open[operation] <= slack, name
    threads = samples.groupby("operation")["thread"].unique()
    for operation, thread in account.open_in(process):
        assert thread in threads.get(operation, [thread]), operation
    assert samples["span"].is_unique
    assert (samples["duration_ns"] >= 0).all()
    assert samples["start"].between("2020", "2100").all()
    inner = samples[samples["operation"].str.contains("INNER")]
    # An inner block's parent is an outer one: written, or still open when the child died.
    known = dict(zip(samples["span"], samples["operation"].astype(str), strict=True))
    parents = inner["parent"].map(known).fillna(inner["operation"].str.replace("INNER", "OUTER"))
    assert (parents == inner["operation"].str.replace("INNER", "OUTER")).all()
    assert inner["parent"].map(known).isna().sum() <= 4
    told = process["account"]
    assert told["written"] == len(samples)
    assert told["started"] == told["written"] + told["open"] + told["lost"]
    inner_parents = set(samples.loc[samples["operation"].str.contains("INNER"), "parent"])
    assert inner_parents - {*samples["span"]} <= {block["span"] for block in process["unfinished"]}
    assert recover(folder / "capture") == []
    return len(samples), sum(one.samples for one in recovered)


def statuses(folders):
    return {int((folder / "status").read_text()) for folder in folders}


@pytest.mark.timeout(120 + 3 * KILLS)
def test_killed_at_random_moments(tmp_path):
    folders = raise_and_kill(tmp_path, KILLS, "kill")
    assert statuses(folders) == {-signal.SIGKILL}
    total = sum(check(folder)[0] for folder in folders)
    print(f"{len(folders)} kills, {total:,} samples")
    assert total > 1000 * len(folders)


@pytest.mark.timeout(120 + 6 * KILLS)
def test_agents_that_are_killed_at_random_moments(tmp_path):
    """The program goes on, and starts another one when it needs it."""
    folders = raise_and_kill(tmp_path, KILLS, "agent")
    assert statuses(folders) == {0}
    killed = sum(len((folder / "agents").read_text().splitlines()) for folder in folders)
    total = sum(check(folder)[0] for folder in folders)
    print(f"{killed} agents killed, {total:,} samples")
    assert killed >= KILLS
    assert {process["ended"] for folder in folders for process in account.processes(folder / "capture").values()} == {
        "stop"
    }


@pytest.mark.timeout(120 + 3 * KILLS)
def test_killed_with_their_agents(tmp_path):
    """In any order: what is in the rings is there for whoever looks next."""
    folders = raise_and_kill(tmp_path, max(KILLS // 4, 4), "both")
    assert statuses(folders) == {-signal.SIGKILL}
    counts = [check(folder) for folder in folders]
    total, from_rings = map(sum, zip(*counts, strict=True))
    print(f"{len(folders)} programs killed with their agents, {total:,} samples, {from_rings:,} of them from rings")
    assert total > 1000 * len(folders)
    assert from_rings > 0


@pytest.mark.parametrize(("way", "status"), [("exit", 7), ("segfault", -signal.SIGSEGV)])
def test_ended_without_warning(tmp_path, way, status):
    folders = raise_and_kill(tmp_path, 4, way)
    assert statuses(folders) == {status}
    assert sum(check(folder)[0] for folder in folders) > 0


LOSING = """
import mmap, os, signal, sys, threading, time
import quantum_pulse as qp
from tests import agents

class Lost(qp.Operation):
    A = qp.op()
    B = qp.op()

with open(sys.argv[2], "w+b") as file:
    file.truncate(64)
    entered = memoryview(mmap.mmap(file.fileno(), 64)).cast("Q")
recorder = qp.start(sys.argv[1], budget_bytes=24576 + 9 * 65536, on_full=sys.argv[3])
recorder.flush()
os.kill(agents.pid_of(sys.argv[1]), signal.SIGSTOP)  # as one that waits for a disk

def work(place, first, second):
    while True:
        for operation, count in (first, 2), (second, 1):
            for _ in range(count):
                entered[place + (operation is Lost.B)] += 1
                with operation:
                    pass
        entered[4 + place // 2] = threading.get_native_id()

threads = [threading.Thread(target=work, args=args) for args in ((0, Lost.A, Lost.B), (2, Lost.B, Lost.A))]
for thread in threads:
    thread.start()
while min(entered[place] for place in range(4)) < 30_000:
    time.sleep(0.01)
print("enough", flush=True)
"""


@pytest.mark.parametrize(("on_full", "cause"), [("drop", "rings full"), ("overwrite", "overwritten by later ones")])
def test_killed_while_it_loses_samples(tmp_path, on_full, cause):
    capture, counts = tmp_path / "capture", tmp_path / "counts"
    command = [sys.executable, "-c", LOSING, str(capture), str(counts), on_full]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"enough\n"
        child.kill()
    agents.kill(capture)
    samples = account.check(capture, lost=True)
    losses = qp.open(capture).losses()
    assert set(losses["cause"]) == {cause}
    (process,) = account.processes(capture).values()
    rows, lost, left_open = (
        samples.groupby(["operation", "thread"]).size(),
        account.losses_of(process),
        account.open_in(process),
    )
    *entered, _, _, _, _ = numbers = struct.unpack("8Q", counts.read_bytes())
    for place, begun in enumerate(entered):
        key = f"Lost.{'AB'[place % 2]}", numbers[4 + place // 2]
        assert begun - 1 <= rows.get(key, 0) + lost[key] + left_open[key] <= begun, key
        assert lost[key] > 10_000


def test_what_lives_is_left_alone(tmp_path):
    with qp.record(tmp_path / "capture") as recorder:
        (ring,) = agents.rings(tmp_path / "capture")
        assert owners.is_alive(ring)
        assert recover(tmp_path / "capture") == []
        assert ring.exists()
        assert recorder.is_recording


def test_what_lives_can_be_read_from_its_rings(tmp_path):
    class Live(qp.Operation):
        STEP = qp.op("Not yet in any part")

    with qp.record(tmp_path / "capture") as recorder:
        for _ in range(2000):
            with Live.STEP:
                pass
        recorder.flush()
        with agents.stopped(tmp_path / "capture"):
            for _ in range(3000):
                with Live.STEP:
                    pass
            capture = qp.open(tmp_path / "capture")
            assert len(capture.samples()) == 5000
            assert capture.samples()["span"].is_unique
            written = (tmp_path / "capture" / "samples").iterdir()
            assert sum(pq.read_metadata(file).num_rows for file in written) < 5000
            assert capture.losses().empty
    assert len(capture.samples()) == 5000, "it stays what it was"
    assert len(qp.open(tmp_path / "capture").samples()) == 5000


def test_losses_count_once_where_the_ring_is_still_there(tmp_path):
    """As when the agent is killed between its last two steps: the process file is written, and then the ring goes."""
    capture, kept = tmp_path / "capture", tmp_path / "kept"
    with running(capture, schema.RING_HEADER_BYTES + schema.SEGMENT_BYTES) as program:
        told = program.tell("work", 20_000)["account"]
        agents.kill(capture)
        program.child.kill()
        program.child.wait()
    lost = told["lost"]
    assert lost > 0
    (folder,) = {ring.parent for ring in agents.rings(capture)}
    shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("agent*"))
    assert qp.open(capture).losses()["count"].sum() == lost
    recover(capture)
    assert qp.open(capture).losses()["count"].sum() == lost
    shutil.copytree(kept, capture / schema.RINGS / folder.name)
    again = qp.open(capture)
    assert agents.rings(capture)
    assert again.losses()["count"].sum() == lost
    assert len(again.samples()) == 20_000 - lost
