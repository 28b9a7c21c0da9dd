"""The system metrics of a capture: the one place where a metric is declared.

The table `metrics` of the format and its documentation, how rows of several processes are combined, the units in
reports and the counters in traces follow from METRICS. To add a metric, declare it here and return its reading from
`agent.procfs`, `agent.threads` or `agent.cgroups`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Final, Literal, NamedTuple

    #: "growth": how much a counter grew in the interval, so that rows add up. "level": what held in the interval, so
    #: that rows are averaged, weighted by time.
    Kind = Literal["growth", "level"]

    #: What a metric is a property of. Rows of several processes are added up for "process". They describe the same
    #: thing for "container" (the control group of the process) and "machine", and are averaged.
    Scope = Literal["process", "container", "machine"]
else:
    from quantum_pulse.tuples import NamedTuple


class Metric(NamedTuple):
    """A column of the table `metrics`. `type` is Arrow's name of the type."""

    name: str
    unit: str
    kind: Kind
    scope: Scope
    type: Literal["int64", "double"]
    meaning: str
    #: Whether the reading may be missing: for lack of permission, or because the kernel does not have it.
    nullable: bool = True
    #: Title under which charts over time show the metric; empty for a metric that they leave out.
    strip: str = ""


METRICS: Final[tuple[Metric, ...]] = (
    Metric(
        "cpu_process_percent",
        "%",
        "level",
        "process",
        "double",
        "CPU of the process; 100 is one core.",
        nullable=False,
        strip="CPU of the process, % of one core",
    ),
    Metric("cpu_machine_percent", "%", "level", "machine", "double", "CPU of the machine; 100 is all cores."),
    Metric("rss_bytes", "bytes", "level", "process", "int64", "Resident memory of the process.", nullable=False),
    Metric(
        "minor_faults",
        "faults",
        "growth",
        "process",
        "int64",
        "Page faults served without input or output.",
        nullable=False,
    ),
    Metric(
        "major_faults",
        "faults",
        "growth",
        "process",
        "int64",
        "Page faults that had to read from disk.",
        nullable=False,
    ),
    Metric(
        "voluntary_switches",
        "switches",
        "growth",
        "process",
        "int64",
        "Times that a thread of the process gave up the CPU.",
    ),
    Metric(
        "involuntary_switches",
        "switches",
        "growth",
        "process",
        "int64",
        "Times that the CPU was taken from a thread of the process.",
        strip="times the CPU was taken away",
    ),
    Metric("threads", "threads", "level", "process", "int64", "Threads of the process.", nullable=False),
    Metric("disk_read_bytes", "bytes", "growth", "process", "int64", "Read from disk by the process."),
    Metric(
        "disk_write_bytes",
        "bytes",
        "growth",
        "process",
        "int64",
        "Written to disk by the process.",
        strip="written to disk",
    ),
    Metric("net_sent_bytes", "bytes", "growth", "machine", "int64", "Sent by the machine, loopback included."),
    Metric("net_received_bytes", "bytes", "growth", "machine", "int64", "Received by the machine, loopback included."),
    Metric("load_1m", "tasks", "level", "machine", "double", "Load average of the machine over one minute."),
    Metric("pressure_cpu_us", "us", "growth", "machine", "int64", "Time that some task waited for a CPU (PSI)."),
    Metric("pressure_memory_us", "us", "growth", "machine", "int64", "Time that some task waited for memory (PSI)."),
    Metric(
        "pressure_io_us", "us", "growth", "machine", "int64", "Time that some task waited for input or output (PSI)."
    ),
    Metric(
        "gc_collections",
        "collections",
        "growth",
        "process",
        "int64",
        "Garbage collections that ended in the interval.",
        nullable=False,
    ),
    Metric(
        "gc_pause_us",
        "us",
        "growth",
        "process",
        "double",
        "Time spent in those collections.",
        nullable=False,
        strip="garbage collection",
    ),
    Metric(
        "run_queue_us",
        "us",
        "growth",
        "process",
        "int64",
        "Time that threads of the process were ready to run and waited for a CPU, added up over the threads; counted "
        "when the wait ends.",
        strip="waiting for a CPU",
    ),
    Metric("time_slices", "slices", "growth", "process", "int64", "Times that a thread of the process got a CPU."),
    Metric(
        "cpu_steal_percent",
        "%",
        "level",
        "machine",
        "double",
        "CPU time that the hypervisor gave to other guests; 100 is all cores of the machine.",
    ),
    Metric(
        "container_cpu_quota",
        "cores",
        "level",
        "container",
        "double",
        "Cores that the CPU quota of the control group allows; null without a quota.",
    ),
    Metric(
        "container_throttled_periods",
        "periods",
        "growth",
        "container",
        "int64",
        "Enforcement periods in which the control group, or one that contains it, used up its CPU quota.",
    ),
    Metric(
        "container_throttled_us",
        "us",
        "growth",
        "container",
        "int64",
        "Time that the CPU quota kept the tasks of the control group from running, added up over CPUs.",
        strip="throttled by the CPU quota",
    ),
    Metric(
        "container_memory_limit_bytes",
        "bytes",
        "level",
        "container",
        "int64",
        "Memory that the control group may use; null without a limit.",
    ),
    Metric(
        "container_memory_bytes",
        "bytes",
        "level",
        "container",
        "int64",
        "Memory that the control group uses, page cache included.",
    ),
    Metric(
        "container_memory_limit_hits",
        "times",
        "growth",
        "container",
        "int64",
        "Times that the control group ran into its memory limit (`memory.high` or `memory.max`), so that memory had to "
        "be reclaimed first.",
    ),
    Metric(
        "container_oom_kills",
        "processes",
        "growth",
        "container",
        "int64",
        "Processes of the control group that the kernel killed for lack of memory.",
    ),
    Metric(
        "container_refaults",
        "pages",
        "growth",
        "container",
        "int64",
        "Pages of the control group that were evicted and soon needed again (working set refaults).",
    ),
    Metric(
        "container_pressure_cpu_us",
        "us",
        "growth",
        "container",
        "int64",
        "Time that some task of the control group waited for a CPU (PSI).",
    ),
    Metric(
        "container_pressure_memory_us",
        "us",
        "growth",
        "container",
        "int64",
        "Time that some task of the control group waited for memory (PSI).",
    ),
    Metric(
        "container_pressure_io_us",
        "us",
        "growth",
        "container",
        "int64",
        "Time that some task of the control group waited for input or output (PSI).",
    ),
)

NAMES: Final = tuple(metric.name for metric in METRICS)
UNITS: Final = {metric.name: metric.unit for metric in METRICS}
#: Metrics whose rows add up over time; of the others the mean over time is taken.
GROWTH: Final = frozenset(metric.name for metric in METRICS if metric.kind == "growth")
#: Metrics that several processes have in common: averaged over processes; the others are added up.
SHARED: Final = frozenset(metric.name for metric in METRICS if metric.scope != "process")
