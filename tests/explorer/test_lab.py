"""The explorer in a real JupyterLab, in a real browser. The screenshots are kept in build/screenshots."""

import json
import os
import subprocess
import sys
import time

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe

from quantum_pulse.cli import main
from tests.browser import pages
from tests.lab import ROOT, SCREENSHOTS, TOKEN, address, end, run_all, serving, shot, write

SOURCE = "import quantum_pulse as qp\n\nqp.open('captures/slow_exchange').explore()"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of the notebook in a JupyterLab, and its folder."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "captures").symlink_to(ROOT / "sample_data")
    write(folder / "explore.ipynb", SOURCE)
    with serving(folder) as address_of:
        yield address_of("explore.ipynb"), folder


@pytest.fixture
def notebook(lab):
    """The notebook, all of it run, with the explorer in it."""
    where, folder = lab
    with pages(offline=False, viewport={"width": 1500, "height": 1250}) as new_page:
        page = new_page()
        run_all(page, where)
        page.keyboard.press("Control+b")  # no list of files beside it
        page.wait_for_selector(".qp.explorer table")
        # The kernel is that of the test before, and remembers where that was.
        if title(page) != "All operations":
            page.locator(".qp.explorer .trail a").first.click()
        page.locator(".qp.explorer").get_by_text("was slow from").wait_for()
        yield page, folder, new_page


def serious(page):
    violations = Axe().run(page, context=".qp.explorer").response["violations"]
    return [
        (one["id"], one["nodes"][0]["html"][:200]) for one in violations if one["impact"] in ("serious", "critical")
    ]


def title(page):
    return page.locator(".qp.explorer h2").inner_text()


def wait_for_title(page, pattern):
    page.wait_for_function(
        "pattern => new RegExp(pattern).test(document.querySelector('.qp.explorer h2')?.textContent ?? '')", arg=pattern
    )


def test_with_the_mouse(notebook):
    page, *_ = notebook
    assert page.locator("[class^=qp-snapshot]").first.is_hidden(), "the picture is for when there is no kernel"
    assert serious(page) == []
    shot(page, "explorer-operations")

    page.locator(".qp.explorer table a", has_text="Engine.SUBMIT").first.click()
    wait_for_title(page, "^Engine.SUBMIT$")
    assert serious(page) == []
    chart = page.locator(".qp.explorer svg[data-begin]")
    chart.scroll_into_view_if_needed()
    shot(page, "explorer-operation")

    box = chart.bounding_box()
    left, right = (box["x"] + box["width"] * share for share in (0.5, 0.6))
    page.mouse.move(left, box["y"] + 100)
    page.mouse.down()
    page.mouse.move((left + right) / 2, box["y"] + 120)
    page.mouse.move(right, box["y"] + 120)
    page.mouse.up()
    wait_for_title(page, r"^Engine.SUBMIT from \+\d")
    assert serious(page) == []
    shot(page, "explorer-interval")

    page.get_by_role("link", name="call 1", exact=True).click()
    wait_for_title(page, r"^Engine.SUBMIT: [\d.]+ ms")
    around = page.locator(".qp.explorer .frame.around")
    assert around.first.get_attribute("aria-label").startswith("Engine.ORDER: ")
    assert serious(page) == []
    shot(page, "explorer-call")

    page.get_by_role("button", name="Back").click()
    wait_for_title(page, r"^Engine.SUBMIT from")
    page.locator(".trail a").first.click()
    wait_for_title(page, "^All operations$")


def test_with_the_keyboard_alone(notebook):
    page, *_ = notebook
    page.keyboard.press("Escape")
    page.locator(".qp.explorer").evaluate(
        "element => element.querySelector('[placeholder=\"Filter operations\"]').focus()"
    )

    def tab_to(condition, most=60):
        for _ in range(most):
            if page.evaluate(f"(() => {{ const a = document.activeElement; return Boolean({condition}); }})()"):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"no way by Tab to {condition}")

    page.keyboard.type("submit")
    tab_to("a.closest('.qp.explorer tbody tr')")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    wait_for_title(page, "^Engine.SUBMIT$")
    assert page.evaluate("document.activeElement.tagName") == "H2", "the focus goes along"

    tab_to("a.type === 'range'")
    before = page.get_by_role("button", name="Show +").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("button", name="Show +").inner_text() != before
    tab_to("a.textContent.startsWith('Show +')")
    page.keyboard.press("Enter")
    wait_for_title(page, r"^Engine.SUBMIT from \+\d")

    tab_to("a.closest('table')?.caption.textContent === 'Slowest calls' && a.closest('tbody')")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    wait_for_title(page, r"^Engine.SUBMIT: [\d.]+ ms")
    page.keyboard.press("Escape")
    wait_for_title(page, r"^Engine.SUBMIT from \+\d")


