"""Rows in other formats, read back by those who read such files."""

import csv
import gzip
import io
import subprocess
import sys

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

import quantum_pulse as qp
from quantum_pulse import arrow
from quantum_pulse.export import tabular
from quantum_pulse.operations import Category, Definition
from quantum_pulse.reading import tables
from tests.view.captures import ENGINE, SLOW_EXCHANGE

ODD = 'We"ird,\\.na\nme\u2028 \U0001f642'


@pytest.fixture(params=["parquet", "arrow"])
def kind(request):
    return request.param


def loaded(path):
    return pq.read_table(path) if path.suffix == ".parquet" else feather.read_table(path)


def test_samples_keep_their_types(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(tabular, "_BATCH_ROWS", 10_000)
    capture = qp.open(ENGINE)
    made = capture.export(tmp_path / f"s.{kind}")
    table = loaded(tmp_path / f"s.{kind}")
    assert table.schema.equals(arrow.layout("samples"))
    assert made.rows == table.num_rows == len(capture.samples())
    assert made.bytes == (tmp_path / f"s.{kind}").stat().st_size
    order = ["start", "span"]
    frames = tables.frame_of(table), capture.samples()
    read, expected = (frame.sort_values(order, ignore_index=True) for frame in frames)
    for name in expected:
        assert read[name].astype(object).equals(expected[name].astype(object)), name


def test_duckdb_and_polars_read_them(tmp_path):
    capture = qp.open(ENGINE)
    expected = capture.samples().groupby("operation", observed=True)["duration_ns"].sum().to_dict()
    for ending, reader in (("parquet", pl.read_parquet), ("arrow", pl.read_ipc)):
        capture.export(tmp_path / f"s.{ending}")
        totals = reader(tmp_path / f"s.{ending}").group_by("operation").agg(pl.col("duration_ns").sum())
        assert {str(name): total for name, total in totals.rows()} == expected
    rows = duckdb.sql(f"select operation, sum(duration_ns) from '{tmp_path}/s.parquet' group by 1").fetchall()
    assert dict(rows) == expected


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_csv(ending, tmp_path):
    capture = qp.open(ENGINE)
    made = capture.export(tmp_path / f"s.{ending}")
    read, expected = pd.read_csv(tmp_path / f"s.{ending}", parse_dates=["start"]), capture.samples()
    assert made.bytes == (tmp_path / f"s.{ending}").stat().st_size
    assert list(read) == list(expected)
    order = ["start", "span"]
    read, expected = (frame.sort_values(order, ignore_index=True) for frame in (read, expected))
    assert (read["start"].astype("int64") == expected["start"].astype("int64")).all(), "to the nanosecond"
    for name in expected:
        if name != "start":
            assert read[name].astype(object).where(read[name].notna(), None).tolist() == (
                expected[name].astype(object).where(expected[name].notna(), None).tolist()
            )


def test_the_same_content_is_the_same_file(tmp_path):
    for name in ("a", "b"):
        qp.open(ENGINE).export(tmp_path / f"{name}.csv.gz")
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


def test_strange_names(write_capture, tmp_path):
    path = write_capture(
        [[{"duration": 5, "error": 1}]], operations=[Definition(ODD, "work", "", Category(ODD), 1, None)]
    )
    capture = qp.open(path)
    for ending in ("parquet", "arrow"):
        capture.export(tmp_path / f"s.{ending}")
        (row,) = loaded(tmp_path / f"s.{ending}").to_pylist()
        assert (row["operation"], row["category"], row["error"]) == (ODD, ODD, "KeyError")
    capture.export(tmp_path / "s.csv")
    with open(tmp_path / "s.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["operation"], row["category"], row["duration_ns"]) == (ODD, ODD, "5")


def test_selections_and_nothing(write_capture, kind, tmp_path):
    rows = [{"operation": place % 3, "start": 1000 * place} for place in range(30)]
    capture = qp.open(write_capture([rows[:10], rows[10:]]))
    target = tmp_path / f"s.{kind}"
    assert capture.export(target, start=10e-6, end=20e-6).rows == 10
    assert loaded(target).num_rows == 10
    assert capture.export(target, start=1, overwrite=True).rows == 0
    assert loaded(target).schema.equals(arrow.layout("samples"))
    assert loaded(target).num_rows == 0


def test_several_captures_have_a_column_for_it(write_capture, kind, tmp_path):
    paths = [write_capture([[{"duration": place}]], path=tmp_path / name) for place, name in enumerate("ab")]
    capture = qp.open(paths)
    for table in ("samples", "stats", "metrics"):
        capture.export(tmp_path / f"{table}.{kind}", table=table)
        content = loaded(tmp_path / f"{table}.{kind}")
        assert content.column_names[0] == "capture"
        expected = [] if table == "metrics" else ["a", "b"]
        assert content["capture"].to_pylist() == expected


@pytest.mark.parametrize("table", ["metrics", "events"])
def test_metrics_and_events(table, kind, tmp_path):
    capture = qp.open(SLOW_EXCHANGE)
    when = "time" if table == "metrics" else "start"
    whole = getattr(capture, table)()
    assert capture.export(tmp_path / f"m.{kind}", table=table).rows == len(whole)
    read = loaded(tmp_path / f"m.{kind}")
    assert read.schema.equals(arrow.layout(table))
    assert read[when].to_pylist() == sorted(whole[when].tolist())
    middle = whole[when].iloc[len(whole) // 2]
    rows = [
        capture.export(tmp_path / f"m.{kind}", table=table, overwrite=True, **{side: middle}).rows
        for side in ("start", "end")
    ]
    assert rows == [len(whole) - len(whole) // 2, len(whole) // 2]
    with pytest.raises(ValueError, match="do not belong to operations"):
        capture.export(tmp_path / "x.csv", table=table, operations=[])


def test_statistics_as_a_table(tmp_path):
    capture = qp.open(ENGINE)
    assert capture.export(tmp_path / "stats.csv", table="stats").rows == len(capture.stats())
    read = pd.read_csv(tmp_path / "stats.csv", index_col=["category", "operation"])
    pd.testing.assert_frame_equal(read, capture.stats(), check_index_type=False)


def test_a_stream_and_gzip(tmp_path):
    stream = io.BytesIO()
    made = qp.open(ENGINE).export(stream, "parquet")
    assert made.path is None
    assert made.bytes == len(stream.getvalue())
    assert pq.read_table(pa.BufferReader(stream.getvalue())).num_rows == made.rows
    qp.open(ENGINE).export(tmp_path / "x.csv.gz")
    assert gzip.decompress((tmp_path / "x.csv.gz").read_bytes()).count(b"\n") == made.rows + 1


MEMORY = """
import sys
import quantum_pulse as qp
from quantum_pulse.reading import spans
from quantum_pulse.export import tabular
from quantum_pulse.reading import tables

tabular._BATCH_ROWS = spans.BLOCK_ROWS = 1 << 15
qp.open(sys.argv[1]).export(sys.argv[2])
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize("ending", ["parquet", "csv", "arrow", "trace.json"])
def test_memory_does_not_grow_with_the_capture(ending, two_sizes, tmp_path):
    """Of two captures with the same parts, only more of them; the blocks are small, so that both have many."""
    peaks = []
    for number, path in enumerate(two_sizes):
        command = [sys.executable, "-c", MEMORY, str(path), str(tmp_path / f"{number}.{ending}")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    # As a table in memory the difference would be 68 MB.
    assert peaks[1] - peaks[0] < 25_000, f"{peaks} kB"
