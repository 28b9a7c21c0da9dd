"""What rollups tell beside the samples that are there, against what the samples told before they expired."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import quantum_pulse as qp
from quantum_pulse import histogram
from quantum_pulse.agent.expiry import Expiry
from quantum_pulse.keep import parse
from quantum_pulse.reading import timeline
from tests.agent.captures import EPOCH, ERRORS, HOUR, MINUTE, OPERATIONS, SECOND, Maker, columns

EXACT = ["count", "errors", "total_us", "mean_us", "min_us", "max_us"]
QUANTILES = ["p50_us", "p90_us", "p95_us", "p99_us", "p999_us"]
#: Half a bucket.
CLOSE = 1 / (2 * histogram.LINEAR)

part = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 4 * HOUR - 1),
        st.one_of(st.integers(0, 100), st.integers(0, 10**10)),
        st.integers(1, 50),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=30,
)


def check(found, wanted):
    """The same rows, sums and extremes, and quantiles as close as the histogram is."""
    pd.testing.assert_frame_equal(found[EXACT], wanted[EXACT])
    np.testing.assert_allclose(found["std_us"], wanted["std_us"], rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(found[QUANTILES], wanted[QUANTILES], rtol=CLOSE, atol=1e-9)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(part, min_size=1, max_size=5), st.lists(st.integers(0, 6 * HOUR), min_size=1, max_size=3))
def test_rollups_and_what_is_left_tell_what_the_samples_told(tmp_path_factory, contents, moments):
    maker = Maker(tmp_path_factory.mktemp("reading") / "capture")
    for number, rows in enumerate(contents):
        own = dict(zip(("operation", "start", "duration", "weight", "error"), zip(*rows, strict=True), strict=True))
        maker.samples(f"1-{number % 2:04x}", number, own)
    before = qp.open(maker.path)
    stats, tables = before.stats(), {window: before.timeline(window) for window in ("1min", "90min", "1h")}
    own = Expiry(maker.path, parse("1h"), lambda _: True)
    for moment in sorted(moments):
        own.run(EPOCH + moment)
    after = qp.open(maker.path)
    check(after.stats(approximate=True), stats)
    for window, wanted in tables.items():
        check(after.timeline(window), wanted)
    assert after.stats(approximate=True, by="category")["count"].sum() == stats["count"].sum()


@pytest.fixture
def both(hours):
    """The capture of five hours before, and the same after three of them have expired."""
    before = qp.open(hours.path)
    tables = {window: before.timeline(window) for window in ("1min", "20min", "1h", "1D")}
    tables["stats"] = before.stats()
    Expiry(hours.path, parse("2h"), lambda _: True).run(EPOCH + 5 * HOUR)
    return tables, qp.open(hours.path)


@pytest.mark.parametrize("window", ["1min", "20min", "1h", "1D"])
@pytest.mark.parametrize("at_once", [7, timeline._ROLLUPS_AT_ONCE])
def test_timelines_in_whole_minutes(both, window, at_once, monkeypatch):
    monkeypatch.setattr(timeline, "_ROLLUPS_AT_ONCE", at_once)
    tables, after = both
    found = after.timeline(window)
    check(found, tables[window])
    is_left = found.index.get_level_values("time") >= after.expired_until
    pd.testing.assert_frame_equal(found[is_left], tables[window][is_left])


def test_other_windows_are_of_the_samples_that_are_there(both):
    _, after = both
    for window in ("1s", "90s", 59.5):
        assert after.timeline(window)["count"].sum() == after.stats()["count"].sum()


def test_bounds_choose_whole_minutes_of_what_has_expired(both):
    tables, after = both
    times = tables["1min"].index.get_level_values("time")

    def calls(start, end):
        return tables["1min"][(times >= start) & (times < end)]["count"].sum()

    start, end = (pd.Timestamp(EPOCH + moment, tz="UTC") for moment in (HOUR // 2, 4 * HOUR))
    assert after.stats(approximate=True, start=start, end=end)["count"].sum() == calls(start, end)
    assert after.timeline("1h", start=start, end=end)["count"].sum() == calls(start, end)
    # A minute belongs to what it begins in.
    late = pd.Timedelta(20, "s")
    one = pd.Timedelta(1, "min")
    assert after.timeline("1min", start=start + late, end=end)["count"].sum() == calls(start + one, end)
    assert after.timeline("1min", end=start + late)["count"].sum() == calls(times[0], start + one)
    assert after.timeline("1min", start=start, end=start).empty


def test_operations_are_chosen(both):
    tables, after = both
    one = after.operations["Shop.PAY"]
    wanted = tables["stats"].xs("Shop.PAY", level="operation", drop_level=False)
    check(after.stats(approximate=True, operations=one), wanted)
    start = pd.Timestamp(EPOCH + 1, tz="UTC")
    assert after.stats(approximate=True, operations=one, start=start)["count"].iloc[0] < wanted["count"].iloc[0]
    assert set(after.timeline("1h", one).index.get_level_values("operation")) == {"Shop.PAY"}


def test_what_rollups_do_not_tell_apart_is_of_the_samples_that_are_there(both):
    _, after = both
    left = after.stats()["count"].sum()
    assert left == after.samples()["weight"].sum()
    for by in ("thread", "process", "error", ["operation", "thread"]):
        assert after.stats(by, approximate=True)["count"].sum() == left
    corrected = after.stats(approximate=True, expected_interval_us=10)
    assert corrected["errors"].sum() == after.stats()["errors"].sum()
    assert after.heatmap(after.operations["Shop.PAY"]).to_numpy().sum() < left
    assert after.tree()["count"].sum() == left


def test_several_captures(tmp_path):
    stats = []
    for name, category in (("one", "Money"), ("two", "Other")):
        maker = Maker(tmp_path / name)
        look, buy, pay = OPERATIONS
        operations = [look, buy._replace(category=buy.category._replace(name=category)), pay]
        for hour in range(3):
            maker.samples("1-aaaa", hour, columns(300, hour * HOUR, 10 * SECOND, hour), operations=operations)
    before = qp.open(tmp_path / "*")
    stats, by_capture = before.stats(), before.stats("capture")
    timeline = before.timeline("1h")
    for name, hours in (("one", 1), ("two", 2)):
        Expiry(tmp_path / name, parse("1h"), lambda _: True).run(EPOCH + (hours + 1) * HOUR)
    after = qp.open(tmp_path / "*")
    check(after.stats(approximate=True), stats)
    check(after.stats("capture", approximate=True), by_capture)
    check(after.timeline("1h"), timeline)
    assert "one" in after.stats("capture").index
    assert after.expired_until > pd.Timestamp(EPOCH + HOUR, tz="UTC")


def test_damage_in_a_rollup_file_is_a_loss(both):
    _, after = both
    path = after._source.parts["rollups"][0].path
    content = bytearray(path.read_bytes())
    content[200:2000] = bytes(1800)
    path.write_bytes(content)
    damaged = qp.open(after.path)
    calls = damaged.timeline("1min")["count"].sum()
    assert calls == damaged.stats()["count"].sum()
    assert damaged.losses()["count"].tolist() == [1800]
    assert damaged.stats(approximate=True)["count"].sum() == calls


def test_a_capture_without_rollups_is_as_before(maker):
    maker.samples("1-aaaa", 0, columns(100, 0, MINUTE))
    capture = qp.open(maker.path)
    assert not (maker.path / "rollups").exists()
    assert capture.expired_until is None
    assert capture.losses()["cause"].str.contains("rollups").sum() == 0
    assert "expired" not in repr(capture)
    assert ERRORS[1] in capture.samples()["error"].dropna().unique()
