"""%%pulse in JupyterLab and in Notebook 7, in a real browser."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser import pages
from tests.lab import APPLICATIONS, run_all, serving, shot, write

CELLS = (
    "%load_ext quantum_pulse\nimport asyncio\nimport quantum_pulse as qp\n\n\nclass Op(qp.Operation):\n"
    "    CELL = qp.op('A cell', budget_us=50_000)\n    STEP = qp.op('A step of it')",
    "%%pulse Op.CELL --repeat 40\nfor _ in range(100):\n    with Op.STEP:\n        sum(range(200))\n'the value'",
    "%%pulse Op.CELL\nawait asyncio.sleep(0.07)\n'awaited'",
    "print('counted:', qp.last().stats()['count'].tolist())",
    "%%pulse Op.CELL\n1 / 0",
)


@pytest.mark.parametrize("application", APPLICATIONS)
def test_the_answer_below_the_cell(application, tmp_path):
    write(tmp_path / "pulse.ipynb", *CELLS[:4])
    write(tmp_path / "failing.ipynb", CELLS[0], *CELLS[4:])
    with (
        serving(tmp_path, application) as address_of,
        pages(offline=False, viewport={"width": 1200, "height": 1000}) as new_page,
    ):
        page = new_page()
        run_all(page, address_of("pulse.ipynb"))
        cells = page.locator(".jp-CodeCell")
        cells.nth(3).locator(".jp-OutputArea").get_by_text("counted: [41, 4000]").wait_for()
        repeated, awaited = (cells.nth(place).locator(".jp-OutputArea").first.inner_text() for place in (1, 2))
        assert "'awaited'" in awaited
        assert "'the value'" in repeated
        assert "of 40 runs" in repeated
        assert "Op.STEP" in repeated, "what ran inside is shown beneath"
        assert "40" in repeated
        assert "over its budget of 50.0 ms" in awaited
        violations = Axe().run(page, context=".jp-OutputArea-output").response["violations"]
        assert [one["id"] for one in violations if one["impact"] in ("serious", "critical")] == []
        shot(page, f"pulse-{application}")
        run_all(page, address_of("failing.ipynb"))
        page.locator(".jp-OutputArea").get_by_text("ZeroDivisionError").first.wait_for()
        assert "raised ZeroDivisionError" in page.locator(".jp-CodeCell").nth(1).inner_text()
