"""A cell under %%pulse behaves as it does without it: the same cells in a kernel, in browsers, in a terminal."""

import asyncio
import contextlib
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import nbclient
import nbformat
import pexpect
import pytest

from tests.browser import pages
from tests.lab import APPLICATIONS, run_all, serving
from tests.notebook import corpus


def notebook(sources, **metadata):
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources], metadata=metadata)
    for cell in made.cells:
        # "Run all" goes on after a cell that fails.
        cell.metadata.tags = ["raises-exception"]
    return made


def compared(plain, timed, sources=corpus.CORPUS):
    """`corpus.differences` of two notebooks that were run."""
    counted = []
    for cell in timed.cells:
        answers = sum(map(corpus.is_answer, cell.outputs))
        cell.outputs = [output for output in cell.outputs if not corpus.is_answer(output)]
        counted.append((corpus.outputs(cell), answers))
    return corpus.differences(list(map(corpus.outputs, plain.cells)), counted, sources)


def test_in_a_kernel(tmp_path):
    async def both():
        return await asyncio.gather(*(executed(corpus.cells(magic), tmp_path) for magic in (False, True)))

    assert compared(*asyncio.run(both())) == []


async def executed(sources, folder):
    client = nbclient.NotebookClient(
        notebook(sources), timeout=100, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    return await client.async_execute()


# Most cells concern the kernel alone, and run in one above; that they do the same in each front end is a long run.
@pytest.mark.parametrize(
    ("application", "sources"),
    [
        pytest.param("jupyterlab", corpus.IN_FRONT, id="jupyterlab"),
        *(pytest.param(one, corpus.CORPUS, id=f"{one}, all", marks=pytest.mark.slow) for one in APPLICATIONS),
    ],
)
def test_in_a_browser(application, sources, tmp_path):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    names = ("plain.ipynb", "timed.ipynb")
    for name, magic in zip(names, (False, True), strict=True):
        nbformat.write(notebook(corpus.cells(magic, sources), kernelspec=kernel), tmp_path / name)
    with serving(tmp_path, application) as address_of, pages(offline=False) as new_page:
        running = {}
        for name in names:
            running[name] = new_page()
            run_all(running[name], address_of(name))
        done = [saved(running[name], tmp_path / name) for name in names]
    assert compared(*done, sources) == []


def saved(page, path):
    """The notebook at `path` as the browser saves it, when all of its cells have run."""
    limit = time.monotonic() + 150
    while time.monotonic() < limit:
        if page.locator(".jp-Stdin-input").count():
            page.locator(".jp-Stdin-input").first.fill(corpus.TYPED)
            page.keyboard.press("Enter")
        page.keyboard.press("Control+s")
        page.wait_for_timeout(500)
        # It may be read while it is being written.
        with contextlib.suppress(nbformat.reader.NotJSONError):
            found = nbformat.read(path, as_version=4)
            if found.cells[-1].outputs:
                return found
    raise AssertionError(f"{path.name} has not run to its end")


#: Printed around what a cell prints, by hooks that a front end would use.
BEGIN, END = "⟦begins⟧", "⟦ends⟧"
HOOKS = """\
import sys
_depth = []
def _begun(*_):
    _depth.append(1)
    len(_depth) > 1 or print("⟦" + "begins⟧", flush=True)
def _ended(*_):
    sys.stderr.flush()
    _depth.pop()
    _depth or print("\\n⟦" + "ends⟧", flush=True)
get_ipython().events.register("pre_run_cell", _begun)
get_ipython().events.register("post_run_cell", _ended)
_depth.append(1)
"""
ANSWER = re.compile(r"Op\.CELL: (?:[\d<]|median|did not|not rec).*\n(?:[○▲▼●✓✗] .*\n)*")


class Terminal:
    """IPython in a terminal of its own, at which one types."""

    def __init__(self, folder, profile):
        environment = {**os.environ, "PAGER": "cat", "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"}
        self._shell = pexpect.spawn(
            sys.executable,
            ["-m", "IPython", "--no-banner", "--colors=NoColor", f"--profile-dir={folder / profile}"],
            cwd=str(folder),
            encoding="utf-8",
            dimensions=(60, 300),
            timeout=30,
            env=environment,
        )
        self._shell.delaybeforesend = None
        self._number = 1
        self.run(HOOKS)

    def type(self, keys, end="\r"):
        """Type at the next prompt; what one talks to then."""
        self._shell.expect_exact(f"In [{self._number}]:")
        self._number += 1
        self._shell.send(keys)
        self._shell.send(end)
        return self._shell

    def run(self, source):
        """Paste a cell and run it; what it printed."""
        # Enter alone may begin another line.
        self.type(f"\x1b[200~{source}\x1b[201~", end="\x1b\r")
        if self._number == 2:
            return ""
        self._shell.expect_exact(BEGIN)
        if self._shell.expect_exact([END, "name? "]) == 1:
            self._shell.send(f"{corpus.TYPED}\r")
            self._shell.expect_exact(END)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self._shell.before).replace("\r", "")

    def close(self):
        self._shell.close(force=True)


@pytest.mark.slow
def test_in_a_terminal(tmp_path):
    def run(magic):
        with contextlib.closing(Terminal(tmp_path, f"profile-{magic}")) as terminal:
            return [terminal.run(source) for source in corpus.cells(magic)]

    with ThreadPoolExecutor() as pool:
        plain, timed = pool.map(run, (False, True))
    counted = [(rows(ANSWER.sub("", text)), len(ANSWER.findall(text))) for text in timed]
    assert corpus.differences(list(map(rows, plain)), counted) == []


def test_a_debugger_and_a_cell_that_is_typed_in_lines(tmp_path):
    with contextlib.closing(Terminal(tmp_path, "profile")) as terminal:
        terminal.run(corpus.SETUP)
        terminal.run("%%pulse Op.CELL\ndef inner(secret):\n    return 1 / 0\ninner(42)")
        shell = terminal.type("%debug")
        shell.expect_exact("ipdb>")
        shell.sendline("p secret")
        shell.expect_exact("42")
        shell.expect_exact("ipdb>")
        shell.sendline("up")
        shell.expect_exact("inner(42)")
        shell.expect_exact("ipdb>")
        shell.sendline("q")
        shell.expect_exact(END)
        # Enter after a line that is complete by itself begins another; an empty one runs the cell.
        terminal.type("%%pulse Op.CELL\rawait asyncio.sleep(0)\rprint(6 * 7)\r", end="\r\r")
        shell.expect_exact(BEGIN)
        shell.expect_exact(END)
        assert "42" in shell.before
        assert "Op.CELL: " in shell.before


def rows(text):
    """As `corpus.outputs`: what was printed, and the error after it."""
    printed, rule, trace = text.partition("-" * 75)
    error = None
    if rule:
        name = re.findall(r"^(\w+) +Traceback \(most recent call last\)$", trace, re.MULTILINE)[-1]
        message = trace.strip("\n").rsplit("\n\n", 1)[1].removeprefix(f"{name}: ")
        error = "error", name, message, corpus.lines_of_cells(trace)
    elif re.search(r"^ *Cell In ?\[", text, re.MULTILINE):
        printed = re.split(r"^(?:Traceback |  Cell In|  File )", text, maxsplit=1, flags=re.MULTILINE)[0]
        error = "error", re.findall(r"^(\w+): ", text, re.MULTILINE)[-1], "", ()
    printed = corpus.settled(printed.strip("\n"))
    return [row for row in (printed and ("text", printed), error) if row]
