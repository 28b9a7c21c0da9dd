"""A service that records for a week, or a year, into a capture that is bounded: files, bytes, memory and time.

``python -m tests.perf keeping`` takes two to three minutes. The week is 1,000 samples a second of 100 operations with
``keep="2GB"``, a restart every hour, and a clock that runs as fast as parts can be written. Samples and the bound are
both divided by KEEPING_SCALE (20). The year begins where a service of 100 operations, each called ten times a minute,
has had all of its samples expire; operations and bounds are both divided by ten.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from quantum_pulse import schema
from quantum_pulse.agent import compaction, parts, rollups, summaries
from quantum_pulse.agent.expiry import Expiry
from quantum_pulse.directories import Folder
from quantum_pulse.keep import Keep, parse
from quantum_pulse.operations import Category, Definition
from quantum_pulse.rings.batch import Batch
from tests.perf.race import table

SCALE: Final = int(os.environ.get("KEEPING_SCALE", 20))
DAYS: Final = int(os.environ.get("KEEPING_DAYS", 7))
BOUND: Final = Keep(bytes=(parse("2GB") or Keep()).bytes // SCALE)
RATE: Final = 1000 // SCALE
#: A part of about a million samples at 1,000 a second.
PART_S: Final = 1000
SECOND: Final = 10**9
DAY_S: Final = 86_400
EPOCH: Final = 20_000 * DAY_S * SECOND
OPERATIONS: Final = [Definition(f"Bench.OP_{n:02d}", "bench", "", Category(f"Group {n % 4}")) for n in range(100)]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for title, work in (
            ("a week of 1,000 samples a second, keep='2GB'", week),
            ("a year of rollups of 100 operations", year),
        ):
            # A process for each, because memory is measured.
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                rows = pool.submit(work, Path(folder) / work.__name__).result()
            print(f"\n{table((title, ''), rows)}", flush=True)


# ---- a week ----------------------------------------------------------------------------------------------------------


def week(path: Path) -> list[tuple[str, str]]:
    """Write parts and expire them until the week is over; what was seen at most, and what the capture says then."""
    expiry = Expiry(path, BOUND, lambda _: True)
    most_bytes = most_files = 0
    runs, written = [], 0
    for number, rows in enumerate(_parts(path)):
        written += rows
        began = time.perf_counter()
        expiry.run(EPOCH + (number + 1) * PART_S * SECOND)
        runs.append(time.perf_counter() - began)
        sizes = [file.stat().st_size for file in path.rglob("*") if file.is_file()]
        most_bytes, most_files = max(most_bytes, sum(sizes)), max(most_files, len(sizes))
    memory = _memory()
    import quantum_pulse as qp

    capture = qp.open(path)
    looked = time.perf_counter()
    calls = int(capture.stats(approximate=True)["count"].sum())
    looked = time.perf_counter() - looked
    drawn = time.perf_counter()
    in_timeline = int(capture.timeline("1h")["count"].sum())
    drawn = time.perf_counter() - drawn
    if not calls == in_timeline == written or len(capture.losses()):
        raise AssertionError(f"{written} samples were written, and {calls} and {in_timeline} are told of")
    rolled_up = sum(file.stat().st_size for file in path.glob("rollups/*"))
    return [
        ("samples written", f"{written * SCALE:,}"),
        ("samples there", f"{len(capture.samples(columns=['start'])) * SCALE:,}"),
        ("bytes on disk at most", f"{most_bytes * SCALE / 1e6:,.0f} MB"),
        ("of these rollups in the end, by the minute", f"{rolled_up / 1e6:.1f} MB, at {RATE} samples a second"),
        ("files at most", f"{most_files}"),
        ("a run, typically and at most", f"{np.median(runs) * 1e3:.0f} ms, {max(runs) * 1e3:.0f} ms"),
        ("memory of the process at most", f"{memory:.0f} MB"),
        ("stats(approximate=True)", f"{looked:.2f} s"),
        ('timeline("1h")', f"{drawn:.2f} s"),
    ]


def _parts(path: Path) -> Iterator[int]:
    """Write one part after the other, and process files of recordings of an hour; the rows of each."""
    for folder in (*schema.RECORDED, schema.PROCESSES):
        (path / folder).mkdir(parents=True)
    (path / schema.MANIFEST).write_text(json.dumps({"format": schema.FORMAT_VERSION}))
    random = np.random.default_rng(1)
    share = 1 / np.arange(1, 101) ** 1.2
    rows = RATE * PART_S
    written: dict[str, int] = {}
    for number in range(DAYS * DAY_S // PART_S):
        recording = f"{number * PART_S // 3600:04d}-abcd"
        operation = random.choice(100, rows, p=share / share.sum()).astype(np.uint32)
        begin = EPOCH + number * PART_S * SECOND
        content = {
            "operation": operation,
            "start": begin + np.arange(rows) * (PART_S * SECOND // rows),
            "duration": (3000 * (operation + 1) * np.exp(0.6 * random.standard_normal(rows))).astype(np.int64),
            "thread": np.full(rows, 1000, np.int64),
            "task": np.zeros(rows, np.int64),
            "parent": np.zeros(rows, np.int64),
            "error": (random.random(rows) < 0.001).astype(np.uint32),
            "weight": np.ones(rows, np.int32),
            "span": np.arange(1, rows + 1),
        }
        parts.write_samples(
            path / "samples" / f"{recording}-{number:06d}.parquet",
            Batch({name: np.ascontiguousarray(column) for name, column in content.items()}),
            operations=OPERATIONS,
            texts=["", "KeyError"],
            unix=lambda readings: readings,
            process=1,
            footer={"format": schema.FORMAT_VERSION, "process": 1, "losses": []},
        )
        written[recording] = written.get(recording, 0) + rows
        process = {"pid": 1, "state": "finished", "rows": {"samples": written[recording]}, "losses": []}
        process |= {"started_ns": begin, "stopped_ns": begin + PART_S * SECOND}
        (path / schema.PROCESSES / f"{recording}.json").write_text(json.dumps(process))
        yield rows


# ---- a year ----------------------------------------------------------------------------------------------------------


def year(path: Path) -> list[tuple[str, str]]:
    """Rollup files of a day each, one after the other, as they are merged and made coarser."""
    (path / schema.ROLLED_UP).mkdir(parents=True)
    (path / schema.MANIFEST).write_text(json.dumps({"format": schema.FORMAT_VERSION}))
    random = np.random.default_rng(1)
    days = [_day(random) for _ in range(3)]
    most, compaction.LARGEST_BYTES = compaction.LARGEST_BYTES, compaction.LARGEST_BYTES // 10
    try:
        began = time.perf_counter()
        for day in range(365):
            _file(path, day, days[day % 3])
        took = time.perf_counter() - began
    finally:
        compaction.LARGEST_BYTES = most
    memory = _memory()
    import quantum_pulse as qp

    capture = qp.open(path)
    files = capture._source.parts[schema.ROLLED_UP]
    by_interval = {
        interval: sum(part.path.stat().st_size for part in files if part.footer["interval_ns"] == interval)
        for interval in schema.ROLLUP_INTERVALS_NS
    }
    drawn = time.perf_counter()
    calls = int(capture.timeline("1D")["count"].sum())
    drawn = time.perf_counter() - drawn
    if calls != int(capture.stats(approximate=True)["count"].sum()) or calls != 365 * 10 * 10 * 1440:
        raise AssertionError(f"{calls} calls are told of")
    return [
        ("bytes by the minute, hour and day", ", ".join(f"{10 * own / 1e6:.0f} MB" for own in by_interval.values())),
        ("files", f"{len(files)}"),
        ("time to merge a day of 100 operations", f"{10 * took / 365:.1f} s"),
        ("memory of the process at most", f"{memory:.0f} MB"),
        ('timeline("1D") of 10 operations', f"{drawn:.2f} s"),
    ]


def _day(random: np.random.Generator) -> summaries.Summary:
    """A day of ten operations, each called ten times a minute, from EPOCH on."""
    from quantum_pulse import arrow

    calls = 1440 * 10 * 10
    number = np.arange(calls) % 10
    import pyarrow as pa

    names = [one.name for one in OPERATIONS[:10]]
    batch = pa.record_batch(
        {
            "operation": arrow.named(number, names),
            "category": arrow.named(np.zeros(calls, np.int32), ["Group"]),
            "start": arrow.array(EPOCH + np.arange(calls) * (DAY_S * SECOND // calls), pa.timestamp("ns", tz="UTC")),
            "duration_ns": arrow.array(
                (3000 * (number + 1) * np.exp(0.6 * random.standard_normal(calls))).astype(np.int64), pa.int64()
            ),
            "weight": arrow.array(np.ones(calls, np.int32), pa.int32()),
            "error": pa.DictionaryArray.from_arrays(pa.array([None] * calls, pa.int32()), arrow.strings(["KeyError"])),
        }
    )
    rows = rollups.combined([rollups.of_samples(batch)])
    return summaries.nothing()._replace(rows=rows, whole=rollups.combined([rows], rollups.WHOLE))


def _file(path: Path, day: int, content: summaries.Summary) -> None:
    """Add a day to the rollup files, as expiry does, and let it merge them."""
    import pyarrow as pa

    from quantum_pulse import arrow

    shifted = arrow.array(arrow.values(content.rows["start"]) + day * DAY_S * SECOND, pa.timestamp("ns", tz="UTC"))
    rows = content.rows.set_column(2, content.rows.schema.field("start"), shifted)
    own = Expiry(path, Keep(age_ns=SECOND), lambda _: True)
    with Folder.at(path) as root:
        found = own._lookout.look(root)
        until_ns = EPOCH + (day + 1) * DAY_S * SECOND
        own._write(root, found.next_number, content._replace(rows=rows, until_ns=until_ns))
        own._compact(root)


def _memory() -> float:
    """The most memory that this process has had so far, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
