"""Durations that are not as expected, and those that stand apart."""

import numpy as np
import pytest

import quantum_pulse as qp
from quantum_pulse.cli import main
from quantum_pulse.operations import Category, Definition
from quantum_pulse.reading import validation

OPERATIONS = [
    Definition("Work.READ", "work", "", Category("Input"), expect_us=(1.0, 10.0)),
    Definition("Work.COUNT", "work", "", Category("Logic")),
]


def rows(operation, durations, weight=1):
    return [{"operation": operation, "duration": duration, "weight": weight} for duration in durations]


def test_violations_are_counted_on_both_sides_in_calls(write_capture, capsys):
    few = rows(0, [999, 1000, 10_000, 10_001, 10_002]) + rows(0, [500], weight=3) + rows(1, [1, 10**9])
    path = write_capture([few[:4], few[4:]], operations=OPERATIONS)
    found = qp.open(path).validate()
    assert list(found.columns) == list(validation.COLUMNS)
    read, count = found.loc["Work.READ"], found.loc["Work.COUNT"]
    assert (read["count"], read["below"], read["above"]) == (8, 4, 2)
    assert read["share"] == 6 / 8
    assert (read["expect_low_us"], read["expect_high_us"]) == (1, 10)
    assert (count["below"], count["above"], count["outliers"]) == (0, 0, 0)
    assert np.isnan(count["expect_low_us"])
    assert np.isnan(count["fence_low_us"])  # of two calls nothing can be said
    assert list(found.index) == ["Work.READ", "Work.COUNT"]

    assert main(["stats", str(path)]) == 0
    assert "Work.READ  75 %  4 below 1.0 µs, 2 above 10.0 µs (of 8 calls; 0 outliers)" in capsys.readouterr().out
    assert "4 below 1.0 µs" in qp.open(path)._repr_html_()


def test_where_nothing_is_expected_nothing_is_read_or_said(write_capture, capsys, monkeypatch):
    path = write_capture([rows(1, [5, 6])], operations=OPERATIONS)
    assert main(["stats", str(path)]) == 0
    assert "Outside the expected range" not in capsys.readouterr().out
    monkeypatch.setattr(validation, "_validated", None)
    assert validation.validate(qp.open(path)._source, expected_only=True).empty


@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.0])
def test_of_lognormal_durations_one_in_two_thousand_is_an_outlier(write_capture, sigma):
    calls = 200_000
    durations = np.random.default_rng(1).lognormal(np.log(20_000), sigma, calls).astype(np.int64)
    path = write_capture([{"duration": durations, "operation": np.zeros(calls)}], operations=OPERATIONS)
    found = qp.open(path).validate().loc["Work.READ"]
    # Two-sided 3.5 standard deviations: 4.65 in 10,000. The quartiles are estimates, so the cut is within 3 %.
    assert 3e-4 < found["outlier_share"] < 7e-4
    low, high = found["fence_low_us"] * 1000, found["fence_high_us"] * 1000
    assert found["outliers"] == np.sum((durations < low) | (durations > high))
    assert high == pytest.approx(20_000 * np.exp(3.5 * sigma), rel=0.1)


def test_outliers_do_not_hide_each_other(write_capture):
    """A fifth of all calls a thousand times slower does not move the fence beyond them, as it would mean + 3 std."""
    durations = np.concatenate([np.random.default_rng(2).lognormal(7, 0.3, 8000), np.full(2000, 1.1e6)]).astype(int)
    path = write_capture([{"duration": durations, "operation": np.ones(10_000)}], operations=OPERATIONS)
    found = qp.open(path).validate().loc["Work.COUNT"]
    assert 2000 <= found["outliers"] < 2050


def test_the_next_tick_of_the_clock_is_no_outlier(write_capture):
    path = write_capture([rows(1, [100] * 99 + [110])], operations=OPERATIONS)
    found = qp.open(path).validate().loc["Work.COUNT"]
    assert found["outliers"] == 0
    assert found["fence_high_us"] == pytest.approx(0.1 * np.exp(0.35))


def test_times_choose_samples(write_capture):
    early = [{"operation": 0, "duration": 1, "start": 0}, {"operation": 0, "duration": 5000, "start": 2 * 10**9}]
    capture = qp.open(write_capture([early], operations=OPERATIONS))
    assert capture.validate(start=1)["below"].tolist() == [0]
    assert capture.validate(end=1)["below"].tolist() == [1]
