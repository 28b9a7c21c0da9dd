"""What a glance may conclude from a few runs."""

import math
import random

import numpy as np
import pytest

from quantum_pulse.analysis import compare_samples, runs


def test_the_interval_of_the_median_covers_it():
    random.seed(1)
    for size, least in ((6, 0.95), (20, 0.95), (999, 0.95), (1001, 0.95), (5000, 0.95)):
        found = [runs.median_interval([random.expovariate(1) for _ in range(size)]) for _ in range(300)]
        covered = sum(low <= math.log(2) <= high for _, low, high in found) / 300
        assert covered > least - 0.04, size


def test_counted_ranks_and_those_of_the_normal_distribution_meet():
    for size in range(900, 1001, 7):
        assert abs(runs._rank(size) - math.floor(size / 2 - 0.979982 * math.sqrt(size))) <= 1


def test_too_few_and_first():
    assert runs.judge([3], []).verdict == "first"
    assert runs.judge([3], [1, 1, 1, 1]).verdict == "too_few"
    with pytest.raises(ValueError, match="at least one run"):
        runs.judge([], [1])


def test_one_run_beyond_all_others_is_told_from_five_on():
    usual = [100, 101, 99, 102, 100]
    assert runs.judge([150], usual).verdict == "slower"
    assert runs.judge([60], usual).verdict == "faster"
    assert runs.judge([101], usual).verdict == "usual"
    assert runs.judge([103], usual).verdict == "usual", "less than matters"
    assert runs.judge([150], [100, 140, 70, 145, 90]).verdict == "usual", "they vary as much themselves"
    assert runs.judge([200], [100] * 8).verdict == "slower", "that do not vary"


@pytest.mark.parametrize("size", [5, 12, 38, 39, 100])
def test_false_alarms_of_one_run(size):
    random.seed(size)
    draw = lambda: math.exp(random.gauss(0, 0.3)) * (10 if random.random() < 0.01 else 1)  # noqa: E731
    wrong = sum(runs.judge([draw()], [draw() for _ in range(size)]).verdict != "usual" for _ in range(1000))
    assert wrong / 1000 < runs.ALPHA + 0.02


def series(size, scale=1.0, rho=0.0, seed=0):
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=size)
    for place in range(1, size):
        noise[place] = rho * noise[place - 1] + math.sqrt(1 - rho * rho) * noise[place]
    return (scale * 1e6 * np.exp(0.2 * noise)).tolist()


def test_with_many_on_both_sides_the_comparison_judges():
    before, after = series(400, seed=1), series(400, 1.3, seed=2)
    found = runs.judge(after, before)
    row = compare_samples({"x": before}, {"x": after}).table.iloc[0]
    assert (found.verdict, found.change, found.p_value) == ("slower", row["change"], row["q_value"])
    assert runs.judge(before, after).verdict == "faster"
    assert runs.judge(series(400, seed=3), before).verdict == "usual"


def test_runs_that_depend_on_each_other_raise_no_alarm():
    found = [
        runs.judge(series(400, rho=0.9, seed=number), series(400, rho=0.9, seed=number + 1000)).verdict
        for number in range(60)
    ]
    assert found.count("usual") >= 55


def test_a_tail_that_changed_alone_is_named():
    before = series(2000, seed=1)
    after = [value * (3 if number % 10 == 0 else 1) for number, value in enumerate(series(2000, seed=2))]
    found = runs.judge(after, before)
    assert (found.verdict, found.quantile) == ("slower", 0.95)


def test_a_million_runs_in_a_few_seconds():
    many = series(1000) * 1000
    assert runs.judge(many, many).verdict == "usual"
