"""What a service pays for at import, and what it never loads."""

import subprocess
import sys

HEAVY = ("numpy", "pandas", "pyarrow", "matplotlib", "IPython", "psutil")

RECORDING = """
import sys
import quantum_pulse as qp

class Job(qp.Operation):
    STEP = qp.op("A step")

with qp.record(sys.argv[1]) as recorder:
    with Job.STEP:
        pass
    recorder.flush()
    try:
        with Job.STEP:
            raise KeyError
    except KeyError:
        pass
"""


def loaded(script, *args):
    """Names of the top modules that are in memory when `script` has run in a new interpreter."""
    tail = "\nimport sys\nprint(' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    command = [sys.executable, "-c", script + tail, *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_import_loads_nothing_heavy():
    modules = loaded("import quantum_pulse")
    assert "quantum_pulse" in modules
    assert modules.isdisjoint(HEAVY)


def test_every_public_name_is_there_without_heavy_imports():
    script = "import quantum_pulse as qp\nassert all(hasattr(qp, name) for name in qp.__all__)"
    assert loaded(script).isdisjoint(HEAVY)


def test_defining_and_timing_without_a_recording_loads_nothing_heavy():
    script = "import quantum_pulse as qp\nclass A(qp.Operation):\n    X = qp.op('x')\nwith A.X: pass\nA.X(print)()"
    assert loaded(script).isdisjoint(HEAVY)


def test_recording_never_loads_what_only_the_analysis_needs(tmp_path):
    modules = loaded(RECORDING, str(tmp_path / "capture"))
    assert "pyarrow" in modules, "the script wrote nothing"
    assert modules.isdisjoint({"pandas", "matplotlib", "IPython"})
