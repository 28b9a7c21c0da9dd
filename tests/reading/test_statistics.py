"""Statistics against pandas on every call written out, one by one."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.reading import quantiles, scan, sorting, statistics, totals

HOUR = 3600 * 10**9

durations = st.sampled_from([0, 1, 63, 64, 127, 128, 1000, HOUR, 5 * HOUR]) | st.integers(0, 200) | st.integers(0, HOUR)
rows = st.fixed_dictionaries(
    {
        "duration": durations,
        "start": st.integers(0, 10**9),
        "operation": st.integers(0, 2),
        "error": st.integers(0, 2),
        "thread": st.integers(1, 3),
        "weight": st.integers(1, 4),
    }
)
unweighted = rows.map(lambda row: {**row, "weight": 1, "error": 0})
captures = st.lists(st.lists(rows, min_size=1, max_size=30) | st.lists(unweighted, min_size=1, max_size=30), min_size=1)
slow = settings(deadline=None, derandomize=True, max_examples=15, suppress_health_check=list(HealthCheck))


@pytest.fixture(params=["sorted", "sorted group by group", "in two passes"])
def way(request, monkeypatch):
    """Few samples are sorted; of many, histograms say what a second pass has to look for."""
    if request.param == "sorted group by group":
        monkeypatch.setattr(sorting, "EACH", 1)
    if request.param == "in two passes":
        monkeypatch.setattr(sorting, "FEW_ROWS", 0)


def oracle(samples, by, wanted):
    """Every call written out, then pandas."""
    calls = samples.loc[samples.index.repeat(samples["weight"])].astype({"operation": str, "category": str})
    calls["error"] = calls["error"].astype(object).where(calls["error"].notna(), None)
    grouped = calls.groupby(list(by), dropna=False)["duration_ns"]
    frame = pd.DataFrame({"count": grouped.size()})
    frame["errors"] = calls.groupby(list(by), dropna=False)["error"].count()
    frame["total_us"] = [sum(map(int, values)) / 1000 for _, values in grouped]
    frame["mean_us"] = frame["total_us"] / frame["count"]
    frame["std_us"] = grouped.std() / 1000
    frame["min_us"] = grouped.min() / 1000
    for name, quantile in wanted.items():
        frame[name] = grouped.quantile(quantile) / 1000
    frame["max_us"] = grouped.max() / 1000
    return frame


def check(found, expected):
    assert list(found.columns) == list(expected.columns)
    assert keys_of(found) == keys_of(expected)
    for name in expected.columns:
        # A nanosecond is 1e-3; std is a sum of squares, for which pandas' own error is larger than ours.
        tolerance = {"rtol": 1e-9, "atol": 1e-3} if name == "std_us" else {"rtol": 1e-15, "atol": 0.9e-3}
        np.testing.assert_allclose(found[name].to_numpy(), expected[name].to_numpy(), err_msg=name, **tolerance)


def keys_of(frame):
    return [tuple(None if pd.isna(value) else value for value in row) for row in frame.index.to_frame().to_numpy()]


@slow
@given(captures)
def test_stats_are_those_of_pandas(way, write_capture, parts):
    capture = qp.open(write_capture(parts))
    samples = capture.samples()
    check(capture.stats(), oracle(samples, ["category", "operation"], statistics.QUANTILES))


@slow
@given(captures, st.lists(st.floats(0, 1), min_size=1, max_size=4, unique=True))
def test_other_groups_and_quantiles(way, write_capture, parts, wanted):
    capture = qp.open(write_capture(parts))
    samples = capture.samples()
    columns = statistics.quantile_columns(wanted)
    check(capture.stats(by="category", quantiles=wanted), oracle(samples, ["category"], columns))
    check(capture.stats(by=["thread", "error"], quantiles=wanted), oracle(samples, ["thread", "error"], columns))


@slow
@given(captures, st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_time_interval(way, write_capture, parts, one, other):
    capture = qp.open(write_capture(parts))
    first = capture.samples()["start"].min()
    start, end = (first + pd.Timedelta(offset, unit="ns") for offset in sorted([one, other]))
    samples = capture.samples(start=start, end=end)
    assert samples["start"].between(start, end, inclusive="left").all()
    found = capture.stats(start=start, end=end)
    if samples.empty:
        assert found.empty
    else:
        check(found, oracle(samples, ["category", "operation"], statistics.QUANTILES))


@pytest.mark.parametrize("limit", ["passes", "table", "pending"])
def test_every_way_to_the_same_numbers(write_capture, monkeypatch, limit):
    random = np.random.default_rng(3)
    parts = [
        {
            "duration": (10 ** random.uniform(0, 11, 5000)).astype(np.int64),
            "operation": random.integers(0, 3, 5000),
            "weight": random.integers(1, 5, 5000),
        }
        for _ in range(3)
    ]
    capture = qp.open(write_capture(parts))
    monkeypatch.setattr(sorting, "FEW_ROWS", 0)
    if limit == "passes":
        monkeypatch.setattr(quantiles, "LARGEST_PASS", 100)
    elif limit == "table":
        monkeypatch.setattr(quantiles, "_LARGEST_TABLE", 0)
    else:
        monkeypatch.setattr(totals, "_LARGEST_PENDING", 10)
    monkeypatch.setattr(scan, "BATCH_ROWS", 700)
    expected = oracle(capture.samples(), ["category", "operation"], statistics.QUANTILES)
    check(capture.stats(), expected)
    check(capture.stats(by=["thread", "operation"]), oracle(
        capture.samples(), ["thread", "category", "operation"], statistics.QUANTILES))  # fmt: skip


def test_std_is_stable_when_the_spread_is_small(way, write_capture):
    parts = [[{"duration": 10**15 + turn}] for turn in range(3)]
    assert qp.open(write_capture(parts)).stats()["std_us"].tolist() == pytest.approx([0.001])


def test_the_largest_sums_are_exact(way, write_capture):
    random = np.random.default_rng(4)
    durations = random.integers(HOUR, 10 * HOUR, 3000)
    weights = random.integers(1, 2**31 - 1, 3000)
    capture = qp.open(write_capture([{"duration": durations, "weight": weights}]))
    total = sum(duration * weight for duration, weight in zip(durations.tolist(), weights.tolist(), strict=True))
    for by in ("operation", "thread"):
        assert capture.stats(by=by)["total_us"].tolist() == [total / 1000]


@slow
@given(captures)
def test_a_first_look_is_close(write_capture, parts):
    capture = qp.open(write_capture(parts))
    exact, near = (
        capture.stats(quantiles=[0, 0.5, 0.99, 1]),
        capture.stats(quantiles=[0, 0.5, 0.99, 1], approximate=True),
    )
    pd.testing.assert_frame_equal(exact, near, rtol=0.01)
    for name in ("count", "errors", "total_us", "min_us", "max_us"):
        assert exact[name].tolist() == near[name].tolist()


def test_a_first_look_reads_no_samples(write_capture, monkeypatch):
    capture = qp.open(write_capture([[{"duration": 1000 * turn} for turn in range(100)]] * 3))
    exact = capture.stats(approximate=False)
    monkeypatch.setattr(scan, "each", lambda *_: pytest.fail("samples were read"))
    near = capture.stats(approximate=True)
    assert near["p50_us"].iloc[0] == pytest.approx(exact["p50_us"].iloc[0], rel=0.01)


def test_a_footer_that_tells_something_else_is_not_believed(write_capture, monkeypatch):
    monkeypatch.setattr(sorting, "FEW_ROWS", 0)
    target = write_capture([[{"duration": 1000 * turn} for turn in range(100)]] * 2)
    expected = qp.open(target).stats()
    file = sorted(target.glob("samples/*"))[0]
    table = pq.read_table(file)
    footer = json.loads(table.schema.metadata[b"quantum_pulse"])
    for damage in ("bucket", "count", "text", "missing"):
        lie = json.loads(json.dumps(footer))
        (summary,) = lie["histograms"]
        if damage == "bucket":
            buckets, calls = quantiles.histogram.unpack(summary["buckets"])
            buckets[-1] += 300
            summary["buckets"] = quantiles.histogram.pack(buckets, calls)
        elif damage == "count":
            summary["count"] = 7
        elif damage == "text":
            summary["buckets"] = "?"
        else:
            del summary["m2_ns2"]
        pq.write_table(table.replace_schema_metadata({schema.FOOTER_KEY: json.dumps(lie)}), file)
        pd.testing.assert_frame_equal(qp.open(target).stats(), expected)


# ---- coordinated omission --------------------------------------------------------------------------------------------


def corrected(durations_ns, interval):
    """HdrHistogram's recordValueWithExpectedInterval, word by word."""
    for value in durations_ns:
        yield value
        missing = value - interval
        while missing >= interval:
            yield missing
            missing -= interval


