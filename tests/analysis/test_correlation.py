import numpy as np
import pandas as pd
import pytest

from quantum_pulse import analysis
from quantum_pulse.analysis.correlation import COLUMNS, detrended, spearman
from quantum_pulse.analysis.series import (
    Spectra,
    autocovariances,
    autoregression,
    filtered,
    lagged_correlations,
    normal_scores,
    ranks,
)
from quantum_pulse.analysis.significance import pearson_tail
from tests.analysis.series import persistent


@pytest.fixture
def rng():
    return np.random.default_rng(13)


def test_ranks_and_scores_of_ties():
    assert ranks(np.array([3.0, 1.0, 3.0, 9.0])).tolist() == [1.5, 0, 1.5, 3]
    scores = normal_scores(np.array([3.0, np.nan, 1.0, 3.0, 9.0]))
    assert scores[0] == scores[3]
    assert np.isnan(scores[1])
    assert np.nansum(scores) == pytest.approx(0)


def test_spearman_agrees_with_pandas(rng):
    x = rng.integers(0, 9, 80).astype(float)
    y = x + rng.integers(0, 9, 80)
    assert spearman(y, x) == pytest.approx(pd.Series(x).rank().corr(pd.Series(y).rank()))


def test_autoregression_finds_the_coefficient_with_and_without_gaps(rng):
    series = persistent(rng, 5000, 1, 0.8)[:, 0]
    assert autoregression(series, 1)[0] == pytest.approx(0.8, abs=0.03)
    assert filtered(series, np.array([0.8]))[1:].std() == pytest.approx(0.6, abs=0.02)
    series[rng.random(5000) < 0.1] = np.nan
    assert autoregression(series, 1)[0] == pytest.approx(0.8, abs=0.04)


def test_a_planted_metric_comes_first_with_its_lag(rng):
    noise = persistent(rng, 310, 3, 0.5)
    times = pd.date_range("2024-01-01", periods=300, freq="2s", tz="UTC")
    metrics = pd.DataFrame({"other": noise[10:, 0], "cause": noise[10:, 1], "constant": 1.0}, index=times)
    latency = pd.Series(0.5 * noise[7:307, 1] + 0.87 * noise[10:, 2], index=times)
    found = analysis.correlate(latency, metrics)
    assert tuple(found.columns) == COLUMNS
    assert found["metric"].tolist() == ["cause", "other", "constant"]
    first = found.iloc[0]
    assert first["lag_s"] == 6
    assert first["q_value"] < 0.001
    assert first["ci_low"] < first["rho"] < first["ci_high"]
    assert first["ci_low"] > 0
    assert first["n_effective"] < 297
    assert found["q_value"][1] > 0.05
    assert found.iloc[2, 1:].isna().all()
    assert set(analysis.correlate(latency, metrics, max_lag_s=0)["lag_s"].dropna()) == {0}


def test_gaps(rng):
    noise = persistent(rng, 400, 2, 0.5)
    metrics = pd.DataFrame({"m": noise[:, 0]})
    latency = pd.Series(noise[:, 0] + noise[:, 1])
    latency[rng.random(400) < 0.1] = np.nan
    found = analysis.correlate(latency.drop(range(100, 120)), metrics)
    assert found["lag_s"][0] == 0
    assert found["p_value"][0] < 1e-6


def test_correlations_at_all_lags_by_their_definition(rng):
    y, x = rng.standard_normal(50), rng.exponential(size=50)
    y[[3, 17]] = x[[4, 30]] = np.nan
    found, sizes, unrest = lagged_correlations(Spectra.of(y), Spectra.of(x), 5)
    own_y, own_x = y - np.nanmean(y), x - np.nanmean(x)
    for lag in range(-5, 6):
        pairs = pd.DataFrame({"y": own_y, "x": pd.Series(own_x).shift(lag)}).dropna()
        assert sizes[lag + 5] == len(pairs)
        assert found[lag + 5] == pytest.approx(pairs["y"].corr(pairs["x"]))
        products = pairs["y"] * pairs["x"]
        variances = pairs.var(ddof=0)
        assert unrest[lag + 5] == pytest.approx(products.var(ddof=0) / (variances["y"] * variances["x"]))
    covariances = [np.nanmean(own_y[lag:] * own_y[: 50 - lag]) * (1 - lag / 50) for lag in range(6)]
    assert autocovariances(own_y, 5) == pytest.approx(covariances)


def test_tail_of_a_skewed_variable(rng):
    assert pearson_tail(1.0, 2.0) == pytest.approx(np.exp(-2))  # an exponential minus its mean
    assert pearson_tail(1.96, 0.001) == pytest.approx(0.025, rel=0.01)  # nearly normal
    gamma = (rng.gamma(0.3, size=400_000) - 0.3) / np.sqrt(0.3)
    for value in (0.5, 3.0, 6.0):
        assert pearson_tail(value, 2 / np.sqrt(0.3)) == pytest.approx(np.mean(gamma > value), rel=0.1)


