"""The notebooks run from top to bottom, and %%pulse does what it says."""

import nbformat
import pytest

from tests.notebook.saved import FIXED, NOTEBOOKS, execute, outputs

SETUP = "%load_ext quantum_pulse\nimport quantum_pulse as qp\nclass Op(qp.Operation):\n    CELL = qp.op('A cell')"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path):
    done = execute(nbformat.read(path, as_version=4), tmp_path)
    cells = [cell for cell in done.cells if cell.cell_type == "code"]
    assert all(output.output_type != "error" for cell in cells for output in cell.outputs)
    if path in FIXED:
        assert outputs(done) == outputs(nbformat.read(path, as_version=4)), "run python -m tests.notebook.saved"


def test_pulse_shows_the_run_and_the_value(tmp_path):
    sources = [
        SETUP,
        "%%pulse Op.CELL\nwith Op.CELL:\n    x = !echo hi\nx[0] * 2",
        "%%pulse Op.CELL\n1 / 0",
        "%%pulse Op.CEL\n1",
        "%%pulse print(1)\n1",
        "qp.stop()\nfrom pathlib import Path\ntable = qp.open(*Path('captures').iterdir()).stats()\n"
        "table[['count', 'errors']].values.tolist()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    _, shown, failed, near, refused, total = execute(notebook, tmp_path, allow_errors=True).cells
    table, value = shown.outputs
    assert "Op.CELL" in table["data"]["text/plain"]
    assert "<table" in table["data"]["text/html"]
    assert value["data"]["text/plain"] == "'hihi'"
    assert "raised ZeroDivisionError" in failed.outputs[0]["data"]["text/plain"]
    assert failed.outputs[1]["ename"] == "ZeroDivisionError"
    assert "did you mean Op.CELL?" in str(near.outputs)
    assert "not 'print(1)'" in str(refused.outputs)
    assert total.outputs[0]["data"]["text/plain"] == "[[3, 1]]"