@slow
@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=50), st.integers(1000, 5000))
def test_coordinated_omission_is_corrected(write_capture, values, interval):
    capture = qp.open(write_capture([[{"duration": value} for value in values]]))
    expected = pd.Series(list(corrected(values, interval)))
    (row,) = capture.stats(expected_interval_us=interval / 1000).to_dict("records")
    assert row["count"] == len(expected)
    assert row["total_us"] == pytest.approx(expected.sum() / 1000)
    for name, quantile in statistics.QUANTILES.items():
        assert row[name] == pytest.approx(expected.quantile(quantile) / 1000, abs=0.9e-3)


class Work(qp.Operation):
    READ = qp.op(category="Input", priority=1)
    COUNT = qp.op(category="Logic", priority=2)
    WRITE = qp.op(category="Input")
    NEVER = qp.op(category="Rare")


@pytest.fixture
def definitions():
    return [member.definition for member in Work]


def test_an_interval_of_one_operation(write_capture, definitions):
    parts = [[{"duration": 10_000, "operation": number} for number in range(3)]]
    capture = qp.open(write_capture(parts, operations=definitions))
    counts = capture.stats(expected_interval_us={Work.READ: 1}).droplevel("category")["count"]
    assert counts.to_dict() == {"Work.COUNT": 1, "Work.READ": 10, "Work.WRITE": 1}
    assert capture.stats(by="category", expected_interval_us=5)["count"].to_dict() == {"Input": 4, "Logic": 2}
    for wrong in (0, -1, "1", True, float("inf"), 10**400):
        with pytest.raises(ValueError, match=r"must be a number of microseconds from 0\.001 to 1e\+15"):
            capture.stats(expected_interval_us=wrong)
    with pytest.raises(TypeError, match=r"Work\.READ"):
        capture.stats(expected_interval_us={"Work.READ": 1})


