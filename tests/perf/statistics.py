"""Statistics of large captures beside DuckDB, Polars and pandas on the same Parquet files.

``python -m tests.perf statistics`` takes about ten minutes and 1 GB of disk; ``STATISTICS_SAMPLES=10000000`` a tenth.
Each contender runs in a process of its own, which says how long it took, imports left out, and how much memory it had
at most, imports included. The files are in the page cache for all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from quantum_pulse import schema
from quantum_pulse.agent import parts
from quantum_pulse.operations import Category, Definition
from quantum_pulse.rings.batch import Batch
from tests.perf.race import table

SAMPLES = int(os.environ.get("STATISTICS_SAMPLES", 100_000_000))
TREE_SAMPLES = SAMPLES // 10
OPERATIONS = [
    Definition(f"Bench.OP_{number:02d}", "bench", "", Category(f"Group {number % 4}")) for number in range(64)
]
QUANTILES = [0.5, 0.9, 0.95, 0.99, 0.999]
#: A sample a microsecond.
STEP_NS = 1000
ANCHOR_NS = 1_700_000_000 * 10**9
DEPTH = 6
CHART = Path("docs/images/statistics.png")


# ---- captures --------------------------------------------------------------------------------------------------------


def write(path: Path, samples: int, columns: Callable[[np.random.Generator, int, int], dict[str, np.ndarray]]) -> int:
    """Write a capture by the project's own writer, parts as large as a long recording makes them; bytes on disk."""
    for folder in (*schema.TABLES, schema.PROCESSES):
        (path / folder).mkdir(parents=True)
    (path / schema.MANIFEST).write_text(json.dumps({"format": schema.FORMAT_VERSION}))
    random = np.random.default_rng(1)
    for number, first in enumerate(range(0, samples, schema.MERGED_ROWS)):
        rows = min(schema.MERGED_ROWS, samples - first)
        content = {
            "thread": np.full(rows, 1000, np.int64),
            "task": np.zeros(rows, np.int64),
            "error": np.zeros(rows, np.uint32),
            "weight": np.ones(rows, np.int32),
            "span": np.arange(first + 1, first + rows + 1),
            **columns(random, first, rows),
        }
        parts.write_samples(
            path / "samples" / f"1-abcd-{number:06d}.parquet",
            Batch({name: np.ascontiguousarray(column) for name, column in content.items()}),
            operations=OPERATIONS,
            texts=[""],
            unix=lambda readings: readings + ANCHOR_NS,
            process=1,
            footer={"format": schema.FORMAT_VERSION, "process": 1, "losses": []},
        )
    return sum(file.stat().st_size for file in path.glob("samples/*"))


def flat(random: np.random.Generator, first: int, rows: int) -> dict[str, np.ndarray]:
    """64 operations, the frequent ones a thousand times as frequent as the rare ones; lognormal durations."""
    share = 1 / np.arange(1, 65) ** 1.6
    operation = random.choice(64, rows, p=share / share.sum()).astype(np.uint32)
    duration = (3000 * (operation + 1)) * np.exp(0.6 * random.standard_normal(rows))
    return {
        "operation": operation,
        "start": np.arange(first, first + rows) * STEP_NS,
        "duration": duration.astype(np.int64),
        "parent": np.zeros(rows, np.int64),
    }


