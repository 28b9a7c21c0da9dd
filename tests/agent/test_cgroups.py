"""Control groups: real ones where they can be made, and files as kernels write them, of both versions."""

import os
from pathlib import Path

import pytest

from quantum_pulse.agent import cgroups, kernel_files
from quantum_pulse.agent.cgroups import ControlGroup, Mount
from quantum_pulse.agent.procfs import ProcessMetrics

# As in a container with a cgroup namespace: a limit of 1.5 CPUs and 512 MB, both of which it has run into. Linux 6.8.
CONTAINER_V2 = {
    "cgroup.type": "domain\n",
    "cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n",
    "cpu.max": "150000 100000\n",
    "cpu.stat": (
        "usage_usec 8312345\nuser_usec 6203948\nsystem_usec 2108397\ncore_sched.force_idle_usec 0\n"
        "nr_periods 311\nnr_throttled 42\nthrottled_usec 1873301\nnr_bursts 0\nburst_usec 0\n"
    ),
    "cpu.pressure": (
        "some avg10=11.23 avg60=4.40 avg300=1.10 total=2912345\nfull avg10=9.02 avg60=3.10 avg300=0.80 total=2112345\n"
    ),
    "memory.max": "536870912\n",
    "memory.high": "max\n",
    "memory.current": "401235968\n",
    "memory.events": "low 0\nhigh 3\nmax 17\noom 2\noom_kill 1\noom_group_kill 0\n",
    "memory.events.local": "low 0\nhigh 3\nmax 17\noom 2\noom_kill 1\noom_group_kill 0\n",
    "memory.stat": (
        "anon 292343808\nfile 93323264\nkernel 8388608\nkernel_stack 524288\npagetables 1695744\nsec_pagetables 0\n"
        "percpu 720\nsock 0\nvmalloc 0\nshmem 0\nzswap 0\nzswapped 0\nfile_mapped 32768\nfile_dirty 0\n"
        "file_writeback 0\nswapcached 0\nanon_thp 0\nfile_thp 0\nshmem_thp 0\ninactive_anon 292257792\n"
        "active_anon 24576\ninactive_file 52428800\nactive_file 40894464\nunevictable 0\nslab_reclaimable 4194304\n"
        "slab_unreclaimable 1048576\nslab 5242880\nworkingset_refault_anon 12\nworkingset_refault_file 345\n"
        "workingset_activate_anon 0\nworkingset_activate_file 101\nworkingset_restore_anon 0\n"
        "workingset_restore_file 33\nworkingset_nodereclaim 0\npgscan 20480\npgsteal 19456\npgscan_kswapd 0\n"
        "pgscan_direct 20480\npgfault 151234\npgmajfault 121\npgrefill 512\npgactivate 4096\npgdeactivate 2048\n"
    ),
    "memory.pressure": (
        "some avg10=0.00 avg60=0.12 avg300=0.05 total=81234\nfull avg10=0.00 avg60=0.11 avg300=0.04 total=78120\n"
    ),
    "io.pressure": (
        "some avg10=0.50 avg60=0.40 avg300=0.10 total=512345\nfull avg10=0.50 avg60=0.38 avg300=0.10 total=502345\n"
    ),
}

# The same limits, as a kernel with control groups of version 1 has them.
CPU_V1 = {
    "cpu.cfs_quota_us": "150000\n",
    "cpu.cfs_period_us": "100000\n",
    "cpu.shares": "1024\n",
    "cpu.stat": "nr_periods 311\nnr_throttled 42\nthrottled_time 1873301123\nnr_bursts 0\nburst_time 0\n",
}
MEMORY_V1 = {
    "memory.limit_in_bytes": "536870912\n",
    "memory.usage_in_bytes": "401235968\n",
    "memory.failcnt": "20\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "memory.stat": (
        "cache 93323264\nrss 292343808\nrss_huge 0\nshmem 0\nmapped_file 32768\ndirty 0\nwriteback 0\n"
        "workingset_refault_anon 1\nworkingset_refault_file 2\nswap 0\nswapcached 0\npgpgin 151234\npgpgout 61234\n"
        "pgfault 151234\npgmajfault 121\ninactive_anon 292257792\nactive_anon 24576\ninactive_file 52428800\n"
        "active_file 40894464\nunevictable 0\nhierarchical_memory_limit 536870912\n"
        "hierarchical_memsw_limit 9223372036854771712\ntotal_cache 93323264\ntotal_rss 292343808\n"
        "total_workingset_refault_anon 12\ntotal_workingset_refault_file 345\ntotal_pgmajfault 121\n"
    ),
}
UNLIMITED_V1 = "9223372036854771712\n"

