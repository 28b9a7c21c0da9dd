"""The agent takes rows while the program goes on: in a thread of the same process, and in another process."""

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from quantum_pulse import schema
from quantum_pulse.core import contract
from tests.core.rig import in_thread
from tests.core.test_modes import budget, repeat, summed

# What an agent does with one ring. It writes the spans that it took to its standard output.
AGENT = """
import random, sys, time
from pathlib import Path

from quantum_pulse.core import core
from quantum_pulse.rings.ring import Ring

ring = Ring(Path(sys.argv[1]), core.fence)
print("ready", file=sys.stderr, flush=True)
while True:
    stopped = ring["stopped"]
    batch = ring.drain(int(sys.argv[2]))
    sys.stdout.buffer.write(batch.columns["span"].tobytes())
    if sys.argv[3] == "slow":
        time.sleep(random.random() / 1000)
    ring.release()
    ring["released_ns"] = core.now()
    if stopped and not batch.rows:
        break
"""


@contextlib.contextmanager
def agent_process(rig, most=1 << 30, pace="fast"):
    """An agent in another process. Gives a function that ends the recording and returns the spans that it took."""
    with tempfile.TemporaryFile() as taken:
        command = [sys.executable, "-c", AGENT, str(rig.ring), str(most), pace]
        environment = {**os.environ, "QUANTUM_PULSE_CORE": rig.core.NAME}
        process = subprocess.Popen(command, stdout=taken, stderr=subprocess.PIPE, env=environment, text=True)
        try:
            assert process.stderr.readline() == "ready\n"

            def spans():
                rig.core.ask(True)
                _, complaints = process.communicate(timeout=60)
                assert (process.returncode, complaints) == (0, "")
                taken.seek(0)
                return np.frombuffer(taken.read(), np.int64)

            yield spans
        finally:
            process.kill()
            process.communicate()


@pytest.fixture(params=["memory", "disk"])
def place(request, rig):
    """The ring is in shared memory, or on a disk, where its file grows."""
    if request.param == "disk":
        yield
        return
    if not Path("/dev/shm").is_dir():
        pytest.skip("there is no /dev/shm here")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        rig.folder = Path(folder)
        yield
        rig.close()


def wait_for_the_end(threads):
    """Until the system knows nothing of them any more, which is a moment after they are joined."""
    for thread in threads:
        thread.join()
    while any(Path(f"/proc/self/task/{thread.native_id}").exists() for thread in threads):
        time.sleep(0.001)


# ---- a thread that drains --------------------------------------------------------------------------------------------


def test_an_agent_that_keeps_up_needs_few_segments(rig, restart, place):
    restart(budget(64))

    def work():
        for _ in range(40):
            repeat(rig.probe(1), 1000)
            time.sleep(0.002)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        rig.drain()
        time.sleep(0.0005)
    rig.drain()
    spans = [row.span for row in rig.rows]
    assert spans == list(range(spans[0], spans[0] + 40_000)), "each once, oldest first"
    assert rig.totals() == (40_000, 40_000, 0)
    assert rig.agent["released"] > 10
    assert rig.agent["used"] < 32, "segments are used again"
    assert rig.agent.pending_rows() == 0


def test_rows_are_given_back_one_by_one(rig, restart, place):
    """However often the agent comes by, each row is taken once, and a segment goes on being filled."""
    restart(budget(2))
    for number in range(1, 3 * schema.SEGMENT_ROWS):
        with rig.probe(1):
            pass
        assert rig.agent.pending_rows() == 1
        assert len(rig.drain()) == 1
        assert rig.agent.pending_rows() == 0
        assert rig.agent["released"] == number + 1
    assert rig.totals()[2] == 0
    assert rig.agent["used"] == 1


def test_most_ends_with_a_segment(rig):
    repeat(rig.probe(1), 3 * schema.SEGMENT_ROWS + 5)
    assert len(rig.drain(most=1)) == schema.SEGMENT_ROWS
    assert len(rig.drain(most=schema.SEGMENT_ROWS + 1)) == 2 * schema.SEGMENT_ROWS
    assert len(rig.drain(most=1)) == 5
    assert rig.drain(most=1) == []


