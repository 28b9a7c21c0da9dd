"""Every way to become a process: what a recorded program starts is recorded with it."""

import json
import os
import subprocess
import sys

import pytest

import quantum_pulse as qp
from quantum_pulse.recorder.recording import INHERITED
from tests import agents
from tests.recorder.programs import run, write
from tests.recorder.work import assert_balances, assert_is_whole, processes

GUARD = 'if __name__ == "__main__":\n'
STARTS = "    with qp.record(path):\n        work(10)\n"

#: What a recorded program does that has called `work` 10 times, what comes of it, and how many processes there are.
WAYS = {
    "fork": (
        "        child = os.fork()\n"
        "        if child == 0:\n"
        "            work(5)\n"
        "            os._exit(0)\n"
        "        os.waitpid(child, 0)\n",
        15,
        2,
    ),
    "a fork that forks": (
        "        if os.fork() == 0:\n"
        "            work(5)\n"
        "            if os.fork() == 0:\n"
        "                work(7)\n"
        "                os._exit(0)\n"
        "            os.wait()\n"
        "            os._exit(0)\n"
        "        os.wait()\n",
        22,
        3,
    ),
    **{
        f"a process of multiprocessing, {method}": (
            f"        child = multiprocessing.get_context({method!r}).Process(target=work, args=(5,))\n"
            "        child.start()\n"
            "        child.join()\n",
            15,
            2,
        )
        for method in ("fork", "spawn", "forkserver")
    },
    **{
        f"a pool that recycles its workers, {method}": (
            f"        with multiprocessing.get_context({method!r}).Pool(2, maxtasksperchild=1) as pool:\n"
            "            pool.map(work, [5] * 6, chunksize=1)\n"
            "            pool.close()\n"
            "            pool.join()\n",
            40,
            None,
        )
        for method in ("fork", "spawn", "forkserver")
    },
    **{
        f"an executor, {method}": (
            "        from concurrent.futures import ProcessPoolExecutor\n"
            f"        context = multiprocessing.get_context({method!r})\n"
            "        with ProcessPoolExecutor(2, mp_context=context) as executor:\n"
            "            list(executor.map(work, [5] * 4))\n",
            30,
            None,
        )
        for method in ("fork", "spawn")
    },
    "a program": (
        "        subprocess.run([sys.executable, other], check=True)\n",
        13,
        2,
    ),
    "a shell that starts a program": (
        "        subprocess.run(f'{sys.executable} {other}', shell=True, check=True)\n",
        13,
        2,
    ),
    "a fork that becomes a program": (
        "        if os.fork() == 0:\n"
        "            work(5)\n"
        "            os.execv(sys.executable, [sys.executable, other])\n"
        "        os.wait()\n",
        18,
        2,
    ),
    "the program becomes another": (
        "        os.execv(sys.executable, [sys.executable, other])\n",
        13,
        1,
    ),
}
OTHER = """
import quantum_pulse as qp

class Other(qp.Operation):
    STEP = qp.op()

for _ in range(3):
    with Other.STEP:
        pass
"""


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_become_a_process(tmp_path, way):
    body, count, number = WAYS[way]
    other = write(tmp_path, OTHER, "other.py", "")
    done = run(tmp_path, f"other = sys.argv[2]\n{GUARD}{STARTS}{body}", other)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    path = tmp_path / "capture"
    capture = qp.open(path)
    assert capture.stats()["count"].sum() == count
    assert capture.losses().empty
    agents.wait_until_taken(path)
    assert_is_whole(path)
    capture = qp.open(path)
    samples = capture.samples()
    assert len(samples) == count
    assert capture.losses().empty
    if number is not None:
        assert samples["process"].nunique() == number
    found = processes(path)
    for process in found:
        assert_balances(process["account"])
        assert process["account"]["open"] == process["account"]["pending"] == 0
    assert sum(process["account"]["written"] for process in found) == count
    # A server of multiprocessing is killed, and records nothing.
    assert {process["state"] for process in found if process["account"]["started"]} == {"finished"}


def test_what_becomes_of_a_program_that_becomes_another(tmp_path):
    body, _, _ = WAYS["the program becomes another"]
    other = write(tmp_path, OTHER, "other.py", "")
    done = run(tmp_path, f"other = sys.argv[2]\n{GUARD}{STARTS}{body}", other)
    assert (done.returncode, done.stderr) == (0, b"")
    agents.wait_until_taken(tmp_path / "capture")
    first, second = processes(tmp_path / "capture")
    assert first["pid"] == second["pid"]
    assert [one["account"]["written"] for one in (first, second)] == [10, 3]
    assert [one["ended"] for one in (first, second)] == ["exec", "stop"]
    assert [one["state"] for one in (first, second)] == ["finished", "finished"]
    name = next(file.stem for file in (tmp_path / "capture" / "processes").iterdir() if first == content(file))
    assert (first["parent"], second["parent"]) == (None, name)


def content(file):
    return json.loads(file.read_text())


def test_a_program_that_defines_no_operation_leaves_nothing(tmp_path):
    script = "import quantum_pulse as qp; qp.Operation, qp.op"
    body = (
        "import glob\n"
        "with qp.record(path):\n"
        "    work(10)\n"
        f"    subprocess.run([sys.executable, '-c', {script!r}], check=True)\n"
        "    rings = sorted(name.rpartition('.')[2] for name in os.listdir(glob.glob(f'{path}/rings/*')[0])"
        " if not name.startswith('agent.'))\n"
        "    assert rings == ['names', 'ring'], rings\n"
    )
    done = run(tmp_path, body)
    assert (done.returncode, done.stderr) == (0, b"")
    (process,) = processes(tmp_path / "capture")
    assert process["account"]["written"] == 10
    agents.wait_until_taken(tmp_path / "capture")
    assert_is_whole(tmp_path / "capture")


