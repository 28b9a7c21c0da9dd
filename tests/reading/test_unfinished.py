"""What a program was in the middle of: in one that goes on, that has stopped, that was killed."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.agent.leftovers import look
from quantum_pulse.agent.recover import recover
from quantum_pulse.errors import EmptyCaptureError
from quantum_pulse.reading import reader, unfinished
from tests import agents
from tests.faults import account


class Hanging(qp.Operation):
    OUTER = qp.op("Waits for what is inside of it", category="Waiting")
    INNER = qp.op("Waits for ever", category="Waiting")
    STEP = qp.op("Ends")


@pytest.fixture
def hanging(tmp_path):
    """A recording in which one thread hangs in INNER, which is in OUTER, until `released` is set."""
    released, entered = threading.Event(), threading.Event()

    def hang():
        with Hanging.OUTER, Hanging.INNER:
            entered.set()
            released.wait()

    thread = threading.Thread(target=hang)
    with qp.record(tmp_path / "capture") as recorder:
        with Hanging.STEP:
            pass
        thread.start()
        entered.wait()
        yield recorder, thread, released
        released.set()
        thread.join()


def check_rows(found, state, thread):
    assert list(found.columns) == list(unfinished.COLUMNS)
    assert found["operation"].tolist() == ["Hanging.OUTER", "Hanging.INNER"], "the oldest first"
    assert set(found["category"]) == {"Waiting"}
    assert set(found["state"]) == {state}
    assert set(found["thread"]) == {thread}
    assert set(found["process"]) == {os.getpid()}
    assert found["parent"].tolist() == [0, found["span"][0]]
    assert (found["start"].diff().dropna() > pd.Timedelta(0)).all()


def test_in_a_program_that_goes_on(hanging):
    recorder, thread, released = hanging
    before = time.time_ns()
    time.sleep(0.05)
    capture = qp.open(recorder.path)
    found = capture.unfinished()
    check_rows(found, "running", thread.native_id)
    assert (found["elapsed_us"] >= 50_000).all()
    assert (found["start"] <= pd.Timestamp(before, tz="UTC")).all()
    assert (found["start"].astype("int64") + found["elapsed_us"] * 1000 <= time.time_ns() + 1000).all()
    assert "Hanging.INNER" not in capture.stats().reset_index()["operation"].tolist()
    released.set()
    thread.join()
    assert qp.open(recorder.path).unfinished().empty
    assert len(capture.unfinished()) == 2, "it stays what it was"


def test_where_the_recording_stopped_first(hanging):
    recorder, thread, _ = hanging
    recorder.stop()
    found = qp.open(recorder.path).unfinished()
    check_rows(found, "stopped", thread.native_id)
    assert found["elapsed_us"].is_monotonic_decreasing
    assert not (recorder.path / "rings").exists()


def test_of_several_captures(hanging, tmp_path):
    recorder, thread, _ = hanging
    recorder.stop()
    with qp.record(tmp_path / "other"), Hanging.STEP:
        pass
    found = qp.open([tmp_path / "capture", tmp_path / "other"]).unfinished()
    assert found["capture"].tolist() == ["capture", "capture"]
    check_rows(found.drop(columns="capture"), "stopped", thread.native_id)


def test_nothing_is_the_normal_case(tmp_path):
    with qp.record(tmp_path / "capture"), Hanging.STEP:
        pass
    found = qp.open(tmp_path / "capture").unfinished()
    assert found.empty
    assert list(found.columns) == list(unfinished.COLUMNS)
    assert str(found["start"].dtype) == "datetime64[ns, UTC]"


KILLED = """
import asyncio, os, sys
import quantum_pulse as qp
from tests import agents

class Killed(qp.Operation):
    REQUEST = qp.op()
    QUERY = qp.op()

async def request(number):
    with Killed.REQUEST:
        with Killed.QUERY:
            await asyncio.sleep(0 if number else 60)
        await asyncio.sleep(60)

async def main():
    tasks = [asyncio.create_task(request(number)) for number in range(3)]
    await asyncio.sleep(0.4)
    agents.kill(sys.argv[1])
    os.kill(os.getpid(), 9)

qp.start(sys.argv[1], metrics_interval_s=0.1)
asyncio.run(main())
"""


def killed(path):
    """A process that was killed after its agent."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=60)
    assert done.returncode == -9
    agents.move_rings_into(path)