LIMITED = {
    "container_cpu_quota": 1.5,
    "container_throttled_periods": 42,
    "container_throttled_us": 1_873_301,
    "container_memory_limit_bytes": 536_870_912,
    "container_memory_bytes": 401_235_968,
    "container_memory_limit_hits": 20,
    "container_oom_kills": 1,
    "container_refaults": 357,
}
PRESSURE = {
    "container_pressure_cpu_us": 2_912_345,
    "container_pressure_memory_us": 81_234,
    "container_pressure_io_us": 512_345,
}

# A host with systemd and version 2; one with version 1, and docker's view of it from inside a container.
HOST_V2 = (
    "24 30 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw\n"
    "35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 "
    "- cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
)
HOST_V1 = (
    "31 23 0:28 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/unified rw,nosuid,nodev,noexec,relatime shared:10 - cgroup2 cgroup2 rw,nsdelegate\n"
    "35 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:14 - cgroup cgroup rw,cpu,cpuacct\n"
    "38 31 0:36 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:17 - cgroup cgroup rw,memory\n"
)
DOCKER_V1 = (
    "1034 1030 0:33 /docker/4f1c /sys/fs/cgroup/cpu,cpuacct ro,nosuid,nodev,noexec,relatime master:14 "
    "- cgroup cgroup rw,cpu,cpuacct\n"
    "1037 1030 0:36 /docker/4f1c /sys/fs/cgroup/memory ro,nosuid,nodev,noexec,relatime master:17 "
    "- cgroup cgroup rw,memory\n"
)
MEMBER_V1 = "4:memory:/docker/4f1c\n3:cpu,cpuacct:/docker/4f1c\n1:name=systemd:/docker/4f1c\n0::/docker/4f1c\n"


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def v2(path):
    return [Mount(2, "/", str(path), frozenset())]


def v1(path):
    return [Mount(1, "/", str(path / controller), frozenset({controller})) for controller in ("cpu", "memory")]


def test_a_container_of_version_2(tmp_path):
    write(tmp_path, CONTAINER_V2)
    assert ControlGroup("0::/\n", v2(tmp_path)).readings() == LIMITED | PRESSURE


def test_a_container_of_version_1(tmp_path):
    write(tmp_path / "cpu", CPU_V1)
    write(tmp_path / "memory", MEMORY_V1)
    found = ControlGroup("2:memory:/\n1:cpu:/\n", v1(tmp_path)).readings()
    assert found == LIMITED


def test_what_contains_a_group_limits_it_too(tmp_path):
    """A service of version 2 in a slice: the slice has the quota and the limit."""
    own = write(tmp_path / "api.slice" / "api.service", CONTAINER_V2)
    write(tmp_path / "api.slice", CONTAINER_V2 | {"cpu.max": "50000 100000\n", "memory.max": "1000000\n"})
    write(
        own, {"cpu.max": "max 100000\n", "memory.max": "max\n", "memory.events": "low 0\nhigh 0\nmax 0\noom_kill 0\n"}
    )
    found = ControlGroup("0::/api.slice/api.service\n", v2(tmp_path)).readings()
    assert found["container_cpu_quota"] == 0.5
    assert found["container_throttled_periods"] == 2 * 42, "either may throttle it"
    assert found["container_memory_limit_bytes"] == 1_000_000
    assert found["container_memory_limit_hits"] == 20, "of the group that has the limit"