def test_scores_have_no_trend_and_keep_ties(rng):
    time = np.arange(200)
    grows = detrended(3.0 * time + rng.standard_normal(200))
    assert abs(np.corrcoef(grows, time)[0, 1]) < 1e-9
    assert abs(np.corrcoef(grows, detrended(7.0 * time + rng.standard_normal(200)))[0, 1]) < 0.3
    rare = np.zeros(200)
    rare[[20, 90, 91]] = 1
    changes = np.diff(detrended(rare))[np.diff(rare) == 0]  # of values that are equal: the slope alone
    assert np.ptp(changes) < 1e-9
    assert abs(changes[0]) < 0.01


def counts(rng, columns, mean=0.05):
    return rng.poisson(mean, (300, columns)).astype(float)


def grown(rng, columns):
    """Memory: it grows in steps, each series with its own."""
    return np.cumsum(rng.random((300, columns)) < 0.05, axis=0) + 0.01 * rng.standard_normal((300, columns))


def cycles(rng, columns):
    """A cycle of one period, at any phase."""
    return 1.5 * np.sin(2 * np.pi * (np.arange(300)[:, None] / 20 + rng.random(columns))) + persistent(
        rng, 300, columns, 0.3
    )


def with_gaps(rng, columns):
    series = persistent(rng, 300, columns, 0.9)
    series[rng.random(series.shape) < 0.3] = np.nan
    return series


UNRELATED = {
    "white": lambda rng, columns: persistent(rng, 300, columns, 0),
    "persistent": lambda rng, columns: persistent(rng, 300, columns, 0.98),
    "random walk": lambda rng, columns: np.cumsum(rng.standard_normal((300, columns)), axis=0),
    "persistent under noise": lambda rng, columns: (
        persistent(rng, 300, columns, 0.95) + rng.standard_normal((300, columns))
    ),
    "infinite variance": lambda rng, columns: rng.standard_t(1.5, (300, columns)),
    "rare events": counts,
    "memory that grows": grown,
    "cycles": cycles,
    "gaps": with_gaps,
}


@pytest.mark.parametrize("kind", UNRELATED)
def test_unrelated_series_are_not_called_related(rng, kind):
    """Twelve or more of 120 at 5 % happen once in 70 times, and the seed is fixed. See `tests/perf/calibration.py`."""
    y, x = (UNRELATED[kind](rng, 120) for _ in range(2))
    p_values = [analysis.correlate(pd.Series(y[:, n]), pd.DataFrame({"m": x[:, n]}))["p_value"][0] for n in range(120)]
    assert np.isfinite(p_values).all()
    assert sum(p <= 0.05 for p in p_values) < 12


def test_restless_times_in_common_are_no_relation(rng):
    hits = 0
    for _ in range(120):
        restless = np.exp(0.8 * persistent(rng, 300, 1, 0.9))
        y, x = (restless * persistent(rng, 300, 2, 0.3)).T
        hits += analysis.correlate(pd.Series(y), pd.DataFrame({"m": x}))["p_value"][0] <= 0.05
    assert hits < 14


def test_rare_events_that_do_go_together_are_found(rng):
    """A collection in 3 % of the windows doubles latency; and two kinds of rare events that mostly coincide."""
    found = 0
    for _ in range(20):
        rare = counts(rng, 1, 0.03)[:, 0]
        slow = np.exp(0.3 * persistent(rng, 300, 1, 0.5)[:, 0]) * (1 + (rare > 0))
        along = (rare > 0) & (rng.random(300) < 0.7)
        table = analysis.correlate(pd.Series(rare), pd.DataFrame({"slow": slow, "along": along.astype(float)}))
        found += (table["q_value"] <= 0.05).sum()
        assert (table.loc[table["q_value"] <= 0.05, "lag_s"] == 0).all()
    assert found >= 32


def test_bad_input():
    series, frame = pd.Series([1.0, 2.0]), pd.DataFrame({"m": [1.0, 2.0]})
    with pytest.raises(TypeError):
        analysis.correlate([1.0], frame)
    with pytest.raises(TypeError, match="'m'"):
        analysis.correlate(series, pd.DataFrame({"m": ["a", "b"]}))
    with pytest.raises(ValueError, match="must increase"):
        analysis.correlate(series[::-1], frame)
    with pytest.raises(ValueError, match="in common"):
        analysis.correlate(series, frame.set_axis([7, 8]))
    with pytest.raises(ValueError, match="max_lag_s"):
        analysis.correlate(series, frame, max_lag_s=-1)
    assert analysis.correlate(series, frame[[]]).empty
