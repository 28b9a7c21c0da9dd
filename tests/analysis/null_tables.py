"""``python -m tests.analysis.null_tables`` simulates the tables of `quantum_pulse.analysis.nulls`; some minutes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from quantum_pulse.analysis import nulls, seeded, wandering

ROWS = 4000
BATCH = 250


def largest(rng: np.random.Generator, noise: wandering.Noise, rows: int, count: int) -> np.ndarray:
    """The largest statistic of each search of each of so many series: shape (searches, rows)."""
    quiet, series = seeded.prepared(wandering.simulated(rng, noise, rows, count))
    found = [seeded.steps(series, length).statistics.max(axis=1) for length in seeded.lengths(count)]
    return np.stack((*found, seeded.trends(series, quiet)[1]))


def summarised(statistics: np.ndarray) -> np.ndarray:
    """Quantiles and mean excess of each row."""
    quantiles = np.quantile(statistics, 1 - np.array(nulls.TAILS), axis=1).T
    last = quantiles[:, -1:]
    beyond = statistics > last
    excess = np.sum(np.where(beyond, statistics - last, 0), axis=1) / beyond.sum(axis=1)
    return np.column_stack((quantiles, excess))


def table(count: int, rows: int = ROWS) -> np.ndarray:
    found = []
    for kind, noise in enumerate(wandering.NOISES):
        rng = np.random.default_rng((count, kind))
        batches = [largest(rng, noise, min(BATCH, rows - done), count) for done in range(0, rows, BATCH)]
        found.append(summarised(np.concatenate(batches, axis=1)))
    return np.stack(found, axis=1).astype(np.float32)


def main() -> None:
    path = Path(nulls.__file__).with_name(nulls.FILE)
    stored = dict(np.load(path)) if path.exists() else {}
    for count in [int(given) for given in sys.argv[1:]] or nulls.SIMULATED:
        stored[str(count)] = table(count)
        np.savez_compressed(path, **{name: stored[name] for name in sorted(stored, key=int)})
        print(count, flush=True)


if __name__ == "__main__":
    main()
