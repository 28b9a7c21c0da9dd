"""Rows by the minute, the hour and the day, against sums over the samples themselves."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quantum_pulse import arrow, histogram
from quantum_pulse.agent import rollups
from tests.agent.captures import HOUR, MINUTE

NAMES = ["A.X", "A.Y", "B.X"]
CATEGORIES = ["One", "Two"]

sample = st.tuples(
    st.integers(0, 2),
    st.integers(0, 1),
    st.one_of(st.integers(-3 * HOUR, 3 * HOUR), st.integers(0, 5).map(lambda minute: minute * MINUTE)),
    st.one_of(st.integers(0, 200), st.integers(0, 10**12)),
    st.integers(1, 1000),
    st.booleans(),
)


def batch(samples):
    """Samples (operation, category, start, duration, weight, failed) as a pyarrow.RecordBatch."""
    own = list(zip(*samples, strict=True)) or [[]] * 6

    def named(codes, texts):
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(texts, pa.string()))

    return pa.record_batch(
        {
            "operation": named(own[0], NAMES),
            "category": named(own[1], CATEGORIES),
            "start": pa.array(own[2], pa.int64()).cast(pa.timestamp("ns", tz="UTC")),
            "duration_ns": pa.array(own[3], pa.int64()),
            "weight": pa.array(own[4], pa.int32()),
            "error": named([0 if failed else None for failed in own[5]], ["KeyError"]),
        }
    )


def expected(samples, interval_ns):
    """The same rows, made one by one."""
    groups = {}
    for operation, category, start, duration, weight, failed in samples:
        key = (start // interval_ns * interval_ns, NAMES[operation], CATEGORIES[category])
        groups.setdefault(key, []).append((duration, weight, failed))
    found = {}
    for key, own in groups.items():
        durations, weights, failed = (np.array(column) for column in zip(*own, strict=True))
        calls = np.repeat(durations, weights).astype(float)
        found[key] = {
            "count": weights.sum(),
            "errors": weights[failed].sum(),
            "samples": len(own),
            "sum_ns": int(durations @ weights),
            "min_ns": durations.min(),
            "max_ns": durations.max(),
            "m2_ns2": ((calls - calls.mean()) ** 2).sum(),
            "buckets": histogram.pack(*histogram.count(durations, weights)),
        }
    return found


def check(table, samples, interval_ns):
    assert table.schema == arrow.layout("rollups")
    assert table["interval_ns"].to_pylist() == [interval_ns] * table.num_rows
    table = table.set_column(2, "start", table["start"].cast(pa.int64()))
    found = {(row["start"], row["operation"], row["category"]): row for row in table.to_pylist()}
    wanted = expected(samples, interval_ns)
    assert found.keys() == wanted.keys()
    assert len(found) == table.num_rows
    for key, row in wanted.items():
        assert {name: found[key][name] for name in row if name != "m2_ns2"} == {
            name: value for name, value in row.items() if name != "m2_ns2"
        }
        assert found[key]["m2_ns2"] == pytest.approx(row["m2_ns2"], rel=1e-6, abs=1e-3 * row["count"])


@given(st.lists(sample, max_size=60), st.integers(1, 4))
@example([], 1)
def test_rows_are_those_of_the_samples_however_they_are_added_up(samples, pieces):
    each = [rollups.of_samples(batch(samples[number::pieces])) for number in range(pieces)]
    minutes = rollups.combined(each)
    check(minutes, samples, MINUTE)
    for interval_ns in (HOUR, 24 * HOUR):
        check(rollups.combined(each, interval_ns), samples, interval_ns)
        check(rollups.combined([rollups.combined([minutes], HOUR)], interval_ns), samples, interval_ns)


@given(st.lists(sample, min_size=1, max_size=60))
def test_the_whole_is_in_the_footer_and_back(samples):
    whole = rollups.combined([rollups.of_samples(batch(samples))], rollups.WHOLE)
    back = rollups.of_plain(rollups.plain(whole))
    assert rollups.plain(back) == rollups.plain(whole)
    again = rollups.combined([back, back], rollups.WHOLE)
    assert sum(again["count"].to_pylist()) == 2 * sum(one[4] for one in samples)


def test_texts_are_added_up_in_chunks(monkeypatch):
    random = np.random.default_rng(1)
    samples = [
        (0, 0, int(start), int(ns), 1, False)
        for start, ns in zip(range(0, 9 * HOUR, HOUR // 100), random.lognormal(10, 1, 900), strict=True)
    ]
    monkeypatch.setattr(rollups, "_LARGEST_TEXT", 100)
    minutes = rollups.of_samples(batch(samples))
    check(rollups.combined([minutes], HOUR), samples, HOUR)
    check(rollups.combined([minutes, rollups.empty()], 24 * HOUR), samples, 24 * HOUR)


def test_sums_beyond_64_bits_are_refused():
    with pytest.raises(OverflowError):
        rollups.of_samples(batch([(0, 0, 0, 10**12, 1000, False)] * 10**4))
    half = rollups.of_samples(batch([(0, 0, 0, 1 << 62, 1, False)]))
    with pytest.raises(OverflowError):
        rollups.combined([half, half])


def test_times_may_be_far_apart():
    samples = [(0, 0, start, 1, 1, False) for start in (-(1 << 62), 0, (1 << 62))]
    assert rollups.of_samples(batch(samples)).num_rows == 3


def test_other_readers_understand_them(hours):
    duckdb = pytest.importorskip("duckdb")
    polars = pytest.importorskip("polars")
    from quantum_pulse.agent.expiry import Expiry
    from quantum_pulse.keep import parse
    from tests.agent.captures import EPOCH

    calls = duckdb.sql(f"select sum(weight) from '{hours.path}/samples/*.parquet'").fetchall()[0][0]
    Expiry(hours.path, parse("1h"), lambda _: True).run(EPOCH + 100 * HOUR)
    pattern = f"{hours.path}/rollups/*.parquet"
    rows = duckdb.sql(f"select sum(count), sum(samples), count(distinct start), any_value(buckets) from '{pattern}'")
    assert rows.fetchall()[0][:3] == (calls, 3000, 250)
    assert polars.scan_parquet(pattern).select(polars.col("count").sum()).collect().item() == calls
    frame = pd.concat(pd.read_parquet(path) for path in hours.path.glob("rollups/*"))
    assert frame["count"].sum() == calls
    assert str(frame["start"].dtype) == "datetime64[ns, UTC]"
    _, held = histogram.unpack(frame["buckets"].iloc[0])
    assert held.sum() == frame["count"].iloc[0]
