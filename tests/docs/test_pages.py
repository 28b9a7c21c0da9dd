"""What the documentation shows works as it is, page by page."""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quantum_pulse.agent.expiry import Expiry
from quantum_pulse.keep import Keep
from tests.docs.pages import DOCS, ROOT, blocks, pages

RUNNER = Path(__file__).with_name("run_page.py")
RUN = ("python", "ipython", "sh", "sql")
#: Packages that cannot be part of the test extra, and why.
CANNOT_BE_INSTALLED = {
    "torch": "its wheels for Linux bring gigabytes of CUDA libraries; with torch installed the page runs"
}

PAGES = [page for page in pages() if any(block.language in RUN for block in blocks(page))]


def modules_of(page):
    """The packages that the page's code imports at its top level."""
    code = "\n".join(block.code for block in blocks(page) if block.language in ("python", "ipython"))
    return set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE))


@pytest.fixture(scope="module")
def monday(tmp_path_factory):
    """The capture that format.md reads with SQL: two recordings, of which the older has expired."""
    folder = tmp_path_factory.mktemp("monday")
    for name in ("engine", "slow_exchange"):
        shutil.copytree(ROOT / "sample_data" / name, folder, dirs_exist_ok=True)
    assert Expiry(folder, Keep(bytes=1), lambda _: True).run(time.time_ns()).parts
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_page_runs(page, tmp_path, monday):
    for name, reason in CANNOT_BE_INSTALLED.items():
        if name in modules_of(page) and importlib.util.find_spec(name) is None:
            pytest.skip(f"{name}: {reason}")
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    (tmp_path / "monday").symlink_to(monday)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("QUANTUM_PULSE")}
    command = [sys.executable, "-W", "error", str(RUNNER), str(page)]
    code, said, complaints = run(command, cwd=tmp_path, env={**variables, "MPLBACKEND": "agg"})
    assert code == 0, f"{said}\n{complaints}"
    assert "Traceback" not in complaints, f"{said}\n{complaints}"


def run(command, seconds=100, **options):
    """Run a program; its status and output. Whatever it has started ends with it, servers as well."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, **options,
    ) as program:  # fmt: skip
        try:
            said, complaints = program.communicate(timeout=seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
    return program.returncode, said, complaints


def test_what_a_page_has_started_ends_with_it(monkeypatch):
    script = "sleep 1000 & echo $!; sleep 1000"
    started = []

    class Pipe(subprocess.Popen):
        def communicate(self, **options):
            started.append(int(self.stdout.readline()))
            return super().communicate(**options)

    monkeypatch.setattr(subprocess, "Popen", Pipe)
    with pytest.raises(subprocess.TimeoutExpired):
        run(["sh", "-c", script], seconds=0.1)
    (server,) = started
    give_up = time.monotonic() + 10
    while Path(f"/proc/{server}").exists() and "Z" not in Path(f"/proc/{server}/stat").read_text().split()[2]:
        assert time.monotonic() < give_up, "it still runs"
        time.sleep(0.01)
