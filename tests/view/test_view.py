"""Numbers and tables as they are shown."""

import pandas as pd
import pytest

from quantum_pulse.capture.statistics import COLUMNS
from quantum_pulse.operations import Category
from quantum_pulse.view import html, numbers, text


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (0, "0 ns"), (850, "850 ns"), (999.7, "1.0 µs"), (12_340, "12.3 µs"), (123_456, "123 µs"), (999_970, "1.0 ms"),
        (4_500_000, "4.5 ms"), (1.2e9, "1.2 s"), (150e9, "2.5 min"), (3.1 * 3600e9, "3.1 h"), (float("nan"), "–"),
    ],
)  # fmt: skip
def test_durations(ns, shown):
    assert numbers.duration(ns) == shown


def test_counts():
    assert numbers.count(1234567) == "1,234,567"


@pytest.fixture
def stats():
    rows = [("Low", "Op.A", 9.0), ("High", "Op.小さい", 1.0), ("High", "Op.<b>", 2.0)]
    frame = pd.DataFrame([(c, o, *[v] * len(COLUMNS)) for c, o, v in rows], columns=["category", "operation", *COLUMNS])
    return frame.set_index(["category", "operation"])


CATEGORIES = {"High": Category("High", "says & more", priority=1), "Low": Category("Low", priority=3)}


def test_text_is_aligned_and_in_order(stats):
    lines = text.stats_table(stats, CATEGORIES).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["High", "Op.<b>", "Op.小さい", "Low", "Op.A"]
    assert len({text.width(line) for line in lines if len(line.split()) > 1}) == 1
    assert text.clean("a\x1b[31m") == "a\ufffd[31m"
    assert text.stats_table(stats.iloc[:0]) == "no samples"


def test_html_is_escaped(stats):
    shown = html.stats_table(stats, CATEGORIES, caption="<script>")
    assert "<script>" not in shown
    assert "Op.&lt;b&gt;" in shown
    assert "says &amp; more" in shown
    assert shown.index("High") < shown.index("Low")
