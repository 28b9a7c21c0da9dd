"""The Parquet parts of a real recording, read by whoever might read them: pyarrow, DuckDB, Polars, pandas."""

import asyncio
import contextlib
import errno
import json
import os
import threading

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import quantum_pulse as qp
from quantum_pulse import arrow, histogram, schema
from quantum_pulse.agent import agent, merging, parts
from quantum_pulse.operations import Category, Definition
from quantum_pulse.reading import format as capture_format
from quantum_pulse.recorder import session
from quantum_pulse.rings.batch import Batch

#: The raw samples as the design promises them, word by word.
TEXT = pa.dictionary(pa.int32(), pa.string())
PROMISED = [
    ("operation", TEXT),
    ("category", TEXT),
    ("start", pa.timestamp("ns", tz="UTC")),
    ("duration_ns", pa.int64()),
    ("thread", pa.int64()),
    ("task", pa.int64()),
    ("span", pa.int64()),
    ("parent", pa.int64()),
    ("error", TEXT),
    ("weight", pa.int32()),
    ("process", pa.int32()),
    ("attributes", pa.map_(pa.string(), pa.string())),
    ("cpu_ns", pa.int64()),
]
EVENTS_AND_METRICS = {
    "timestamp[ns, UTC]": pa.timestamp("ns", tz="UTC"),
    "dictionary<string>": TEXT,
    "int64": pa.int64(),
    "int32": pa.int32(),
    "double": pa.float64(),
}


