"""The report: one file, in any browser, of any capture, also of the odd ones."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

import quantum_pulse as qp
from quantum_pulse.cli import main
from quantum_pulse.view import document, markdown
from quantum_pulse.view import html as html_blocks
from quantum_pulse.view import text as plain
from tests.browser import pages
from tests.view import captures


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """A report of the demo, with itself as the baseline."""
    path = tmp_path_factory.mktemp("report") / "engine.html"
    qp.open(captures.ENGINE).report(path, baseline=captures.ENGINE)
    return path


@pytest.fixture(scope="module")
def slow_exchange(tmp_path_factory):
    """A report with recommendations."""
    path = tmp_path_factory.mktemp("report") / "slow_exchange.html"
    qp.open(captures.SLOW_EXCHANGE).report(path)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A capture whose report is written in no time."""
    return captures.one_operation(tmp_path_factory.mktemp("small") / "engine")


@pytest.fixture(scope="module", params=captures.KINDS, ids=lambda kind: kind.__name__)
def odd(request, tmp_path_factory):
    """The kind, and a report of a capture of it, as HTML, Markdown and text."""
    folder = tmp_path_factory.mktemp("odd")
    capture = qp.open(request.param(folder / "capture"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = capture.report(folder / "report.html")
    return request.param, folder / "report.html", report.text("markdown"), report.text()


def watched(page):
    """What `page` asks for and complains of, from now on."""
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return asked, complaints


SAYS = {
    captures.one_sample: "1 calls of 1 operation",
    captures.only_errors: "200 (100 %)",
    captures.thousand: "For the other 970, see the statistics above",
    captures.without_metrics: "No system metrics were recorded",
    captures.with_losses: "This report is incomplete",
}


def test_odd_captures_render_and_say_what_is_missing(odd):
    kind, path, markdown, text = odd
    page = path.read_text(encoding="utf-8")
    assert SAYS.get(kind, "") in re.sub(r"<[^>]*>", "", page)
    assert path.stat().st_size < 2_000_000, "few operations have pictures, however many there are"
    assert not re.search(r"\bnan\b|\binf\b|>None<", re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL))
    assert "Verdict" in markdown
    assert "Verdict" in text


def test_what_others_named_is_text(odd):
    kind, path, markdown, text = odd
    if kind is not captures.hostile:
        return
    with pages() as new_page:
        page = new_page()
        asked, complaints = watched(page)
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.goto(path.as_uri())
        body = page.inner_text("main")
        assert (asked, complaints) == ([path.as_uri()], [])
        assert page.locator("img").count() == 0
    assert "<script>alert(1)</script>" in body
    for shown in (body, markdown, text):
        assert "\u202e" not in shown
        assert "\x1b" not in shown
    assert "<script>" not in markdown


def test_it_loads_nothing_and_drills_down(engine):
    with pages(viewport={"width": 1300, "height": 900}) as new_page:
        page = new_page()
        asked, complaints = watched(page)
        page.goto(engine.as_uri())
        fold = page.locator("details.operation", has=page.locator("#op-1"))
        assert fold.get_attribute("open") is None
        page.locator("#operations a", has_text="Engine.").first.click()
        opened = page.locator("details.operation[open]")
        assert opened.count() == 1
        assert opened.locator("svg").count() >= 2
        assert opened.get_by_text("slowest", exact=False).count() >= 1
        page.get_by_role("searchbox").first.fill("risk")
        rows = page.locator("#operations table[data-kind=grid] tbody tr:visible").all_inner_texts()
        assert any("RISK_VAR" in row for row in rows)
        assert not any("PARSE" in row for row in rows)
        assert (asked, complaints) == ([engine.as_uri()], [])


def test_by_keyboard_alone(engine):
    with pages(viewport={"width": 1300, "height": 900}) as new_page:
        page = new_page()
        page.goto(engine.as_uri())
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.closest('#operations tbody tr') !== null"):
                break
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_selector("details.operation[open]")
        assert page.evaluate("document.activeElement.id").startswith("op-")


def test_without_scripts(engine):
    with pages(java_script_enabled=False) as new_page:
        page = new_page()
        page.goto(engine.as_uri())
        page.locator("details.operation summary").first.click()
        assert page.locator("details.operation[open] svg").first.is_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1300), ("dark", 1300), ("light", 420)])