def test_without_limits(tmp_path):
    write(tmp_path / "two", CONTAINER_V2 | {"cpu.max": "max 100000\n", "memory.max": "max\n"})
    write(tmp_path / "one" / "cpu", CPU_V1 | {"cpu.cfs_quota_us": "-1\n"})
    write(tmp_path / "one" / "memory", MEMORY_V1 | {"memory.limit_in_bytes": UNLIMITED_V1})
    for group in (
        ControlGroup("0::/\n", v2(tmp_path / "two")),
        ControlGroup("2:memory:/\n1:cpu:/\n", v1(tmp_path / "one")),
    ):
        found = group.readings()
        assert found["container_cpu_quota"] is None
        assert found["container_memory_limit_bytes"] is None
        assert found["container_throttled_periods"] == 42


def test_the_root_of_version_2_has_no_limits(tmp_path):
    write(
        tmp_path, {"cgroup.controllers": "cpu memory\n", "cpu.stat": "usage_usec 1\n", "cpu.pressure": "some total=5\n"}
    )
    found = ControlGroup("0::/\n", v2(tmp_path)).readings()
    assert set(found.values()) == {None}
    assert "container_pressure_cpu_us" not in found, "that would be the machine's"


def test_kernels_before_5_9(tmp_path):
    files = CONTAINER_V2 | {"memory.stat": "anon 1\nworkingset_refault 77\nworkingset_activate 5\n"}
    write(tmp_path, files)
    assert ControlGroup("0::/\n", v2(tmp_path)).readings()["container_refaults"] == 77


def test_files_that_make_no_sense(tmp_path):
    write(tmp_path, dict.fromkeys(CONTAINER_V2, "no number\n") | {"cpu.max": "", "memory.events": "high\n"})
    assert set(ControlGroup("0::/\n", v2(tmp_path)).readings().values()) == {None}


def test_a_limit_that_is_changed(tmp_path, monkeypatch):
    write(tmp_path, CONTAINER_V2)
    group = ControlGroup("0::/\n", v2(tmp_path))
    for slow_ns, known in ((10**12, 1.5), (0, 4.0)):
        monkeypatch.setattr(kernel_files, "SLOW_NS", slow_ns)
        monkeypatch.setattr(kernel_files, "SAME_TICK_NS", -1)
        group.readings()
        write(tmp_path, {"cpu.max": "400000 100000\n"})
        assert group.readings()["container_cpu_quota"] == known


@pytest.mark.parametrize("membership", ["", "0::/../other\n", "nonsense\n", "0::\n"])
def test_groups_that_cannot_be_seen(tmp_path, membership):
    write(tmp_path, CONTAINER_V2)
    hierarchies = [Mount(2, "/inside", str(tmp_path), frozenset())]
    assert ControlGroup(membership, hierarchies).readings() == {}
    assert ControlGroup(membership, []).readings() == {}


@pytest.mark.parametrize(
    ("mountinfo", "membership", "controller", "version", "folders"),
    [
        (HOST_V2, "0::/\n", "cpu", 2, ["/sys/fs/cgroup"]),
        (
            HOST_V2,
            "0::/system.slice/api.service\n",
            "memory",
            2,
            ["/sys/fs/cgroup/system.slice/api.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup"],
        ),
        (
            HOST_V1,
            MEMBER_V1,
            "cpu",
            1,
            [f"/sys/fs/cgroup/cpu,cpuacct{group}" for group in ("/docker/4f1c", "/docker", "")],
        ),
        (HOST_V1, MEMBER_V1, "", 2, [f"/sys/fs/cgroup/unified{group}" for group in ("/docker/4f1c", "/docker", "")]),
        (DOCKER_V1, MEMBER_V1, "cpu", 1, ["/sys/fs/cgroup/cpu,cpuacct"]),
        (DOCKER_V1, MEMBER_V1, "memory", 1, ["/sys/fs/cgroup/memory"]),
    ],
)
def test_where_groups_are_mounted(mountinfo, membership, controller, version, folders):
    found = cgroups.groups(membership, controller, cgroups.mounts(mountinfo))
    assert (found.version, found.folders) == (version, folders)


