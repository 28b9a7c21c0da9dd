"""What a service pays for at import, and what it never loads."""

import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest

import quantum_pulse as qp

HEAVY = {"numpy", "pandas", "pyarrow", "matplotlib", "IPython", "psutil"}

#: What `import quantum_pulse` does not load: what only some features need, and what takes milliseconds.
FORBIDDEN = HEAVY | {
    # of this package, whatever reads, analyses or shows a capture
    "quantum_pulse.analysis",
    "quantum_pulse.reading",
    "quantum_pulse.cli",
    "quantum_pulse.demo",
    "quantum_pulse.explorer",
    "quantum_pulse.export",
    "quantum_pulse.facade",
    "quantum_pulse.history",
    "quantum_pulse.integrations",
    "quantum_pulse.notebook",
    "quantum_pulse.records",
    "quantum_pulse.diagnosis",
    "quantum_pulse.view",
    # of other makers
    "anywidget",
    "ipywidgets",
    "tqdm",
    # of the standard library
    "ast",
    "asyncio",
    "concurrent.futures",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "dis",
    "glob",
    "hashlib",
    "inspect",
    "locale",
    "logging",
    "multiprocessing",
    "numbers",
    "pathlib",
    "pickle",
    "platform",
    "random",
    "secrets",
    "shutil",
    "socket",
    "ssl",
    "string",
    "subprocess",
    "tempfile",
    "textwrap",
    "tokenize",
    "traceback",
    "typing",
}

#: A service: operations of all kinds, used outside of a recording.
SERVICE = """
import quantum_pulse as qp

class Job(qp.Operation):
    STEP = qp.op("A step", category=qp.Category("Work"), budget_us=20, expect_us=(1, 500))

@Job.STEP
def function(): pass

@Job.STEP
async def coroutine(): pass

@Job.STEP
def generator(): yield

@Job.STEP
async def async_generator(): yield

class Worker:
    @Job.STEP
    def work(self): pass

function()
Worker().work()
for _ in generator(): pass
with Job.STEP: pass
with Job.STEP.timer() as timer: timer.pause()
assert dir(qp)
"""

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


def run(script, *args, options=()):
    """What `script` prints in a new interpreter."""
    command = [sys.executable, *options, "-c", script, *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(script, *args, options=()):
    """Names of the modules that are in memory when `script` has run in a new interpreter."""
    return set(run(f"{script}\nimport sys\nprint(*sys.modules)", *args, options=options).split())


@pytest.mark.parametrize("script", ["import quantum_pulse", SERVICE], ids=["import", "service"])
def test_a_service_loads_nothing_that_it_does_not_use(script):
    # Without `site`, which imports some of them itself in an environment with editable installs.
    root = str(Path(qp.__file__).parents[1])
    modules = loaded(f"import sys; sys.path.append({root!r})\n{script}", options=["-S"])
    assert "quantum_pulse.operations" in modules
    assert sorted(modules & FORBIDDEN) == []


def test_dir_is_the_face_and_loads_nothing():
    script = "import quantum_pulse as qp\nnames = dir(qp)\nimport sys\nassert 'quantum_pulse.facade' not in sys.modules"
    names = run(f"{script}\nprint(*names)").split()
    assert [name for name in names if not name.startswith("__")] == sorted(set(qp.__all__) - {"__version__"})
    assert {"__version__", "__name__", "__doc__", "__file__", "__path__"} <= set(names)


@pytest.mark.parametrize("name", qp.__all__)
def test_every_public_name_is_there_without_heavy_imports(name):
    as_attribute = f"import quantum_pulse as qp\nassert qp.{name}.__doc__ and qp.{name} is qp.{name}"
    imported = f"from quantum_pulse import {name}\nimport quantum_pulse as qp\nassert {name} is qp.{name}"
    for script in (as_attribute, imported):
        assert loaded(script).isdisjoint(HEAVY)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'quantum_pulse' has no attribute 'opne'"):
        _ = qp.opne
    with pytest.raises(ImportError, match="opne"):
        from quantum_pulse import opne  # noqa: F401


def test_recording_loads_nothing_that_writes(tmp_path):
    """That is in a process of its own."""
    folders = [str(Path(module.__file__).parents[1]) for module in (qp, pyarrow)]
    script = f"import sys; sys.path += {folders!r}\n{RECORDING}"
    modules = loaded(script, str(tmp_path / "capture"), options=["-S"])
    assert len(qp.open(tmp_path / "capture").samples()) == 2
    assert sorted(modules & FORBIDDEN) == []
    assert [name for name in modules if name.startswith("quantum_pulse.agent")] == []


def test_recording_in_a_thread_never_loads_what_only_the_analysis_needs(tmp_path):
    script = RECORDING.replace("sys.argv[1]", 'sys.argv[1], writer="thread"')
    modules = loaded(script, str(tmp_path / "capture"))
    assert "pyarrow" in modules, "the script wrote nothing"
    assert modules.isdisjoint({"pandas", "matplotlib", "IPython"})


def test_what_tests_start_imports_the_package_that_they_import(tmp_path):
    """Also where that is not the source tree: in a wheel's environment, or built with a sanitizer."""
    script = "import quantum_pulse, tests; print(quantum_pulse.__file__)"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == qp.__file__


#: What takes longer to import than a small capture takes to read.
SLOW = {"pandas", "matplotlib", "pyarrow.dataset", "quantum_pulse.analysis.compared", "quantum_pulse.export"}


def loaded_by(*command: str) -> set[str]:
    """Modules that a command of the command line has imported once it has run."""
    script = (
        "import sys\nfrom quantum_pulse import cli\n"
        f"code = cli.main({list(command)!r})\nprint(*sys.modules, sep='\\n', file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "options",
    [(), ("--by", "thread,operation", "--sort", "p99_us", "--top", "3"), ("--approximate",)],
)
def test_statistics_of_a_small_capture_import_nothing_that_takes_longer_than_they_do(options):
    assert not SLOW & loaded_by("stats", str(qp.sample("engine").path), *options)


def test_a_command_imports_no_other():
    loaded = loaded_by("stats", str(qp.sample("engine").path))
    assert [name for name in sorted(loaded) if name.startswith("quantum_pulse.cli.")] == [
        "quantum_pulse.cli.common",
        "quantum_pulse.cli.stats",
    ]
