"""Numbers and tables as they are shown."""

import time

import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse import shown
from quantum_pulse.evidence import Priorities
from quantum_pulse.operations import Category
from quantum_pulse.statistics import COLUMNS
from quantum_pulse.view import html, numbers, operations, statistics, text
from tests.view.captures import ENGINE


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (0, "0 ns"), (850, "850 ns"), (999.7, "1.0 µs"), (12_340, "12.3 µs"), (123_456, "123 µs"), (999_970, "1.0 ms"),
        (4_500_000, "4.5 ms"), (1.2e9, "1.2 s"), (150e9, "2.5 min"), (3.1 * 3600e9, "3.1 h"), (float("nan"), "–"),
    ],
)  # fmt: skip
def test_durations(ns, shown):
    assert numbers.duration(ns) == shown


@pytest.mark.parametrize(
    ("ns", "unit", "shown"),
    [(12_345, "us", "12.345 µs"), (1, "ms", "0.000001 ms"), (5e12, "us", "5,000,000,000.000 µs"),
     (1.5e9, "s", "1.500000000 s"), (float("nan"), "s", "–"), (12_345, "auto", "12.3 µs")],
)  # fmt: skip
def test_durations_in_one_unit(ns, unit, shown):
    assert numbers.duration(ns, unit) == shown


def test_an_unknown_unit_is_refused():
    with pytest.raises(ValueError, match=r"one of 'us', 'ms', 's', not 'h'"):
        numbers.duration(1, "h")


def test_counts():
    assert numbers.count(1234567) == "1,234,567"


@pytest.fixture
def stats():
    rows = [("Low", "Op.A", 9.0), ("High", "Op.小さい", 1.0), ("High", "Op.<b>", 2.0)]
    frame = pd.DataFrame([(c, o, *[v] * len(COLUMNS)) for c, o, v in rows], columns=["category", "operation", *COLUMNS])
    return frame.set_index(["category", "operation"])


def as_text(*arguments, **options):
    return text.table(statistics.table(*arguments, **options))


def as_html(*arguments, **options):
    return html.card([statistics.table(*arguments, **options)])


CATEGORIES = {"High": Category("High", "says & more", priority=1), "Low": Category("Low", priority=3)}


def test_text_is_aligned_and_in_order(stats):
    lines = as_text(stats, CATEGORIES).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["High", "Op.<b>", "Op.小さい", "Low", "Op.A"]
    assert len({text.width(line) for line in lines if len(line.split()) > 1}) == 1
    assert shown.clean("a\x1b[31m") == "a\ufffd[31m"
    assert as_text(stats.iloc[:0]) == "no samples"


def test_html_is_escaped(stats):
    shown = as_html(stats, CATEGORIES, caption="<script>")
    assert "<script>" not in shown
    assert "Op.&lt;b&gt;" in shown
    assert "says &amp; more" in shown
    assert shown.index("High") < shown.index("Low")


def test_the_order_can_be_kept(stats):
    lines = as_text(stats, CATEGORIES, keep_order=True, unit="ms").splitlines()
    assert [line.split()[0] for line in lines] == [
        "operation",
        "─" * text.width(lines[1]),
        "Op.A",
        "Op.小さい",
        "Op.<b>",
    ]
    assert "0.009000 ms" in lines[2]
    shown = as_html(stats, CATEGORIES, keep_order=True)
    assert shown.index("Op.A") < shown.index("Op.小さい")
    assert "rowgroup" not in shown.partition("</style>")[2]


def test_other_rows_and_quantiles_are_shown(stats):
    threads = stats.drop(columns=["p90_us", "p95_us", "p999_us"]).reset_index().assign(thread=[7, 8, 9])
    shown = as_text(threads.set_index(["thread"]).drop(columns=["category", "operation"]))
    assert shown.splitlines()[0].split() == ["thread", "count", "errors", "total", "mean", "p50", "p99", "max"]
    assert "category" not in shown
    both = as_text(threads.set_index(["category", "operation", "thread"]), CATEGORIES).splitlines()
    assert both[0].split()[:2] == ["operation", "thread"]
    assert both[3].split()[:2] == ["Op.<b>", "9"]
    assert "p90" in as_text(stats.drop(columns="p99_us"))


def test_priorities_decide_the_order_everywhere(tmp_path):
    """What is defined as more important comes first, however little time it takes."""
    first, last = qp.Category("Critical path", priority=1), qp.Category("Background", priority=9)

    class Ranked(qp.Operation):
        LATE = qp.op(category=first, priority=2)
        LOGIN = qp.op(category=first, priority=1)
        CLEANUP = qp.op(category=last, priority=9)

    with qp.record(tmp_path / "capture"):
        for operation, times in ((Ranked.LOGIN, 1), (Ranked.LATE, 3), (Ranked.CLEANUP, 10)):
            for _ in range(times):
                with operation:
                    time.sleep(0.001)
    capture = qp.open(tmp_path / "capture")
    expected = ["Critical path", "Ranked.LOGIN", "Ranked.LATE", "Background", "Ranked.CLEANUP"]

    def order(text):
        places = [text.index(name) for name in expected]
        return [name for _, name in sorted(zip(places, expected, strict=True))]

    report = capture.report()
    for kind in ("text", "markdown", "html"):
        written = report.text(kind)
        heading = "by priority, then largest total" if kind == "html" else "priority"
        assert order(written[written.index(heading) :]) == expected, kind
    assert order(capture._repr_html_()) == expected
    labels = [text.get_text() for axes in capture.plot().axes for text in axes.texts]
    assert [name for name in labels if name in expected] == ["Critical path", "Background"]


def test_priorities_that_nobody_set_are_not_shown():
    capture = qp.open(ENGINE)
    plain = operations.build(capture.stats(), capture.budgets(check=False), {}, Priorities({}, {}))[0]
    assert "priority" not in [column.name for column in plain.columns]
    assert all(len(row.cells) == len(plain.columns) for row in plain.rows)
