import numpy as np
import pandas as pd
import pytest

from quantum_pulse import analysis
from quantum_pulse.analysis.correlation import COLUMNS, spearman
from quantum_pulse.analysis.series import autoregression, filtered, normal_scores, ranks


@pytest.fixture
def rng():
    return np.random.default_rng(13)


def persistent(rng, count, columns, phi):
    noise = rng.standard_normal((count, columns))
    for row in range(1, count):
        noise[row] = phi * noise[row - 1] + np.sqrt(1 - phi**2) * noise[row]
    return noise


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


def test_persistent_series_are_not_called_related(rng):
    y, x = persistent(rng, 300, 60, 0.98), persistent(rng, 300, 60, 0.98)
    p_values = [analysis.correlate(pd.Series(y[:, n]), pd.DataFrame({"m": x[:, n]}))["p_value"][0] for n in range(60)]
    assert sum(p <= 0.05 for p in p_values) <= 7


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
