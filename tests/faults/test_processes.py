"""Many processes that record into one capture, and end as they like: each one's samples are there, once.

Each process counts the blocks that it has finished in a mapped file of its own, which is kept when it dies.
``KILLS=100 pytest tests/faults/test_processes.py`` kills more of them.
"""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests import agents
from tests.faults import account

KILLS = int(os.environ.get("KILLS", "12"))


DEFINE = """
import mmap, multiprocessing, os, random, signal, sys, threading, time
from pathlib import Path
import quantum_pulse as qp
from quantum_pulse.rings import places

class Crowd(qp.Operation):
    MASTER = qp.op("A step of the master")
    WORKER = qp.op("A step of a worker")

FOLDER = Path(sys.argv[1])

def work(seconds, then=lambda: None):
    # Counted after each block: there may be one more in the capture, where a process died in between. A worker of a
    # pool may have work more than once.
    with open(FOLDER / f"{os.getpid()}.count", "a+b") as file:
        file.truncate(8)
        counter = memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with Crowd.WORKER:
            pass
        counter[0] += 1
        if counter[0] % 50 == 0:
            time.sleep(0.001)
    then()
"""

POOL = """
def forever(number):
    work(60)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    random.seed(1)
    for _ in range(int(sys.argv[3])):
        workers = [context.Process(target=forever, args=(number,)) for number in range(3)]
        for worker in workers:
            worker.start()
        for number in range(20):
            with Crowd.MASTER:
                pass
        while not all((FOLDER / f"{worker.pid}.count").exists() for worker in workers):
            time.sleep(0.01)
        time.sleep(random.random() * 0.1)
        for worker in workers:
            worker.kill()
            worker.join()
"""

PREFORK = """
def leave():
    sys.exit(0)

def end():
    os._exit(3)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def flush_and_die():
    recorder.flush()
    die()

def become():
    # What another program does is not ours; what was recorded until then is.
    os.execv("/bin/true", ["true"])

def start_again():
    with qp.record(FOLDER / "own"):
        with Crowd.WORKER:
            pass
    os._exit(0)

def fork_again():
    child = os.fork()
    if child == 0:
        work(0.02, end)
    os.waitpid(child, 0)
    sys.exit(0)

ways = [leave, end, die, flush_and_die, become, start_again, fork_again]
recorder = qp.start(FOLDER / "capture")          # in code, before the workers are forked
stopping = threading.Event()

def hammer():
    while not stopping.wait(0.0001):
        with Crowd.MASTER:
            pass

threads = [threading.Thread(target=hammer) for _ in range(2)]
for thread in threads:
    thread.start()
children = []
with Crowd.MASTER:                               # stays the master's
    for number, way in enumerate(ways):
        child = os.fork()
        if child == 0:
            random.seed(number)
            work(0.05 + random.random() * 0.1, way)
        children.append(child)
for child in children:
    os.waitpid(child, 0)
stopping.set()
for thread in threads:
    thread.join()
assert recorder.is_recording
recorder.stop()
print(recorder.account()["written"])
"""


def run(folder, script, *arguments, **environment):
    program = folder / "program.py"
    program.write_text(DEFINE + script)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", str(program), str(folder), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def counted(folder):
    """Finished blocks by process, as each has counted them itself."""
    return {int(file.stem): struct.unpack("Q", file.read_bytes())[0] for file in Path(folder).glob("*.count")}


