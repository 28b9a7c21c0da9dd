"""Windows of time and heatmaps, against pandas and against counting by hand."""

import numpy as np
import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse import histogram, metrics, schema, statistics
from quantum_pulse.agent import parts as writer
from quantum_pulse.reading import sorting


class Work(qp.Operation):
    READ = qp.op(category="Input", priority=1)
    COUNT = qp.op(category="Logic", priority=2)
    WRITE = qp.op(category="Input")


@pytest.fixture
def path(write_capture):
    """Three parts over three seconds."""
    random = np.random.default_rng(5)
    parts = [
        {
            "start": np.sort(random.integers(second * 10**9, (second + 1) * 10**9, 2000)),
            "duration": random.lognormal(10, 2, 2000).astype(np.int64),
            "operation": random.integers(0, 3, 2000),
            "weight": random.integers(1, 3, 2000),
            "error": random.integers(0, 2, 2000),
        }
        for second in range(3)
    ]
    return write_capture(parts, operations=[member.definition for member in Work])


@pytest.fixture
def add_metrics(path, write_capture):
    """Adds metrics of a process, which are 0 but for what the rows say."""

    def add(rows, process=1):
        (path / "metrics").mkdir(exist_ok=True)
        zero = {column.name: 0 for column in schema.METRICS}
        content = [{**zero, **row, "time": write_capture.anchor_ns + row["time"], "process": process} for row in rows]
        writer.write_rows(path / "metrics" / f"{process}-abcd-000009.parquet", "metrics", content, {"format": 1})

    return add


@pytest.mark.parametrize("few", [0, 3000, sorting.FEW_ROWS])
@pytest.mark.parametrize("window", ["1s", "100ms", 0.25, pd.Timedelta("7ms")])
def test_windows_are_those_of_pandas(path, window, few, monkeypatch):
    monkeypatch.setattr(sorting, "FEW_ROWS", few)
    capture = qp.open(path)
    found = capture.timeline(window)
    samples = capture.samples().astype({"operation": str, "category": str})
    length = pd.Timedelta(window, unit="s") if isinstance(window, float) else pd.Timedelta(window)
    calls = samples.loc[samples.index.repeat(samples["weight"])]
    calls["time"] = calls["start"].dt.floor(length)
    grouped = calls.groupby(["time", "category", "operation"])["duration_ns"]
    assert found.index.tolist() == grouped.size().index.tolist()
    assert found.index.names == ["time", "category", "operation"]
    assert found["count"].tolist() == grouped.size().tolist()
    for name, quantile in statistics.QUANTILES.items():
        np.testing.assert_allclose(found[name] * 1000, grouped.quantile(quantile), rtol=0, atol=0.9)
    assert list(found.columns) == [*statistics.COLUMNS, *metrics.NAMES]
    assert str(found.index.levels[0].dtype) == "datetime64[ns, UTC]"


def test_a_timeline_of_a_part(path):
    capture = qp.open(path)
    found = capture.timeline("1s", Work.READ, start=1, end=2, quantiles=0.5)
    assert found.index.get_level_values("operation").unique().tolist() == ["Work.READ"]
    assert found["count"].sum() == capture.samples(Work.READ, 1, 2)["weight"].sum()
    assert "p50_us" in found
    assert "p99_us" not in found
    assert capture.timeline(start=100).empty
    for wrong in ("soon", "1ns", 0, -1):
        with pytest.raises(ValueError, match="window="):
            capture.timeline(wrong)


def test_metrics_of_a_window_are_sums_and_means(path, add_metrics):
    half = 500_000_000
    add_metrics(
        [
            # Half of what is counted in an interval belongs to each of the two windows that share it.
            {"time": half, "interval_ns": half, "minor_faults": 10, "cpu_process_percent": 20, "load_1m": 1},
            {"time": 3 * half, "interval_ns": 2 * half, "minor_faults": 100, "cpu_process_percent": 80, "load_1m": 3},
        ],
    )
    add_metrics([{"time": 2 * half, "interval_ns": half, "minor_faults": 1000, "load_1m": 8}], process=2)
    found = qp.open(path).timeline("1s").groupby("time").first()
    assert found["minor_faults"].tolist()[:2] == [10 + 50 + 1000, 50]
    assert found["cpu_process_percent"].tolist()[:2] == [50, 80]
    assert found["load_1m"].tolist()[:2] == [(2 + 8) / 2, 3]
    assert found.loc[found.index[2], list(metrics.NAMES)].isna().all()


