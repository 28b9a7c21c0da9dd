"""Captures that were made to do harm, with sound checksums.

What no recorder writes is refused and named, nothing raises anything but QuantumPulseError, and time and memory are
bounded by what is really there.
"""

import json
import os
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from tests import agents
from tests.faults import hostile

LARGEST = (1 << 63) - 1

REFUSED = [
    ("samples", "duration_ns", -1),
    ("samples", "duration_ns", LARGEST),
    ("samples", "start", -LARGEST - 1),
    ("samples", "start", LARGEST),
    ("samples", "weight", -5),
    ("samples", "weight", 0),
    ("samples", "span", -LARGEST),
    ("samples", "span", hostile.FIRST),
    ("samples", "parent", -3),
    ("samples", "task", -1),
    ("samples", "process", -1),
    ("samples", "operation", None),
    ("samples", "category", None),
    ("metrics", "time", LARGEST),
    ("metrics", "interval_ns", -1),
    ("metrics", "interval_ns", LARGEST),
    ("metrics", "cpu_process_percent", float("inf")),
    ("events", "start", -LARGEST - 1),
    ("events", "duration_ns", -LARGEST),
    ("events", "event", None),
    ("events", "value", float("inf")),
]
#: Strange, but nothing that cannot be read. What is in one capture does not hide each other.
STRANGE = {
    "long ago": [("samples", "start", 0)],
    "large": [
        ("samples", "duration_ns", schema.MOST_NS),
        ("samples", "span", 1 << 60),
        ("metrics", "rss_bytes", LARGEST),
    ],
    "many": [("samples", "weight", (1 << 31) - 1), ("samples", "thread", -LARGEST)],
    "unnamed": [("samples", "operation", ""), ("events", "event", "what")],
}
#: Captures that the refused values are spread over, each value in a part of its own: all that reads one takes seconds.
SHARES = 3


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A sound capture, to be copied."""
    path = hostile.record(tmp_path_factory.mktemp("hostile") / "capture")
    assert hostile.faults(path, path.parent) == []
    return path


@pytest.fixture(scope="module")
def of_many_parts(tmp_path_factory):
    """A sound capture with more parts of each table than values are put into, and too few to be merged."""
    return hostile.record(tmp_path_factory.mktemp("hostile") / "parts", rounds=6, calls=200)


def with_values(path, values):
    """Put each (table, column, value) into the capture, each into a part of its own. Returns their files."""
    left = {table: sorted((path / table).glob("*.parquet")) for table in schema.TABLES}
    files = []
    for table, column, value in values:
        files.append(left[table].pop(0))
        hostile.rewrite(files[-1], hostile.with_value(column, value))
    assert left["samples"], "one part of samples is sound"
    return files


@pytest.mark.parametrize("share", range(SHARES))
def test_a_value_that_no_recorder_writes_costs_its_part_and_is_named(of_many_parts, tmp_path, share):
    path = hostile.copied(of_many_parts, tmp_path)
    before = len(qp.open(path).samples())
    rows = {file.name: pq.read_metadata(file).num_rows for file in path.glob("*/*.parquet")}
    files = with_values(path, REFUSED[share::SHARES])
    assert hostile.faults(path, tmp_path) == []
    causes = hostile.causes(path)
    assert [file.name for file in files if file.name not in causes] == []
    lost = sum(rows[file.name] for file in files if file.parent.name == "samples")
    assert len(qp.open(path).samples()) == before - lost


@pytest.mark.parametrize("values", STRANGE.values(), ids=STRANGE)
def test_a_strange_value_stops_nothing(of_many_parts, tmp_path, values):
    path = hostile.copied(of_many_parts, tmp_path)
    with_values(path, values)
    assert hostile.faults(path, tmp_path) == []


@pytest.mark.parametrize(
    "told",
    [
        {"environment": 5},
        {"environment": {"cores": "x"}},
        {"environment": {"cores": 2, "load_1m": float("inf")}},
        {"environment": {"cpu": {}}},
        {"environment": {"packages": [1]}},
        {"pid": -1},
        {"host": []},
        {"argv": [5]},
        {"started_ns": LARGEST},
        {"overhead": {"sample_ns": "x"}},
        {"account": {"lost": -5}},
        {"losses": [{"count": 3, "start": LARGEST}]},
        {"unfinished": [{}]},
        {"accounts": [{}]},
        {"ended": {"x": "y"}},
    ],
    ids=lambda told: json.dumps(told)[:40],
)
def test_a_process_file_of_another_shape_is_named(recorded, tmp_path, told):
    path = hostile.copied(recorded, tmp_path)
    file = min((path / schema.PROCESSES).glob("*.json"))
    file.write_text(json.dumps(json.loads(file.read_text()) | told))
    assert hostile.faults(path, tmp_path) == []
    assert f"{file.name} cannot be read: its {next(iter(told))!r} makes no sense" in hostile.causes(path)


def test_a_column_of_another_name_costs_its_part(recorded, tmp_path):
    path = hostile.copied(recorded, tmp_path)
    file, other = sorted((path / "samples").glob("*.parquet"))
    hostile.rewrite(
        file, lambda table: table.rename_columns(["operatioN" if n == "operation" else n for n in table.column_names])
    )
    assert hostile.faults(path, tmp_path) == []
    assert "it has no column 'operation'" in hostile.causes(path)
    assert len(qp.open(path).tree()) == 2
    assert len(qp.open(path).samples()) == pq.read_metadata(other).num_rows


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_only_part_cut_off(tmp_path, share):
    path = hostile.record(tmp_path / "capture", rounds=1)
    (file,) = (path / "samples").glob("*.parquet")
    os.truncate(file, int(file.stat().st_size * share))
    assert hostile.faults(path, tmp_path) == []
    with pytest.raises(qp.errors.EmptyCaptureError, match=file.name):
        qp.open(path).contrast(0, 1)


def test_zeroed_pages(tmp_path):
    path = hostile.record(tmp_path / "capture", rounds=1)
    (file,) = (path / "samples").glob("*.parquet")
    content = bytearray(file.read_bytes())
    content[200:3000] = bytes(2800)
    file.write_bytes(content)
    assert hostile.faults(path, tmp_path) == []
    assert file.name in hostile.causes(path)


def test_many_equal_rows_take_no_memory(recorded, tmp_path):
    path = hostile.copied(recorded, tmp_path)
    file, other = sorted((path / "samples").glob("*.parquet"))
    whole = pq.read_table(file)
    metadata = pq.read_metadata(file).metadata
    row = pa.Table.from_batches([whole.combine_chunks().to_batches()[0].slice(0, 1)])
    many = row.take(pa.array(np.zeros(1 << 20, np.int64))).replace_schema_metadata(metadata)
    with pq.ParquetWriter(file, many.schema, compression="zstd") as writer:
        for _ in range(100):
            writer.write_table(many)
    assert file.stat().st_size < 20_000_000
    code = "import sys, quantum_pulse as qp; c = qp.open(sys.argv[1]); print(c.tree()['count'].sum(), len(c.samples()))"
    rows = pq.read_metadata(other).num_rows
    assert hostile.in_bounds(code, path).split() == [str(rows)] * 2
    assert "several times" in hostile.causes(path)


# ---- rings -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def killed(tmp_path):
    """A capture with the ring of a process that was killed before anything was written: 100 samples in it."""
    path = tmp_path / "killed"
    hostile.record_and_be_killed(path)
    agents.move_rings_into(path)
    (ring,) = agents.rings(path)
    return path, ring


def test_a_huge_sparse_ring_is_read_at_once(killed):
    path, ring = killed
    os.truncate(ring, 1 << 42)
    with open(ring, "r+b") as file:
        for name in ("limit", "used"):
            code, offset = next((code, at) for field, code, at in schema.RING_FIELDS if field == name)
            file.seek(offset)
            file.write(struct.pack(code, (1 << 26) - 1))
    code = "import sys, quantum_pulse as qp\ntry: qp.open(sys.argv[1]).losses()\nexcept qp.QuantumPulseError: pass"
    hostile.in_bounds(code, path, seconds=10)


def test_a_row_weighs_what_its_operation_says(killed):
    path, ring = killed
    code, offset = next((code, at) for field, code, at in schema.RING_FIELDS if field == "limit")
    with open(ring, "r+b") as file:
        (limit,) = struct.unpack(code, os.pread(file.fileno(), struct.calcsize(code), offset))
        before = schema.RING_COLUMNS[: [name for name, _ in schema.RING_COLUMNS].index("weight")]
        columns = schema.SEGMENT_ROWS * sum(struct.calcsize(code) for _, code in before)
        file.seek(schema.segments_at(limit) + schema.SEGMENT_HEADER_BYTES + columns)
        assert file.read(1) == b"\1"
        file.seek(-1, os.SEEK_CUR)
        file.write(b"\xd8")
    capture = qp.open(path)
    assert capture.stats()["count"].sum() == len(capture.samples()) == 99
    assert "1 rows make no sense" in capture.losses()["cause"].str.cat()


def test_a_huge_journal_is_not_read(killed):
    path, ring = killed
    os.truncate(ring.with_suffix(schema.NAMES_SUFFIX), 1 << 40)
    code = """
import sys, quantum_pulse as qp
try: print(qp.open(sys.argv[1]).losses()["cause"].tolist())
except qp.QuantumPulseError as error: print(error)
"""
    assert "names cannot be read" in hostile.in_bounds(code, path, seconds=10)
