"""Runs of the demo against each other, each in a process of its own: how often a comparison of equals raises an alarm.

``python -m tests.perf real_runs`` records RUNS runs of MESSAGES messages, one after the other, about three seconds
each, and compares three with three others: next to each other in time, and drawn at random. Such comparisons share
runs, so that many of them say less than as many with runs of their own. Beside the binomial interval there is one from
leaving out each run in turn (jackknife). QUANTUM_PULSE_RUNS names a folder to keep the runs in, and to take them from.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

import quantum_pulse as qp
from quantum_pulse import analysis
from tests.perf.calibration import report

RUNS = 60
MESSAGES = 6000
A_SIDE = 3
SPLITS = 300

Run = dict[str, npt.NDArray[np.int64]]


def record(folder: Path) -> list[Run]:
    """Each run's durations in ns by operation, oldest first; what is not in `folder` yet is recorded."""
    found = []
    for number in range(RUNS):
        path = folder / f"run-{number:03d}"
        if not path.exists():
            command = ["-m", "quantum_pulse", "demo", "--into", str(path), "--messages", str(MESSAGES)]
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
        samples = qp.open(path).samples(columns=["operation", "duration_ns"])
        grouped = samples.groupby("operation", observed=True)["duration_ns"]
        found.append({str(name): own.to_numpy() for name, own in grouped})
    return found


def alarms(runs: list[Run], splits: list[tuple[int, ...]]) -> npt.NDArray[np.bool_]:
    """Whether the first half of each split against the second raises any alarm, at default settings; says of what."""
    found, culprits = [], Counter[str]()
    for split in splits:
        sides = [[runs[number] for number in half] for half in (split[:A_SIDE], split[A_SIDE:])]
        table = analysis.compare_samples(*sides).table
        wrong = table[table["verdict"].isin(["regressed", "improved"])]
        found.append(len(wrong) > 0)
        culprits.update(f"{row.operation} p{row.quantile * 100:g}" for row in wrong.itertuples())
    if culprits:
        print(f"<!-- {', '.join(f'{what}: {count}' for what, count in culprits.most_common(8))} -->")
    return np.array(found)


def jackknife(splits: list[tuple[int, ...]], found: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """95 % interval of the rate that allows for shared runs: each run is left out in turn, with all of its splits."""
    rates = []
    for run in range(RUNS):
        without = np.array([run not in split for split in splits])
        rates.append(found[without].mean())
    deviation = np.sqrt((RUNS - 1) / RUNS * np.sum((np.array(rates) - np.mean(rates)) ** 2))
    return max(found.mean() - 1.96 * deviation, 0), min(found.mean() + 1.96 * deviation, 1)


def main() -> None:
    kept = os.environ.get("QUANTUM_PULSE_RUNS")
    with tempfile.TemporaryDirectory(prefix="quantum-pulse-runs-") as folder:
        begin = time.perf_counter()
        runs = record(Path(kept or folder))
        print(f"{len(runs)} runs of {MESSAGES:,} messages in {time.perf_counter() - begin:.0f} s\n")
    rng = np.random.default_rng(6)
    in_a_row = [tuple(range(first, first + 2 * A_SIDE)) for first in range(RUNS - 2 * A_SIDE + 1)]
    at_random = [tuple(rng.permutation(RUNS)[: 2 * A_SIDE].tolist()) for _ in range(SPLITS)]
    print("| case | rate | 95 % interval | trials | bar |\n| --- | --: | --- | --: | --- |", flush=True)
    for name, splits, bar in (("drawn at random", at_random, "≤ 5 %"), ("in a row", in_a_row, "none set")):
        found = alarms(runs, splits)
        report(f"compare: the demo, 3 runs against 3 others, {name}, any alarm", int(found.sum()), len(splits), bar)
        low, high = jackknife(splits, found)
        print(f"<!-- {name}: {low:.1%} to {high:.1%}, runs being shared -->", flush=True)