def test_it_is_accessible_and_fits(engine, scheme, width):
    with pages(color_scheme=scheme, viewport={"width": width, "height": 900}) as new_page:
        page = new_page()
        page.goto(f"{engine.as_uri()}#op-1")
        violations = Axe().run(page).response["violations"]
        assert [one["id"] for one in violations if one["impact"] in ("serious", "critical")] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"


def test_the_command(small, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(small)]) == 0
    assert Path("engine.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert main(["report", str(small), "-o", "deep/er/x.md", "--baseline", str(small)]) == 0
    assert "replaced" not in capsys.readouterr().out
    assert main(["report", str(small), "-o", "deep/er/x.md", "--baseline", str(small)]) == 0
    assert re.fullmatch(r"deep/er/x\.md: \d+ kB, replaced\n", capsys.readouterr().out)
    assert "## Comparison" in Path("deep/er/x.md").read_text(encoding="utf-8")
    capsys.readouterr()
    for misuse, why in (
        (["-o", "x.pdf"], "'x.pdf' has no known suffix"),
        (["-o", "x.md", "--open"], "--open needs html"),
        (["--baseline", "nowhere"], "nowhere does not exist"),
        (["-o", "engine.html/x.html"], "Not a directory"),
    ):
        assert main(["report", str(small), *misuse]) == 2
        assert why in capsys.readouterr().err


@pytest.mark.parametrize("width", [1300, 420])
def test_recommendations_are_read_without_scrolling(slow_exchange, width):
    with pages(viewport={"width": width, "height": 900}) as new_page:
        page = new_page()
        page.goto(slow_exchange.as_uri())
        advice = page.locator("#advice")
        assert advice.locator("dt").all_inner_texts()[:4] == ["Try", "Evidence", "Why", "Record next time"]
        assert advice.locator(".scroll").count() == 0
        assert advice.evaluate("one => one.scrollWidth <= one.clientWidth")


def test_entries_in_each_format():
    name = document.Name("<b>Op*</b>")
    entries = document.Entries([[("Try", "less"), ("Evidence", [name, ": " + "slow " * 30])], [("Try", "more")]])
    whole = document.Document("T", "", [document.Section("advice", "Advice", [entries])])
    assert "<dd><bdi>&lt;b&gt;Op*&lt;/b&gt;</bdi>: slow" in html_blocks.block(entries)
    assert html_blocks.block(entries).count("<li>") == 2
    assert "- **Try: less**\n  - Evidence: \\<b\\>Op\\*\\</b\\>: slow" in markdown.write(whole)
    lines = plain.write(whole).splitlines()
    assert lines[lines.index("- Try: less") + 1].startswith("  Evidence: <b>Op*</b>: slow")
    assert lines[-1] == "- Try: more"
    assert max(map(len, lines)) <= 100


def test_arguments_that_are_none(small, tmp_path):
    capture = qp.open(small)
    for options, said in (
        ({"path": 5}, "path must be a path, such as 'report.html', not 5"),
        ({"baseline": 5}, "baseline must be a capture, as qp.open\\(path\\) gives it, or its path, not 5"),
        ({"title": 5}, "title must be text, not 5"),
    ):
        with pytest.raises(TypeError, match=said):
            capture.report(**options)
    with pytest.raises(ValueError, match="path is empty"):
        capture.report("")
    with pytest.raises(ValueError, match="format must be one of"):
        capture.report(format=["html"])
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder\.html'$"):
        capture.report(tmp_path / "folder.html")


def test_a_reader_that_has_gone(small):
    command = f"{sys.executable} -m quantum_pulse report {small} --format text | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""
