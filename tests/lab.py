"""Real servers of notebooks, JupyterLab and Notebook 7, for tests that look at them in a real browser."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
SCREENSHOTS = ROOT / "build" / "screenshots"
TOKEN = "for-the-test-alone"
#: By the module that starts the application: where its notebooks are.
APPLICATIONS = {"jupyterlab": "lab/tree", "notebook": "notebooks"}


def write(path, *sources):
    """A notebook with cells of code."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)


@contextlib.contextmanager
def serving(folder, application="jupyterlab"):
    """A function that says under which address a notebook in `folder` is, while the server runs."""
    # It asks whether it may fetch news, which a test does not.
    settings = folder / "config" / "labconfig"
    settings.mkdir(parents=True)
    disabled = {"@jupyterlab/apputils-extension:announcements": True}
    (settings / "page_config.json").write_text(json.dumps({"disabledExtensions": disabled}))
    environment = {
        **os.environ,
        **{f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "RUNTIME", "DATA")},
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    command = [
        *(sys.executable, "-m", application, "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"),
        *("--ServerApp.port=0", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}"),
    ]
    with open(folder / "server.log", "w+", encoding="utf-8") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder, start_new_session=True)
        try:
            base = address(server, folder / "server.log")
            yield lambda name: f"{base}{APPLICATIONS[application]}/{name}?reset&token={TOKEN}"
        finally:
            end(server)


def address(server, log):
    """Where a server listens, when it does; `log` is the file that it writes to."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit and server.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", log.read_text(encoding="utf-8"))
        if found:
            # It says so shortly before it does.
            with contextlib.suppress(urllib.error.URLError):
                urllib.request.urlopen(f"{found.group()}api/status?token={TOKEN}", timeout=20).close()
                return found.group()
        time.sleep(0.2)
    raise AssertionError(f"the server did not start:\n{log.read_text(encoding='utf-8')}")


def end(server):
    """End a server that was started in a session of its own, with its kernels."""
    os.killpg(server.pid, signal.SIGTERM)
    server.wait(20)


def run_all(page, address):
    """Open a notebook and run all of its cells."""
    page.set_default_timeout(60_000)
    page.goto(address)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    # Told to run before it has a kernel, a front end asks for one, for each cell.
    page.wait_for_function(_HAS_KERNEL)
    for _ in range(30):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.wait_for_timeout(1000)
        # Not its inner text, which a cell that was scrolled out of sight does not have.
        if re.search(r"[*\d]", page.locator(".jp-CodeCell .jp-InputPrompt").first.text_content()):
            return
    raise AssertionError("the kernel did not run the first cell")


#: Whether the front end knows the kernel of the notebook, and that it is ready.
_HAS_KERNEL = """() => {
    const name = document.querySelector('.jp-Toolbar-kernelName');
    const indicator = document.querySelector('.jp-Notebook-ExecutionIndicator');
    return name && indicator && name.innerText !== 'No Kernel' && indicator.dataset.status === 'idle';
}"""


def shot(page, name):
    """Keep a picture of the notebook."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.locator(".jp-NotebookPanel").screenshot(path=SCREENSHOTS / f"{name}.png")
