"""The sentences at the top of a report: they name what was slow, when, and what is behind it."""

import math

import quantum_pulse as qp
from quantum_pulse.diagnosis import culprits
from tests.view.captures import SLOW_EXCHANGE


def test_the_planted_cause_is_named():
    text = qp.open(SLOW_EXCHANGE).report().text()
    section = " ".join(text.partition("Verdict")[2].partition("Operations")[0].split())
    assert "Engine.SUBMIT was slow from 1.05 s to 1.85 s" in section
    assert "it waited for something outside the process" in section


def test_nothing_is_made_up_of_an_even_run():
    assert culprits.slow_moment([100] * 50, [100 * (1 + 0.2 * (place % 3)) for place in range(50)]) is None


def test_a_slow_moment():
    totals = [100.0] * 20 + [500.0] * 3 + [100.0] * 20
    assert culprits.slow_moment([100] * 43, totals) == (20, 22, 1200.0, 5.0, 1.0)


def test_slow_for_most_of_the_time_but_few_of_the_calls():
    counts = [100.0] * 10 + [5.0] * 30 + [100.0] * 5
    totals = [100.0] * 10 + [500.0] * 30 + [100.0] * 5
    moment = culprits.slow_moment(counts, totals)
    assert (moment.first, moment.last, moment.usual_us) == (10, 39, 1.0)


def test_windows_without_calls_neither_belong_to_a_moment_nor_end_it():
    counts = [100.0] * 10 + [10.0, math.nan, 10.0] + [100.0] * 10
    totals = [100.0] * 10 + [500.0, math.nan, 500.0] + [100.0] * 10
    moment = culprits.slow_moment(counts, totals)
    assert (moment.first, moment.last) == (10, 12)
