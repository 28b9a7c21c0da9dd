"""Is one quantile within a limit? How often the answer is wrong, and what it says of few calls."""

import math

import numpy as np
import pytest

from quantum_pulse import analysis
from quantum_pulse.analysis.significance import binomial_tail
from quantum_pulse.evidence import Budget


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def check(durations, limit_us, quantile=0.99, weights=None, alpha=0.05):
    runs = durations if isinstance(durations, list) else [durations]
    parts = [(run, np.ones(run.size, np.int32) if weights is None else weights) for run in runs]
    return analysis.check_budgets({"a": Budget(limit_us, quantile)}, [("a", parts)], alpha).iloc[0]


@pytest.mark.parametrize(("size", "share"), [(1, 0.5), (30, 0.01), (300, 0.01), (5000, 0.001), (100_000, 0.01)])
def test_the_binomial_by_its_sum(size, share):
    logs = [
        math.lgamma(size + 1) - math.lgamma(k + 1) - math.lgamma(size - k + 1)
        + k * math.log(share) + (size - k) * math.log1p(-share)
        for k in range(size + 1)
    ]  # fmt: skip
    masses = np.exp(logs)
    spread = math.sqrt(size * share * (1 - share))
    for count in {0, 1, size, *(max(0, min(size, round(size * share + z * spread))) for z in (-3, -1, 0, 1, 2, 4))}:
        assert binomial_tail(count, size, share) == pytest.approx(masses[count:].sum(), rel=1e-6)


def test_few_calls():
    fast, slow = np.full(5, 1000), np.full(5, 20_000)
    assert check(fast, 10)["verdict"] == "too_few"
    assert check(slow, 10)["verdict"] == "missed"
    assert check(np.full(250, 1000), 10)["verdict"] == "too_few"
    assert check(np.full(500, 1000), 10)["verdict"] == "kept"
    assert check(fast, 10)["ci_high_us"] == math.inf


def test_one_sample_that_stands_for_many_is_one_sample():
    weights = np.full(5, 1000, np.int32)
    assert check(np.full(5, 1000), 10, weights=weights)["verdict"] == "too_few"


@pytest.mark.slow
@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("phi", [0.0, 0.7])
def test_the_interval_covers_and_a_budget_at_the_quantile_is_rarely_judged(rng, quantile, phi):
    """At a limit that is the true quantile every verdict is wrong."""
    trials = 300
    noise = rng.standard_normal((2000, trials))
    for row in range(1, 2000):
        noise[row] = phi * noise[row - 1] + math.sqrt(1 - phi**2) * noise[row]
    z = {0.5: 0.0, 0.9: 1.281552, 0.99: 2.326348}[quantile]
    true = 50 * math.exp(0.3 * z)
    rows = [check(column, true, quantile) for column in 50_000 * np.exp(0.3 * noise.T)]
    wrong = sum(row["verdict"] in ("kept", "missed") for row in rows)
    covered = sum(row["ci_low_us"] <= true <= row["ci_high_us"] for row in rows)
    assert wrong <= 0.05 * trials + 2 * math.sqrt(0.05 * 0.95 * trials)
    assert covered >= 0.95 * trials - 2 * math.sqrt(0.05 * 0.95 * trials)


def test_what_is_clear_is_said(rng):
    durations = 50_000 * np.exp(0.3 * rng.standard_normal(5000))
    assert check(durations, 120)["verdict"] == "kept"
    assert check(durations, 90)["verdict"] == "missed"
    assert check(durations, 49, quantile=0.5)["verdict"] == "missed"
    assert check(durations, 51.5, quantile=0.5)["verdict"] == "kept"


def test_alpha_is_checked(rng):
    with pytest.raises(ValueError, match="alpha must be"):
        check(np.ones(10), 1, alpha=0)


def test_verdicts_and_intervals_of_many_budgets_never_contradict(rng):
    """Among other budgets, of calls that come in bursts, in one run and in three."""
    for runs in (1, 3):
        budgets, calls = {}, []
        for number in range(24):
            own = []
            for _ in range(runs):
                slow = np.cumsum(rng.random(1500) < 0.01) % 2
                durations = 50_000 * np.exp(0.3 * rng.standard_normal(1500) + 0.1 * rng.standard_normal()) * (1 + slow)
                own.append((durations, np.ones(1500, np.int32)))
            budgets[str(number)] = Budget(float(rng.uniform(20, 400)), 0.99 if number % 2 else 0.5)
            calls.append((str(number), own))
        found = analysis.check_budgets(budgets, calls)
        assert len(set(found["verdict"])) >= 2
        for name, row in found.iterrows():
            limit = budgets[str(name)].limit_us
            assert row["ci_low_us"] <= row["value_us"] <= row["ci_high_us"]
            assert (row["verdict"] == "missed") == (row["ci_low_us"] > limit)
            assert (row["verdict"] == "kept") == (row["ci_high_us"] <= limit)
