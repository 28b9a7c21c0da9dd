"""What is seen of the environment of a process, against what it sees itself."""

import os
import platform
from pathlib import Path

import psutil

from quantum_pulse.agent import environment
from quantum_pulse.agent.cgroups import ControlGroup
from quantum_pulse.agent.environment import environment_of
from tests.agent.test_cgroups import CONTAINER_V2, v2, write


def test_it_is_what_the_process_sees_itself():
    seen = environment_of(os.getpid())
    assert set(seen) == {"cpu", "cores", "cpu_quota", "memory_bytes", "governor", "load_1m", "kernel"}
    assert seen["cores"] == len(os.sched_getaffinity(0))
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    assert not models or seen["cpu"] in models[0]
    assert seen["kernel"] == platform.release()
    assert 0 < seen["memory_bytes"] <= psutil.virtual_memory().total


def test_cores_are_those_of_the_process(child):
    os.sched_setaffinity(child.pid, {max(os.sched_getaffinity(0))})
    assert environment_of(child.pid)["cores"] == 1
    assert environment_of(os.getpid())["cores"] == len(os.sched_getaffinity(0))


def test_limits_are_those_of_the_control_group(child, tmp_path, monkeypatch):
    write(tmp_path, CONTAINER_V2)
    group = ControlGroup("0::/\n", v2(tmp_path))
    monkeypatch.setattr(environment, "ControlGroup", lambda _: group)
    seen = environment_of(child.pid)
    assert (seen["cpu_quota"], seen["memory_bytes"]) == (1.5, 536_870_912)


def test_a_real_quota(child, control_group):
    version, folder = control_group("cpu")
    (folder / ("cpu.cfs_quota_us" if version == 1 else "cpu.max")).write_text("70000")
    (folder / "cgroup.procs").write_text(str(child.pid))
    assert environment_of(child.pid)["cpu_quota"] == 0.7
    child.close()


def test_a_process_that_is_gone(start_child):
    child = start_child()
    child.close()
    seen = environment_of(child.pid)
    assert (seen["cores"], seen["cpu_quota"]) == (None, None)
    assert seen["kernel"] == platform.release()
