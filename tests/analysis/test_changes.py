import time

import numpy as np
import pytest

from quantum_pulse import analysis
from quantum_pulse.analysis import nulls, seeded, wandering
from quantum_pulse.analysis.changes import SENSITIVITIES
from tests.analysis import null_tables, step_cases
from tests.analysis.series import persistent


@pytest.fixture
def rng():
    return np.random.default_rng(12)


def places(values, **options):
    return [point.index for point in analysis.change_points(values, **options)]


def test_the_statistic_by_its_definition(rng):
    """Without outliers, of the whole series: the largest difference of means in standard errors of what is left."""
    values = rng.standard_normal(40)
    quiet, series = seeded.prepared(values[None, :])
    assert np.abs(quiet - values).max() < 0.5
    whole = seeded.steps(series, 40)
    means = {k: (quiet[0, :k].mean(), quiet[0, k:].mean()) for k in range(5, 36)}
    differences = {k: abs(a - b) / np.sqrt(1 / k + 1 / (40 - k)) for k, (a, b) in means.items()}
    best = max(differences, key=differences.get)
    levels = np.where(np.arange(40) < best, *means[best])
    rest = np.sum((quiet[0] - levels) ** 2) / 38
    medians = [np.median(np.pad(values, 4, mode="reflect")[place : place + 9]) for place in range(40)]
    noise = np.mean((quiet[0] - medians) ** 2) / seeded.MEDIAN_VARIANCE
    assert whole.splits[0, 0] == best
    assert whole.statistics[0, 0] == pytest.approx(differences[best] / np.sqrt(max(rest, noise)))