def test_an_interval_that_makes_up_too_much_is_refused(write_capture):
    capture = qp.open(write_capture([[{"duration": HOUR}]]))
    with pytest.raises(ValueError, match=r"Work\.READ, 0\.001 µs, is so short"):
        capture.stats(expected_interval_us=0.001)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": None}, "by must be one or several of 'operation'"),
        ({"by": [["thread"]]}, "by must be one or several of 'operation'"),
        ({"quantiles": "x"}, "a quantile is a number between 0 and 1, not 'x'"),
        ({"quantiles": [None]}, "a quantile is a number between 0 and 1, not None"),
        ({"quantiles": True}, "a quantile is a number between 0 and 1, not True"),
        ({"min_count": "x"}, "min_count must be a whole number of at least 0, not 'x'"),
        ({"min_count": -1}, "min_count must be a whole number of at least 0, not -1"),
        ({"top": 0}, "top must be a whole number of at least 1, not 0"),
        ({"top": 2.5}, "top must be a whole number of at least 1, not 2.5"),
        ({"sort": ["count"]}, "sort must be one of count"),
    ],
)
def test_arguments_that_are_none(write_capture, options, said):
    capture = qp.open(write_capture([[{"duration": 5}]]))
    with pytest.raises(ValueError, match=said):
        capture.stats(**options)


