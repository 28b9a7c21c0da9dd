"""The sentences at the top of a report: they name what was slow, when, and what is behind it."""

import json
import math

import pytest

import quantum_pulse as qp
from quantum_pulse.diagnosis import culprits
from quantum_pulse.facade import reporting
from quantum_pulse.operations import Category, Definition
from tests.reading.conftest import write_capture  # noqa: F401 - a fixture
from tests.view.captures import SLOW_EXCHANGE

NAMES = ["Pay.FLOW", "Pay.VALIDATION", "Pay.FRAUD", "Pay.GATEWAY"]
PAY = [Definition(name, "pay", "", Category("Payments"), 1, None) for name in NAMES]
FLOW, VALIDATION, FRAUD, GATEWAY = range(4)
MS = 10**6


def calls(*shape, times=50):
    """Rows of `times` equal flows; a call is (operation, start, duration, place of its parent from 1; 0: none)."""
    return [
        {
            "operation": operation,
            "start": flow * 20 * MS + start * MS,
            "duration": duration * MS,
            "parent": flow * len(shape) + parent if parent else 0,
        }
        for flow in range(times)
        for operation, start, duration, parent in shape
    ]


def report_on(path):
    return reporting.gather(qp.open(path)._source, None)


def verdict_on(path):
    text = qp.open(path).report().text()
    return " ".join(text.partition("Verdict")[2].partition("Operations\n")[0].split())


NESTED = [(FLOW, 0, 10, 0), (VALIDATION, 0, 3, 1), (FRAUD, 0, 3, 2), (GATEWAY, 3, 7, 1)]


def test_the_leaves_with_the_time_are_named_not_what_contains_them(write_capture):  # noqa: F811 - the fixture
    path = write_capture([calls(*NESTED)], operations=PAY)
    text = verdict_on(path)
    assert text.strip("─ ").startswith(
        "Pay.GATEWAY has the largest self time, 70 % of all time: a call takes 7.0 ms at p50. "
        "Pay.FRAUD follows with 30 %."
    )
    assert "FLOW" not in text
    shares = report_on(path).shares
    assert shares.operations == {
        ("Payments", "Pay.FLOW"): (0, 1),
        ("Payments", "Pay.GATEWAY"): (pytest.approx(0.7), pytest.approx(0.7)),
        ("Payments", "Pay.VALIDATION"): (0, pytest.approx(0.3)),
        ("Payments", "Pay.FRAUD"): (pytest.approx(0.3), pytest.approx(0.3)),
    }
    assert shares.categories == {"Payments": (1, 1)}


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_all_tables_have_shares_of_the_same_time(write_capture, form):  # noqa: F811 - the fixture
    written = qp.open(write_capture([calls(*NESTED)], operations=PAY)).report().text(form)
    assert "44 %" not in written  # 10 of 23 ms: the sum of all durations counts the same time up to three times
    assert "self time" in written
    assert "70 % of all time" in written.replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ")


def test_tasks_that_ran_at_once_count_in_full_but_shares_stay_below_all(write_capture):  # noqa: F811 - the fixture
    """Three tasks of 9 ms in a flow of 10 ms, one of which outlives it by 5 ms."""
    shape = [(FLOW, 0, 10, 0), (FRAUD, 1, 9, 1), (FRAUD, 1, 9, 1), (GATEWAY, 1, 14, 1)]
    path = write_capture([calls(*shape)], operations=PAY)
    found = report_on(path).shares.operations
    assert found["Payments", "Pay.FLOW"] == (pytest.approx(1 / 33), pytest.approx(1))
    assert found["Payments", "Pay.FRAUD"].own == pytest.approx(18 / 33)
    assert sum(share.own for share in found.values()) == pytest.approx(1)
    assert "Pay.FRAUD has the largest self time, 55 % of all time" in verdict_on(path)


def test_flat_calls_and_operations_both_outermost_and_inside(write_capture):  # noqa: F811 - the fixture
    flat = [(FLOW, 0, 5, 0), (GATEWAY, 6, 3, 0)]
    assert "Pay.FLOW has the largest self time, 62 % of all time" in verdict_on(
        write_capture([calls(*flat)], operations=PAY)
    )
    recursive = [(FLOW, 0, 8, 0), (FLOW, 0, 6, 1), (GATEWAY, 0, 4, 2), (GATEWAY, 9, 2, 0)]
    path = write_capture([calls(*recursive)], operations=PAY)
    found = report_on(path).shares.operations
    assert found["Payments", "Pay.FLOW"] == (pytest.approx(0.4), pytest.approx(0.8))
    assert found["Payments", "Pay.GATEWAY"] == (pytest.approx(0.6), pytest.approx(0.6))


def test_self_time_that_is_not_known_is_called_an_estimate(write_capture):  # noqa: F811 - the fixture
    rows = [row | {"span": 2 * place + 1} for place, row in enumerate(calls((GATEWAY, 0, 5, 0)))]
    path = write_capture([rows], operations=PAY)
    assert "estimate" not in verdict_on(path)
    (process,) = (path / "processes").glob("*.json")
    start = write_capture.anchor_ns
    loss = {"operation": None, "thread": 1, "count": 50, "start": start, "end": start + 10**9, "cause": "rings full"}
    process.write_text(json.dumps(json.loads(process.read_text()) | {"losses": [loss]}))
    text = verdict_on(path)
    assert "Pay.GATEWAY has the largest self time, 100 % of all time" in text
    assert "its self time is an estimate" in text


def test_the_planted_cause_is_named():
    text = qp.open(SLOW_EXCHANGE).report().text()
    section = " ".join(text.partition("Verdict")[2].partition("Operations")[0].split())
    assert "Engine.SUBMIT was slow from 1.05 s to 1.85 s" in section
    assert "it waited, for a lock, a queue, a disk or a peer" in section


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


def test_a_start_up_is_no_incident_and_each_incident_is_named(write_capture):  # noqa: F811 - the fixture
    """Flows are slow at first; then the gateway for a while, later fraud detection."""

    def took(flow):
        if flow < 12:
            return 9, 9
        return (3, 7 * 3) if 80 <= flow < 100 else (3 * 4, 7) if 150 <= flow < 165 else (3, 7)

    rows, start = [], 0
    for flow in range(200):
        fraud, gateway = took(flow)
        for operation, begin, duration, parent in (
            (FLOW, 0, fraud + gateway, 0),
            (FRAUD, 0, fraud, 1),
            (GATEWAY, fraud, gateway, 1),
        ):
            place = flow * 3 + parent if parent else 0
            rows.append(
                {"operation": operation, "start": start + begin * MS, "duration": duration * MS, "parent": place}
            )
        start += 40 * MS
    path = write_capture([rows], operations=PAY)
    assert [one.name for one in culprits.incidents(report_on(path))] == ["Pay.GATEWAY", "Pay.FRAUD"]
    text = verdict_on(path)
    assert "Pay.GATEWAY was slow from 3.2 s to 4 s after the start" in text
    assert "Pay.FRAUD was slow from 6 s to 6.6 s: 4.0 times, 135 ms." in text


def test_slow_for_longer_than_a_start_is_an_incident():
    totals = [300] * 5 + [100] * 45
    assert culprits.slow_moment([100] * 50, totals) is None
    assert culprits.slow_moment([100] * 50, [300] * 6 + [100] * 44)[:2] == (0, 5)
