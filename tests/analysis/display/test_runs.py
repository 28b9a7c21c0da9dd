"""The answer below a cell, as text and as HTML."""

import pandas as pd

from quantum_pulse.analysis.display import runs as view
from quantum_pulse.analysis.runs import Runs

MS = 1_000_000


def found(durations, earlier=(), **more):
    return Runs(**{"name": "Op.CELL", "durations_ns": durations, "earlier_ns": earlier, "errors": [], "failed_ns": [],
                   "budget_us": None, **more})  # fmt: skip


def test_one_run():
    assert view.as_text(found([2 * MS])) == "Op.CELL: 2.0 ms\n○ the first run in this session"
    assert view.as_text(found([2 * MS], [MS] * 6)).endswith(
        "▲ slower: +100 % against the median of 6 earlier runs, 1.0 ms (1.0 to 1.0 ms)"
    )
    assert "● as usual: +2 % against" in view.as_text(found([1.05 * MS], [MS * (1 + n / 100) for n in range(6)]))
    assert "▲ slower: 50 times as long, against" in view.as_text(found([50 * MS], [MS] * 6))
    assert "● as usual: ±0 % against" in view.as_text(found([0.997 * MS], [MS] * 6))
    assert "▼ faster: 1/50 as long, against" in view.as_text(found([MS], [50 * MS] * 6))
    assert "○ the first run in main\ufffd" in view.as_text(found([MS], capture_name="main\x1b"))


def test_runs_that_differ_much_leave_no_verdict():
    scattered = [MS, 5 * MS, 29 * MS, 200 * MS, MS, 40 * MS]
    assert view.as_text(found([MS], scattered)).endswith(
        "○ inconclusive: 1/17 as long, against the median of 6 earlier runs, 17.0 ms, which vary widely (1.0 to 200 ms)"
    )
    assert "○ inconclusive: 12 times as long" in view.as_text(found([200 * MS], scattered))
    assert "● as usual: −6 %" in view.as_text(found([16 * MS], scattered))


def test_several_runs_have_a_shape():
    text = view.as_text(found([MS, MS, MS, 2 * MS, 2 * MS, 2 * MS, 4 * MS]))
    first = text.splitlines()[0]
    assert first.startswith("Op.CELL: median 2.0 ms of 7 runs, 95 % interval 1.0 to 4.0 ms  █")
    assert first.endswith("  1.0 to 4.0 ms")
    assert view.as_html(found([MS, MS, 2 * MS])).count("<rect") == 2
    spans = view.as_html(found([MS], [2 * MS] * 6, budget_us=3000))
    assert 'of <span class="unit">3.0 ms</span>' in spans, "a number stays beside its unit"
    assert "<svg" not in view.as_html(found([MS, MS])), "nothing to see"
    assert "interval" not in view.as_text(found([MS, MS, 2 * MS])), "three runs have none of 95 %"


def test_runs_that_failed_are_said_and_not_judged():
    failed = found([], [MS] * 6, errors=["ZeroDivisionError"], failed_ns=[50], budget_us=0.01)
    assert view.as_text(failed) == (
        "Op.CELL: did not finish\n✗ raised ZeroDivisionError after 50 ns; failed runs are not judged"
    )
    assert failed.judgement is None
    assert failed.duration_ns is None


def test_budget_and_baseline():
    text = view.as_text(found([2 * MS] * 3 + [5 * MS], budget_us=3000, baseline="main{", baseline_ns=[MS] * 6))
    assert "▲ slower: +100 % against the median of 6 runs in main{, 1.0 ms" in text
    assert "○ over its budget of 3.0 ms in 1 of 4 runs, too few runs to tell whether its p99 is" in text
    never = view.as_text(found([MS], baseline="main", baseline_ns=[]))
    assert "○ no finished run in main" in never
    why = view.as_text(found([MS], not_compared="main has no Op.CELL\x1b"))
    assert why.endswith("○ not compared: main has no Op.CELL\ufffd")
    assert "not compared" not in view.as_text(found([], errors=["ValueError"], not_compared="main has no Op.CELL"))


def test_a_budget_is_for_a_quantile():
    def line(over, runs, quantile):
        durations = [5 * MS if place * over % runs < over else MS for place in range(runs)]
        shown = found(durations, budget_us=3000, budget_quantile=quantile)
        return shown.budget_verdict, view.as_text(shown).splitlines()[-1]

    assert line(0, 4, 0.99) == ("too_few", "✓ within its budget of 3.0 ms")
    assert line(1, 1, 0.99) == ("too_few", "○ over its budget of 3.0 ms, too few runs to tell whether its p99 is")
    assert line(4, 40, 0.5) == ("kept", "✓ keeps its budget of 3.0 ms at the p50")
    assert line(40, 40, 0.5) == ("missed", "✗ misses its budget of 3.0 ms at the p50, exceeded in 40 of 40 runs")
    assert line(20, 40, 0.5) == (
        "inconclusive",
        "○ over its budget of 3.0 ms in 20 of 40 runs, inconclusive as to whether its p50 is",
    )
    assert found([], budget_us=3000).budget_verdict == found([MS]).budget_verdict == ""


def test_names_are_shown_as_text():
    inside = pd.DataFrame(
        {"depth": [1], "operation": ["<b>X\x1b[J"], "count": [2], "total_us": [3.0], "mean_us": [1.0], "max_us": [2.0]}
    )
    page = view.as_html(found([MS], name="<i>", baseline="<u>", baseline_ns=[MS], errors=["<s>"], inside=inside))
    assert not any(tag in page for tag in ("<i>", "<u>", "<s>", "<b>X"))
    assert "\x1b" not in page + view.as_text(found([MS], inside=inside))
    assert view.as_text(found([MS], inside=inside)).splitlines()[-1].split() == [
        *("<b>X\ufffd[J", "2", "3.0", "µs", "1.0", "µs", "2.0", "µs")
    ]