def test_where_the_process_was_killed(tmp_path):
    path = tmp_path / "capture"
    killed(path)
    left = qp.open(path).unfinished()
    assert len(recover(path)) == 1
    found = qp.open(path).unfinished()
    assert ((left["start"] - found["start"]).abs() < pd.Timedelta(milliseconds=1)).all(), "by two clocks"
    pd.testing.assert_frame_equal(
        left.drop(columns=["start", "elapsed_us"]), found.drop(columns=["start", "elapsed_us"])
    )
    assert found["operation"].tolist() == ["Killed.REQUEST", "Killed.QUERY", "Killed.REQUEST", "Killed.REQUEST"]
    assert found["task"].nunique() == 3
    assert set(found["state"]) == {"killed"}
    assert found["parent"].tolist() == [0, found["span"][0], 0, 0]
    ended = qp.open(path).samples()
    assert set(ended["parent"]) == set(found["span"][2:]), "samples whose parent had not ended"


def test_a_capture_without_samples_says_what_hangs(tmp_path):
    with qp.record(tmp_path / "capture"):
        Hanging.INNER.__enter__()
        with pytest.raises(EmptyCaptureError, match=r"nothing has finished yet; Hanging.INNER is running"):
            qp.open(tmp_path / "capture")
    with pytest.raises(EmptyCaptureError, match=r"one block was entered during the recording \(Hanging.INNER\)"):
        qp.open(tmp_path / "capture")


def test_a_later_process_of_the_same_number_says_nothing_of_it(tmp_path):
    # As in a container, where it is the same each time that it is started.
    path = tmp_path / "capture"
    killed(path)
    recover(path)
    before = qp.open(path).unfinished()
    (file,) = (path / "processes").iterdir()
    process = json.loads(file.read_text())
    blocks = [{**block, "process": os.getpid()} for block in process["unfinished"]]
    file.write_text(json.dumps({**process, "pid": os.getpid(), "unfinished": blocks}))
    time.sleep(0.3)
    with qp.record(path, metrics_interval_s=0.1), Hanging.STEP:
        time.sleep(0.3)
    found = qp.open(path).unfinished()
    assert set(found["process"]) == {os.getpid()}
    pd.testing.assert_frame_equal(before.drop(columns="process"), found.drop(columns="process"))


def test_names_of_blocks_around_are_those_of_the_same_recording(tmp_path):
    path = tmp_path / "capture"
    killed(path)
    recover(path)
    (process,) = account.processes(path).values()
    (file,) = (path / "processes").iterdir()
    others = [{**block, "operation": "Other.X", "parent": 0} for block in process["unfinished"]]
    content = json.dumps({**process, "unfinished": others})
    (file.parent / f"{process['pid']}-00000000.json").write_text(content)
    (file.parent / f"{process['pid']}-zzzzzzzz.json").write_text(content)
    found = unfinished.frame(qp.open(path)._source, ["path"])
    assert found.set_index("operation")["path"]["Killed.QUERY"] == ("Killed.REQUEST",)


def test_rings_that_were_renamed(tmp_path):
    path = tmp_path / "capture"
    killed(path)
    for file in [*(path / "rings").glob("*/*"), *(path / "processes").iterdir()]:
        if file.suffix == ".json":
            file.unlink()
        else:
            file.rename(file.with_name(f"renamed{file.suffix}"))
    capture = qp.open(path)
    assert capture.unfinished().empty
    assert any("its header makes no sense" in cause for cause in capture.losses()["cause"])


def test_what_ended_while_the_capture_was_opened_is_a_sample_only(hanging):
    recorder, thread, released = hanging
    (seen,) = look(recorder.path)
    released.set()
    thread.join()
    recorder.flush()
    source = reader.find(recorder.path)
    seen.add_to(source)
    assert sum(part.rows for part in source.parts["samples"]) == 3
    assert unfinished.frame(source).empty


def test_what_stands_in_a_part_is_not_open(hanging, tmp_path):
    # As a machine leaves it that lost its power: what was written last may be older than the rest.
    recorder, thread, released = hanging
    (ring,) = agents.rings(recorder.path)
    with open(ring, "rb") as file:
        page = file.read(schema.RING_HEADER_BYTES)
    released.set()
    thread.join()
    recorder.flush()
    with agents.stopped(recorder.path):
        copy = shutil.copytree(recorder.path, tmp_path / "copy", ignore=shutil.ignore_patterns("agent.*"))
    with open(copy / "rings" / ring.parent.name / ring.name, "r+b") as file:
        file.seek(schema.FIRST_SLOTS_OFFSET)
        file.write(page[schema.FIRST_SLOTS_OFFSET : schema.FIRST_SLOTS_END])
    assert len(account.check(copy)) == 3
    assert qp.open(copy).unfinished().empty
