"""Budgets as they are shown: each home goes by the verdict, and not by single calls."""

import re

import numpy as np
import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse.cli import main
from quantum_pulse.diagnosis import budgets as checks
from quantum_pulse.operations import Category, Definition
from quantum_pulse.view import budgets
from tests.reading.conftest import write_capture  # noqa: F401 - a fixture


@pytest.fixture
def capture(write_capture):  # noqa: F811 - the fixture
    """2,000 calls of each operation: above the budget of 10 µs is one in 200 of KEPT, and one in four of MISSED."""
    place = np.arange(4000)
    duration = np.where(place % 400 == 0, 50_000, 1000) + np.where(place % 8 == 1, 60_000, 0)
    operations = [Definition(name, "w", "", Category("A"), budget_us=10) for name in ("W.KEPT", "W.MISSED")]
    return qp.open(
        write_capture([{"start": place * 10_000, "duration": duration, "operation": place % 2}], operations=operations)
    )


def test_lines_and_cells():
    counted = pd.DataFrame(
        {
            "budget_us": [10.0, 20.0, 30.0, 40.0],
            "count": [1000, 1000, 1000, 5],
            "over": [11, 500, 300, 0],
            "share": [0.011, 0.5, 0.3, 0.0],
            "quantile": [0.99, 0.5, 0.999, 0.99],
        },
        index=["A.LONG", "A.B", "A.\x1bC", "A.D"],
    )
    checked = counted.assign(
        value_us=[9.0, 20.0, 50.0, 1.0],
        ci_low_us=[8.0, 19.0, 45.0, 0.5],
        ci_high_us=[9.5, 21.0, 55.0, float("inf")],
        verdict=["kept", "inconclusive", "missed", "too_few"],
    )
    assert budgets.lines(checked.to_dict("index")).splitlines() == [
        "Budgets",
        "  ▲ missed        A.\ufffdC    p99.9 50.0 µs (45.0 µs to 55.0 µs), budget 30.0 µs; 30 % of its calls "
        "exceed it",
        "  ? inconclusive  A.B     p50 20.0 µs (19.0 µs to 21.0 µs), budget 20.0 µs; 50 % of its calls exceed it",
        "  · too few       A.D     p99 1.0 µs (500 ns to ∞), budget 40.0 µs; 0 % of its calls exceed it",
        "  = kept          A.LONG  p99 9.0 µs (8.0 µs to 9.5 µs), budget 10.0 µs; 1.1 % of its calls exceed it",
    ]
    rows = dict(budgets.ordered(checked))
    assert budgets.short(rows["A.LONG"]) == "kept, 1.1 %"
    assert budgets.short(rows["A.D"]) == "too few, 0 %"
    assert budgets.lines(counted[1:2].to_dict("index")).splitlines()[1] == (
        "  · not checked  A.B  p50, budget 20.0 µs; 50 % of its calls exceed it"
    )
    assert budgets.lines({}) == ""
    for more, told in (
        (0, ""),
        (1, "; 1 more is unfinished and exceeds it already"),
        (959, "; 959 more are unfinished and exceed it already"),
    ):
        line = budgets.lines(counted[1:2].assign(open_over=more).to_dict("index"))
        assert line.endswith(f"50 % of its calls exceed it{told}")


def test_all_homes_of_a_capture_say_the_same(capture, capsys):
    found = capture.budgets()[["over", "verdict"]].to_dict("index")
    assert found == {"W.KEPT": {"over": 10, "verdict": "kept"}, "W.MISSED": {"over": 500, "verdict": "missed"}}
    report = capture.report()
    page = report.text("html")
    cells = (
        "kept, 0.5 %",
        "missed, 25 %",
        "W.MISSED p99 10.0 µs 61.0 µs 61.0 µs to 61.0 µs 25 % missed",
        "W.KEPT p99 10.0 µs 1.0 µs 1.0 µs to 1.0 µs 0.5 % kept",
    )
    for shown in (report.text(), re.sub(r"[|\\\\]", " ", report.text("markdown")), words(page)):
        shown = " ".join(shown.split())
        assert [cell for cell in cells if cell not in shown] == []
        assert (
            "misses its budget: p99 61.0 µs (61.0 µs to 61.0 µs), budget 10.0 µs; 25 % of its calls exceed it." in shown
        )
    marked = re.findall(r'<td[^>]*class="[^"]*bad[^"]*"[^>]*>(.*?)</td>', page)
    assert marked == ["missed, 25 %", "missed", "missed"]
    assert "p99 within budget kept calls over budget 0.5 %" in words(page)
    assert main(["stats", str(capture.path)]) == 0
    for shown in (capsys.readouterr().out, capture._repr_html_()):
        assert "▲ missed  W.MISSED  p99 61.0 µs" in shown
        assert "= kept    W.KEPT    p99 1.0 µs" in shown


def words(page):
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_what_would_take_long_is_checked_where_it_is_asked_for(capture, monkeypatch):
    assert "verdict" in capture.budgets(check=None)
    monkeypatch.setattr(checks, "MOST_CHECKED", 3999)
    assert "verdict" not in capture.budgets(check=None)
    assert "verdict" in capture.budgets()
    assert "· not checked  W.MISSED  p99, budget 10.0 µs; 25 % of its calls exceed it" in capture._repr_html_()
