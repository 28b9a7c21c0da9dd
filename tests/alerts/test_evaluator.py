"""When rules fire and recover."""

import random

import pytest

import quantum_pulse as qp
from quantum_pulse.alerts import evaluator
from quantum_pulse.alerts.evaluator import TICK_S, Evaluator
from quantum_pulse.alerts.rules import Check, checks_of


class Api(qp.Operation):
    REQUEST = qp.op("One request")


def run(rule, counts, start_s=0.0):
    """What changes over (calls, bad calls) of one tick after the other."""
    own, found = Evaluator([rule], start_s), []
    for number, (calls, bad) in enumerate(counts, 1):
        own.add(0, start_s + number * TICK_S, calls, bad)
        found += own.step(start_s + number * TICK_S)
    return [(change.at_s - start_s, change.severity, change.is_firing) for change in found]


def test_an_alert_fires_and_recovers_with_hysteresis():
    rule = qp.Alert(Api.REQUEST, quantile=0.99, above_us=5_000, for_s=60)
    found = run(rule, [(500, 2)] * 50 + [(500, 50)] * 50 + [(500, 2)] * 50)
    assert [state[1:] for state in found] == [("critical", True), ("critical", False)]
    assert 250 < found[0][0] <= 270
    # It has to leave the window, and to stay away for as long.
    assert 500 + 100 <= found[1][0] <= 500 + 130


def test_what_goes_up_and_down_at_the_limit_does_not_flap():
    rule = qp.Alert(Api.REQUEST, errors_above=0.1, for_s=60)
    waves = [(100, 30)] * 24 + [(100, 8), (100, 12)] * 200
    assert run(rule, waves) == [(10.0, "critical", True)]


@pytest.mark.parametrize("rule", [qp.Alert(Api.REQUEST, errors_above=0.01), qp.SLO(Api.REQUEST)])
def test_a_few_bad_calls_of_few_prove_nothing(rule):
    sparse = ([(1, 1)] + ([(0, 0)] * 700 + [(1, 0)]) * 3) * 2
    assert run(rule, sparse) == []


def test_a_rare_service_that_always_fails_is_paged():
    hourly = ([(1, 1)] + [(0, 0)] * 460) * 60
    found = [state for _, *state in run(qp.SLO(Api.REQUEST), hourly)]
    assert found == [["warning", True], ["critical", True]]


def test_ninety_percent_that_fail_are_paged_within_five_minutes():
    draw = random.Random(7)
    for objective in (0.9, 0.99, 0.999, 0.9999):
        healthy = [(2, 0), (3, 0)] * 720
        failing = [(n, sum(draw.random() < 0.9 for _ in range(n))) for n in (2, 3) * 60]
        found = run(qp.SLO(Api.REQUEST, objective=objective), healthy + failing)
        critical = [at_s for at_s, severity, _ in found if severity == "critical"]
        assert 7200 < critical[0] <= 7500, objective


def test_a_slow_burn_is_a_warning_only():
    found = run(qp.SLO(Api.REQUEST, objective=0.99), [(1000, 20)] * (2 * 17280))
    assert [state[1:] for state in found] == [("warning", True)]


def test_an_operation_that_is_expected_and_does_not_run():
    rule = qp.Alert(Api.REQUEST, expect_every_s=60, severity="warning")
    found = run(rule, [(1, 0)] * 3 + [(0, 0)] * 20 + [(1, 0)], start_s=1e9)
    assert found == [(75.0, "warning", True), (120.0, "warning", False)]
    assert run(rule, [(0, 0)] * 12)[0] == (60.0, "warning", True), "one that never ran"


def test_memory_is_bounded():
    own = Evaluator([qp.SLO(Api.REQUEST)], 0.0)
    for tick in range(1, 60_000):
        own.add(0, tick * TICK_S, 10, 0)
        own.step(tick * TICK_S)
    (state,) = own._states
    for length, window in state._lengths.items():
        assert len(window._slots) <= 62
        assert window.calls == pytest.approx(min(length, 60_000 * TICK_S) / TICK_S * 10, rel=0.04)


@pytest.mark.parametrize(("calls", "bad", "limit"), [(1, 1, 0.5), (20, 12, 0.3), (1000, 40, 0.02), (50, 50, 0.9)])
def test_the_bound_is_one(calls, bad, limit):
    """The exact probability of so many bad calls is no larger, and by less than its number of calls."""
    from math import comb, exp

    exact = sum(comb(calls, k) * limit**k * (1 - limit) ** (calls - k) for k in range(bad, calls + 1))
    bound = exp(-evaluator._surprise(calls, bad, limit))
    assert exact <= bound * (1 + 1e-9)
    assert bound <= exact * (calls + 1)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: qp.Alert(Api.REQUEST), "one condition"),
        (lambda: qp.Alert(Api.REQUEST, quantile=0.99), "go together"),
        (lambda: qp.Alert(Api.REQUEST, quantile=99, above_us=5), "between 0 and 1, not 99"),
        (lambda: qp.Alert(Api.REQUEST, errors_above=0.1, expect_every_s=5), "one condition"),
        (lambda: qp.Alert(Api.REQUEST, errors_above=True), "not True"),
        (lambda: qp.Alert(Api.REQUEST, errors_above=0.1, for_s=0), "for_s must be a number between 5"),
        (lambda: qp.Alert(Api.REQUEST, errors_above=0.1, severity="page"), "'warning' or 'critical', not 'page'"),
        (lambda: qp.Alert(Api.REQUEST, expect_every_s=-1), "above 0, not -1"),
        (lambda: qp.SLO(Api.REQUEST, objective=1), "objective must be a number between 0 and 1"),
        (lambda: qp.SLO(Api.REQUEST, name=" "), "name must be text"),
    ],
)
def test_what_makes_no_sense_is_refused(make, why):
    with pytest.raises(ValueError, match=why):
        make()


def test_strings_are_no_operations():
    with pytest.raises(TypeError, match="did you mean"):
        qp.SLO("Api.REQUESTS")


def test_a_rule_says_what_it_checks():
    assert qp.Alert(Api.REQUEST, errors_above=0.05).title == "Api.REQUEST: more than 5% fail"
    assert qp.Alert(qp.Category("Web"), expect_every_s=3600).title == "Web: nothing for 3,600 s"
    assert qp.SLO(Api.REQUEST, objective=0.9995).title == "Api.REQUEST: 99.95% succeed"
    assert checks_of(qp.Alert(Api.REQUEST, errors_above=0.05, for_s=30)) == (Check(30, 30, 0.05, "critical"),)
