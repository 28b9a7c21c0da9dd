"""Recommend actions, by rules over statistics, metrics and correlations, each with its evidence.

A rule that recommends nothing says why: nothing of the kind was seen, or what it needs was not recorded.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.analysis import stacks

#: Shares of the machine above which it counts as busy, and a rank correlation above which one thing mostly follows
#: the other.
BUSY: Final = 0.7
STRONG: Final = 0.7
#: A mean from which an operation is called slow, in µs.
SLOW_US: Final = 1000.0
#: Operations that are named for waiting: those that took most time.
MOST_WAITS: Final = 3
#: What spends less of its time than this in itself has the tail of the calls inside.
OWN_TAIL: Final = 0.5
#: What spends less of its time than this in itself moves along with the calls inside, and advice is about these.
WORTH_ADVICE: Final = 0.2
#: A weaker correlation explains less than a tenth of the variation of ranks.
WORTH_TELLING: Final = 0.3
#: p99 over p50 from which an operation is taken for one that sometimes waits.
LONG_TAIL: Final = 10.0

#: Metric -> reason, what to do, what to record next time.
ADVICE: Final[dict[str, tuple[str, str, str]]] = {
    "gc_pause_us": (
        "garbage collection stops all threads",
        "gc.freeze() after the start, larger thresholds (gc.set_threshold), fewer objects that refer to each other",
        "operations around what allocates most",
    ),
    "gc_collections": (
        "garbage collection runs when it is slow",
        "gc.freeze() after the start, larger thresholds (gc.set_threshold)",
        "operations around what allocates most",
    ),
    "involuntary_switches": (
        "the process is preempted",
        "fewer runnable threads, or CPUs of its own (taskset, cgroups)",
        "what else runs on the machine",
    ),
    "run_queue_us": (
        "threads that are ready to run wait for a CPU",
        "fewer runnable threads and processes, CPUs of its own (taskset, cgroups), or more CPUs",
        "what else runs on the machine",
    ),
    "time_slices": (
        "its threads take turns on the CPUs",
        "fewer runnable threads, larger pieces of work",
        "an operation around each wait: lock.acquire, queue.get, recv",
    ),
    "container_throttled_us": (
        "the CPU quota of the container stops all of its threads until the next period",
        "a larger quota (cpu.max, --cpus, a CPU limit), no quota, or fewer threads than the quota has cores",
        "how many threads run at once",
    ),
    "container_throttled_periods": (
        "the CPU quota of the container stops all of its threads until the next period",
        "a larger quota (cpu.max, --cpus, a CPU limit), no quota, or fewer threads than the quota has cores",
        "how many threads run at once",
    ),
    "cpu_steal_percent": (
        "the hypervisor runs other guests on the CPUs of this machine",
        "an instance with CPUs of its own, or a host with fewer guests",
        "the machine's own metrics, from its provider",
    ),
    "container_memory_limit_hits": (
        "the container is at its memory limit, and memory is reclaimed before more is handed out",
        "a larger memory limit, or a smaller working set",
        "rss_bytes over a longer time",
    ),
    "container_refaults": (
        "pages that it needs were evicted and have to come back",
        "more memory, or a smaller working set",
        "rss_bytes over a longer time",
    ),
    "container_pressure_cpu_us": (
        "tasks of the container wait for a CPU",
        "fewer runnable threads and processes, or a larger CPU quota",
        "what else runs in the container",
    ),
    "container_pressure_memory_us": (
        "tasks of the container wait for memory",
        "a larger memory limit, or a smaller working set",
        "rss_bytes over a longer time",
    ),
    "container_pressure_io_us": (
        "tasks of the container wait for disks",
        "write less often and more at a time; move logs away",
        "an operation around each read, write and fsync",
    ),
    "voluntary_switches": (
        "it waits: for a lock, a queue, a disk or a peer",
        "see slowest() for what ran concurrently; hold locks for less time",
        "an operation around each wait: lock.acquire, queue.get, recv",
    ),
    "major_faults": (
        "pages have to be read from disk",
        "more memory, or a smaller working set; no swapping for this process",
        "rss_bytes over a longer time",
    ),
    "minor_faults": (
        "new memory is allocated",
        "reuse buffers instead of making new ones",
        "operations around what allocates large arrays",
    ),
    "pressure_io_us": (
        "tasks of the machine wait for disks",
        "write less often and more at a time; move logs away",
        "an operation around each read, write and fsync",
    ),
    "pressure_cpu_us": (
        "tasks of the machine wait for a CPU",
        "fewer runnable threads and processes, or more CPUs",
        "what else runs on the machine",
    ),
    "pressure_memory_us": (
        "tasks of the machine wait for memory",
        "more memory, or a smaller working set",
        "rss_bytes over a longer time",
    ),
    "disk_write_bytes": (
        "it is slow when the process writes to disk",
        "write less often and more at a time, in a thread of its own",
        "an operation around each write and fsync",
    ),
    "disk_read_bytes": (
        "it is slow when the process reads from disk",
        "cache, or read ahead",
        "an operation around each read",
    ),
    "cpu_machine_percent": (
        "it is slow when the machine is busy",
        "fewer things at once, or more CPUs",
        "what else runs on the machine",
    ),
    "cpu_process_percent": (
        "it is slow when the process uses much CPU time",
        "one thread computes at a time in Python: move work to processes, or to code that releases the lock",
        "operations around what computes",
    ),
    "rss_bytes": (
        "it gets slower as memory grows",
        "look for unbounded caches and lists that only grow",
        "the sizes of caches and queues",
    ),
    "threads": (
        "it is slow when there are many threads",
        "a pool of a fixed size",
        "an operation around starting threads",
    ),
}


#: What is meant by memory and by CPU: metrics, reason, what to do, what to record next time where latency mostly
#: follows one of them.
RESOURCES: Final[dict[str, tuple[tuple[str, ...], str, str, str]]] = {
    "memory": (
        ("rss_bytes",),
        "it works on, or looks through, what the process keeps in memory",
        "allocate less where it runs often, reuse objects from a pool, smaller or flatter data structures",
        "operations around what allocates, and the sizes of caches and queues",
    ),
    "CPU": (
        ("cpu_machine_percent", "cpu_process_percent"),
        "it is CPU-bound, or competes with CPU-bound work",
        "a better algorithm, less work per call, a cache for repeated computations",
        "operations around the steps of the computation",
    ),
}


@dataclass(frozen=True)
class Recommendation:
    """A recommended action. ``str()`` of it is a sentence or two.

    Attributes
    ----------
    subject : str
        What it concerns: an operation, several, or "all operations".
    evidence : str
        The figures that support it.
    reason : str
        Why that makes operations slow.
    action : str
        What to do.
    record_next : str
        What to record next time.

    Examples
    --------
    >>> first = qp.sample("slow_exchange").correlate().recommendations[0]
    >>> first.action
    'see slowest() for what ran concurrently, and contrast() for a time interval'
    """

    subject: str
    evidence: str
    reason: str
    action: str
    record_next: str

    def __str__(self) -> str:
        return (
            f"{self.subject}: {self.evidence}; {self.reason}. Try: {self.action}. Record next time: {self.record_next}."
        )


@dataclass(frozen=True)
class NotApplicable:
    """A rule that was checked and recommends nothing. ``str()`` of it is a sentence.

    Attributes
    ----------
    rule : str
        What the rule looks for.
    reason : str
        What was seen instead, or what was not recorded.

    Examples
    --------
    >>> found = qp.sample("slow_exchange").correlate()
    >>> all(str(one).endswith(".") for one in found.not_applicable)
    True
    """

    rule: str
    reason: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.reason}."


@dataclass(frozen=True)
class Advice:
    """What all rules said."""

    #: What could win the most time first: the self time of the operations concerned.
    recommendations: list[Recommendation]
    not_applicable: list[NotApplicable]


def recommend(
    stats: pd.DataFrame,
    metrics: pd.DataFrame,
    correlations: pd.DataFrame,
    *,
    memory_bytes: int | None = None,
    alpha: float = 0.05,
    shares: stacks.Shares | None = None,
) -> Advice:
    """What could be done, and which rules have nothing to say.

    `stats`: as of `Capture.stats`. `metrics`: as of `Capture.metrics`. `correlations`: columns operation, metric, rho,
    q_value. `memory_bytes`: what the recorded process might use, if that is known. `shares`: of time, of the call tree;
    with them an operation counts as slow by its self time, not by that of the calls inside.
    """
    cpu = float(metrics["cpu_machine_percent"].mean()) / 100 if len(metrics) else math.nan
    memory = float(metrics["rss_bytes"].max()) / memory_bytes if len(metrics) and memory_bytes else math.nan
    sure = correlations[correlations["q_value"] <= alpha] if len(correlations) else correlations
    tested = bool(len(correlations)) and bool(correlations["q_value"].notna().any())
    alone = _alone(stats, shares)
    sure = _not_explained_inside(sure, alone)
    outcomes = [
        *(_follows(resource, sure, tested=tested) for resource in RESOURCES),
        _moves_along(sure, tested=tested),
    ]
    explained = {one.subject for outcome in outcomes if not isinstance(outcome, NotApplicable) for one in outcome}
    outcomes += [
        _busy(cpu),
        _full(memory, measured=bool(len(metrics))),
        _waits(alone, correlations, explained, cpu, memory),
    ]
    return Advice(
        sorted(
            (one for outcome in outcomes if not isinstance(outcome, NotApplicable) for one in outcome),
            key=lambda one: -_could_be_won(one.subject, alone),
        ),
        [outcome for outcome in outcomes if isinstance(outcome, NotApplicable)],
    )


def _not_explained_inside(sure: pd.DataFrame, stats: pd.DataFrame) -> pd.DataFrame:
    """Correlations without those of operations that spend nearly all of their time in calls inside."""
    if "alone" not in stats.columns or not len(sure):
        return sure
    passing = {_name(name) for name, share in stats["alone"].items() if share < WORTH_ADVICE}
    return sure[~sure["operation"].isin(passing)]


def _could_be_won(subject: str, stats: pd.DataFrame) -> float:
    """Self time of the operations that a recommendation concerns, in µs: no more than that can be won."""
    if not {"total_us", "alone"} <= set(stats.columns):
        return 0.0
    own: dict[str, float] = {}
    for key, took, alone in zip(stats.index, stats["total_us"], stats["alone"], strict=True):
        own[_name(key)] = float(took) * float(alone)
    if subject == EVERYTHING:
        return sum(own.values())
    return sum(own.get(name, 0.0) for name in subject.split(", "))


def _name(key: Hashable) -> str:
    return str(key[-1] if isinstance(key, tuple) else key)


Outcome = list[Recommendation] | NotApplicable

#: The subject of what concerns all operations.
EVERYTHING: Final = "all operations"

_UNTESTED: Final = "operations and metrics have too few windows in common to be correlated"


def _follows(resource: str, sure: pd.DataFrame, *, tested: bool) -> Outcome:
    """Latency mostly follows memory, or CPU."""
    rule = f"latency follows {resource} (rank correlation above {STRONG:g})"
    if not tested:
        return NotApplicable(rule, _UNTESTED)
    names, reason, action, record_next = RESOURCES[resource]
    own = sure[sure["metric"].isin(names)].sort_values("rho", ascending=False, kind="stable")
    strong = own[own["rho"] > STRONG].drop_duplicates("operation")
    if not len(strong):
        seen = (
            f"the strongest significant correlation is {own['rho'].iloc[0]:.2f}"
            if len(own)
            else "no significant correlation"
        )
        return NotApplicable(rule, seen)
    return [
        Recommendation(str(row["operation"]), _evidence(row), reason, action, record_next)
        for row in strong.to_dict("records")
    ]


def _moves_along(sure: pd.DataFrame, *, tested: bool) -> Outcome:
    """The strongest metric of each operation, but for what `_follows` says already."""
    rule = f"latency correlates with a metric (rank correlation above {WORTH_TELLING:g})"
    if not tested:
        return NotApplicable(rule, _UNTESTED)
    resources = {name for names, *_ in RESOURCES.values() for name in names}
    named = sure["metric"].isin(resources) & (sure["rho"] > STRONG)
    own = sure[(sure["rho"] >= WORTH_TELLING) & sure["metric"].isin(ADVICE)]
    own = own.sort_values("rho", ascending=False, kind="stable").drop_duplicates("operation")
    own = own[~named.reindex(own.index)]
    if not len(own):
        return NotApplicable(rule, "no other metric with a recommendation is significantly and strongly correlated")
    return [
        Recommendation(str(row["operation"]), _evidence(row), *ADVICE[str(row["metric"])])
        for row in own.to_dict("records")
    ]


def _evidence(row: Mapping[Hashable, Any]) -> str:
    return f"correlates with {row['metric']} (rank correlation {row['rho']:.2f}, q = {row['q_value']:.2g})"


def _busy(cpu: float) -> Outcome:
    rule = f"the machine's CPUs are busy (above {BUSY:.0%})"
    if math.isnan(cpu):
        return NotApplicable(rule, "CPU use was not recorded")
    if cpu <= BUSY:
        return NotApplicable(rule, f"the CPUs were busy {cpu:.0%} of the time")
    return [
        Recommendation(
            EVERYTHING,
            f"the machine's CPUs were busy {cpu:.0%} of the time",
            "threads that become ready have to wait for a CPU",
            "fewer things at once, or more CPUs",
            "what else runs on the machine",
        )
    ]


def _full(memory: float, *, measured: bool) -> Outcome:
    rule = f"the machine's memory is used up (above {BUSY:.0%})"
    if math.isnan(memory):
        missing = "the size of the memory" if measured else "the memory use of the process"
        return NotApplicable(rule, f"{missing} was not recorded")
    if memory <= BUSY:
        return NotApplicable(rule, f"the process held at most {memory:.1%} of it")
    return [
        Recommendation(
            EVERYTHING,
            f"the process held {memory:.0%} of the machine's memory",
            "beyond that the kernel begins to reclaim pages",
            "a smaller working set, or more memory",
            "the sizes of caches and queues",
        )
    ]


def _alone(stats: pd.DataFrame, shares: stacks.Shares | None) -> pd.DataFrame:
    """`stats` with a column `alone`: the share of self time in an operation's time, 1 where that is not known."""
    known = {} if shares is None else shares.operations
    found = [known.get(name) for name in stats.index]
    return stats.assign(alone=[1.0 if one is None or not one.inclusive else one.own / one.inclusive for one in found])


