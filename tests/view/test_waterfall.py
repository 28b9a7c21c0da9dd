"""A call among what ran at its time: where its waterfall draws what, and that names in it are text."""

from types import SimpleNamespace

import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse.view import boxes, boxes_figure, html, waterfall
from quantum_pulse.view.document import Figure
from tests import browser

HOSTILE = '<script>alert(1)</script>"\x1b[31m'


def slow_of(rows, events=()):
    """A slow sample, from (operation, begin, duration, thread, task, span, parent, relation)."""
    names = ["operation", "begin", "duration_ns", "thread", "task", "span", "parent", "relation"]
    frame = pd.DataFrame(rows, columns=names)
    frame["start"] = pd.to_datetime(10**18 + frame.pop("begin"), utc=True)
    pauses = pd.DataFrame(events, columns=["event", "begin", "duration_ns"])
    pauses["start"] = pd.to_datetime(10**18 + pauses.pop("begin").astype("int64"), utc=True)
    frame = frame.assign(error=None, process=1)
    sample = frame[frame["relation"] == "call"].iloc[0]
    return SimpleNamespace(sample=sample, concurrent=frame, events=pauses)


FAMILY = [
    ("A.OUTER", -500, 3000, 1, 7, 1, 0, "ancestor"),
    ("A.CALL", 0, 1000, 1, 7, 2, 1, "call"),
    ("A.IN", 100, 300, 1, 7, 3, 2, "descendant"),
    ("A.IN", 500, 300, 1, 7, 4, 2, "descendant"),
    ("A.FAR", -100, 700, 2, 0, 5, 0, "other"),
    ("A.FAR", 200, 700, 2, 0, 6, 0, "other"),
]


def test_calls_lie_below_those_that_enclose_them_at_their_true_times():
    chart, left = waterfall.build(slow_of(FAMILY, [("gc", 50, 20)]), {"A.IN": "op-3"})
    assert left == ""
    assert [track.title for track in chart.tracks] == [
        "thread 1 · task 7 (this call)", "thread 2", "garbage collection",
    ]  # fmt: skip
    found = {(one.name, one.begin): (one.row, one.end, one.kind.split()[0]) for one in chart.boxes}
    assert found["OUTER", -500] == (0, 2500, "around")
    assert found["CALL", 0] == (1, 1000, "call")
    assert found["IN", 100] == (2, 400, "inside")
    assert found["IN", 500] == (2, 800, "inside")
    assert found["FAR", -100] == (3, 600, "other")
    assert found["FAR", 200] == (4, 900, "other"), "it overlaps the other, and neither encloses it"
    assert found["garbage collection", 50] == (5, 70, "event")
    assert [one.link for one in chart.boxes if one.name == "IN"] == ["op-3"] * 2


def test_the_longest_are_kept_and_what_is_left_out_is_counted():
    rows = [*FAMILY, *(("A.TINY", place * 10, 1 + place % 5, 3, 0, 100 + place, 0, "other") for place in range(90))]
    chart, left = waterfall.build(slow_of(rows), {}, most=8)
    assert len(chart.boxes) == 8
    assert {"CALL", "OUTER"} <= {one.name for one in chart.boxes}
    assert left == "Left out: 88 shorter calls."


def test_readings_of_metrics_are_bars_under_it():
    times = pd.to_datetime([10**18 - 100, 10**18 + 600, 10**18 + 10**9], utc=True)
    metrics = pd.DataFrame({"time": times, "interval_ns": [700, 700, 700], "cpu_process_percent": [10.0, 50.0, 100.0]})
    chart, _ = waterfall.build(slow_of(FAMILY), {}, metrics)
    own = [one for one in chart.boxes if one.kind == "metric"]
    assert [(one.begin, one.end, one.height) for one in own] == [(-800, -100, 0.1), (-100, 600, 0.5)]
    assert own[1].told == "CPU of the process, % of one core: 50 %"


def test_hostile_names_are_text():
    chart, _ = waterfall.build(slow_of([(HOSTILE, 0, 10, HOSTILE, 0, 1, 0, "call")]), {})
    page = boxes.html(chart, HOSTILE)
    assert "<script" not in page
    assert "\x1b" not in page + boxes.text(chart)
    assert boxes_figure.draw(chart, "x").axes[0].patches


def test_the_concurrent_calls_of_a_sample_are_those_that_ran_then():
    capture = qp.sample("slow_exchange")
    slow = capture.slowest(1, capture.operations.Engine.ORDER)[0]
    begin = slow.sample["start"]
    end = begin + pd.to_timedelta(slow.sample["duration_ns"], unit="ns")
    samples = capture.samples()
    ends = samples["start"] + pd.to_timedelta(samples["duration_ns"], unit="ns")
    expected = samples[(samples["start"] < end) & (ends > begin)]
    assert sorted(slow.concurrent["span"]) == sorted(expected["span"])
    counts = slow.concurrent["relation"].value_counts()
    assert counts["call"] == 1
    assert counts["descendant"] == len(slow.children)


@pytest.mark.parametrize("format", ["text", "markdown"])
def test_lines_for_formats_without_pictures(format):  # noqa: A002
    from quantum_pulse.view import markdown, text

    chart, _ = waterfall.build(slow_of(FAMILY), {})
    module = {"text": text, "markdown": markdown}[format]
    shown = module.blocks([Figure(chart, "Calls")])
    assert "CALL" in shown
    assert "thread 1 · task 7 (this call)" in shown


@pytest.mark.browser
@pytest.mark.skipif(bool(browser.lack()), reason=browser.lack() or "-")
def test_it_is_zoomed_and_panned_by_wheel_keys_and_mouse(tmp_path):
    chart, _ = waterfall.build(slow_of(FAMILY), {})
    fragment = html.fragment([Figure(chart, "Calls")])
    page_file = tmp_path / "w.html"
    page_file.write_text(f"<meta charset=utf-8>{fragment}<script>{html.script('figure.js')}</script>", encoding="utf-8")
    with browser.pages(viewport={"width": 1000, "height": 700}) as opened:
        page = opened()
        problems = []
        page.on("pageerror", lambda error: problems.append(error))
        page.goto(page_file.as_uri())
        call = page.locator(".frame.call")
        whole = call.bounding_box()["width"]
        call.hover()
        assert page.locator(".tip").inner_text() == "A.CALL: 1.0 µs, +0 ns, this call"

        page.keyboard.down("Control")
        page.mouse.wheel(0, -60)
        page.keyboard.up("Control")
        page.wait_for_function(f"document.querySelector('.frame.call').getBoundingClientRect().width > {whole} * 1.05")
        page.get_by_role("button", name="Show all").click()
        page.wait_for_function(
            f"Math.abs(document.querySelector('.frame.call').getBoundingClientRect().width - {whole}) < 1"
        )

        call.click()
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("A.IN: 300 ns, +100 ns")
        page.keyboard.press("Enter")
        page.wait_for_function("document.activeElement.getBoundingClientRect().width > 700")
        left = page.locator(".frame.inside").first.bounding_box()["x"]
        page.mouse.move(500, 60)
        page.mouse.down()
        page.mouse.move(600, 60, steps=4)
        page.mouse.up()
        page.wait_for_timeout(100)
        assert page.locator(".frame.inside").first.bounding_box()["x"] == pytest.approx(left + 100, abs=3)
        page.keyboard.press("0")
        page.wait_for_function(
            f"Math.abs(document.querySelector('.frame.call').getBoundingClientRect().width - {whole}) < 1"
        )
        assert problems == []
