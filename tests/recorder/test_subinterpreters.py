"""Interpreters that share a process and its lock, as mod_wsgi makes them: each records under names of its own."""

import pytest

import quantum_pulse as qp
from tests import agents
from tests.recorder.programs import run
from tests.recorder.work import processes

HEAD = """
import warnings
try:
    import _xxsubinterpreters as interpreters
    create = lambda: interpreters.create(isolated=False)
except ImportError:
    import _interpreters as interpreters
    create = lambda: interpreters.create("legacy")

def run_in(interpreter, code):
    begin = f"import sys, warnings; sys.path[:] = {sys.path!r}; warnings.simplefilter('ignore'); path = {path!r}\\n"
    failed = interpreters.run_string(interpreter, begin + code)
    assert failed is None, failed

OTHER = '''
import quantum_pulse as qp
class Other(qp.Operation):
    C = qp.op(); D = qp.op(); E = qp.op(); F = qp.op()
'''
"""


def counts(path):
    return qp.open(path).stats()["count"].droplevel("category").to_dict()


@pytest.mark.parametrize("end", ["is left to the end", "is destroyed"])
def test_it_takes_part_under_its_own_names(tmp_path, end):
    """Where it is left, it ends as the main one does, when CPython ends the thread that lets go of the lock."""
    body = f"""
qp.start(path)
other = create()
work(10)
run_in(other, OTHER + "for _ in range(5):\\n    with Other.F: pass\\n")
work(10, Step.B)
if {end == "is destroyed"}:
    interpreters.destroy(other)
qp.stop()
"""
    done = run(tmp_path, HEAD + body)
    assert (done.returncode, done.stderr) == (0, b"")
    agents.wait_until_taken(tmp_path / "capture")
    assert counts(tmp_path / "capture") == {"Step.A": 10, "Step.B": 10, "Other.F": 5}
    assert qp.open(tmp_path / "capture").losses().empty
    assert {process["state"] for process in processes(tmp_path / "capture")} == {"finished"}


def test_it_has_a_recording_of_its_own(tmp_path):
    body = """
qp.start(path)
other = create()
run_in(other, OTHER + "with qp.record(path + '-other'):\\n    for _ in range(7):\\n        with Other.C: pass\\n")
work(10)
qp.stop()
"""
    done = run(tmp_path, HEAD + body)
    assert (done.returncode, done.stderr) == (0, b"")
    assert counts(tmp_path / "capture") == {"Step.A": 10}
    assert counts(tmp_path / "capture-other") == {"Other.C": 7}
