"""Docstrings of the face: each has examples, and these run as they are printed."""

import ast
import doctest
import inspect
import threading
from pathlib import Path

import pytest

import quantum_pulse as qp
from quantum_pulse import operations, statistics
from quantum_pulse.core import _native, pure
from quantum_pulse.export import formats
from tests.docs import face

EXAMPLES = {
    name: example
    for name, value in face.objects().items()
    if (example := doctest.DocTestParser().get_doctest(
        inspect.getdoc(value) or "", {"qp": qp, "__name__": "__main__"}, name.removeprefix("quantum_pulse."), None, None
    )).examples
}  # fmt: skip
#: Run elsewhere: what a magic answers needs a notebook, and docs/how-to/cells.md is one.
RUN_ELSEWHERE = {"quantum_pulse.notebook.answers.Pulse"}


@pytest.mark.parametrize("name", EXAMPLES, ids=lambda name: name.removeprefix("quantum_pulse."))
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
    example = EXAMPLES[name]
    runner.run(example, out=said.append, clear_globs=False)
    for thread in threading.enumerate():
        if thread.name == "quantum-pulse-explorer":  # it refines what it shows, and then ends
            thread.join(60)
    assert runner.failures == 0, "".join(said)


def test_each_function_and_class_has_an_example():
    needed = {
        name
        for name, value in face.objects().items()
        if inspect.isclass(value) or inspect.isfunction(value)
    }  # fmt: skip
    assert len(needed) > 60
    assert needed - set(EXAMPLES) == RUN_ELSEWHERE


def test_docstrings_name_all_formats_and_statistics():
    for name in formats.FORMATS:
        assert f'"{name}"' in qp.Capture.export.__doc__, name
    for column in statistics.COLUMNS:
        assert f"``{column}``" in qp.Capture.stats.__doc__, column


def test_annotate_is_described_alike_wherever_it_is_defined():
    """A function of the core: what `?` shows comes from there, and what type checkers and the site see from a stub."""
    module = ast.parse(Path(operations.__file__).read_text(encoding="utf-8"))
    (stub,) = [one for one in ast.walk(module) if isinstance(one, ast.FunctionDef) and one.name == "annotate"]
    described = ast.get_docstring(stub)
    assert inspect.getdoc(pure.annotate) == described
    assert inspect.getdoc(_native.annotate) == described