def nested(random: np.random.Generator, first: int, rows: int) -> dict[str, np.ndarray]:
    """Each call encloses one, six deep; what a root does depends on chance."""
    place = np.arange(first, first + rows)
    depth = place % DEPTH
    kind = random.integers(0, 8, rows // DEPTH + 2)[(place // DEPTH) - first // DEPTH]
    return {
        "operation": (depth * 8 + kind).astype(np.uint32),
        "start": place * STEP_NS,
        "duration": (DEPTH - depth) * 2 * STEP_NS - 500,
        "parent": np.where(depth > 0, place, 0),
    }


# ---- contenders: what runs in a process of its own -------------------------------------------------------------------


def ours(path: Path) -> Callable[[], object]:
    import pandas  # noqa: F401 - imports are left out for all

    import quantum_pulse as qp
    from quantum_pulse.reading import statistics  # noqa: F401

    return lambda: qp.open(path).stats()


def ours_first_look(path: Path) -> Callable[[], object]:
    import pandas  # noqa: F401

    import quantum_pulse as qp
    from quantum_pulse.reading import statistics  # noqa: F401

    return lambda: qp.open(path).stats(approximate=True)


def ours_one_percent(path: Path) -> Callable[[], object]:
    import pandas as pd

    import quantum_pulse as qp

    capture = qp.open(path)
    samples = sum(part.rows for part in capture._source.parts["samples"])
    start = pd.Timestamp(ANCHOR_NS + samples // 2 * STEP_NS, tz="UTC")
    return lambda: capture.samples(start=start, end=start + pd.Timedelta(samples // 100 * STEP_NS, unit="ns"))


def ours_tree(path: Path) -> Callable[[], object]:
    import pandas  # noqa: F401

    import quantum_pulse as qp

    return lambda: qp.open(path).tree()


def ours_timeline(path: Path) -> Callable[[], object]:
    import pandas  # noqa: F401

    import quantum_pulse as qp

    return lambda: qp.open(path).timeline("1s")


def ours_heatmap(path: Path) -> Callable[[], object]:
    import pandas  # noqa: F401

    from quantum_pulse import facade
    from quantum_pulse.reading import timeline
    from quantum_pulse.reading.selection import Selection

    return lambda: timeline._heatmap(facade.open(path)._source, Selection(("Bench.OP_00",)), 120)


def duckdb(path: Path) -> Callable[[], object]:
    import duckdb

    connection = duckdb.connect(config={"threads": os.cpu_count()})
    return lambda: connection.sql(
        "select operation, count(*), avg(duration_ns), stddev_samp(duration_ns), "
        f"quantile_cont(duration_ns, {QUANTILES}), max(duration_ns) from '{path}/samples/*.parquet' group by 1"
    ).fetchall()


def polars(path: Path) -> Callable[[], object]:
    import polars as pl

    ns = pl.col("duration_ns")
    wanted = [pl.len(), ns.mean().alias("mean"), ns.std().alias("std"), ns.max().alias("max")]
    wanted += [ns.quantile(one, "linear").alias(f"p{one}") for one in QUANTILES]
    frame = pl.scan_parquet(f"{path}/samples/*.parquet")
    return lambda: frame.group_by("operation").agg(wanted).collect(engine="streaming")


def pandas(path: Path) -> Callable[[], object]:
    import pandas as pd

    def work() -> object:
        samples = pd.read_parquet(f"{path}/samples", columns=["operation", "duration_ns"])
        grouped = samples.groupby("operation", observed=True)["duration_ns"]
        return grouped.agg(["count", "mean", "std", "max"]), grouped.quantile(QUANTILES)

    return work


CONTENDERS = [
    ours, ours_first_look, ours_one_percent, ours_tree, ours_timeline, ours_heatmap, duckdb, polars, pandas
]  # fmt: skip


def run(contender: str, path: str) -> None:
    """In the process of its own: print seconds and bytes."""
    work = {own.__name__: own for own in CONTENDERS}[contender](Path(path))
    begin = time.perf_counter()
    work()
    seconds = time.perf_counter() - begin
    # Not ru_maxrss, which begins with what the process that started this one had.
    status = Path("/proc/self/status").read_text()
    print(json.dumps([seconds, int(status.partition("VmHWM:")[2].split()[0]) * 1024]))


def measure(contender: Callable[[Path], object], path: Path, rounds: int = 3) -> tuple[float, float]:
    """Seconds and gigabytes: the best of some rounds, as noise only ever adds."""
    found = []
    for _ in range(rounds):
        command = [
            sys.executable,
            "-c",
            f"from tests.perf import statistics as s; s.run({contender.__name__!r}, {str(path)!r})",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return float("nan"), float("nan")
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return min(seconds for seconds, _ in found), min(size for _, size in found) / 1e9


# ---- what is shown ---------------------------------------------------------------------------------------------------


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="statistics-") as folder:
        sizes = (SAMPLES // 100, SAMPLES // 10, SAMPLES)
        captures = {size: Path(folder) / str(size) for size in sizes}
        for size, path in captures.items():
            print(f"{size:,} samples: {write(path, size, flat) / size:.1f} bytes a sample", flush=True)
        _beside_others(captures[SAMPLES])
        _other_questions(captures[SAMPLES], SAMPLES)
        _linear(captures)
        tree = Path(folder) / "tree"
        write(tree, TREE_SAMPLES, nested)
        seconds, size = measure(ours_tree, tree)
        print(f"\ntree() of {TREE_SAMPLES:,} samples, {DEPTH} deep: {seconds:.2f} s, {size:.2f} GB (bar: 10 s, 1 GB)")


def _beside_others(path: Path) -> None:
    found = {own.__name__: measure(own, path, rounds=2) for own in (ours, duckdb, polars, pandas)}
    reference = found["duckdb"][0]
    rows = [
        (name.replace("ours", "stats()"), f"{seconds:.2f}", f"{seconds / reference:.2f}", f"{size:.2f}")
        for name, (seconds, size) in found.items()
    ]
    print(f"\ncount mean std p50 p90 p95 p99 p99.9 max of {SAMPLES:,} samples, 64 operations, {os.cpu_count()} cores\n")
    print(table(("", "s", "of DuckDB", "peak GB"), rows), flush=True)


def _other_questions(path: Path, samples: int) -> None:
    questions = {
        "stats(approximate=True), opening included": (ours_first_look, "0.3 s"),
        "1 % of the time as a DataFrame": (ours_one_percent, "0.5 s"),
        'timeline("1s"), exact': (ours_timeline, ""),
        "heatmap() of the most frequent operation": (ours_heatmap, ""),
    }
    rows = []
    for what, (contender, bar) in questions.items():
        seconds, size = measure(contender, path)
        rows.append((what, f"{seconds:.2f}", f"{size:.2f}", bar))
    print(f"\n{samples:,} samples\n\n{table(('', 's', 'peak GB', 'bar'), rows)}", flush=True)


def _linear(captures: dict[int, Path]) -> None:
    """How cost grows with samples, beside DuckDB and Polars: a table, and a chart of both."""
    found = {
        (own.__name__, size): measure(own, path, rounds=2)
        for size, path in captures.items()
        for own in (ours, duckdb, polars)
    }
    rows = []
    for size in captures:
        seconds, peak = found["ours", size]
        rows.append((f"{size:,}", f"{seconds:.2f}", f"{seconds / size * 1e9:.1f}", f"{peak:.2f}"))
    print(f"\nstats() by number of samples\n\n{table(('samples', 's', 'ns a sample', 'peak GB'), rows)}", flush=True)
    _chart(list(captures), found)


def _chart(sizes: list[int], found: dict[tuple[str, int], tuple[float, float]]) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    looks = {
        "ours": ("quantum_pulse", "#0b6e99", "o-", 2.5),
        "duckdb": ("DuckDB", "#8a8f94", "s--", 1.5),
        "polars": ("Polars", "#b98a2f", "^:", 1.5),
    }
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for place, (what, unit) in enumerate((("time", "s"), ("peak memory", "GB"))):
        for name, (label, colour, style, width) in looks.items():
            values = [found[name, size][place] for size in sizes]
            axes[place].plot(sizes, values, style, color=colour, linewidth=width, label=label)
            axes[place].annotate(
                f"{values[-1]:.2g} {unit}", (sizes[-1], values[-1]), (6, -3), textcoords="offset points", fontsize=9
            )
        axes[place].set(xscale="log", yscale="log", xlabel="samples", ylabel=f"{what}, {unit}")
        axes[place].set_xticks(sizes, [f"{size / 1e6:g} million" for size in sizes])
        axes[place].minorticks_off()
        axes[place].set_xlim(sizes[0] / 1.5, sizes[-1] * 3)
        axes[place].spines[["top", "right"]].set_visible(False)
    axes[0].set_title("Exact p50 to p99.9, mean and std of 64 operations", loc="left", fontweight="bold", fontsize=11)
    axes[1].legend(frameon=False)
    CHART.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(CHART, dpi=150)
    plt.close(figure)
    print(f"\nchart: {CHART}")
