"""What moves with latency, what was different in a stretch of time, and what could be done about it: on captures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.analysis import recommendations
from quantum_pulse.recorder import parts
from tests.capture.conftest import ANCHOR_NS, write_capture  # noqa: F401 - a fixture


def add_metrics(capture, pauses_us, interval_ns=100_000_000):
    """A row of metrics for each pause; all else is noise."""
    rng = np.random.default_rng(9)
    rows = []
    for number, pause in enumerate(pauses_us):
        row = {column.name: int(rng.integers(100)) for column in schema.METRICS}
        row |= {"time": ANCHOR_NS + (number + 1) * interval_ns, "interval_ns": interval_ns, "process": 1}
        rows.append(row | {"gc_pause_us": float(pause), "gc_collections": int(pause > 0)})
    (capture / "metrics").mkdir(exist_ok=True)
    parts.write_rows(
        capture / "metrics" / "1-abcd-000001.parquet", "metrics", rows, {"format": schema.FORMAT_VERSION, "process": 1}
    )


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
    assert "garbage collector" in advice.reason
    for shown in (repr(found), found._repr_html_()):
        for part in ("Work.READ", "gc_pause_us", "at the same time", "garbage collector", "Record next time"):
            assert part in shown
    assert any("how much the machine has was not recorded" in str(one) for one in found.not_applicable)
    assert "rules do not apply" in found._repr_html_()
    with pytest.raises(ValueError, match="no length of time"):
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
    assert "Too little to compare" in repr(found)
    assert "Too little to compare" in found._repr_html_()


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
        "they were busy 5% of the time",
        "how much the machine has was not recorded",
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
    assert str(advice.not_applicable[3]) == "the machine's CPUs are busy (above 70%): that was not recorded."


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
    names = ["Grows", "Computes", "Waits"]
    stats = pd.DataFrame({"mean_us": 5000.0, "p50_us": 5000.0, "p99_us": 6000.0, "total_us": 1.0}, index=names)
    idle = pd.DataFrame({"cpu_machine_percent": [5.0], "rss_bytes": [100]})
    advice = recommendations.recommend(stats, idle, correlations, memory_bytes=1000)
    found = {one.subject: one for one in advice.recommendations}
    assert list(found) == ["Grows", "Computes", "Pauses", "Waits"]
    assert "pool" in found["Grows"].action
    assert "algorithm" in found["Computes"].action
    assert "garbage collector" in found["Pauses"].reason
    assert "-0.10 with rss_bytes and +0.05 with cpu_machine_percent" in found["Waits"].evidence
    assert all(one.record_next and one.evidence in str(one) for one in advice.recommendations)
    weak = correlations.assign(rho=0.2)
    advice = recommendations.recommend(stats.iloc[:0], idle, weak, memory_bytes=1000)
    assert advice.recommendations == []
    assert "the strongest that is sure is 0.20" in advice.not_applicable[0].reason


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


# ---- contrast --------------------------------------------------------------------------------------------------------


class Work(qp.Operation):
    READ = qp.op()
    COUNT = qp.op()


@pytest.fixture
def incident(write_capture):  # noqa: F811 - the fixture
    """Ten seconds; from 4 s to 6 s COUNT is slower, READ is called half as often, and the collector pauses."""
    rng = np.random.default_rng(5)
    start = np.sort(rng.integers(0, 10 * 10**9, 40_000))
    during = (start >= 4 * 10**9) & (start < 6 * 10**9)
    operation = rng.integers(0, 2, start.size)
    duration = 50_000 * np.exp(0.3 * rng.standard_normal(start.size)) * np.where(during & (operation == 1), 1.5, 1)
    kept = (operation == 1) | ~during | (rng.random(start.size) < 0.5)
    columns = {"start": start, "duration": duration.astype(np.int64), "operation": operation}
    path = write_capture([{name: values[kept] for name, values in columns.items()}])
    moments = np.arange(100)
    add_metrics(path, 100 * rng.exponential(size=100) + 5000 * ((moments >= 40) & (moments < 60)))
    return path


def test_what_an_incident_changed(incident):
    found = qp.open(incident).contrast(4, 6)
    changed = {(row["name"], row["measure"]) for row in found.found.to_dict("records")}
    assert changed == {("Work.COUNT", "p95_us"), ("Work.READ", "calls_per_s"), ("gc_pause_us", "per_s")}
    by_name = found.table.set_index(["name", "measure"])
    assert by_name.loc[("Work.COUNT", "p95_us"), "change"] == pytest.approx(0.5, abs=0.1)
    assert by_name.loc[("Work.READ", "calls_per_s"), "inside"] == pytest.approx(1000, rel=0.1)
    assert by_name.loc[("gc_pause_us", "per_s"), "shift"] > 1
    assert found.window_s == pytest.approx(0.1)
    assert [
        (moment - found.begin).total_seconds() for moment in (found.around_begin, found.end, found.around_end)
    ] == pytest.approx([-4, 2, 6], abs=0.001)
    for shown in (repr(found), found._repr_html_()):
        for part in ("2.0 s from", "Operations that are slower", "Work.COUNT, p95", "gc_pause_us", "chance"):
            assert part in shown


def test_nothing_but_an_ordinary_stretch(incident):
    found = qp.open(incident).contrast(1, 1.4)
    assert found.found.empty
    assert repr(found).startswith("400 ms from")
    assert "0 of" in found.summary


def test_whoever_chose_the_stretch_is_not_tested(incident):
    found = qp.open(incident).contrast(4, 6, chosen_by=Work.COUNT)
    assert found.chosen_by == ("Work.COUNT",)
    assert found.chosen["q_value"].isna().all()
    assert found.chosen["change"].notna().all()
    assert "Work.COUNT" not in set(found.found["name"])
    assert "Work.READ" in set(found.found["name"])
    assert "chosen by Work.COUNT: shown, but not tested" in repr(found)


def test_at_an_edge_and_too_long(incident):
    capture = qp.open(incident)
    edge = capture.contrast(0, 2)
    assert edge.around_begin == edge.begin
    assert (edge.around_end - edge.end).total_seconds() == pytest.approx(8, abs=0.01)
    assert "on one side only" in edge.summary
    assert "too little to compare" in capture.contrast(0, 100).summary


def test_no_stretch(incident):
    capture = qp.open(incident)
    with pytest.raises(ValueError, match="nothing was recorded from start=20 to end=30"):
        capture.contrast(20, 30)
    with pytest.raises(ValueError, match="alpha"):
        capture.contrast(4, 6, alpha=0)
    with pytest.raises(TypeError):
        capture.contrast(4, 6, chosen_by="Work.COUNT")
    with pytest.raises(ValueError, match="end=4 is before start=6"):
        capture.contrast(6, 4)


def test_arguments_of_correlate_that_are_none(incident):
    capture = qp.open(incident)
    for options, said in (
        ({"alpha": float("nan")}, "alpha must be a number between 0 and 1, not nan"),
        ({"alpha": "x"}, "alpha must be a number between 0 and 1, not 'x'"),
        ({"operations": []}, "operations names none"),
        ({"quantile": None}, "a quantile is a number between 0 and 1, not None"),
        ({"quantile": [0.5, 0.9]}, r"a quantile is a number between 0 and 1, not \[0.5, 0.9\]"),
        ({"window": "nonsense"}, "window='nonsense' is no length of time; write it like '1s'"),
    ):
        with pytest.raises(ValueError, match=said):
            capture.correlate(**options)


def test_the_incident_of_the_sample_data():
    """Orders, and who waits for a slot to make one, got slow; what the engine computes itself did not."""
    from pathlib import Path

    from quantum_pulse.demo.operations import Engine

    capture = qp.open(Path(qp.__file__).parents[1] / "sample_data" / "slow_exchange")
    found = capture.contrast(1.05, 1.85, chosen_by=Engine.SUBMIT).found
    latency = found[(found["what"] == "operation") & (found["measure"] == "p95_us") & (found["change"] > 1)]
    assert set(latency["name"]) == {"Engine.ORDER", "Engine.ORDER_SLOT", "Engine.FEED_PACKET"}
    idle = found[found["name"] == "cpu_process_percent"]
    assert idle["change"].item() < -0.5
    assert capture.contrast(0.2, 0.5).found.empty


def test_a_stretch_that_is_too_short_and_no_operations():
    capture = qp.open(Path(qp.__file__).parents[1] / "sample_data" / "slow_exchange")
    with pytest.raises(ValueError, match="less than a microsecond"):
        capture.contrast(0.5, 0.5000001)
    with pytest.raises(ValueError, match="operations names none"):
        capture.contrast(0.5, 1.0, operations=[])
