"""`capture.flame()` shows itself: in a terminal, in a notebook, on the report, and where names are hostile."""

import json

import pytest

import quantum_pulse as qp
from quantum_pulse import stacks
from quantum_pulse.stacks import Stack
from quantum_pulse.view import icicle
from quantum_pulse.view.flame import Flame
from tests import browser

HOSTILE = '<script>alert(1)</script> "x" \x1b[31m ``` | ; &'


def test_text_shows_shares_and_changes():
    capture, baseline = qp.sample("slow_exchange"), qp.sample("engine")
    lines = str(capture.flame()).splitlines()
    assert lines[0].startswith("Calls inside the calls that made them")
    assert any(line.startswith("  Engine.SUBMIT ") and "█" in line and " %" in line for line in lines)
    assert "change" not in str(capture.flame())
    assert "change" in str(capture.flame(baseline=baseline))
    assert str(capture.flame(by="self")).splitlines()[3].startswith("Engine.SUBMIT")
    with pytest.raises(ValueError, match="'total', 'self'"):
        capture.flame(by="width")


def test_the_table_has_a_row_for_each_frame():
    capture = qp.sample("slow_exchange")
    table, tree = capture.flame().table, capture.tree()
    assert set(table.index) == set(tree.index)
    assert table["count"].to_dict() == tree["count"].to_dict()
    assert table.loc[table["depth"] == 0, "share"].sum() == pytest.approx(1)
    assert {"baseline_us", "change_us"} <= set(capture.flame(baseline=qp.sample("engine")).table)


def test_files_by_their_endings(tmp_path):
    flame = qp.sample("engine").flame()
    begins = {"c.folded": "Engine.", "c.txt": "Engine.", "c.speedscope.json": "{", "c.html": "<div", "c.md": "Calls"}
    for name, begin in begins.items():
        assert flame.write(tmp_path / name).read_text(encoding="utf-8").startswith(begin)
    with pytest.raises(ValueError, match=r"\.folded"):
        flame.write(tmp_path / "c.png")
    assert flame.figure.axes[0].patches


def test_nothing_was_recorded():
    flame = Flame([], None, "total", "empty")
    assert "No calls" in str(flame)
    assert "No calls" in flame.text("html")
    assert flame.table.empty
    assert json.loads(flame.text("speedscope"))["profiles"][0]["samples"] == []


def test_hostile_names_are_text():
    flame = Flame([Stack((("c", HOSTILE),), 5.0, 1)], None, "total", "hostile")
    assert "<script>alert" not in flame.text("html")
    assert "\x1b" not in str(flame) + flame.text("html")
    assert flame.text("markdown").count("```") == 2
    assert flame.text("folded").count("\n") == 1


def test_deep_and_wide_trees_are_bounded():
    deep = [Stack(tuple(("c", f"n{place}") for place in range(length)), 1.0, 1) for length in range(1, 3000)]
    wide = [Stack((("c", f"w{place}"),), 1.0, 1) for place in range(20_000)]
    for own in (deep, wide):
        whole = stacks.icicle(own)
        assert len(icicle.placed(whole)) <= 2000
        assert len(icicle.text(whole, is_differential=False).splitlines()) <= 42


@pytest.mark.browser
@pytest.mark.skipif(bool(browser.lack()), reason=browser.lack() or "-")
def test_clicks_keys_and_a_search_in_the_report(tmp_path):
    qp.sample("slow_exchange").report(tmp_path / "r.html")
    with browser.pages(viewport={"width": 1280, "height": 900}) as opened:
        page = opened()
        problems = []
        page.on("pageerror", lambda error: problems.append(error))
        page.on("console", lambda message: problems.append(message.text))
        page.goto(f"file://{tmp_path}/r.html")
        frame = page.locator("#icicle .boxes .frame")
        width = frame.first.bounding_box()["width"]
        assert width > 1000
        submit = page.locator("#icicle .boxes .frame[aria-label^='Engine.SUBMIT']")
        submit.click()
        assert submit.bounding_box()["width"] == pytest.approx(width, rel=0.01)
        assert not page.locator("#icicle .boxes .frame[aria-label^='Engine.STORE']").first.is_visible()
        page.keyboard.press("Escape")
        assert submit.bounding_box()["width"] < width
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Engine.ORDER:")
        page.locator("#icicle .boxes input").fill("sql")
        assert "frames" in page.locator("#icicle .boxes output").inner_text()
        assert (
            page.locator("#icicle .boxes .frame.faded").count()
            > page.locator("#icicle .boxes .frame:not(.faded)").count()
        )
        assert problems == []
