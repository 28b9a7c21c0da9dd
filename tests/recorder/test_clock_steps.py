"""The wall clock is set while a recording goes on, or the machine sleeps."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import quantum_pulse as qp

SOURCE = Path(__file__).with_name("clock_steps.c")

PROGRAM = """
import os, sys, time
import quantum_pulse as qp

class Step(qp.Operation):
    BEFORE = qp.op()
    ACROSS = qp.op()
    AFTER = qp.op()

def wall_ns():
    return time.time_ns()

recorder = qp.start(sys.argv[1])
moments = {"before": wall_ns()}
with Step.BEFORE:
    pass
recorder.flush()
with Step.ACROSS:
    moments["across"] = wall_ns()
    with open(os.environ["WALL_OFFSET"] + ".new", "w") as file:
        file.write(sys.argv[2])
    os.replace(file.name, os.environ["WALL_OFFSET"])
    moments["set"] = time.perf_counter_ns()
    time.sleep(0.5)
moments["after"] = wall_ns()
moments["now"] = recorder.now_ns()
with Step.AFTER:
    pass
qp.stop()
import json
print(json.dumps(moments))
"""


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory):
    """A library that moves the wall clock."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to build the library that moves the clock")
    library = tmp_path_factory.mktemp("clock") / "clock_steps.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
    return library


@pytest.mark.parametrize("step_s", [3600, -3600])
def test_each_sample_has_the_wall_time_of_its_own_moment(tmp_path, preloaded, step_s):
    capture, offset = tmp_path / "capture", tmp_path / "offset"
    offset.write_text("0")
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(capture), str(step_s)],
        env={**os.environ, "LD_PRELOAD": str(preloaded), "WALL_OFFSET": str(offset)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    moments = json.loads(result.stdout)
    opened = qp.open(capture)
    starts = opened.samples().set_index("operation")["start"].astype("int64")
    assert starts["Step.BEFORE"] == pytest.approx(moments["before"], abs=50e6)
    assert starts["Step.ACROSS"] == pytest.approx(moments["across"], abs=50e6)
    assert starts["Step.AFTER"] == pytest.approx(moments["after"], abs=50e6)
    assert moments["now"] == pytest.approx(moments["after"], abs=50e6)
    events = opened.events()
    (step,) = events[events["event"] == "clock_step"].to_dict("records")
    assert step["value"] == pytest.approx(step_s, abs=0.01)
    assert step["duration_ns"] == 0
    (process,) = [json.loads(file.read_text()) for file in (capture / "processes").iterdir()]
    length_s = (process["stopped_ns"] - process["started_ns"]) / 1e9
    assert 0.5 <= length_s < 20, "how long it really was"
    # Rows are in the order of the wall clock, and whether one was taken before the step is a matter of chance.
    times = opened.metrics()["time"]
    until_step, until_end = (
        (times - pd.Timestamp(moments[moment], tz="UTC")).abs() < pd.Timedelta(seconds=20)
        for moment in ("before", "after")
    )
    assert until_end.any()
    assert (until_step | until_end).all()