def test_intervals_of_each_length_cover_the_series():
    lengths = seeded.lengths(300)
    assert lengths[:4] == (10, 14, 20, 28)
    assert lengths[-1] == 300
    _, series = seeded.prepared(np.random.default_rng(1).standard_normal((2, 300)))
    for length in lengths:
        steps = seeded.steps(series, length)
        assert (steps.starts[0], steps.starts[-1]) == (0, 300 - length)
        assert np.diff(steps.starts, append=steps.starts[-1]).max() <= max(length // 4, 1)
        inside = steps.splits - steps.starts
        assert inside.min() >= seeded.SHORTEST
        assert inside.max() <= length - seeded.SHORTEST


def test_the_median_keeps_levels_of_five_values_and_no_outliers():
    values = np.full(60, 100.0)
    values[20:25] = 120
    values[40:44] = 120
    quiet, noise = seeded.despiked(values[None, :], 1.0)
    assert quiet[0, 20:25].tolist() == [120] * 5
    assert quiet[0, 40:44].max() <= 103
    assert noise.max() <= 3


def test_the_tables_are_those_of_the_simulation():
    stored = nulls._tables()[28]
    again = null_tables.table(28, rows=1000)
    assert stored.shape == again.shape == (len(seeded.lengths(28)) + 1, len(wandering.NOISES), len(nulls.TAILS) + 1)
    assert np.abs(stored[..., :4] / again[..., :4] - 1).max() < 0.15


@pytest.mark.parametrize("count", [10, 40, 137, 1000, 50_000])
def test_probabilities_of_tables(count):
    for length in seeded.lengths(count):
        null = nulls.null(count, length)
        for probability in (0.3, 0.02, 1e-4):
            statistic = null.exceeded(probability)
            tails = null.tails(np.array([statistic, statistic + 1]))
            assert tails[0, 0] == pytest.approx(probability)
            assert np.all(tails[:, 1] <= tails[:, 0])


def test_the_likeliest_noise_is_the_one_that_was_simulated(rng):
    for kind in (0, 1, len(wandering.NOISES) - 1):
        values = wandering.simulated(rng, wandering.NOISES[kind], 40, 1000)
        likely = wandering.log_likelihoods(values - values.mean(axis=1, keepdims=True), 0.0).argmax(axis=1)
        assert np.mean(likely == kind) > 0.6


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
    assert places(series) == [40]


def test_little_and_constant_values():
    assert places([]) == places([1, 2, 3]) == places([7.0] * 50) == places([float("nan")] * 20) == []
    assert places([7.0] * 30 + [8.0] * 30) == [30]
    assert analysis.drift([7.0] * 50) is None


@pytest.mark.parametrize("case", step_cases.CASES, ids=lambda case: case.name)
def test_kinds_of_series(case):
    """In at least 17 of 20 series exactly the steps that are there; of series without, in at least 18 none."""
    draws = [case.draw(np.random.default_rng(seed)) for seed in range(20)]
    assert sum(case.found(places(values)) for values in draws) >= (17 if case.steps else 18)
    if case.drifts and not case.steps:
        assert sum(analysis.drift(values) is not None for values in draws) >= 18
    elif not case.drifts:
        assert sum(analysis.drift(values) is not None for values in draws) <= 2


def test_histories_of_many_steps():
    found = reported = clear_found = clear_steps = 0
    for seed in range(60):
        values, steps, clear = step_cases.history(np.random.default_rng(seed))
        own = places(values)
        found += step_cases.matched(own, steps)
        reported += len(own)
        clear_found += step_cases.matched(own, clear)
        clear_steps += len(clear)
    assert found >= 0.9 * reported
    assert clear_found >= 0.85 * clear_steps


def test_rarely_wrong_and_mostly_right(rng):
    noise = 100 + 5 * rng.standard_normal((100, 100))
    assert sum(bool(places(row)) for row in noise) <= 6
    noise[:, 50:] += 10
    assert sum(any(abs(place - 50) <= 3 for place in places(row)) for row in noise) >= 85


@pytest.mark.parametrize(("phi", "white", "most"), [(0.5, 0, 6), (0.9, 0, 10), (0.8, 0.6, 10), (0.95, 1, 20)])
def test_noise_that_persists_has_few_steps(rng, phi, white, most):
    """Of 100 series of 100 values."""
    noise = persistent(rng, 100, 100, phi) + white * rng.standard_normal((100, 100))
    assert sum(bool(places(column)) for column in noise.T) <= most


def test_sensitivity_is_between_small_steps_and_what_wanders(rng):
    noise = persistent(rng, 100, 100, 0.95) + rng.standard_normal((100, 100))
    small = rng.standard_normal((100, 100)) + (np.arange(100) >= 50)[:, None]
    alarms, found = (
        [sum(bool(places(column, sensitivity=word)) for column in series.T) for word in ("low", "medium", "high")]
        for series in (noise, small)
    )
    assert alarms == sorted(alarms)
    assert found == sorted(found)
    assert found[2] > found[0] + 10
    clear = np.repeat([100.0, 110.0, 100.0], 30) + rng.standard_normal(90)
    assert [places(clear, sensitivity=word) for word in SENSITIVITIES] == [[30, 60]] * 3


def test_a_drift_is_a_line(rng):
    found = analysis.drift(100 + np.linspace(0, 10, 100) + rng.standard_normal(100))
    assert found.start == pytest.approx(100, abs=1)
    assert found.end == pytest.approx(110, abs=1)
    assert found.p_value < 0.01
    assert analysis.drift(np.repeat([100.0, 110.0], 50) + rng.standard_normal(100)) is None


def test_a_hundred_thousand_values(rng):
    values = rng.standard_normal(100_000)
    for number in range(1, 11):
        values[9000 * number :] += 3 * (-1) ** number
    begin = time.process_time()
    found = places(values)
    assert time.process_time() - begin < 3
    assert np.abs(np.array(found) - 9000 * np.arange(1, 11)).max() <= 3


@pytest.mark.parametrize("values", [[[1.0, 2.0]], [1.0, float("inf")]])
def test_bad_input(values):
    with pytest.raises(ValueError):
        analysis.change_points(values)
    with pytest.raises(ValueError, match="alpha"):
        analysis.change_points([1.0], alpha=1)
    with pytest.raises(ValueError, match="sensitivity must be one of 'low', 'medium', 'high', not 'huge'"):
        analysis.drift([1.0], sensitivity="huge")
