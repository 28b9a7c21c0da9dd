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
    """What is computed exactly for each noise, from many series of it: shifts of that variance, and a white rest."""
    place = np.array([one for one in range(40) if not gap or one % 7])
    inside = (place >= 15) & (place < 25)
    fit = contrasts._fit(tuple(place.tolist()), tuple(inside.tolist()))
    for number, (persistence, share) in enumerate(contrasts.NOISES):
        noise = np.sqrt(share) * persistent(rng, 40, 4000, persistence)
        noise = (noise + np.sqrt(1 - share) * rng.standard_normal(noise.shape))[place] + 5.0 * inside[:, None]
        shifts = fit.weights[number] @ noise
        assert shifts.mean() == pytest.approx(5, abs=0.1)
        assert shifts.var() == pytest.approx(fit.variances[number], rel=0.12)
        powers = np.array([fit.powers(one)[number] for one in noise.T[:400]])
        assert powers.mean() == pytest.approx(place.size - 2, rel=0.06)


def test_the_likeliest_noise_is_that_of_the_series(rng):
    fit = contrasts._fit(tuple(range(100)), tuple(MIDDLE.tolist()))
    likelihoods = fit.likelihoods - contrasts.CAUTION * np.log(1)
    for true in (0, 6, 24):
        persistence, share = contrasts.NOISES[true]
        series = np.sqrt(share) * persistent(rng, 100, 100, persistence)
        series += np.sqrt(1 - share) * rng.standard_normal(series.shape)
        logs = np.mean([likelihoods - 49 * np.log(fit.powers(one)) for one in series.T], axis=0)
        near = contrasts.NOISES[int(np.argmax(logs))]
        assert near[0] * near[1] == pytest.approx(persistence * share, abs=0.2)


@pytest.mark.parametrize(
    ("noise", "allowed"), [("AR(1) 0.95 and white noise", 0.075), ("bursts of counts", 0.075), ("rare", 0.05)]
)
def test_noise_that_looks_like_an_incident(rng, noise, allowed):
    hidden = persistent(rng, 100, 300, 0.95) + rng.standard_normal((100, 300))
    counts = rng.poisson(np.exp(1.5 * persistent(rng, 100, 300, 0.9) - 2)).astype(float)
    rare = rng.poisson(0.03, (100, 300)).astype(float)
    values = {"AR(1) 0.95 and white noise": hidden, "bursts of counts": counts, "rare": rare}[noise]
    assert (analysis.contrast(pd.DataFrame(values), MIDDLE)["p_value"] <= 0.05).mean() <= allowed


@pytest.mark.parametrize("off", [(0, 0), (-4, 4), (4, -4), (4, 4), (-4, -4)])
def test_an_incident_whose_edges_are_known_roughly(rng, off):
    """Three times as slow among thirty figures, with the interval off by a fifth of its length on either side."""
    times = np.arange(100)
    during = (times >= 40 + off[0]) & (times < 60 + off[1])
    hits = 0
    for _ in range(20):
        values = pd.DataFrame(persistent(rng, 100, 30, 0.5))
        values[0] = np.exp(0.4 * rng.standard_normal(100)) * np.where(during, 3, 1)
        hits += analysis.contrast(values, MIDDLE)["q_value"][0] <= 0.05
    assert hits >= 18


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
    assert contrasts.surroundings(40, 60, 0, 1000) == (0, 140)
    assert contrasts.surroundings(500, 600, 0, 1000) == (200, 900)
    assert contrasts.surroundings(900, 1000, 0, 1000) == (300, 1000)  # all of it before
    assert contrasts.surroundings(0, 100, 0, 1000) == (0, 700)
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