def test_what_is_not_released_is_copied_again(rig):
    repeat(rig.probe(1), 10)
    first = rig.drain(release=False)
    repeat(rig.probe(1), 10)
    again = rig.drain()
    assert again[:10] == first
    assert len(again) == 20
    assert rig.drain() == []


def test_an_agent_that_comes_after_another_goes_on_where_that_one_was(rig, restart):
    repeat(rig.probe(1), schema.SEGMENT_ROWS + 10)
    first = rig.drain()
    repeat(rig.probe(1), 10)
    rig.drain(release=False)  # it dies before it has released them
    rig.rows = first
    another_agent(rig)
    repeat(rig.probe(1), 10)
    assert len(rig.drain()) == 20
    spans = [row.span for row in rig.rows]
    assert spans == list(range(spans[0], spans[0] + schema.SEGMENT_ROWS + 30))


def test_segments_of_threads_that_have_ended_are_used_again(rig, restart):
    """Also where they were drained before the thread ended, so that the agent has nothing more to give back."""
    restart(budget(3))
    step = threading.Barrier(3)

    def work():
        repeat(rig.probe(1), 10)
        step.wait()  # recorded
        step.wait()  # drained, and looked through in vain
        step.wait()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    step.wait()
    repeat(rig.probe(2), schema.SEGMENT_ROWS)
    assert len(rig.drain()) == 20 + schema.SEGMENT_ROWS
    step.wait()
    repeat(rig.probe(2), schema.SEGMENT_ROWS)
    assert rig.totals()[2] == 0
    assert len(rig.drain()) == schema.SEGMENT_ROWS
    repeat(rig.probe(2), 5)  # in the third segment again; the other two are the threads'
    rig.drain()
    step.wait()
    wait_for_the_end(threads)
    for _ in range(5):
        repeat(rig.probe(2), 2 * schema.SEGMENT_ROWS)
        assert rig.totals()[2] == 0
        rig.drain()
    assert rig.agent["used"] == 3


