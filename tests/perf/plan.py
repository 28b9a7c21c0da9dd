"""Measure the constants of ``quantum-pulse plan``, and print them as `quantum_pulse.planning.MEASURED` has them.

``python -m tests.perf plan`` takes about a minute and 100 MB of disk. Samples are those of a service with requests that
contain queries: three levels, lognormal durations, four threads. Captures of 4 and 64 operations tell the time that a
part takes from that of its operations; bytes are those of real recordings where made ones would be too regular.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

import quantum_pulse as qp
from quantum_pulse import planning, schema
from quantum_pulse.agent import parts, rollups
from quantum_pulse.operations import Category, Definition
from quantum_pulse.rings.batch import Batch

PARTS = 8
ROWS = schema.MERGED_ROWS
ANCHOR_NS = 1_790_000_000 * 10**9


def definitions(operations: int) -> list[Definition]:
    return [
        Definition(
            f"Service.OPERATION_{number:02d}", "service", "What the operation does", Category("Service"), 3, 5000.0
        )
        for number in range(operations)
    ]


def rows_of(random: np.random.Generator, first: int, rows: int, operations: int) -> dict[str, np.ndarray]:
    """Requests of four calls: one around three others, of which the last one is inside the one before."""
    number = np.arange(first, first + rows)
    call = number % 4
    request = number // 4
    length = (40_000 * np.exp(0.6 * random.standard_normal(rows))).astype(np.int64)
    start = request * 50_000 + call * 3_000 + random.integers(0, 2_000, rows)
    parent = np.where(call == 0, 0, np.where(call == 3, number, number - call + 1))
    return {
        "operation": ((request % max(operations // 4, 1)) * 4 + call).astype(np.uint32) % operations,
        "start": start,
        "duration": length // (1 + call),
        "thread": 1000 + request % 4,
        "task": np.zeros(rows, np.int64),
        "span": number + 1,
        "parent": parent,
        "error": np.where(random.random(rows) < 0.001, 1, 0).astype(np.uint32),
        "weight": np.ones(rows, np.int32),
    }


def write(path: Path, part_rows: int, operations: int) -> list[Path]:
    """A capture of PARTS parts."""
    from quantum_pulse import folders

    folders.make(str(path), time.time_ns())
    random = np.random.default_rng(1)
    written = []
    for number in range(PARTS):
        columns = rows_of(random, number * part_rows, part_rows, operations)
        written.append(path / "samples" / f"1-abcd-{number:06d}.parquet")
        parts.write_samples(
            written[-1],
            Batch({name: np.ascontiguousarray(column) for name, column in columns.items()}),
            operations=definitions(operations),
            errors=["", "TimeoutError"],
            unix=lambda readings: readings + ANCHOR_NS,
            process=1,
            footer={"format": schema.FORMAT_VERSION, "process": 1, "losses": []},
        )
    return written


def least(work: Callable[[], object], repeat: int = 3) -> float:
    """The shortest time of several, in seconds."""
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def metrics_row_bytes() -> float:
    """Of an hour: rows of the sample data, each value of which varies as the machine's do."""
    rows = qp.sample("slow_exchange").metrics().drop(columns=["time", "process"]).to_dict("records")
    random = np.random.default_rng(1)
    made = []
    for place, noise in enumerate(np.exp(0.3 * random.standard_normal((36_000, len(rows[0]))))):
        values = zip(rows[place % len(rows)].items(), noise.tolist(), strict=True)
        row = {name: None if value != value else type(value)(value * factor) for (name, value), factor in values}
        made.append({**row, "time": ANCHOR_NS + place * 10**8, "interval_ns": 10**8, "process": 1})
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "metrics").mkdir()
        path = Path(folder) / "metrics" / "1-abcd-000001.parquet"
        parts.write_rows(path, "metrics", made, {"format": schema.FORMAT_VERSION, "process": 1})
        return path.stat().st_size / len(made)


def of_part(path: Path) -> tuple[float, float, float]:
    """Bytes of a sample, of the part without samples, and of each operation, in the part `path`."""
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    pages = sum(group.column(number).total_compressed_size for group in groups for number in range(group.num_columns))
    text = metadata.metadata[schema.FOOTER_KEY.encode()]
    # Arrow's schema, which is beside it, repeats it in base64.
    footer = len(text) * (1 + 4 / 3)
    rest = path.stat().st_size - pages - footer
    return pages / metadata.num_rows, max(rest, 0), footer / len(json.loads(text)["operations"])


def recorded_sample_bytes() -> float:
    """Of samples that were recorded: those of the sample data, whose times are less regular than any that are made."""
    found = [path for name in ("engine", "slow_exchange") for path in (qp.sample(name).path / "samples").iterdir()]
    rows = [pq.read_metadata(path).num_rows for path in found]
    return sum(of_part(path)[0] * own for path, own in zip(found, rows, strict=True)) / sum(rows)


def rollup_row_bytes(path: Path) -> float:
    with pq.ParquetFile(path) as file:
        rolled = rollups.combined([rollups.of_samples(batch) for batch in file.iter_batches()])
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "r.parquet"
        pq.write_table(rolled, target, compression="zstd", compression_level=9)
        return target.stat().st_size / rolled.num_rows


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        large = write(root / "large", ROWS, 40)
        write(root / "few", 4096, 4)
        write(root / "many", 4096, 64)
        _, part_bytes, operation_bytes = of_part(large[0])
        looks = {
            name: least(lambda path=root / name: qp.open(path).stats(approximate=True)) / PARTS
            for name in ("few", "many")
        }
        histogram_s = max(looks["many"] - looks["few"], 0) / 60
        capture, samples = qp.open(root / "large"), PARTS * ROWS
        found = planning.Constants(
            sample_bytes=recorded_sample_bytes(),
            part_bytes=part_bytes,
            part_operation_bytes=operation_bytes,
            metrics_row_bytes=metrics_row_bytes(),
            rollup_row_bytes=rollup_row_bytes(large[0]),
            open_part_s=max(looks["few"] - 4 * histogram_s, 0),
            histogram_s=histogram_s,
            statistics_sample_s=least(capture.stats) / samples,
            timeline_sample_s=least(lambda: capture.timeline("1s"), 2) / samples,
        )
    print("MEASURED: Final = Constants(")
    for name, value in found._asdict().items():
        print(f"    {name}={value:.3g},  # so far {getattr(planning.MEASURED, name):.3g}")
    print(")")


if __name__ == "__main__":
    main()