def test_a_cell_that_runs_again_goes_on_where_one_was(notebook):
    page, *_ = notebook
    page.get_by_placeholder("Filter operations").fill("")
    page.locator(".qp.explorer table a", has_text="Engine.RISK_VAR").first.click()
    wait_for_title(page, "^Engine.RISK_VAR$")
    page.locator(".jp-CodeCell .cm-content").first.click()
    page.keyboard.press("Control+Enter")
    page.wait_for_timeout(300)
    wait_for_title(page, "^Engine.RISK_VAR$")


def test_the_saved_notebook_shows_it_without_a_kernel_and_without_scripts(notebook):
    page, folder, new_page = notebook
    page.locator(".jp-CodeCell .cm-content").first.click()
    page.keyboard.press("Control+s")
    path = folder / "explore.ipynb"
    limit = time.monotonic() + 30
    while "was slow from" not in path.read_text(encoding="utf-8") and time.monotonic() < limit:
        time.sleep(0.2)
    saved = path.read_text(encoding="utf-8")
    assert "was slow from" in saved
    done = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", "--output", "saved.html", str(path)],
        cwd=folder, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = new_page(offline=True, java_script_enabled=False, viewport={"width": 1300, "height": 1700})
    shown.goto((folder / "saved.html").as_uri())
    picture = shown.locator("[class^=qp-snapshot]")
    assert picture.is_visible()
    assert "was slow from" in picture.inner_text()
    assert picture.locator("svg.chart").count() == 3
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    shown.screenshot(path=SCREENSHOTS / "explorer-saved.png")


def test_the_command_opens_a_notebook_for_a_capture(tmp_path):
    config = tmp_path / "config"
    config.mkdir()
    server_config = {"ServerApp": {"allow_root": True, "port": 0}, "IdentityProvider": {"token": TOKEN}}
    (config / "jupyter_server_config.json").write_text(json.dumps(server_config))
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(config), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    capture = os.path.relpath(ROOT / "sample_data" / "slow_exchange", tmp_path)
    command = [sys.executable, "-m", "quantum_pulse", "lab", capture, "--no-browser"]
    with open(tmp_path / "log", "w+", encoding="utf-8") as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
        )
        try:
            address(server, tmp_path / "log")
        finally:
            end(server)
    assert "slow_exchange.ipynb" in (tmp_path / "log").read_text(encoding="utf-8")
    made = nbformat.read(tmp_path / "slow_exchange.ipynb", as_version=4)
    assert f"qp.open({capture!r})" in made.cells[1].source
    assert made.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nowhere"], "nowhere does not exist"),
        ([str(ROOT / "sample_data" / "engine"), "-o", "x.py"], "use a file name that ends in .ipynb"),
    ],
)
def test_misuse_of_the_command(arguments, why, capsys):
    assert main(["lab", *arguments]) == 2
    assert why in capsys.readouterr().err


def test_the_table_fits_beside_the_list_of_files(lab):
    where, _ = lab
    with pages(offline=False, viewport={"width": 1280, "height": 1100}) as new_page:
        page = new_page()
        run_all(page, where)
        page.wait_for_selector(".qp.explorer table")
        if title(page) != "All operations":
            page.locator(".qp.explorer .trail a").first.click()
        page.locator(".qp.explorer").get_by_text("was slow from").wait_for()
        table = page.locator(".qp.explorer .scroll:has(> table[data-kind=grid])")
        assert table.evaluate("frame => frame.scrollWidth - frame.clientWidth") <= 1, "nothing is out of sight"
        shot(page, "explorer-1280")

        page.get_by_role("button", name="Flat list").click()
        table.get_by_role("button", name="p99").click()
        shown = page.locator(".qp.explorer table tbody tr:visible")
        values = shown.evaluate_all(
            "rows => rows.map((row) => Number(row.querySelector('td:nth-child(6)').dataset.order))"
        )
        assert values == sorted(values, reverse=True)
        assert len(values) == 17, "the titles of categories are put away"
        page.get_by_role("button", name="By category").click()

        page.locator(".qp.explorer h2").focus()
        page.locator(".qp.explorer").evaluate("root => root.querySelector('.skip').focus()")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.closest('tbody')?.rows.length > 0"), "the first row has the focus"


def test_an_interval_of_all_operations(notebook):
    page, *_ = notebook
    chart = page.locator(".qp.explorer svg[data-lanes]")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 90, steps=5)
    page.mouse.up()
    wait_for_title(page, r"^All operations from \+\d")
    page.get_by_role("link", name="call 1", exact=True).click()
    wait_for_title(page, r"^Engine.FEED_PACKET: \d")
    assert page.locator(".qp.explorer .frame.call").count() == 1
    assert serious(page) == []
