"""What was different in a time interval: on captures."""

from pathlib import Path

import numpy as np
import pytest

import quantum_pulse as qp
from tests.facade.metrics import add_metrics
from tests.reading.conftest import write_capture  # noqa: F401 - a fixture


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
    assert found.window_s == pytest.approx(2 / 30)
    assert [
        (moment - found.begin).total_seconds() for moment in (found.around_begin, found.end, found.around_end)
    ] == pytest.approx([-4, 2, 6], abs=0.001)
    for shown in (repr(found), found._repr_html_()):
        for part in ("2.0 s from", "Slower operations", "Work.COUNT, p95", "gc_pause_us", "false discovery rate"):
            assert part in shown


def test_nothing_but_an_ordinary_interval(incident):
    found = qp.open(incident).contrast(1, 1.4)
    assert found.found.empty
    assert repr(found).startswith("400 ms from")
    assert "0 of" in found.summary


def test_whoever_chose_the_interval_is_not_tested(incident):
    found = qp.open(incident).contrast(4, 6, chosen_by=Work.COUNT)
    assert found.chosen_by == ("Work.COUNT",)
    assert found.chosen["q_value"].isna().all()
    assert found.chosen["change"].notna().all()
    assert "Work.COUNT" not in set(found.found["name"])
    assert "Work.READ" in set(found.found["name"])
    assert "chosen because of Work.COUNT: shown, but not tested" in repr(found)


def test_at_an_edge_and_too_long(incident):
    capture = qp.open(incident)
    edge = capture.contrast(0, 2)
    assert edge.around_begin == edge.begin
    assert (edge.around_end - edge.end).total_seconds() == pytest.approx(8, abs=0.01)
    assert "on one side only" in edge.summary
    assert "too little data to compare" in capture.contrast(0, 100).summary


def test_no_interval(incident):
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
        ({"operations": []}, "operations is empty"),
        ({"quantile": None}, "a quantile is a number between 0 and 1, not None"),
        ({"quantile": [0.5, 0.9]}, r"a quantile is a number between 0 and 1, not \[0.5, 0.9\]"),
        ({"window": "nonsense"}, "window='nonsense' is not a valid duration; write it as '1s'"),
    ):
        with pytest.raises(ValueError, match=said):
            capture.correlate(**options)


def test_the_incident_of_the_sample_data():
    """Orders, and who waits for a slot to make one, got slow; what the engine computes itself did not."""
    from quantum_pulse.demo.operations import Engine

    capture = qp.open(Path(qp.__file__).parents[1] / "sample_data" / "slow_exchange")
    found = capture.contrast(1.05, 1.85, chosen_by=Engine.SUBMIT).found
    latency = found[(found["what"] == "operation") & (found["measure"] == "p95_us") & (found["change"] > 1)]
    assert set(latency["name"]) == {"Engine.ORDER", "Engine.ORDER_SLOT", "Engine.FEED_PACKET"}
    idle = found[found["name"] == "cpu_process_percent"]
    assert idle["change"].item() < -0.5
    assert capture.contrast(0.2, 0.5).found.empty


def test_an_interval_that_is_too_short_and_no_operations():
    capture = qp.open(Path(qp.__file__).parents[1] / "sample_data" / "slow_exchange")
    with pytest.raises(ValueError, match="less than a microsecond"):
        capture.contrast(0.5, 0.5000001)
    for none in ([], iter(())):
        with pytest.raises(ValueError, match="operations is empty"):
            capture.contrast(0.5, 1.0, operations=none)
