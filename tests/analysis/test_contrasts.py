import numpy as np
import pandas as pd
import pytest

from quantum_pulse import analysis
from quantum_pulse.analysis import contrasts
from tests.analysis.series import persistent

MIDDLE = np.arange(100) // 20 == 2


@pytest.fixture
def rng():
    return np.random.default_rng(14)


@pytest.mark.parametrize("gap", [False, True])
def test_moments_of_the_fit_by_simulation(rng, gap):
    """What is computed exactly for each noise, from many series of it."""
    place = np.array([one for one in range(40) if not gap or one % 7])
    inside = (place >= 15) & (place < 25)
    fit = contrasts._fit(tuple(place.tolist()), tuple(inside.tolist()))
    for number, (persistence, share) in enumerate(contrasts.NOISES):
        noise = np.sqrt(share) * persistent(rng, 40, 20_000, persistence)
        noise = (noise + np.sqrt(1 - share) * rng.standard_normal(noise.shape))[place]
        shifts = noise[inside].mean(axis=0) - noise[~inside].mean(axis=0)
        assert fit.weights @ noise == pytest.approx(shifts)
        rest = noise - np.where(inside[:, None], noise[inside].mean(axis=0), noise[~inside].mean(axis=0))
        power = np.sum(rest**2, axis=0)
        pairs = np.flatnonzero(np.diff(place) == 1)
        products = np.sum(rest[pairs] * rest[pairs + 1], axis=0)
        assert fit.correlations[number] == pytest.approx(products.mean() / power.mean(), abs=0.01)
        assert fit.factors[number] == pytest.approx(shifts.var() / power.mean(), rel=0.05)
        assert fit.freedoms[number] == pytest.approx(2 * power.mean() ** 2 / power.var(), rel=0.08)


def test_what_differs_comes_out_and_nothing_else(rng):
    values = pd.DataFrame(persistent(rng, 100, 30, 0.5)).add_prefix("m")
    values["slower"] = np.exp(persistent(rng, 100, 1, 0.5)[:, 0]) * np.where(MIDDLE, 20, 1)
    values["fewer"] = np.where(MIDDLE, 2.0, 10.0) + 0.1 * rng.standard_normal(100)
    values["constant"] = 1.0
    values["unknown"] = np.nan
    values.loc[values.index[[39, 60]]] = np.nan
    found = analysis.contrast(values, MIDDLE)
    assert tuple(found.columns) == contrasts.COLUMNS
    assert found.index.tolist() == values.columns.tolist()
    assert found.index[found["q_value"] <= 0.05].tolist() == ["slower", "fewer"]
    slower = found.loc["slower"]
    assert slower["inside"] == pytest.approx(values["slower"][MIDDLE].median())
    assert slower["around"] == pytest.approx(values["slower"][~MIDDLE].median())
    assert slower["change"] == pytest.approx(slower["inside"] / slower["around"] - 1)
    assert 0 < slower["ci_low"] < slower["shift"] < slower["ci_high"]
    assert found.loc["fewer", "ci_high"] < 0
    assert found.loc[["constant", "unknown"], "p_value"].isna().all()
    assert found.loc["constant", "change"] == 0


@pytest.mark.parametrize("phi", [0, 0.5, 0.9, 1])
def test_an_interval_like_any_other(rng, phi):
    noise = persistent(rng, 100, 400, phi) if phi < 1 else np.cumsum(rng.standard_normal((100, 400)), axis=0)
    assert (analysis.contrast(pd.DataFrame(noise), MIDDLE)["p_value"] <= 0.05).mean() <= 0.085


def test_rare_events(rng):
    """Three in the interval and none around are worth a word only where the interval is short."""
    values = pd.DataFrame({"rare": np.zeros(100), "frequent": np.zeros(100)})
    values.loc[[41, 47, 55], "rare"] = 1
    values.loc[MIDDLE, "frequent"] = rng.poisson(2, 20)
    found = analysis.contrast(values, MIDDLE)
    assert found.loc["rare", "p_value"] > 0.001
    assert found.loc["rare", "inside"] == pytest.approx(0.15)  # a mean, as both medians are 0
    assert found.loc["frequent", "p_value"] < 0.001
    assert found.loc["frequent", "change"] == np.inf
    unrelated = pd.DataFrame(rng.poisson(0.03, (100, 400)).astype(float))
    assert (analysis.contrast(unrelated, MIDDLE)["p_value"] <= 0.05).mean() <= 0.07


def test_the_time_around():
    assert contrasts.surroundings(40, 60, 0, 1000) == (0, 100)
    assert contrasts.surroundings(500, 600, 0, 1000) == (300, 800)
    assert contrasts.surroundings(900, 1000, 0, 1000) == (500, 1000)  # all of it before
    assert contrasts.surroundings(0, 100, 0, 1000) == (0, 500)
    assert contrasts.surroundings(100, 900, 0, 1000) == (0, 1000)
    starts, inside, outside = contrasts.windows(5, 64, 10, 25, 45)
    assert starts == [10, 20, 30, 40, 50]
    assert inside == [False, False, True, False, False]
    assert outside == [True, False, False, False, True]


def test_bad_input():
    with pytest.raises(ValueError, match="for each of 3 rows"):
        analysis.contrast(pd.DataFrame({"m": [1.0, 2.0, 3.0]}), [True, False])
    with pytest.raises(ValueError, match="alpha must be a number between 0 and 1, not nan"):
        analysis.contrast(pd.DataFrame({"m": [1.0, 2.0, 3.0]}), [True, False, False], alpha=float("nan"))
    with pytest.raises(TypeError, match="values must be a DataFrame"):
        analysis.contrast([1.0, 2.0, 3.0], [True, False, False])
    assert analysis.contrast(pd.DataFrame(index=range(3)), [True, False, False]).empty
    short = analysis.contrast(pd.DataFrame({"m": [1.0, 2.0, 3.0]}), [True, False, False])
    assert short["p_value"].isna().all()
    assert short.loc["m", ["inside", "around"]].tolist() == [1.0, 2.5]