def test_a_real_quota_throttles(child, control_group):
    version, folder = control_group("cpu")
    if version == 1:
        (folder / "cpu.cfs_period_us").write_text("50000")
        (folder / "cpu.cfs_quota_us").write_text("10000")
    else:
        (folder / "cpu.max").write_text("10000 50000")
    (folder / "cgroup.procs").write_text(str(child.pid))
    observed = ProcessMetrics(child.pid, lambda: 0)
    child.run("burn(1.0)")
    row = observed.sample(0, 0)
    stat = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
    throttled_us = int(stat["throttled_time"]) // 1000 if version == 1 else int(stat["throttled_usec"])
    assert row["container_cpu_quota"] == 0.2
    assert row["container_throttled_periods"] == pytest.approx(int(stat["nr_throttled"]), abs=1)
    assert row["container_throttled_us"] == pytest.approx(throttled_us, rel=0.1)
    assert row["container_throttled_us"] > 300_000
    observed.close()
    child.close()
    wait_until_empty(folder)


def test_a_process_that_is_moved_to_another_group(child, control_group, monkeypatch):
    monkeypatch.setattr(kernel_files, "SLOW_NS", 0)
    version, folder = control_group("cpu")
    observed = ProcessMetrics(child.pid, lambda: 0)
    before = observed.sample(0, 0)["container_cpu_quota"]
    if version == 1:
        (folder / "cpu.cfs_quota_us").write_text("5000")
    else:
        (folder / "cpu.max").write_text("5000 100000")
    (folder / "cgroup.procs").write_text(str(child.pid))
    row = observed.sample(0, 0)
    assert before != row["container_cpu_quota"] == 0.05
    assert row["container_throttled_us"] is None, "totals of two groups make no growth"
    assert observed.sample(0, 0)["container_throttled_us"] >= 0
    observed.close()
    child.close()
    wait_until_empty(folder)


def test_a_real_memory_limit_is_hit(child, control_group, tmp_path):
    version, folder = control_group("memory")
    limit, used = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes") if version == 1 else ("memory.max", "memory.current")
    )
    (folder / limit).write_text(str(32 << 20))
    (folder / "cgroup.procs").write_text(str(child.pid))
    observed = ProcessMetrics(child.pid, lambda: 0)
    path = str(tmp_path / "large")
    # Page cache counts: what is written is evicted again, and missed when it is read.
    child.run(
        f"with open({path!r}, 'wb') as file: [file.write(bytes(1 << 20)) for _ in range(80)]; os.fsync(file.fileno())"
    )
    for _ in range(3):
        child.run(f"with open({path!r}, 'rb') as file:\n while file.read(1 << 20): pass")
    row = observed.sample(0, 0)
    assert row["container_memory_limit_bytes"] == 32 << 20
    assert row["container_memory_bytes"] == pytest.approx(int((folder / used).read_text()), rel=0.2)
    assert row["container_memory_limit_hits"] > 0
    assert row["container_oom_kills"] == 0
    assert row["container_refaults"] is not None
    observed.close()
    child.close()
    wait_until_empty(folder)


def test_a_real_group_has_pressure_of_its_own(start_child, control_group):
    version, folder = control_group("")
    if version == 1 or not (folder / "cpu.pressure").exists():
        pytest.skip("no pressure by control group here")
    children = [start_child() for _ in range(2)]
    for one in children:
        os.sched_setaffinity(one.pid, {min(os.sched_getaffinity(0))})
        (folder / "cgroup.procs").write_text(str(one.pid))
    observed = ProcessMetrics(children[0].pid, lambda: 0)
    for one in children:
        one.send("burn(0.5)")
    for one in children:
        one.answer()
    row = observed.sample(0, 0)
    total = int((folder / "cpu.pressure").read_text().splitlines()[0].rpartition("=")[2])
    assert 100_000 < row["container_pressure_cpu_us"] <= total
    observed.close()
    for one in children:
        one.close()
    wait_until_empty(folder)


def wait_until_empty(folder):
    """A group can be removed once its last process is gone, a moment after that was waited for."""
    for _ in range(200):
        if not (Path(folder) / "cgroup.procs").read_text():
            return
        os.sched_yield()
