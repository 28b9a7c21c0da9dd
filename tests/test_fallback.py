"""Without a compiler: the install succeeds, the Python core records, and that is said once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)

REPOSITORY = Path(__file__).parents[1]
#: Tests of whatever core is in use: the recorder's run on another core here.
TESTS = {
    "accounts": ("recorder/test_losses.py", "recorder/test_parts.py"),
    "recorder": tuple(f"recorder/test_{name}.py" for name in ("session", "options", "live", "programs")),
    "others": ("core", "operations"),
}
MESSAGE = "quantum_pulse records with its Python core"

SCRIPT = """
import sys
import quantum_pulse as qp

class Step(qp.Operation):
    A = qp.op("First")

for name in ("one", "two"):
    with qp.record(sys.argv[1] + name):
        with Step.A:
            pass
    assert len(qp.open(sys.argv[1] + name).samples()) == 1
"""

WHERE = """
import os
from pathlib import Path

def pytest_sessionfinish():
    import quantum_pulse
    from quantum_pulse.core import core

    Path(os.environ["WHERE"]).write_text(f"{quantum_pulse.__file__}\\n{core.NAME}")
"""


def clean_environment():
    """What this process was given, without what would decide something for the child."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("QUANTUM_PULSE", "PYTEST_"))}


def run(command, folder, **environment):
    environment = {**clean_environment(), **environment}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """The package as it is installed where the compiler fails."""
    folder = tmp_path_factory.mktemp("fallback")
    # Files that are being built or tested in the tree have no place in a release.
    ignored = shutil.ignore_patterns(".*", "build", "dist", "*.so", "*.egg-info", "__pycache__", "captures")
    shutil.copytree(REPOSITORY, folder / "source", ignore=ignored)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = run([*pip, "--target", str(folder / "target"), str(folder / "source")], folder, CC="/bin/false")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "target"


def test_what_is_installed(target):
    package = target / "quantum_pulse"
    assert (package / "core" / "pure" / "spans.py").exists()
    assert (package / "py.typed").exists()
    assert list(target.rglob("_native*.so")) == []
    assert not (target / "tests").exists()


def test_the_samples_are_installed(target, tmp_path):
    """Notebooks that come with the package open them, wherever they run."""
    script = (
        "import quantum_pulse as qp; print([len(qp.sample(name).samples()) for name in ('engine', 'slow_exchange')])"
    )
    done = run([sys.executable, "-W", "ignore", "-c", script], tmp_path, PYTHONPATH=str(target))
    assert done.stdout == "[33479, 101527]\n", done.stderr


def test_it_says_so_once(target, tmp_path):
    command = [sys.executable, "-W", "always", "-c", SCRIPT, str(tmp_path / "capture-")]
    done = run(command, tmp_path, PYTHONPATH=str(target))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(MESSAGE) == 1
    assert f"RuntimeWarning: {MESSAGE}" in done.stderr
    # It points at the program's own line, not into the package.
    assert "<string>:9: RuntimeWarning" in done.stderr


def test_it_says_nothing_when_it_was_asked_for(target, tmp_path):
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(tmp_path / "capture-")]
    done = run(command, tmp_path, PYTHONPATH=str(target), QUANTUM_PULSE_CORE="python")
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_and_timing_say_nothing(target, tmp_path):
    script = SCRIPT.partition("for name")[0] + "with Step.A: print(Step.A(len)([]))"
    done = run([sys.executable, "-W", "error", "-c", script], tmp_path, PYTHONPATH=str(target))
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_the_native_core_can_be_demanded(target, tmp_path):
    script = "import quantum_pulse"
    done = run([sys.executable, "-c", script], tmp_path, PYTHONPATH=str(target), QUANTUM_PULSE_CORE="native")
    assert done.returncode != 0
    assert "_native" in done.stderr


def start_tests(target, folder, group):
    """Begin to run a group of tests against the installed package, not the tree."""
    folder.mkdir()
    (folder / "where.py").write_text(WHERE)
    command = [
        str(Path(sys.executable).with_name("pytest")),
        *("-p", "where", "-p", "no:cacheprovider"),
        *("-c", str(REPOSITORY / "pyproject.toml"), "--rootdir", str(REPOSITORY)),
        *("--basetemp", str(folder / "inner"), "--tb", "short"),
        *("-W", f"ignore:{MESSAGE}"),
        *(str(REPOSITORY / "tests" / name) for name in TESTS[group]),
    ]
    environment = {
        **clean_environment(),
        "PYTHONPATH": os.pathsep.join([str(target), str(folder)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "WHERE": str(folder / "where.txt"),
    }
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.parametrize(
    "groups", [("accounts",), pytest.param(("recorder", "others"), marks=pytest.mark.slow)], ids=str
)
def test_the_tests_pass_on_it(target, tmp_path, groups):
    running = {group: start_tests(target, tmp_path / group, group) for group in groups}
    outputs = {group: process.communicate()[0] for group, process in running.items()}
    for group, process in running.items():
        where, name = (tmp_path / group / "where.txt").read_text().splitlines()
        assert Path(where) == target / "quantum_pulse" / "__init__.py"
        assert name == "python"
        assert process.returncode == 0, outputs[group][-8000:]
        assert " passed" in outputs[group]
