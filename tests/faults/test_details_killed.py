"""Attributes, declared errors and CPU times of finished blocks outlive the process, as their samples do."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import quantum_pulse as qp
from quantum_pulse.agent.recover import recover
from tests import agents

ROOT = Path(__file__).parents[2]
BLOCKS = 4000

PROGRAM = f"""
import os, signal, sys
import quantum_pulse as qp

class Api(qp.Operation):
    REQUEST = qp.op(attributes={{"route": str, "number": int}}, cpu_time=True)

def work(first):
    for number in range(first, first + {BLOCKS}):
        with Api.REQUEST(route=f"/{{number:05}}" + "x" * 60):
            qp.annotate(number=number)
            if number % 2:
                qp.annotate(error=f"odd {{number % 10}}")

recorder = qp.start(sys.argv[1], attribute_values=100_000)
work(0)
if sys.argv[2] == "flushed":
    recorder.flush()
    work({BLOCKS})
if sys.argv[2] == "forked":
    child = os.fork()
    work({BLOCKS} if child else {2 * BLOCKS})
    if child:
        os.waitpid(child, 0)
with Api.REQUEST(route="open"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("way", ["at once", "flushed", "forked"])
@pytest.mark.parametrize("core", ["native", "python"])
def test_all_that_had_ended_has_its_details(tmp_path, way, core):
    path = tmp_path / "capture"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "QUANTUM_PULSE_CORE": core}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), way], env=environment, stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    for _ in range(2):  # from the rings, and once they are recovered
        samples = qp.open(path).samples()
        blocks = {"at once": 1, "flushed": 2, "forked": 3}[way] * BLOCKS
        found = sorted((int(one["number"]), one["route"]) for one in samples["attributes"])
        assert found == [(number, f"/{number:05}" + "x" * 60) for number in range(blocks)]
        assert samples["cpu_ns"].notna().all()
        declared = samples["error"].dropna().astype(str).value_counts().to_dict()
        assert declared == {f"odd {digit}": blocks // 10 for digit in (1, 3, 5, 7, 9)}
        recover(path)
        agents.wait_until_taken(path)
