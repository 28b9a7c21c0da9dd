"""The start of a run that is still settling: found where there is one, and only there."""

import numpy as np
import pytest

from quantum_pulse import analysis
from quantum_pulse.analysis.warmup import mser, settling
from tests.analysis.series import persistent


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def lognormal(rng, count):
    return 50_000 * np.exp(0.3 * rng.standard_normal(count))


def with_start(durations, share, factor):
    """The first `share` takes `factor` times as long, and less and less so."""
    first = int(share * durations.size)
    slower = durations.copy()
    slower[:first] *= 1 + (factor - 1) * np.exp(-3 * np.arange(first) / first)
    return slower


@pytest.mark.parametrize("count", [1, 4, 19, 20, 333, 1001])
def test_where_the_mean_is_known_best_by_its_definition(rng, count):
    scores = rng.standard_normal(count)
    batches = [scores[start : start + 5].mean() for start in range(0, count - 4, 5)]
    errors = [
        sum((one - np.mean(batches[start:])) ** 2 for one in batches[start:]) / (len(batches) - start) ** 2
        for start in range(len(batches) // 2 + 1)
        if batches[start:]
    ]
    assert mser(scores) == (5 * int(np.argmin(errors)) if errors else 0)
    assert 0 <= settling(lognormal(rng, count)) <= count / 4


@pytest.mark.parametrize("share", [0.02, 0.05])
@pytest.mark.parametrize("factor", [2, 5])
@pytest.mark.parametrize("count", [5000, 100_000])
def test_a_start_is_found(rng, share, factor, count):
    found = [settling(with_start(lognormal(rng, count), share, factor)) / count for _ in range(10)]
    assert 0.5 * share < np.median(found) < 1.5 * share
    assert min(found) > 0


def test_a_start_that_is_faster_than_the_rest_is_found_too(rng):
    assert settling(with_start(lognormal(rng, 5000), 0.05, 0.3)) == pytest.approx(250, abs=120)


def test_what_has_no_start(rng):
    count = 4000
    slow = np.cumsum(rng.random(count) < 40 / count) % 2
    for durations in (
        np.full(count, 100),
        np.zeros(count),
        np.where(rng.random(count) < 0.5, 100, 200),
        lognormal(rng, count) * (1 + slow),
        # The run has changed on the way: that is no start, and all of it counts.
        lognormal(rng, count) * np.where(np.arange(count) < 0.4 * count, 2, 1),
        lognormal(rng, count) * np.linspace(1, 1.3, count),
        10_000 * (1 + rng.pareto(1.5, count)),
    ):
        assert settling(durations) == 0


def test_it_is_set_aside_and_counted(rng):
    before = {"a": lognormal(rng, 5000), "b": lognormal(rng, 5000)}
    after = [{"a": lognormal(rng, 5000), "b": lognormal(rng, 5000)} for _ in range(2)]
    after[1]["a"] = with_start(after[1]["a"], 0.05, 5)
    found = analysis.compare_samples(before, after)
    (row,) = found.warmup.to_dict("records")
    assert (row["side"], row["run"], row["operation"], row["samples"]) == ("current", 1, "a", 5000)
    assert 125 <= row["set_aside"] <= 375
    assert row["change"] > 0.5
    assert f"the first {row['set_aside']} of 5,000 samples of a." in found.summary
    assert set(found.table["verdict"]) <= {"equivalent", "inconclusive"}
    kept = analysis.compare_samples(before, after, skip_warmup=False)
    assert kept.warmup.empty
    assert "warm-up" not in kept.summary
    assert after[1]["a"].size == 5000, "the caller's samples stay as they are"


def test_a_start_makes_an_answer_less_sure(rng):
    """Left in, it shifts the upper quantiles, and they vary with it."""
    before = {"a": lognormal(rng, 20_000)}
    after = {"a": with_start(lognormal(rng, 20_000), 0.05, 5)}
    left_in, set_aside = (analysis.compare_samples(before, after, skip_warmup=skip).table for skip in (False, True))
    assert set_aside["verdict"].tolist() == ["equivalent"] * 3
    assert left_in["verdict"].tolist() != ["equivalent"] * 3
    widths = [table["ci_high"] - table["ci_low"] for table in (left_in, set_aside)]
    assert (widths[0][1:] > 2 * widths[1][1:]).all()


@pytest.mark.parametrize(("count", "first", "factor"), [(100, 4, 3), (300, 10, 2), (1000, 6, 2.5), (2000, 190, 1.25)])
@pytest.mark.parametrize("phi", [0.0, 0.5])
def test_short_starts_and_long_ones(count, first, factor, phi):
    """As of a compiler: a few very slow iterations, or many that are a bit slower."""
    rng = np.random.default_rng(15)
    near = 0
    for _ in range(20):
        durations = 50_000 * np.exp(0.06 * persistent(rng, count, 1, phi)[:, 0])
        durations[:first] *= factor
        found = settling(durations)
        near += first / 2 <= found <= 2 * first + 5
    assert near >= 14


def test_one_slow_sample_at_first_is_no_start():
    """Rare slow samples come at any time, and so now and then at first."""
    rng = np.random.default_rng(16)
    durations = 50_000 * np.exp(0.1 * rng.standard_normal(1000)) * np.where(rng.random(1000) < 0.02, 10, 1)
    durations[0] = 500_000
    assert settling(durations) == 0