def test_rows_of_threads_that_have_ended_leave_room_for_those_that_go_on(rig, restart):
    restart(budget(4))
    repeat(rig.probe(1), 1)
    threads = [threading.Thread(target=repeat, args=(rig.probe(2), 7)) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_for_the_end(threads)
    assert len(rig.drain()) == 22
    repeat(rig.probe(1), 4 * schema.SEGMENT_ROWS - 1)
    assert rig.totals()[2] == 0
    assert len(rig.drain()) == 4 * schema.SEGMENT_ROWS - 1


def test_a_segment_that_is_drained_when_its_thread_goes_on_is_free(rig, restart):
    """Two threads whose segments are full and drained: what one finds released is the other's too."""
    restart(budget(2))
    step = threading.Barrier(2)

    def work():
        repeat(rig.probe(1), schema.SEGMENT_ROWS)
        step.wait()
        step.wait()  # drained, and the other has gone on
        repeat(rig.probe(1), 1)

    thread = threading.Thread(target=work)
    thread.start()
    step.wait()
    repeat(rig.probe(2), schema.SEGMENT_ROWS)
    rig.drain()
    repeat(rig.probe(2), 1)
    step.wait()
    thread.join()
    assert rig.totals()[2] == 0
    assert len(rig.drain()) == 2


# ---- another process that drains -------------------------------------------------------------------------------------


def repeat_in_threads(rig, crew, count):
    """`count` samples in all, from threads with a probe each."""
    threads = [threading.Thread(target=repeat, args=(rig.probe(number), count // crew)) for number in range(crew)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("pace", ["fast", "slow"])
def test_another_process_takes_each_row_once(rig, restart, place, pace):
    restart(budget(16), on_full=contract.WAIT)
    count = 400_000 if rig.core.NAME == "native" else 40_000
    with agent_process(rig, 2 * schema.SEGMENT_ROWS, pace) as spans:
        repeat_in_threads(rig, 4, count)
        rig.core.stop()
        taken = np.sort(spans())
    assert rig.totals() == (count, count, 0)
    assert len(taken) == len(np.unique(taken)) == count


def test_another_process_takes_each_row_of_short_lived_threads_once(rig, restart, place):
    """Segments change hands all the time, and most are not full when they do."""
    restart(budget(8), on_full=contract.WAIT)
    count = 3000 if rig.core.NAME == "native" else 1000
    with agent_process(rig) as spans:
        for number in range(count):
            in_thread(repeat, rig.probe(1), number % 20)
        rig.core.stop()
        taken = np.sort(spans())
    expected = sum(number % 20 for number in range(count))
    assert rig.totals() == (expected, expected, 0)
    assert np.array_equal(taken, np.arange(taken[0], taken[0] + expected))


@pytest.mark.parametrize("pace", ["fast", "slow"])
def test_another_process_takes_rows_while_they_are_overwritten(rig, restart, place, pace):
    """A row is either taken or counted as lost, and none is both."""
    restart(budget(8), on_full=contract.OVERWRITE)
    count = 400_000 if rig.core.NAME == "native" else 40_000
    with agent_process(rig, 2 * schema.SEGMENT_ROWS, pace) as spans:
        repeat_in_threads(rig, 2, count)
        rig.core.stop()
        taken = spans()
    assert len(np.unique(taken)) == len(taken)
    started, committed, lost = rig.totals()
    assert (started, committed, lost) == (count, len(taken), count - len(taken))
    assert rig.agent["lost"] == lost
    assert sum(loss.samples for loss in rig.core.losses()) == lost


def test_a_thread_takes_rows_while_they_are_overwritten(rig, restart):
    restart(budget(8), on_full=contract.OVERWRITE)
    count = 60_000
    thread = threading.Thread(target=repeat, args=(rig.probe(1), count))
    thread.start()
    while thread.is_alive():
        rig.drain(release=False, most=3 * schema.SEGMENT_ROWS)
        time.sleep(0.001)  # it goes on, and finds some of them claimed
        rig.agent.release()
    rig.drain()
    spans = [row.span for row in rig.rows]
    assert len(set(spans)) == len(spans)
    assert rig.totals() == (count, len(spans), count - len(spans))
    assert summed(rig)[1, "lost"] == rig.agent["lost"] == count - len(spans)


def test_claims_end_with_the_release(rig, restart):
    restart(budget(4), on_full=contract.OVERWRITE)
    repeat(rig.probe(1), 4 * schema.SEGMENT_ROWS)
    assert len(rig.drain(release=False)) == 4 * schema.SEGMENT_ROWS
    repeat(rig.probe(2), 10)
    assert summed(rig)[2, "lost"] == 10, "all of them are claimed"
    rig.agent.release()
    repeat(rig.probe(2), 4 * schema.SEGMENT_ROWS)
    assert summed(rig)[2, "lost"] == 10
    assert summed(rig)[1, "lost"] == 0
    assert len(rig.drain()) == 4 * schema.SEGMENT_ROWS


def test_claims_that_were_not_released_end_with_the_next_drain(rig, restart):
    """The disk was full: nothing is given back, and the flight recorder goes on."""
    restart(budget(4), on_full=contract.OVERWRITE)
    repeat(rig.probe(1), 4 * schema.SEGMENT_ROWS)
    rig.drain(release=False)
    rig.rows.clear()
    rig.drain(release=False, most=1)
    repeat(rig.probe(2), schema.SEGMENT_ROWS)
    assert summed(rig)[2, "lost"] == 0
    assert summed(rig)[1, "lost"] == schema.SEGMENT_ROWS, "the oldest that was not claimed"
    rig.rows.clear()
    rig.agent.release()
    assert len(rig.drain()) == 3 * schema.SEGMENT_ROWS


def another_agent(rig):
    """The agent is killed, and another one comes."""
    rig.agent.close()
    rig.agent = type(rig.agent)(rig.ring, rig.core.fence)


def test_what_an_agent_had_claimed_that_was_killed_is_not_overwritten(rig, restart):
    """It may stand in a part, which the next agent finds out: then it must not be counted as lost as well."""
    restart(budget(4), on_full=contract.OVERWRITE)
    repeat(rig.probe(1), 4 * schema.SEGMENT_ROWS)
    first = rig.drain(release=False, most=schema.SEGMENT_ROWS + 1)
    assert len(first) == 2 * schema.SEGMENT_ROWS
    another_agent(rig)
    repeat(rig.probe(2), 3 * schema.SEGMENT_ROWS)
    assert summed(rig)[1, "lost"] == 2 * schema.SEGMENT_ROWS, "those that were not claimed"
    rig.rows.clear()
    again = rig.drain(release=False)
    assert again[: len(first)] == first
    repeat(rig.probe(2), 10)
    assert summed(rig)[2, "lost"] == schema.SEGMENT_ROWS + 10, "all of them are claimed"
    rig.rows.clear()
    assert rig.drain(release=False) == again, "the disk was full"
    repeat(rig.probe(2), 10)
    assert summed(rig)[2, "lost"] == schema.SEGMENT_ROWS + 20
    rig.rows.clear()
    assert rig.drain() == again
    repeat(rig.probe(2), 4 * schema.SEGMENT_ROWS)
    assert summed(rig)[1, "lost"] == 2 * schema.SEGMENT_ROWS
    assert summed(rig)[2, "lost"] == schema.SEGMENT_ROWS + 20
    rig.drain()


def test_claims_of_an_agent_that_was_killed_end(rig, restart):
    """Also on what it had marked already, or what is not there any more."""
    restart(budget(4), on_full=contract.OVERWRITE)
    repeat(rig.probe(1), 4 * schema.SEGMENT_ROWS)
    rig.drain(release=False)
    claimed = rig.agent._claimed.copy()
    rig.agent.release()
    repeat(rig.probe(1), 1)
    assert claimed.all()
    rig.agent._claimed[:] = claimed
    another_agent(rig)
    assert len(rig.drain()) == 1
    assert not rig.agent._claimed.any()
    repeat(rig.probe(1), 6 * schema.SEGMENT_ROWS)
    rig.drain()
    assert len({row.span for row in rig.rows}) == len(rig.rows)
    assert summed(rig)[1, "committed"] == len(rig.rows)


def test_an_agent_that_was_killed_after_it_had_marked_segments(rig, restart):
    """It has not said that it has: the next one does, or else a full ring would stay full."""
    restart(budget(2))
    repeat(rig.probe(1), 2 * schema.SEGMENT_ROWS + 5)
    assert rig.totals()[2] == 5
    rig.drain(release=False)
    for number, sequence, _, end in rig.agent._copied:
        rig.agent._drained[number] = sequence << 32 | end
    another_agent(rig)
    repeat(rig.probe(1), 2 * schema.SEGMENT_ROWS)
    assert rig.totals()[2] == 5
    assert len(rig.drain()) == 2 * schema.SEGMENT_ROWS
    rig.rows.clear()


# ---- memory for segments ---------------------------------------------------------------------------------------------


def test_the_agent_says_that_there_is_no_room(rig, restart, place):
    restart(budget(64))
    rig.agent["no_room"] = 1
    began = time.monotonic()
    repeat(rig.probe(1), schema.SEGMENT_ROWS + 20_000)
    assert time.monotonic() - began < 5, "nobody asks for memory each time"
    assert rig.agent["used"] == 1
    assert rig.totals() == (schema.SEGMENT_ROWS + 20_000, schema.SEGMENT_ROWS, 20_000)
    (loss,) = rig.core.losses()
    assert (loss.samples, loss.cause) == (20_000, contract.NO_ROOM)
    rig.agent["no_room"] = 0
    repeat(rig.probe(1), 10)
    assert rig.totals()[2] == 20_000
    assert len(rig.drain()) == schema.SEGMENT_ROWS + 10


@pytest.mark.parametrize("place", ["memory"], indirect=True)
def test_the_agent_reserves_ahead(rig, restart, place):
    restart(budget(64))
    assert (rig.agent["used"], rig.agent["reserved"]) == (0, 1)
    rig.agent.reserve_ahead(1 << 30)
    assert rig.agent["reserved"] == 1, "nothing is used yet"
    repeat(rig.probe(1), 1)
    rig.agent.reserve_ahead(1 << 30)
    assert (rig.agent["used"], rig.agent["reserved"], rig.agent["no_room"]) == (1, 2, 0)
    rig.agent["no_room"] = 1
    repeat(rig.probe(1), 2 * schema.SEGMENT_ROWS - 1)
    assert rig.totals()[2] == 0, "what is reserved is used"
    repeat(rig.probe(1), 5)
    assert rig.totals()[2] == 5
    rig.agent.reserve_ahead(0)
    assert (rig.agent["reserved"], rig.agent["no_room"]) == (2, 1)
    rig.agent.reserve_ahead(schema.SEGMENT_BYTES)
    assert (rig.agent["reserved"], rig.agent["no_room"]) == (3, 0)
    repeat(rig.probe(1), 1)
    assert rig.totals()[2] == 5
    rig.agent.reserve_ahead(1 << 30)
    assert rig.agent["reserved"] == 6
    for _ in range(10):
        repeat(rig.probe(1), rig.agent["reserved"] * schema.SEGMENT_ROWS)
        rig.agent.reserve_ahead(1 << 30)
    assert rig.agent["reserved"] == rig.agent["used"] == 64, "never more than there may be"
    assert rig.ring.stat().st_blocks * 512 >= 64 * schema.SEGMENT_BYTES
    rig.drain()
    assert rig.totals()[1] == len(rig.rows)


@pytest.mark.parametrize("place", ["memory"], indirect=True)
@pytest.mark.parametrize("wanted", [1, 5, 1000])
def test_memory_from_the_beginning(rig, restart, place, wanted):
    restart(budget(64), reserve=wanted)
    assert rig.agent["reserved"] == min(wanted, 64)
    assert rig.ring.stat().st_blocks * 512 >= min(wanted, 64) * schema.SEGMENT_BYTES


def test_memory_that_is_used_up(rig, restart, tmp_path):
    """A file system that is full: what finds no room is lost and counted, and the program lives."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this user cannot mount a tmpfs")
    try:
        rig.folder = folder
        restart(budget(64))
        ballast = folder / "ballast"
        ballast.write_bytes(bytes(6 * schema.SEGMENT_BYTES))
        for _ in range(10):
            repeat(rig.probe(1), 2 * schema.SEGMENT_ROWS)
            rig.agent.reserve_ahead(1 << 30)
        started, committed, lost = rig.totals()
        used = rig.agent["used"]
        assert 1 <= used <= 9
        assert (started, committed) == (committed + lost, used * schema.SEGMENT_ROWS)
        assert lost > 0
        ballast.unlink()
        time.sleep(0.11)  # it does not ask all the time
        for _ in range(4):
            found = os.statvfs(folder)
            rig.agent.reserve_ahead(found.f_bavail * found.f_frsize)
            repeat(rig.probe(1), 2 * schema.SEGMENT_ROWS)
        assert rig.agent["used"] > used
        rig.drain()
        assert rig.totals()[1] == len(rig.rows)
    finally:
        rig.close()
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_takes_no_more(rig, restart):
    restart(budget(64))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (schema.segments_at(64) + 3 * schema.SEGMENT_BYTES, hard))
    try:
        repeat(rig.probe(1), 20 * schema.SEGMENT_ROWS)
        used = rig.agent["used"]
        assert 1 <= used <= 3
        assert rig.totals() == (
            20 * schema.SEGMENT_ROWS,
            used * schema.SEGMENT_ROWS,
            (20 - used) * schema.SEGMENT_ROWS,
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    time.sleep(0.11)
    repeat(rig.probe(1), 3 * schema.SEGMENT_ROWS)
    assert rig.agent["used"] == used + 3
    rig.drain()
    assert len(rig.rows) == (used + 3) * schema.SEGMENT_ROWS


def test_no_room_at_all_is_an_error(rig, tmp_path):
    rig.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (schema.RING_HEADER_BYTES, hard))
    try:
        with pytest.raises(OSError):
            rig.core.start(str(tmp_path / "new.ring"), budget(64))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "new.ring").exists()
    rig.start()
