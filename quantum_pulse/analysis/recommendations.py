"""What could be done about it: rules over statistics, metrics and correlations, each with its evidence.

"Nothing applies" is an answer: rules that need what was not recorded say so instead of guessing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd

#: Shares of the machine above which it counts as busy.
BUSY: Final = 0.7
#: A weaker correlation explains less than a tenth of the variation of ranks.
WORTH_TELLING: Final = 0.3
#: p99 over p50 from which an operation is taken for one that sometimes waits.
LONG_TAIL: Final = 10.0

#: Metric -> reason, what to do, what to record next time.
ADVICE: Final[dict[str, tuple[str, str, str]]] = {
    "gc_pause_us": (
        "the garbage collector holds all threads up",
        "gc.freeze() after the start, larger thresholds (gc.set_threshold), fewer objects that refer to each other",
        "operations around what allocates most",
    ),
    "gc_collections": (
        "the garbage collector runs when it is slow",
        "gc.freeze() after the start, larger thresholds (gc.set_threshold)",
        "operations around what allocates most",
    ),
    "involuntary_switches": (
        "the CPU is taken away from the process",
        "fewer runnable threads, or CPUs of its own (taskset, cgroups)",
        "what else runs on the machine",
    ),
    "voluntary_switches": (
        "it waits: for a lock, a queue, a disk or a peer",
        "look at slowest() for what else ran then; hold locks shorter",
        "an operation around each wait: lock.acquire, queue.get, recv",
    ),
    "major_faults": (
        "pages have to come from disk",
        "more memory, or a smaller working set; no swapping for this process",
        "rss_bytes over a longer time",
    ),
    "minor_faults": (
        "new memory is touched",
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
        "it is slow when the process computes much",
        "one thread computes at a time in Python: move work to processes, or to code that releases the lock",
        "operations around what computes",
    ),
    "rss_bytes": (
        "it gets slower as memory grows",
        "look for what is kept: caches without a bound, lists that only grow",
        "the sizes of caches and queues",
    ),
    "threads": (
        "it is slow when there are many threads",
        "a pool of a fixed size",
        "an operation around starting threads",
    ),
}


@dataclass(frozen=True)
class Recommendation:
    """One thing that could be done. `str()` is a sentence or two."""

    #: What it is about: an operation, or "all operations".
    subject: str
    #: Figures that speak for it.
    evidence: str
    #: Why that makes operations slow.
    reason: str
    action: str
    record_next: str

    def __str__(self) -> str:
        return (
            f"{self.subject}: {self.evidence}; {self.reason}. Try: {self.action}. Record next time: {self.record_next}."
        )


def recommend(
    stats: pd.DataFrame,
    metrics: pd.DataFrame,
    correlations: pd.DataFrame,
    *,
    memory_bytes: int | None = None,
    alpha: float = 0.05,
) -> list[Recommendation]:
    """Recommendations, the best founded first; empty where nothing applies.

    `stats`: as of `Capture.stats`. `metrics`: as of `Capture.metrics`. `correlations`: columns operation, metric, rho,
    q_value. `memory_bytes`: of the machine that was recorded, if that is known.
    """
    found = [_of_correlation(row) for row in _worth_telling(correlations, alpha)]
    cpu = float(metrics["cpu_machine_percent"].mean()) / 100 if len(metrics) else float("nan")
    memory = float(metrics["rss_bytes"].max()) / memory_bytes if len(metrics) and memory_bytes else float("nan")
    if cpu > BUSY:
        found.append(
            Recommendation(
                "all operations",
                f"the machine's CPUs were busy {cpu:.0%} of the time",
                "whoever becomes ready has to wait for a CPU",
                "fewer things at once, or more CPUs",
                "what else runs on the machine",
            )
        )
    if memory > BUSY:
        found.append(
            Recommendation(
                "all operations",
                f"the process held {memory:.0%} of the machine's memory",
                "beyond that the kernel begins to take pages away",
                "a smaller working set, or more memory",
                "the sizes of caches and queues",
            )
        )
    if not (cpu > BUSY or memory > BUSY):
        found += _waits(stats, cpu)
    return found


def _worth_telling(correlations: pd.DataFrame, alpha: float) -> list[dict[str, object]]:
    """The strongest metric of each operation, of those that are sure and strong enough."""
    if not len(correlations):
        return []
    sure = correlations[(correlations["q_value"] <= alpha) & (correlations["rho"] >= WORTH_TELLING)]
    sure = sure[sure["metric"].isin(ADVICE)].sort_values("rho", ascending=False, kind="stable")
    return [
        {str(key): value for key, value in row.items()} for row in sure.drop_duplicates("operation").to_dict("records")
    ]


def _of_correlation(row: dict[str, object]) -> Recommendation:
    reason, action, record_next = ADVICE[str(row["metric"])]
    evidence = f"moves with {row['metric']} (rank correlation {row['rho']:.2f}, q = {row['q_value']:.2g})"
    return Recommendation(str(row["operation"]), evidence, reason, action, record_next)


def _waits(stats: pd.DataFrame, cpu: float) -> list[Recommendation]:
    """Slow, and neither CPU nor memory is short."""
    if not len(stats) or not {"p50_us", "p99_us", "total_us"} <= set(stats.columns):
        return []
    tail = stats[stats["p99_us"] > LONG_TAIL * stats["p50_us"]].sort_values("total_us", ascending=False, kind="stable")
    busy = "" if cpu != cpu else f", while the machine's CPUs were busy {cpu:.0%} of the time"
    return [
        Recommendation(
            str(name[-1] if isinstance(name, tuple) else name),
            f"p99 is {row['p99_us'] / row['p50_us']:.0f} times p50{busy}",
            "what is short of neither CPU nor memory and still slow at times mostly waits",
            "look at slowest() for what else ran then: a lock, a full queue, a peer, a disk",
            "an operation around each wait inside of it",
        )
        for name, row in tail.head(3).iterrows()
    ]