def test_metrics_that_processes_have_in_common_are_averaged(path, add_metrics):
    second = {"time": 10**9, "interval_ns": 10**9}
    add_metrics([second | {"run_queue_us": 5, "container_throttled_us": 100, "container_cpu_quota": 2, "threads": 3}])
    rows = [second | {"run_queue_us": 7, "container_throttled_us": 300, "container_cpu_quota": None, "threads": 4}]
    add_metrics(rows, process=2)
    found = qp.open(path).timeline("1s").groupby("time").first().iloc[0]
    assert found["run_queue_us"] == 5 + 7
    assert found["threads"] == 3 + 4
    assert found["container_throttled_us"] == (100 + 300) / 2
    assert found["container_cpu_quota"] == 2, "the mean of what is known"


def test_a_heatmap_counts_every_call(path):
    capture = qp.open(path)
    found = capture.heatmap(Work.READ, columns=30)
    samples = capture.samples(Work.READ)
    assert found.to_numpy().sum() == samples["weight"].sum()
    assert found.shape[1] <= 30
    times, edges = found.columns, found.index.to_numpy() * 1000
    assert times[0] == pd.Timestamp(qp.open(path).samples()["start"].min())
    assert len(set(np.diff(times.asi8))) == 1
    assert found.iloc[0].any()
    assert found.iloc[-1].any()
    # Every row begins where the one before it ends: eight an octave.
    assert set(edges).issubset({histogram.lower_edge(bucket) for bucket in range(0, histogram.BUCKETS, 8)})
    row = np.searchsorted(edges, samples["duration_ns"], side="right") - 1
    column = np.searchsorted(times, samples["start"], side="right") - 1
    expected = np.zeros(found.shape, int)
    np.add.at(expected, (row, column), samples["weight"])
    assert (found.to_numpy() == expected).all()


def test_a_heatmap_of_an_interval(path):
    capture = qp.open(path)
    found = capture.heatmap(Work.READ, start=0.5, end=1, columns=10)
    assert found.to_numpy().sum() == capture.samples(Work.READ, 0.5, 1)["weight"].sum()
    assert found.shape[1] == 10
    assert found.columns[1] - found.columns[0] == pd.Timedelta("50ms")
    assert capture.heatmap(Work.READ, start=50, end=60).to_numpy().sum() == 0
    with pytest.raises(ValueError, match="columns must be"):
        capture.heatmap(Work.READ, columns=0)
    with pytest.raises(TypeError, match=r"Work\.READ"):
        capture.heatmap("Work.READ")


@pytest.mark.parametrize("window", ["nonsense", "", "NaT", None, True, float("nan"), float("inf"), 1e30, 10**400, [1]])
def test_windows_that_are_none(path, window):
    with pytest.raises(ValueError, match="is not a valid duration; write it as '1s', '100ms' or '5min', or as seconds"):
        qp.open(path).timeline(window)


def test_lengths_of_numpy_are_lengths(path):
    capture = qp.open(path)
    for window in (np.timedelta64(500, "ms"), np.timedelta64(500_000_000, "ns"), np.float64(0.5)):
        assert capture.timeline(window).equals(capture.timeline("500ms"))
        assert capture.samples(start=window).equals(capture.samples(start=0.5))


def test_windows_that_are_too_short(path):
    for window in (0, -1, "1ns", "1"):
        with pytest.raises(ValueError, match="is shorter than a microsecond; write it as '1s'"):
            qp.open(path).timeline(window)


def test_columns_that_are_none(path):
    for columns in (0, -1, 2.5, "x", None, True, 10**9):
        with pytest.raises(ValueError, match="columns must be a whole number from 1 to 100000, not"):
            qp.open(path).heatmap(Work.READ, columns=columns)