def test_numbers_of_numpy_are_numbers(write_capture):
    capture = qp.open(write_capture([[{"duration": 5}]]))
    assert len(capture.stats(quantiles=np.float64(0.5), min_count=np.int64(1), top=np.int32(1))) == 1
    assert len(capture.slowest(np.int64(1))) == 1


# ---- what is shown ---------------------------------------------------------------------------------------------------


@pytest.fixture
def skewed(write_capture, definitions):
    parts = [
        [{"duration": 1000, "operation": 0}] * 5
        + [{"duration": 100_000, "operation": 1, "error": 1}] * 2
        + [{"duration": 10, "operation": 2}] * 9
    ]
    return qp.open(write_capture(parts, operations=definitions))


def names(frame):
    return frame.index.get_level_values("operation").str.removeprefix("Work.").tolist()


def test_rows_can_be_sorted_and_cut(skewed):
    assert names(skewed.stats()) == ["READ", "WRITE", "COUNT"]
    assert names(skewed.stats(sort="count")) == ["WRITE", "READ", "COUNT"]
    assert names(skewed.stats(sort="p99_us")) == ["COUNT", "READ", "WRITE"]
    assert names(skewed.stats(sort="priority")) == ["READ", "COUNT", "WRITE"]
    assert names(skewed.stats(sort="operation")) == ["COUNT", "READ", "WRITE"]
    assert names(skewed.stats(top=2)) == ["COUNT", "READ"]
    assert names(skewed.stats(min_count=5)) == ["READ", "WRITE"]
    assert names(skewed.stats(operations=[Work.READ, Work.COUNT])) == ["READ", "COUNT"]
    assert skewed.stats(by="category", sort="priority").index.tolist() == ["Logic", "Input"]
    with pytest.raises(ValueError, match="did you mean 'p99_us'"):
        skewed.stats(sort="p99")
    with pytest.raises(ValueError, match="needs rows by operation"):
        skewed.stats(by="thread", sort="priority")


def test_what_did_not_run_can_be_shown(skewed):
    frame = skewed.stats(operations=Work, include_empty=True)
    assert names(frame) == ["READ", "WRITE", "COUNT", "NEVER"]
    empty = frame.loc[("Rare", "Work.NEVER")]
    assert empty[["count", "errors", "total_us"]].tolist() == [0, 0, 0]
    assert empty.drop(["count", "errors", "total_us"]).isna().all()
    assert frame["count"].dtype == "int64"
    assert names(skewed.stats(end=0, include_empty=True)) == ["READ", "WRITE", "COUNT"]
    assert names(skewed.stats(operations=Work.NEVER)) == []
    assert names(skewed.stats(operations=Work.NEVER, include_empty=True)) == ["NEVER"]
    with pytest.raises(ValueError, match="include_empty needs"):
        skewed.stats(by="thread", include_empty=True)


def test_what_cannot_be_is_refused_with_what_can(skewed):
    with pytest.raises(ValueError, match=r"'operation', 'category'.* not 'threads'; did you mean 'thread'"):
        skewed.stats(by="threads")
    with pytest.raises(ValueError, match="by is empty"):
        skewed.stats(by=[])
    with pytest.raises(ValueError, match=r"between 0 and 1, not 99; did you mean 0\.99"):
        skewed.stats(quantiles=99)


def test_columns_of_quantiles():
    wanted = [0, 0.05, 0.5, 0.25, 0.125, 0.99, 0.999, 0.9999, 1]
    assert list(statistics.quantile_columns(wanted)) == [
        "p00_us", "p05_us", "p50_us", "p25_us", "p125_us", "p99_us", "p999_us", "p9999_us", "p100_us"
    ]  # fmt: skip
    assert statistics.quantile_columns(statistics.QUANTILES.values()) == statistics.QUANTILES
