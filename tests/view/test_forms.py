"""One table, one chart and one document, in each form that they are shown in."""

import math

import pytest

from quantum_pulse.view import html, markdown, sparks, svg, text
from quantum_pulse.view.chart import Durations, Interval, OnScale, Runs, Share, Trend
from quantum_pulse.view.document import (
    Bullets,
    Cell,
    Column,
    Document,
    Fold,
    Name,
    Paragraph,
    Row,
    Section,
    Table,
    marked,
    with_names,
)
from quantum_pulse.view.scales import LogScale

NAME = "A.小|`<b>\x1b"


@pytest.fixture
def table():
    columns = [
        Column("operation", is_number=False),
        Column("calls"),
        Column("share", wide=True),
        Column("trend", is_number=False),
    ]
    rows = [
        Row([Cell(Name("Work"), title="says & more")], is_group=True),
        Row(
            [
                Cell(Name(NAME, "op-1")),
                Cell("1,234", 1234),
                Cell("", chart=Share(0.5)),
                Cell("", chart=Trend([1.0, math.nan, 100.0])),
            ],
            level=2,
        ),
    ]
    return Table("All & sundry", columns, rows, "grid")


def test_a_table_as_text(table):
    lines = text.table(table).splitlines()
    assert lines[0] == "operation     calls  trend"
    assert lines[1] == "─" * text.width(lines[0])
    assert lines[2] == "Work", "a group with one cell is a title across the table"
    assert lines[3] == "  A.小|`<b>\ufffd  1,234  ▁ █", "nothing steers a terminal, wide letters count for two"
    assert text.table(Table("", table.columns, [], empty="no samples")) == "no samples"


def test_a_table_as_markdown(table):
    lines = markdown.table(table).splitlines()
    assert lines[0] == "| operation | calls | trend |"
    assert lines[1] == "| --- | --: | --- |"
    assert lines[2] == "| **Work** |  |  |"
    assert lines[3].startswith("| &emsp;A.小\\|\\`\\<b\\>")
    assert lines[3].endswith(" | 1,234 | ▁ █ |")
    code = markdown.table(Table("", table.columns[:1], [Row([Cell(Name(NAME, is_code=True))])]))
    assert code.splitlines()[2] == "| `A.小\\|'<b>\ufffd` |"


def test_a_table_as_html(table):
    shown = html.table(table)
    assert "<caption>All &amp; sundry</caption>" in shown
    assert '<th scope="rowgroup" colspan="4" class="left d1" title="says &amp; more"><bdi>Work</bdi></th>' in shown
    assert '<a href="#op-1"><bdi>A.小|`&lt;b&gt;⟨U+001B⟩</bdi></a>' in shown
    assert '<td data-order="1234">1,234</td>' in shown
    assert shown.count("<svg") == 2
    assert "<thead>" not in html.table(Table("", [Column("")], [Row([Cell("x")])]))


def test_a_row_that_lacks_a_cell_is_refused(table):
    with pytest.raises(ValueError, match="zip"):
        html.table(Table("", table.columns, [Row([Cell("a"), Cell("b")])]))


def test_charts_that_fit_a_line_are_text():
    assert sparks.write(Trend([1.0, math.nan, 100.0])) == "▁ █"
    assert sparks.write(Trend([5.0])) == sparks.write(Trend([])) == ""
    assert len(sparks.write(Trend([float(value) for value in range(1, 91)]))) == 16
    assert sparks.write(Runs([10, 10, 10, 1000], 10)) == "█" + " " * 14 + "▄"
    assert sparks.write(Runs([10, 10], 10)) == "", "nothing to see"
    assert sparks.write(Share(0.5)) == "", "its figure is in the column"


def test_each_chart_is_drawn():
    scale = LogScale.around(1000, 1e6, 8, 172)
    for chart in (Share(0.5), Interval(0.2, 2.0), Trend([1.0, 2.0]), Runs([10, 1000], 20)):
        assert svg.draw(chart).startswith("<svg"), chart
    drawn = svg.draw(OnScale(scale, Durations(1000, 2000, 50_000, 1e6, budget=10_000)))
    assert 'class="budget"' in drawn
    assert svg.draw(OnScale(scale, Durations(1000, 2000, 50_000, 1e6))).count("budget") == 0
    assert svg.draw(Trend([1.0])) == ""


def test_blocks_in_each_form():
    line = with_names(f"▲ {marked(NAME)} is slower")
    blocks = [
        Paragraph(line, "warning"),
        Bullets([line], "Reasons"),
        Fold("All", [Paragraph("whole")]),
        Fold("Rules", [Bullets(["one"])], brief=True),
    ]
    assert text.blocks(blocks) == (
        "▲ A.小|`<b>\ufffd is slower\n\nReasons\n  ▲ A.小|`<b>\ufffd is slower\n\nRules\n  one"
    )
    shown = markdown.blocks(blocks)
    assert shown.startswith("**▲ `A.小\\|'<b>\ufffd` is slower**\n\n#### Reasons\n\n- ▲ `A.小")
    assert "<details><summary>All</summary>\n\nwhole\n\n</details>" in shown
    page = html.blocks(blocks)
    assert '<p class="warning">▲ <bdi>A.小|`&lt;b&gt;⟨U+001B⟩</bdi> is slower</p>' in page
    assert page.count("<details") == 2


def test_only_brief_sections_are_in_the_short_forms():
    document = Document(
        "T", "", [Section("a", "Short", [Paragraph("x")]), Section("b", "Long", [Paragraph("y")], brief=False)]
    )
    for written in (text.write(document), markdown.write(document)):
        assert "Short" in written
        assert "Long" not in written