def _waits(
    stats: pd.DataFrame, correlations: pd.DataFrame, explained: Collection[str], cpu: float, memory: float
) -> Outcome:
    """Slow, on average or at times, and neither CPU nor memory is short; but for what is `explained` otherwise."""
    rule = f"slow (mean above {SLOW_US / 1000:g} ms, or p99 above {LONG_TAIL:g} times p50) with neither CPU nor memory"
    if cpu > BUSY or memory > BUSY:
        return NotApplicable(rule, "CPU or memory is short")
    if not len(stats) or not {"mean_us", "p50_us", "p99_us", "total_us"} <= set(stats.columns):
        return NotApplicable(rule, "there are no statistics")
    tails = (stats["p99_us"] > LONG_TAIL * stats["p50_us"]) & (stats["alone"] >= OWN_TAIL)
    self_us = stats["mean_us"] * stats["alone"]
    stats = stats.assign(has_tail=tails, self_us=self_us, all_us=stats["total_us"] * stats["alone"])
    slow = stats[tails | (self_us > SLOW_US)].sort_values("all_us", ascending=False, kind="stable")
    if not len(slow):
        return NotApplicable(rule, "no operation is that slow")
    found: dict[str, str] = {}
    for name, row in slow.iterrows():
        operation = str(name[-1] if isinstance(name, tuple) else name)
        related = _related(correlations, operation)
        if operation in explained:
            continue
        evidence = []
        if row["self_us"] > SLOW_US:
            besides = " without the calls inside" if row["self_us"] < row["mean_us"] else ""
            evidence.append(f"takes {row['self_us'] / 1000:.1f} ms on average{besides}")
        if row["has_tail"]:
            evidence.append(f"p99 is {row['p99_us'] / row['p50_us']:.0f} times p50")
        if related:
            weak = " and ".join(f"{rho:+.2f} with {metric}" for metric, rho in related.items())
            evidence.append(f"no significant correlation with memory or CPU (rank correlation {weak})")
        found[operation] = ", ".join(evidence)
    if not found:
        return NotApplicable(rule, "a recorded metric explains each slow operation")
    named = dict(list(found.items())[:MOST_WAITS])
    shown = [*named.values()] if len(named) == 1 else [f"{name} {evidence}" for name, evidence in named.items()]
    if not math.isnan(cpu):
        shown.append(f"the machine's CPUs were busy {cpu:.0%} of the time")
    return [
        Recommendation(
            ", ".join(named),
            "; ".join(shown),
            "what is slow without using CPU or memory mostly waits: for a peer, a disk, a lock, a full queue",
            "see slowest() for what ran concurrently, and contrast() for a time interval",
            "an operation around each wait inside of it: recv, fsync, lock.acquire, queue.get",
        )
    ]


def _related(correlations: pd.DataFrame, operation: str) -> dict[str, float]:
    """Its rank correlation with memory and with CPU, the largest of each, as far as they are known."""
    rho = {
        str(metric): float(value)
        for name, metric, value in zip(*(correlations[key] for key in ("operation", "metric", "rho")), strict=True)
        if name == operation and not math.isnan(value)
    }
    largest = [
        max((name for name in names if name in rho), key=rho.__getitem__, default=None)
        for names, *_ in RESOURCES.values()
    ]
    return {name: rho[name] for name in largest if name is not None}