def test_a_fork_that_records_nothing_leaves_nothing(tmp_path):
    body = "with qp.record(path):\n    work(10)\n    if os.fork() == 0:\n        os._exit(0)\n    os.wait()\n"
    done = run(tmp_path, body)
    assert (done.returncode, done.stderr) == (0, b"")
    agents.wait_until_taken(tmp_path / "capture")
    (process,) = processes(tmp_path / "capture")
    assert process["account"]["written"] == 10
    assert_is_whole(tmp_path / "capture")


def test_the_variable_is_there_while_recording_only(tmp_path, monkeypatch):
    monkeypatch.delenv(INHERITED, raising=False)
    with qp.record(tmp_path / "capture"):
        told = json.loads(os.environ[INHERITED])
        assert told["path"] == str(tmp_path / "capture")
    assert INHERITED not in os.environ
    with pytest.raises(ZeroDivisionError), qp.record(tmp_path / "capture"):
        raise ZeroDivisionError
    assert INHERITED not in os.environ


AFTER = """
def started(method):
    child = multiprocessing.get_context(method).Process(target=work, args=(5,))
    child.start()
    child.join()
    assert child.exitcode == 0

if __name__ == "__main__":
    qp.start(path)
    work(10)
    qp.stop()
    for method in ("fork", "spawn", "forkserver"):
        started(method)
    subprocess.run([sys.executable, sys.argv[2]], check=True)
    assert not [name for name in os.environ if name.startswith("QUANTUM_PULSE")]
"""


def test_what_is_started_after_the_end_does_not_record(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("QUANTUM_PULSE")]:
        monkeypatch.delenv(name)
    done = run(tmp_path, AFTER, write(tmp_path, OTHER, "other.py", ""))
    assert (done.returncode, done.stderr) == (0, b"")
    assert qp.open(tmp_path / "capture").stats()["count"].tolist() == [10]
    agents.wait_until_taken(tmp_path / "capture")
    assert len(processes(tmp_path / "capture")) == 1
    assert_is_whole(tmp_path / "capture")


def test_what_takes_part_has_the_options_of_the_first(tmp_path):
    body = (
        "with qp.record(path, level='production', on_full='wait', budget_bytes=10 * 2**20):\n"
        "    work(10)\n"
        "    subprocess.run([sys.executable, sys.argv[2]], check=True)\n"
    )
    other = OTHER + "\nclass Fine(qp.Operation):\n    STEP = qp.op(detail=True)\nwith Fine.STEP:\n    pass\n"
    done = run(tmp_path, body, write(tmp_path, other, "other.py", ""))
    assert (done.returncode, done.stderr) == (0, b"")
    parent, child = processes(tmp_path / "capture")
    for process in (parent, child):
        assert (process["level"], process["on_full"]) == ("production", "wait")
    assert qp.open(tmp_path / "capture").stats()["count"].sum() == 13


def test_what_takes_part_in_a_flight_recorder_drops(tmp_path):
    """Nobody would tell it when to save."""
    body = (
        "with qp.record(path, on_full='overwrite', save_on={Step.A: 1e9}) as recorder:\n"
        "    work(10)\n"
        "    subprocess.run([sys.executable, sys.argv[2]], check=True)\n"
        "    assert recorder.account()['written'] == 0\n"
    )
    done = run(tmp_path, body, write(tmp_path, OTHER, "other.py", ""))
    assert (done.returncode, done.stderr) == (0, b"")
    parent, child = processes(tmp_path / "capture")
    assert (parent["on_full"], child["on_full"]) == ("overwrite", "drop")
    assert qp.open(tmp_path / "capture").stats()["count"].sum() == 13


def test_a_program_that_was_started_may_record_elsewhere(tmp_path):
    own = OTHER + "import sys\nwith qp.record(sys.argv[1]):\n    with Other.STEP:\n        pass\n"
    body = (
        "with qp.record(path):\n"
        "    work(10)\n"
        "    subprocess.run([sys.executable, sys.argv[2], sys.argv[3]], check=True)\n"
    )
    done = run(tmp_path, body, write(tmp_path, own, "other.py", ""), tmp_path / "own")
    assert (done.returncode, done.stderr) == (0, b"")
    assert qp.open(tmp_path / "capture").stats()["count"].sum() == 13
    assert qp.open(tmp_path / "own").stats()["count"].tolist() == [1]


@pytest.mark.parametrize("told", ["", "nonsense", "[]", "{}", '{"path": 5, "name": "x", "options": {}}'])
def test_a_variable_that_makes_no_sense_breaks_nothing(tmp_path, told):
    script = write(tmp_path, OTHER + "print('went on')\n", "other.py", "")
    environment = {**os.environ, INHERITED: told}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "went on\n")
    assert ("cannot join" in done.stderr) == (done.stderr != "")
    assert {file.name for file in tmp_path.iterdir()} == {"other.py"}


def test_the_capture_is_gone_when_a_program_is_started(tmp_path):
    """It makes it anew: nothing else knows where to go."""
    body = (
        "import shutil\n"
        "with qp.record(path):\n"
        "    os.rename(path, path + '-moved')\n"
        "    subprocess.run([sys.executable, sys.argv[2]], check=True)\n"
    )
    done = run(tmp_path, body, write(tmp_path, OTHER, "other.py", ""))
    assert done.returncode == 0
    assert qp.open(tmp_path / "capture").stats()["count"].sum() == 3
    agents.wait_until_taken(tmp_path / "capture")
