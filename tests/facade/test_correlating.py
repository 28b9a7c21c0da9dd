"""What moves with latency, and what could be done about it: on captures."""

import json

import numpy as np
import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.analysis import recommendations, stacks
from tests.facade.metrics import add_metrics
from tests.reading.conftest import write_capture  # noqa: F401 - a fixture


def test_what_moves_with_latency(write_capture):  # noqa: F811 - the fixture
    """Pauses of the collector make every tenth call of one operation longer, and nothing of the other."""
    rng = np.random.default_rng(3)
    windows, calls = 300, 100
    pauses = rng.exponential(5000, windows) * (rng.random(windows) < 0.5)
    operation = np.tile([0, 1], windows * calls // 2)
    window = np.repeat(np.arange(windows), calls)
    duration = 50_000 * np.exp(0.2 * rng.standard_normal(windows * calls))
    duration += (operation == 0) * (rng.random(windows * calls) < 0.1) * pauses[window] * 100
    start = np.sort(window * 100_000_000 + rng.integers(0, 90_000_000, windows * calls))
    path = write_capture([{"start": start, "duration": duration.astype(np.int64), "operation": operation}])
    add_metrics(path, pauses)
    capture = qp.open(path)
    found = capture.correlate()
    assert found.window_s == pytest.approx(0.2)
    strongest = found.table.iloc[0]
    assert (strongest["operation"], strongest["metric"]) == ("Work.READ", "gc_pause_us")
    assert strongest["rho"] > 0.5
    assert strongest["lag_s"] == 0
    assert set(found.found["operation"]) == {"Work.READ"}
    assert found.table["q_value"].is_monotonic_increasing
    (advice,) = [one for one in found.recommendations if one.subject == "Work.READ" and "correlation" in one.evidence]
    assert "garbage collection" in advice.reason
    for shown in (repr(found), found._repr_html_()):
        for part in ("Work.READ", "gc_pause_us", "at the same time", "garbage collection", "Record next time"):
            assert part in shown
    assert any("the size of the memory was not recorded" in str(one) for one in found.not_applicable)
    assert "rules do not apply" in found._repr_html_()
    with pytest.raises(ValueError, match="not a valid duration"):
        capture.correlate("soon")


def test_other_operations_count_as_metrics(write_capture):  # noqa: F811 - the fixture
    """READ takes longer in windows in which much COUNT runs."""
    rng = np.random.default_rng(4)
    windows = 200
    many = rng.integers(0, 40, windows)
    window = np.concatenate([np.repeat(np.arange(windows), 30), np.repeat(np.arange(windows), many)])
    operation = np.repeat([0, 1], [30 * windows, many.sum()])
    duration = 50_000 * np.exp(0.2 * rng.standard_normal(window.size)) * np.where(operation, 1, 1 + many[window] / 40)
    start = window * 10**9 + rng.integers(0, 9 * 10**8, window.size)
    order = np.argsort(start)
    columns = {"start": start, "duration": duration.astype(np.int64), "operation": operation}
    capture = qp.open(write_capture([{name: values[order] for name, values in columns.items()}]))
    found = capture.correlate("1s").found
    first = found.iloc[0]
    assert (first["operation"], first["metric"], first["lag_s"]) == ("Work.READ", "time in Work.COUNT", 0)
    assert first["rho"] > 0.5


def test_no_metrics_to_correlate_with(write_capture):  # noqa: F811 - the fixture
    found = qp.open(write_capture([{"start": np.arange(100) * 1000, "duration": np.full(100, 50)}])).correlate()
    assert found.found.empty
    assert "Too little data to compare" in repr(found)
    assert "Too little data to compare" in found._repr_html_()


def test_recommendations_say_why():
    nothing = pd.DataFrame({name: [] for name in ("operation", "metric", "rho", "q_value")})
    stats = pd.DataFrame(
        {
            "mean_us": [10.0, 20.0, 4000.0],
            "p50_us": [10.0, 10.0, 3900.0],
            "p99_us": [11.0, 900.0, 5000.0],
            "total_us": [1.0, 2.0, 3.0],
        },
        index=["A", "B", "C"],
    )
    idle = pd.DataFrame({"cpu_machine_percent": [5.0], "rss_bytes": [100]})
    busy = pd.DataFrame({"cpu_machine_percent": [95.0], "rss_bytes": [900]})

    advice = recommendations.recommend(stats, idle, nothing)
    (waits,) = advice.recommendations
    assert waits.subject == "C, B"
    assert "C takes 4.0 ms on average; B p99 is 90 times p50; the machine's CPUs were busy 5% of" in waits.evidence
    (alone,) = recommendations.recommend(stats.iloc[2:], idle, nothing).recommendations
    assert (alone.subject, alone.evidence[:24]) == ("C", "takes 4.0 ms on average;")
    assert [one.reason for one in advice.not_applicable] == [
        *["operations and metrics have too few windows in common to be correlated"] * 3,
        "the CPUs were busy 5% of the time",
        "the size of the memory was not recorded",
    ]

    cpu, memory = recommendations.recommend(stats, busy, nothing, memory_bytes=1000).recommendations
    assert "95%" in cpu.evidence
    assert "90%" in memory.evidence

    for quiet in (stats.iloc[:1], stats.iloc[:0]):
        advice = recommendations.recommend(quiet, idle, nothing, memory_bytes=1000)
        assert advice.recommendations == []
        assert len(advice.not_applicable) == 6
        assert "at most 10.0% of it" in str(advice.not_applicable[4])
    advice = recommendations.recommend(stats.iloc[:0], idle.iloc[:0], nothing)
    assert str(advice.not_applicable[3]) == "the machine's CPUs are busy (above 70%): CPU use was not recorded."


def test_what_waits_is_what_has_the_self_time_not_what_contains_it():
    nothing = pd.DataFrame({name: [] for name in ("operation", "metric", "rho", "q_value")})
    names = ["FLOW", "CHECK", "FRAUD", "GATEWAY", "LOOP"]
    index = pd.MultiIndex.from_product([["Pay"], names], names=["category", "operation"])
    stats = pd.DataFrame(
        {
            "mean_us": [9000.0, 2000.0, 2000.0, 5000.0, 2000.0],
            "p50_us": [500.0, 2000.0, 2000.0, 5000.0, 2000.0],
            "p99_us": [9000.0, 2000.0, 2000.0, 5000.0, 2000.0],
            "total_us": [9000.0, 2000.0, 2000.0, 5000.0, 2000.0],
        },
        index=index,
    )
    paths = [(["FLOW"], 0), (["FLOW", "CHECK"], 0), (["FLOW", "CHECK", "FRAUD"], 2000), (["FLOW", "GATEWAY"], 5000)]
    paths += [(["FLOW", "LOOP"], 1500), (["FLOW", "LOOP", "FRAUD"], 500)]
    shares = stacks.shares([stacks.Stack(tuple(("Pay", one) for one in path), took, 1) for path, took in paths])
    idle = pd.DataFrame({"cpu_machine_percent": [5.0], "rss_bytes": [100]})
    (waits,) = recommendations.recommend(stats, idle, nothing, shares=shares).recommendations
    assert waits.subject == "GATEWAY, FRAUD, LOOP"
    assert "GATEWAY takes 5.0 ms on average;" in waits.evidence
    assert "LOOP takes 1.5 ms on average without the calls inside;" in waits.evidence
    (unknown,) = recommendations.recommend(stats, idle, nothing).recommendations
    assert unknown.subject == "FLOW, GATEWAY, CHECK"


def test_recommendations_from_correlations():
    """The guide's rules: memory above 0.7, CPU above 0.7, slow with neither."""
    rows = [
        ("Grows", "rss_bytes", 0.8, 0.001),
        ("Computes", "cpu_process_percent", 0.75, 0.001),
        ("Pauses", "gc_pause_us", 0.5, 0.001),
        ("Pauses", "rss_bytes", 0.1, 0.6),
        ("Unsure", "rss_bytes", 0.9, 0.2),
        ("Waits", "rss_bytes", -0.1, 0.9),
        ("Waits", "cpu_machine_percent", 0.05, 0.9),
    ]
    correlations = pd.DataFrame(rows, columns=["operation", "metric", "rho", "q_value"])
    names = ["Grows", "Computes", "Waits", "Pauses"]
    stats = pd.DataFrame({"mean_us": 5000.0, "p50_us": 5000.0, "p99_us": 6000.0}, index=names)
    stats["total_us"] = [4.0, 3.0, 1.0, 2.0]
    idle = pd.DataFrame({"cpu_machine_percent": [5.0], "rss_bytes": [100]})
    advice = recommendations.recommend(stats, idle, correlations, memory_bytes=1000)
    found = {one.subject: one for one in advice.recommendations}
    assert list(found) == ["Grows", "Computes", "Pauses", "Waits"]
    assert "pool" in found["Grows"].action
    assert "algorithm" in found["Computes"].action
    assert "garbage collection" in found["Pauses"].reason
    assert "-0.10 with rss_bytes and +0.05 with cpu_machine_percent" in found["Waits"].evidence
    assert all(one.record_next and one.evidence in str(one) for one in advice.recommendations)
    weak = correlations.assign(rho=0.2)
    advice = recommendations.recommend(stats.iloc[:0], idle, weak, memory_bytes=1000)
    assert advice.recommendations == []
    assert "the strongest significant correlation is 0.20" in advice.not_applicable[0].reason


def test_advice_is_ordered_by_the_time_to_be_won_and_not_given_for_what_only_contains_the_cause():
    rows = [(name, "gc_pause_us", rho, 0.001) for name, rho in (("FLOW", 0.9), ("SMALL", 0.8), ("LARGE", 0.5))]
    correlations = pd.DataFrame(rows, columns=["operation", "metric", "rho", "q_value"])
    index = pd.MultiIndex.from_product([["Pay"], ["FLOW", "SMALL", "LARGE"]], names=["category", "operation"])
    took = [1000.0, 200.0, 700.0]
    stats = pd.DataFrame({"mean_us": 10.0, "p50_us": 10.0, "p99_us": 20.0, "total_us": took}, index=index)
    paths = [(["FLOW"], 100), (["FLOW", "SMALL"], 200), (["FLOW", "LARGE"], 700)]
    shares = stacks.shares([stacks.Stack(tuple(("Pay", one) for one in path), own, 1) for path, own in paths])
    idle = pd.DataFrame({"cpu_machine_percent": [5.0], "rss_bytes": [100]})
    advice = recommendations.recommend(stats, idle, correlations, shares=shares)
    assert [one.subject for one in advice.recommendations] == ["LARGE", "SMALL"]


def test_memory_of_the_machine(write_capture):  # noqa: F811 - the fixture
    path = write_capture([{"start": np.arange(100) * 1000, "duration": np.full(100, 50)}])
    add_metrics(path, [0.0] * 5)
    (process,) = (path / schema.PROCESSES).iterdir()
    told = json.loads(process.read_text())
    process.write_text(json.dumps(told | {"environment": {"memory_bytes": 100}}))
    (full,) = [one for one in qp.open(path).correlate().recommendations if "memory" in one.evidence]
    assert full.subject == "all operations"
    process.write_text(json.dumps(told | {"environment": {"memory_bytes": 10**9}}))
    (roomy,) = [one for one in qp.open(path).correlate().not_applicable if "memory is used up" in one.rule]
    assert "at most 0.0% of it" in roomy.reason