class Market(qp.Operation):
    PARSE = qp.op("Parsing prices", category=qp.Category("Data", "What comes in", "#123456", 2), priority=1)
    SUBMIT = qp.op("Submitting 'orders'", category="Execution", priority=1, budget_us=100)
    WAIT = qp.op()


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    """Several parts, operations, errors, threads and tasks."""
    path = tmp_path_factory.mktemp("parts") / "capture"

    def trade(number):
        for turn in range(500):
            with Market.PARSE:
                sum(range(turn))
            with contextlib.suppress(KeyError, ValueError), Market.SUBMIT, Market.PARSE:
                if turn % 5 == 0:
                    raise KeyError
                if turn % 7 == number:
                    raise ValueError

    async def waits():
        async def wait():
            with Market.WAIT:
                await asyncio.sleep(0.001)

        await asyncio.gather(*(wait() for _ in range(20)))

    with pytest.MonkeyPatch.context() as patch:
        # A part at each flush, and no others.
        patch.setattr(merging.Merger, "_merge", lambda *_: None)
        patch.setattr(agent.Agent, "_is_due", lambda *_: False)
        recorder = qp.start(path, metrics_interval_s=0.01, writer="thread")
        for _ in range(3):
            threads = [threading.Thread(target=trade, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            asyncio.run(waits())
            recorder.flush()
        recorder.stop()
    return qp.open(path)


def files(capture, table="samples"):
    found = sorted((capture.path / table).iterdir())
    assert found
    assert all(file.name.endswith(".parquet") and not file.name.startswith(".") for file in found)
    return found


def footer(file):
    return json.loads(pq.read_metadata(file).metadata[schema.FOOTER_KEY.encode()])


def pairs(summary):
    return list(zip(*map(np.ndarray.tolist, histogram.unpack(summary["buckets"])), strict=True))


# ---- what is in a file -----------------------------------------------------------------------------------------------


def test_the_samples_are_as_the_design_promises(capture):
    assert len(files(capture)) == 3
    for file in files(capture):
        layout = pq.ParquetFile(file).schema_arrow
        assert [(field.name, field.type) for field in layout] == PROMISED
        table = pq.read_table(file)
        assert table.num_rows > 0
        nulls = {name: table[name].null_count for name in table.column_names}
        assert {name for name, count in nulls.items() if count} == {"error", "attributes", "cpu_ns"}
    frame = capture.samples()
    assert len(frame) == 3 * (4 * 500 * 3 + 20)
    assert frame["span"].is_unique
    assert (frame["span"] > 0).all()
    assert set(frame["parent"]) <= {0, *frame["span"]}
    assert (frame["duration_ns"] >= 0).all()
    assert (frame["weight"] == 1).all()
    assert (frame["process"] == os.getpid()).all()
    assert set(frame["error"].dropna()) == {"KeyError", "ValueError"}
    waits = frame["operation"] == "Market.WAIT"
    assert (frame["task"] > 0).equals(waits)
    assert frame.loc[waits, "task"].is_unique


@pytest.mark.parametrize("table", ["metrics", "events"])
def test_the_other_tables_are_as_the_schema_says(capture, table):
    if table == "events" and not list((capture.path / table).iterdir()):
        pytest.skip("nothing was collected meanwhile")
    for file in files(capture, table):
        expected = [(column.name, EVENTS_AND_METRICS[column.type]) for column in schema.TABLES[table]]
        assert [(field.name, field.type) for field in pq.ParquetFile(file).schema_arrow] == expected
        found = pq.read_table(file)
        assert all(found[column.name].null_count == 0 for column in schema.TABLES[table] if not column.nullable)


@pytest.mark.parametrize("table", schema.TABLES)
def test_encodings_and_compression(capture, table):
    for file in (capture.path / table).glob("*.parquet"):
        metadata = pq.read_metadata(file)
        for group in range(metadata.num_row_groups):
            stored = [(column, name) for column in schema.TABLES[table] for name in arrow.stored_columns(column)]
            for number, (column, name) in enumerate(stored):
                chunk = metadata.row_group(group).column(number)
                assert chunk.path_in_schema == name
                assert chunk.compression == "ZSTD"
                if column.encoding == "dictionary":
                    assert "RLE_DICTIONARY" in chunk.encodings
                elif column.encoding == "default":
                    assert not {"RLE_DICTIONARY", "DELTA_BINARY_PACKED"} & set(chunk.encodings)
                else:
                    assert column.encoding in chunk.encodings
                    assert "RLE_DICTIONARY" not in chunk.encodings


def test_numbers_are_packed_and_text_is_a_dictionary():
    encodings = {column.name: column.encoding for column in schema.SAMPLES}
    assert encodings["start"] == encodings["span"] == "DELTA_BINARY_PACKED"
    assert encodings["duration_ns"] == encodings["parent"] == "BYTE_STREAM_SPLIT"
    assert {encodings[name] for name in ("operation", "category", "error")} == {"dictionary"}


def test_a_sample_takes_few_bytes(capture):
    """The design measured 5.9 bytes a row; small parts cost more, but not without bound."""
    size = sum(file.stat().st_size for file in files(capture))
    assert size / len(capture.samples()) < 20


def test_the_footer(capture):
    for file in files(capture):
        found = footer(file)
        assert set(found) == {
            "format",
            "process",
            "core",
            "clock_anchor_ns",
            "operations",
            "losses",
            "histograms",
        }
        assert found["format"] == schema.FORMAT_VERSION
        assert found["process"] == os.getpid()
        assert found["core"] == session.core.NAME
        assert found["losses"] == []
        usual = {"detail": False, "sample_every": 1, "expect_us": None, "budget_quantile": 0.99}
        usual |= {"attributes": [], "cpu_time": False}
        assert {operation["name"]: operation for operation in found["operations"]} == {
            "Market.PARSE": {
                "name": "Market.PARSE",
                "module": __name__,
                "description": "Parsing prices",
                "category": {
                    "name": "Data",
                    "description": "What comes in",
                    "colour": "#123456",
                    "priority": 2,
                    "budget_us": None,
                },
                "priority": 1,
                "budget_us": None,
                **usual,
            },
            "Market.SUBMIT": {
                "name": "Market.SUBMIT",
                "module": __name__,
                "description": "Submitting 'orders'",
                "category": {"name": "Execution", "description": "", "colour": None, "priority": 3, "budget_us": None},
                "priority": 1,
                "budget_us": 100,
                **usual,
            },
            "Market.WAIT": {
                "name": "Market.WAIT",
                "module": __name__,
                "description": "",
                "category": {"name": "Market", "description": "", "colour": None, "priority": 3, "budget_us": None},
                "priority": 3,
                "budget_us": None,
                **usual,
            },
        }
    for table in ("metrics", "events"):
        for file in (capture.path / table).iterdir():
            assert set(footer(file)) == {"format", "process", "core", "clock_anchor_ns"}


def test_every_footer_sums_up_its_own_samples(capture):
    for file in files(capture):
        frame = pq.read_table(file).to_pandas()
        summaries = footer(file)["histograms"]
        assert {summary["operation"] for summary in summaries} == set(frame["operation"])
        for summary in summaries:
            own = frame[frame["operation"] == summary["operation"]]
            assert summary["category"] == own["category"].iloc[0]
            assert summary["samples"] == summary["count"] == len(own)
            assert summary["errors"] == own["error"].notna().sum()
            assert summary["sum_ns"] == own["duration_ns"].sum()
            assert summary["min_ns"] == own["duration_ns"].min()
            assert summary["max_ns"] == own["duration_ns"].max()
            buckets = own["duration_ns"].map(histogram.bucket_of).value_counts().sort_index()
            assert pairs(summary) == list(buckets.items())


def test_all_footers_add_up_to_the_capture(capture):
    totals, buckets = {}, {}
    for file in files(capture):
        for summary in footer(file)["histograms"]:
            name = summary["operation"]
            count, errors, sum_ns = totals.get(name, (0, 0, 0))
            totals[name] = count + summary["count"], errors + summary["errors"], sum_ns + summary["sum_ns"]
            for bucket, calls in pairs(summary):
                own = buckets.setdefault(name, {})
                own[bucket] = own.get(bucket, 0) + calls
    stats = capture.stats().droplevel("category")
    assert {name: total[:2] for name, total in totals.items()} == {
        name: (row["count"], row["errors"]) for name, row in stats.iterrows()
    }
    for name, row in stats.iterrows():
        assert totals[name][2] == pytest.approx(row["total_us"] * 1000, abs=1)
        # The median of the histogram lies within the promised 1 % of the exact one.
        seen, rank = 0, (row["count"] - 1) // 2
        for bucket in sorted(buckets[name]):
            seen += buckets[name][bucket]
            if seen > rank:
                break
        exact = np.sort(capture.samples(Market[name.partition(".")[2]])["duration_ns"])[int(rank)]
        assert histogram.middle(bucket) == pytest.approx(exact, rel=0.01)


# ---- other readers ---------------------------------------------------------------------------------------------------


def expected(capture):
    """Per operation: rows, sum and max in ns, errors; by our own reader."""
    stats = capture.stats().droplevel("category")
    return {
        name: (int(row["count"]), round(row["total_us"] * 1000), round(row["max_us"] * 1000), int(row["errors"]))
        for name, row in stats.iterrows()
    }


def test_duckdb_reads_it_unaided(capture):
    query = f"""
        select operation, count(*), sum(duration_ns), max(duration_ns), count(error)
        from '{capture.path}/samples/*.parquet' group by 1
    """
    found = {name: tuple(map(int, values)) for name, *values in duckdb.sql(query).fetchall()}
    assert found == expected(capture)


def test_polars_reads_it_unaided(capture):
    rows = (
        pl.scan_parquet(f"{capture.path}/samples/*.parquet")
        .group_by(pl.col("operation").cast(pl.String))
        .agg(
            pl.len(),
            pl.col("duration_ns").sum().alias("sum"),
            pl.col("duration_ns").max().alias("max"),
            pl.col("error").is_not_null().sum().alias("errors"),
        )
        .collect()
        .iter_rows()
    )
    assert {name: values for name, *rest in rows for values in [tuple(rest)]} == expected(capture)


def test_pandas_reads_it_unaided(capture):
    frame = pd.concat([pd.read_parquet(file) for file in files(capture)])
    grouped = frame.groupby(frame["operation"].astype(str))
    found = {
        name: (len(own), int(own["duration_ns"].sum()), int(own["duration_ns"].max()), int(own["error"].notna().sum()))
        for name, own in grouped
    }
    assert found == expected(capture)
    whole = pd.read_parquet(capture.path / "samples")
    assert len(whole) == len(frame)


@pytest.fixture
def monday(capture, tmp_path, monkeypatch):
    """The capture under the name that the documents give it, in the current directory."""
    (tmp_path / "monday").symlink_to(capture.path)
    monkeypatch.chdir(tmp_path)


def test_the_query_of_the_design_works_as_it_stands(capture, monday):
    query = "select operation, quantile_cont(duration_ns, 0.99) from 'monday/samples/*.parquet' group by 1"
    found = dict(duckdb.sql(query).fetchall())
    stats = capture.stats().droplevel("category")
    assert set(found) == set(stats.index)
    for name, value in found.items():
        assert value == pytest.approx(stats.loc[name, "p99_us"] * 1000)


def document():
    """The queries of the format's document: SQL statements, and one expression of Polars."""
    text = capture_format.document()
    sql = text.partition("```sql")[2].partition("```")[0]
    python = text.partition("```python")[2].partition("```")[0]
    return [statement for statement in sql.split(";") if statement.strip()], python


@pytest.mark.parametrize("number", [0, 1])
def test_the_sql_of_the_format_document_works_as_it_stands(capture, monday, number):
    statement = document()[0][number].replace("Trading.ORDER_SUBMISSION", "Market.SUBMIT")
    rows = duckdb.sql(f"select count(*), max(m) from (select *, columns('.*_us') as m from ({statement}))").fetchall()
    ((count, slowest),) = rows
    stats = capture.stats().droplevel("category")
    if number == 0:
        assert (count, slowest) == (3, pytest.approx(stats["p99_us"].max()))
    else:
        assert count >= 1
        assert slowest == pytest.approx(stats.loc["Market.SUBMIT", "max_us"])


def test_the_polars_of_the_format_document_works_as_it_stands(monday):
    statements, _, expression = document()[1].strip().rpartition("\n")
    names = {}
    exec(statements, names)
    table = eval(expression, names)
    assert len(table) == 3


def test_metrics_join_samples_by_time_in_duckdb(capture):
    query = f"""
        select count(*) from '{capture.path}/samples/*.parquet' s
        asof join '{capture.path}/metrics/*.parquet' m on s.start <= m.time
    """
    ((matched,),) = duckdb.sql(query).fetchall()
    # All but what ran before the first look at the system belongs to an interval.
    assert matched > 0.9 * len(capture.samples())


# ---- writing ---------------------------------------------------------------------------------------------------------


def batch(rows, operation=0):
    columns = {
        "start": np.arange(rows, dtype=np.int64) * 1000,
        "duration": np.full(rows, 500, np.int64),
        "span": np.arange(1, rows + 1, dtype=np.int64),
        "parent": np.zeros(rows, np.int64),
        "task": np.zeros(rows, np.int64),
        "thread": np.full(rows, 7, np.int64),
        "operation": np.full(rows, operation, np.uint32),
        "error": np.zeros(rows, np.uint32),
        "weight": np.ones(rows, np.int32),
    }
    return Batch(columns)


OPERATION = Definition("A.B", "module", "", Category("A"), 3, None)


def unix(readings):
    return readings + 10**18


def write(path, **changes):
    options = {"operations": [OPERATION], "texts": [""], "unix": unix, "process": 1, "footer": {"format": 1}}
    parts.write_samples(path, changes.pop("batch", batch(10)), **{**options, **changes})


def test_a_part_appears_whole_and_leaves_nothing_beside_it(tmp_path):
    write(tmp_path / "part.parquet")
    assert [file.name for file in tmp_path.iterdir()] == ["part.parquet"]
    starts = pq.read_table(tmp_path / "part.parquet")["start"].cast(pa.int64()).to_pylist()
    assert starts == [10**18 + number * 1000 for number in range(10)]


def test_weights_count_as_calls_in_the_summary(tmp_path):
    weighted = batch(4)
    weighted.columns["weight"] = np.array([1, 10, 100, 1000], np.int32)
    weighted.columns["error"] = np.array([0, 1, 0, 1], np.uint32)
    write(tmp_path / "part.parquet", batch=weighted, texts=["", "KeyError"])
    (summary,) = footer(tmp_path / "part.parquet")["histograms"]
    assert (summary["samples"], summary["count"], summary["errors"]) == (4, 1111, 1010)
    assert summary["sum_ns"] == 1111 * 500
    assert pairs(summary) == [(histogram.bucket_of(500), 1111)]


def test_a_write_that_fails_leaves_no_temporary_file(tmp_path):
    target = tmp_path / "part.parquet"
    target.mkdir()  # renaming a file over a directory fails, after all was written
    with pytest.raises(OSError):
        write(target)
    assert [file.name for file in tmp_path.iterdir()] == ["part.parquet"]
    with pytest.raises(OSError):
        write(tmp_path / "no" / "such" / "folder.parquet")
    torn = batch(10)
    torn.columns["weight"] = np.ones(9, np.int32)
    with pytest.raises((IndexError, ValueError, pa.ArrowException)):
        write(tmp_path / "other.parquet", batch=torn)
    assert [file.name for file in tmp_path.iterdir()] == ["part.parquet"]


def test_numbers_that_nobody_knows_are_written_without_a_name(tmp_path):
    """Samples whose names are lost still count."""
    unknown = batch(10)
    unknown.columns["operation"][3:] = 5
    unknown.columns["error"][:4] = schema.OTHER_TEXT
    write(tmp_path / "part.parquet", batch=unknown)
    table = pq.read_table(tmp_path / "part.parquet")
    assert table["operation"].to_pylist() == ["A.B"] * 3 + ["?"] * 7
    assert table["error"].to_pylist() == ["(other)"] * 4 + [None] * 6
    summaries = {summary["operation"]: summary for summary in footer(tmp_path / "part.parquet")["histograms"]}
    assert {name: (own["count"], own["errors"]) for name, own in summaries.items()} == {"A.B": (3, 3), "?": (7, 1)}


def test_the_processes_of_rows(tmp_path):
    """Rows of several processes may be one part; each keeps its own, wherever its span puts it."""
    mixed = batch(4)
    mixed.columns["span"] = np.array([3, 1, 4, 2], np.int64)
    write(tmp_path / "part.parquet", batch=mixed, process=np.array([30, 10, 40, 20], np.int32))
    table = pq.read_table(tmp_path / "part.parquet")
    assert table["span"].to_pylist() == [1, 2, 3, 4]
    assert table["process"].to_pylist() == [10, 20, 30, 40]


def test_a_full_disk_leaves_no_temporary_file(tmp_path, monkeypatch):
    def fill(_, file, **__):
        file.write(b"PAR1")
        assert len(list(tmp_path.iterdir())) == 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq, "write_table", fill)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "part.parquet")
    assert list(tmp_path.iterdir()) == []


def test_rows_without_a_value_become_null(tmp_path):
    row = {column.name: None if column.nullable else 1 for column in schema.METRICS}
    parts.write_rows(tmp_path / "part.parquet", "metrics", [row], {"format": 1})
    table = pq.read_table(tmp_path / "part.parquet")
    assert {name for name in table.column_names if table[name].null_count} == {
        column.name for column in schema.METRICS if column.nullable
    }