def check_workers(folder, samples):
    workers = samples[samples["operation"] == "Crowd.WORKER"].groupby("process").size().to_dict()
    expected = counted(folder)
    for process, count in expected.items():
        assert count <= workers.get(process, 0) <= count + 1, process
    assert set(workers) <= set(expected)
    return expected


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_that_are_killed(tmp_path, method):
    rounds = max(KILLS // 9, 1)
    run(tmp_path, POOL, method, str(rounds), QUANTUM_PULSE=str(tmp_path / "capture"))
    samples = account.check(tmp_path / "capture")
    expected = check_workers(tmp_path, samples)
    assert len(expected) == 3 * rounds
    assert (samples["operation"] == "Crowd.MASTER").sum() == 20 * rounds


def test_workers_forked_by_a_master_that_records(tmp_path):
    written = int(run(tmp_path, PREFORK))
    samples = account.check(tmp_path / "capture")
    expected = check_workers(tmp_path, samples)
    assert len(expected) == 8
    assert (samples["operation"] == "Crowd.MASTER").sum() == written
    assert len(account.check(tmp_path / "own")) == 1
    # A block that was entered before the fork is its parent's alone.
    assert set(samples[samples["operation"] == "Crowd.WORKER"]["parent"]) == {0}


IDLE = """
import subprocess
recorder = qp.start(FOLDER / "capture")
with Crowd.MASTER:
    pass
for _ in range(5):
    child = os.fork()
    if child == 0:
        os.execv("/bin/true", ["true"])
    os.waitpid(child, 0)
    subprocess.run(["true"], preexec_fn=lambda: None, check=True)
child = os.fork()
if child == 0:
    sys.exit(0)
os.waitpid(child, 0)
recorder.stop()
"""


READ = """
recorder = qp.start(FOLDER / "capture")
with Crowd.MASTER:
    pass
recorder.flush()
stopping = threading.Event()
opened, wrong = 0, []

def read():
    global opened
    while not stopping.is_set():
        try:
            wrong.extend(qp.open(FOLDER / "capture").losses()["cause"])
        except BaseException as error:
            wrong.append(repr(error))
        opened += 1

reader = threading.Thread(target=read)
reader.start()
give_up, children = time.monotonic() + 30, 0
while (children < 100 or opened <= 20) and time.monotonic() < give_up:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    recorder.flush()                             # what the child left is taken over
    children += 1
stopping.set()
reader.join()
recorder.stop()
assert wrong == [], wrong[:3]
assert opened > 20
"""


def test_whoever_reads_while_children_are_taken_over_misses_nothing(tmp_path):
    run(tmp_path, READ)
    assert len(account.check(tmp_path / "capture")) == 1


def test_children_that_record_nothing_leave_nothing(tmp_path):
    run(tmp_path, IDLE)
    agents.wait_until_taken(tmp_path / "capture")
    assert len(account.check(tmp_path / "capture")) == 1
    assert len(account.processes(tmp_path / "capture")) == 1


TERMINATED = """
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    with context.Pool(2) as pool:                # which terminates its workers in the end
        pool.map(work, [0.1, 0.1])
    if sys.argv[3] == "meanwhile":
        end = time.monotonic() + 30
        while [ring.name.partition("-")[0] for ring in places.rings_of(FOLDER / "capture")] != [str(os.getpid())]:
            assert time.monotonic() < end
            time.sleep(0.05)
"""


@pytest.mark.parametrize(("method", "when"), [("fork", "at the end"), ("spawn", "at the end"), ("fork", "meanwhile")])
@pytest.mark.parametrize("where", ["capture", "memory"])
def test_what_terminated_workers_left_is_taken_in(tmp_path, method, when, where):
    memory = tmp_path / "memory"
    memory.mkdir()
    environment = {"QUANTUM_PULSE_RINGS": str(memory)} if where == "memory" else {}
    run(tmp_path, TERMINATED, method, when, QUANTUM_PULSE=str(tmp_path / "capture"), **environment)
    agents.wait_until_taken(tmp_path / "capture")
    assert not [path for path in memory.rglob("*") if not path.is_dir()]
    # One of them may have done all the work before the other had begun.
    assert len(check_workers(tmp_path, account.check(tmp_path / "capture"))) > 0


LOST = """
os.makedirs(FOLDER / "capture")
recorder = qp.start(FOLDER / "capture")
with Crowd.MASTER:
    pass
(FOLDER / "away").mkdir()
os.rename(FOLDER / "capture", FOLDER / "away" / "capture")
(FOLDER / "capture").write_text("here now")
child = os.fork()
if child == 0:
    with Crowd.WORKER:
        pass
    sys.exit(4)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
(FOLDER / "capture").unlink()
os.rename(FOLDER / "away" / "capture", FOLDER / "capture")
recorder.stop()
"""


RECYCLED = """
from tests import agents
killed = set(range(0, 300, 10))
recorder = qp.start(FOLDER / "capture")
with Crowd.MASTER:
    pass
for number in range(300):
    child = os.fork()
    if child == 0:
        with open(FOLDER / f"{os.getpid()}.count", "w+b") as file:
            file.truncate(8)
            counter = memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")
        for _ in range(100):
            with Crowd.WORKER:
                pass
            counter[0] += 1
        if number in killed:
            os.kill(os.getpid(), 9)
        sys.exit(0)
    os.waitpid(child, 0)
    if sys.argv[2] == "killed" and number % 60 == 30:
        recorder.flush()                         # there is an agent, which has begun to work
        agents.kill(FOLDER / "capture")
recorder.stop()
print(len(list((FOLDER / "capture" / "samples").iterdir())))
"""


@pytest.mark.parametrize("agent", ["lives", "killed"])
def test_recycled_workers(tmp_path, agent):
    """Of a pool that gives each of its workers a little work only, a tenth is killed."""
    run(tmp_path, RECYCLED, agent)
    capture = tmp_path / "capture"
    expected = check_workers(tmp_path, account.check(capture))
    assert sum(expected.values()) == 300 * 100
    recordings = account.processes(capture)
    assert len(recordings) <= 2 + (5 if agent == "killed" else 0), "all workers are one recording"
    (workers,) = [one for one in recordings.values() if "workers" in one]
    own = [one for one in recordings.values() if one["is_forked"] and "workers" not in one]
    assert workers["workers"] + len(own) == 300
    assert workers["account"]["written"] == 100 * workers["workers"]
    assert len(list((capture / "samples").iterdir())) < 60
    agents.wait_until_gone(capture)
    assert len(list((capture / "samples").iterdir())) < 20, "what is small is merged"


def test_a_child_that_cannot_record_goes_on(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(DEFINE + LOST)
    command = [sys.executable, str(program), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot record into") == 1
    assert len(account.check(tmp_path / "capture")) == 1


BECOMES_ANOTHER = """
import os, sys, time
import quantum_pulse as qp

class Crowd(qp.Operation):
    MASTER = qp.op()

with qp.record(sys.argv[1]), Crowd.MASTER:
    for _ in range(5):
        child = os.fork()
        if not child:
            # As a pseudo-terminal is started, and a !command in a notebook with it.
            os.closerange(3, 256)
            time.sleep(0.1)
            os.execv(sys.executable, [sys.executable, "-c", ""])
        os.waitpid(child, 0)
"""


def test_a_child_that_closes_all_files_to_become_another_program_says_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BECOMES_ANOTHER, str(tmp_path / "capture")], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
