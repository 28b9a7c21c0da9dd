import numpy as np
import pytest

from quantum_pulse import analysis
from quantum_pulse.analysis.changes import SHORTEST, largest_cusum


@pytest.fixture
def rng():
    return np.random.default_rng(12)


def test_the_cusum_by_its_definition(rng):
    series = rng.standard_normal(40)
    series -= series.mean()
    differences = {
        k: abs(series[:k].mean() - series[k:].mean()) / np.sqrt(1 / k + 1 / (40 - k))
        for k in range(SHORTEST, 40 - SHORTEST + 1)
    }
    best = max(differences, key=differences.get)
    noise = np.concatenate((series[:best] - series[:best].mean(), series[best:] - series[best:].mean()))
    phi = max(0, noise[1:] @ noise[:-1] / (noise @ noise))
    cosines = [[np.sqrt(2 / 40) * np.cos(np.pi * j * (t + 0.5) / 40) for t in range(40)] for j in range(1, 6)]
    slow = np.mean([(noise @ cosine) ** 2 for cosine in cosines])
    deviation = np.sqrt(max(noise @ noise / 40 * (1 + phi) / (1 - phi), slow) * 40 / 38)
    statistics, splits, correlations = largest_cusum(series[None, :])
    assert (statistics[0], splits[0]) == pytest.approx((differences[best] / deviation, best))
    by_lag = [noise[lag:] @ noise[:-lag] / (noise @ noise) for lag in range(1, 9)]
    assert correlations[0] == pytest.approx([by_lag[0], np.mean(by_lag[1:])])


def test_steps_up_and_down():
    series = 100 + np.random.default_rng(7).standard_normal(120)
    series[40:80] += 20
    series[[10, 60]] = 500  # outliers are not steps
    found = analysis.change_points(series)
    assert [point.index for point in found] == [40, 80]
    assert found[0].before == pytest.approx(100, abs=1)
    assert found[0].after == found[1].before == pytest.approx(120, abs=1)
    assert all(0 < point.p_value < 0.01 for point in found)
    assert analysis.change_points(series.tolist()) == found


def test_missing_values_keep_places(rng):
    series = 100 + rng.standard_normal(80)
    series[40:] += 30
    series[5:10] = np.nan
    assert [point.index for point in analysis.change_points(series)] == [40]


def test_little_and_constant_values():
    assert analysis.change_points([]) == []
    assert analysis.change_points([1, 2, 3]) == []
    assert analysis.change_points([7.0] * 50) == []
    assert [point.index for point in analysis.change_points([7.0] * 30 + [8.0] * 30)] == [30]


def test_rarely_wrong_and_mostly_right(rng):
    noise = 100 + 5 * rng.standard_normal((100, 100))
    assert sum(bool(analysis.change_points(row)) for row in noise) <= 6
    noise[:, 50:] += 10
    places = [[point.index for point in analysis.change_points(row)] for row in noise]
    assert sum(any(abs(place - 50) <= 3 for place in found) for found in places) >= 85


def test_persistent_noise_under_white_noise_has_no_steps(rng):
    """As nightly results are; a first-order autoregression alone would report a fifth of them."""
    noise = rng.standard_normal((100, 120))
    for row in range(1, 100):
        noise[row] = 0.8 * noise[row - 1] + 0.6 * noise[row]
    noise += 0.6 * rng.standard_normal((100, 120))
    assert sum(bool(analysis.change_points(column)) for column in noise.T) <= 12


@pytest.mark.slow
@pytest.mark.parametrize(("count", "most"), [(100, 42), (300, 24)])
def test_what_wanders_under_as_much_white_noise_has_few(rng, count, most):
    """Of 120 series; whoever only looks at what follows directly reports every second or third of them."""
    noise = rng.standard_normal((count, 120))
    for row in range(1, count):
        noise[row] = 0.95 * noise[row - 1] + np.sqrt(1 - 0.95**2) * noise[row]
    noise += rng.standard_normal((count, 120))
    assert sum(bool(analysis.change_points(column)) for column in noise.T) <= most


@pytest.mark.parametrize("values", [[[1.0, 2.0]], [1.0, float("inf")]])
def test_bad_input(values):
    with pytest.raises(ValueError):
        analysis.change_points(values)
    with pytest.raises(ValueError, match="alpha"):
        analysis.change_points([1.0], alpha=1)
