"""The explorer's pages in a browser, without a notebook around them: what they say, and the steps that they ask for."""

import json

import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse.explorer import widget
from quantum_pulse.explorer.places import Place, follow
from quantum_pulse.view import html
from tests import browser

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(browser.lack()), reason=browser.lack() or "-")]

#: What the widget's script gets from the notebook, as far as it needs it here.
MODEL = """state => {
    window.sent = [];
    const model = {
        get: (key) => state[key], set() {}, save_changes() {}, on() {}, off() {},
        send: (asked) => window.sent.push(asked),
    };
    window.render({ model, el: document.getElementById("el") });
}"""


@pytest.fixture(scope="module")
def explorer():
    widget._memories.clear()
    made = qp.sample("slow_exchange").explore(baseline=qp.sample("engine"))
    if made._worker is not None:
        made._worker.join(60)
    yield made
    widget._memories.clear()


@pytest.fixture
def opened(explorer):
    """A function that shows the page of a place, and the model that it is about."""
    script = html.definitions() + widget._asset("explorer.js").replace("export default { render };", "")
    style = html.page_style() + widget._asset("explorer.css")
    problems = []
    with browser.pages(viewport={"width": 1000, "height": 1200}) as new_page:

        def show(place):
            explorer._memory.past = [Place(), place]
            explorer._show(moved=True)
            if explorer._worker is not None:
                explorer._worker.join(60)
            page = new_page()
            page.on("pageerror", lambda error: problems.append(error))
            page.set_content(
                f"<style>{style}</style><div id=el></div><script>{script}; window.render = render;</script>"
            )
            state = {
                "page": explorer.widget.page,
                "visit": 1,
                "begin": explorer.widget.begin,
                "tables": {},
                "picture": "x",
            }
            page.evaluate(MODEL, state)
            return page

        yield show, explorer._model
        assert problems == []


def last_sent(page):
    return page.evaluate("window.sent.at(-1)")


def at(chart, x, y):
    """Where a place of a chart is on the screen."""
    return chart.evaluate(
        """(svg, [x, y]) => {
            const box = svg.getBoundingClientRect();
            const scale = box.width / svg.viewBox.baseVal.width;
            return [box.left + x * scale, box.top + y * scale];
        }""",
        [x, y],
    )


def test_the_timeline_says_values_and_leads_to_an_operation_at_a_time(opened):
    show, model = opened
    page = show(Place())
    chart = page.locator("svg[data-lanes]")
    chart.scroll_into_view_if_needed()
    lanes = json.loads(chart.get_attribute("data-lanes"))
    row = [name for name, *_ in lanes].index("SUBMIT")
    left, right, columns, lane, top = (
        float(chart.get_attribute(f"data-{name}")) for name in ("left", "right", "columns", "lane", "top")
    )
    column = int(columns * 0.6)
    x, y = at(chart, left + (right - left) * (column + 0.5) / columns, top + lane * (row + 0.5))
    page.mouse.move(x, y)
    said = page.locator(".tip").inner_text()
    assert "SUBMIT: p99 " in said
    assert "CPU of the process" not in said or "\n" in said
    page.mouse.click(x, y)
    there = follow(Place(), last_sent(page), model.names, 0)
    assert there.operation == "Engine.SUBMIT"
    assert there.end_ns - there.begin_ns == int(chart.get_attribute("data-step"))


def test_a_bar_and_a_cell_lead_to_the_calls_in_them(opened, explorer):
    show, model = opened
    page = show(Place("Engine.SUBMIT"))
    histogram = page.locator("svg[data-edges]")
    edges, calls = (json.loads(histogram.get_attribute(f"data-{name}")) for name in ("edges", "calls"))
    highest = calls.index(max(calls))
    page.locator(".scroll:has(> svg[data-edges])").focus()
    for _ in range(len(calls)):
        page.keyboard.press("ArrowLeft")
    for _ in range(highest):
        page.keyboard.press("ArrowRight")
    assert f"{max(calls):g} calls" in page.locator("figure:has(svg[data-edges]) output").inner_text().replace(",", "")
    page.keyboard.press("Enter")
    there = follow(Place("Engine.SUBMIT"), last_sent(page), model.names, 0)
    assert (there.low_ns, there.high_ns) == (int(edges[highest]), int(edges[highest + 1]))
    found = model.band(there).table["duration_ns"]
    assert len(found) == 12
    assert found.between(there.low_ns, there.high_ns, inclusive="left").all()
    own = qp.sample("slow_exchange").samples()
    own = own[(own["operation"] == "Engine.SUBMIT") & own["duration_ns"].between(there.low_ns, there.high_ns, "left")]
    assert sorted(found) == sorted(own["duration_ns"].nlargest(12))
    assert len(own) == calls[highest]


def test_a_brush_shows_its_distribution_at_once_and_a_cursor_is_in_all_charts(opened):
    show, _ = opened
    page = show(Place("Engine.SUBMIT"))
    assert page.locator("svg[data-edges] path.selected").count() == 1, "that of the slow moment"
    before = page.locator("svg[data-edges] path.selected").get_attribute("d")
    slider = page.get_by_label("from", exact=True)
    slider.focus()
    page.keyboard.press("Home")
    assert page.locator("svg[data-edges] path.selected").get_attribute("d") != before
    assert page.evaluate("window.sent.length") == 0, "nothing is asked of the kernel"
    page.get_by_label("to", exact=True).focus()
    page.keyboard.press("End")
    heights = page.evaluate(
        """() => ["selected", "area"]
            .map((name) => document.querySelector(`svg[data-edges] path.${name}`).getAttribute("d"))
            .map((outline) => [...outline.matchAll(/L[\\d.]+ ([\\d.]+)/g)].map((one) => Number(one[1])))"""
    )
    assert heights[0] == pytest.approx(heights[1], abs=0.2), "all of the time has all of the calls"

    chart = page.locator("svg[data-rows]")
    chart.scroll_into_view_if_needed()
    page.mouse.move(*at(chart, 500, 120))
    assert chart.locator(".upright").get_attribute("d") != ""
    assert page.locator("svg[data-edges] .upright").get_attribute("d") != "", "the duration, in the histogram"


def test_a_kernel_that_does_not_answer_is_reported(opened):
    show, _ = opened
    page = show(Place())
    page.locator("table a", has_text="Engine.SUBMIT").first.click()
    page.get_by_text("No answer from the kernel yet").wait_for(timeout=8000)


def test_a_page_copies_itself_as_code(opened, explorer):
    show, model = opened
    place = Place("Engine.SUBMIT", model.begin_ns + 10**9, model.begin_ns + 2 * 10**9)
    page = show(place)
    capture = qp.sample("slow_exchange")
    again = eval(page.locator("button.copy").get_attribute("data-code"), {"capture": capture})
    if again._worker is not None:
        again._worker.join(60)
    assert again._here == Place("Engine.SUBMIT")
    began = capture.samples(start=pd.Timestamp(place.begin_ns, tz="UTC"), end=pd.Timestamp(place.end_ns, tz="UTC"))
    assert again._model.overview.stats["count"].sum() == len(began)
    page.locator("button.copy").click()
    page.wait_for_function("document.querySelector('.busy').textContent.match(/^(Copied|capture.explore)/)")
