"""Run what a page shows, from top to bottom, in the current folder: ``python run_page.py PAGE``.

Python blocks share one namespace, shell blocks one shell. A block with a file's name as its title becomes that file.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pages import Block, blocks

#: What a reader does before, or on a machine of their own.
NOT_RUN = ("python -m pip ", "pip ", "make ", "git ")
#: The port that pages show; each run takes a free one in its place.
PORT = "8000"


def main(page: Path) -> None:
    """Run the page. Raises what the first failing block raises."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.path[0] = ""
    port = _free_port()
    with Shell() as shell:
        runners: dict[str, Callable[[Block], None]] = {
            "python": lambda block: _run_python(page, block, module.__dict__),
            "ipython": lambda block: _run_cell(block, module),
            "sh": shell.run,
            "sql": lambda block: _run_sql(block),
        }
        for block in blocks(page):
            block = block._replace(code=block.code.replace(PORT, port))
            if block.file is not None:
                Path(block.file).parent.mkdir(parents=True, exist_ok=True)
                Path(block.file).write_text(block.code, encoding="utf-8")
            elif block.language in runners:
                print(f"--- {page.name}, line {block.line}", flush=True)
                runners[block.language](block)


def _free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def _run_python(page: Path, block: Block, namespace: dict[str, Any]) -> None:
    # So that a traceback names the line of the page.
    exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)


def _run_cell(block: Block, module: types.ModuleType) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance(user_module=module, user_ns=module.__dict__)
    shell.run_cell(block.code, store_history=True).raise_error()


def _run_sql(block: Block) -> None:
    import duckdb

    print(duckdb.sql(block.code))


class Shell:
    """One bash for the whole page, so that jobs and variables last from block to block."""

    def __enter__(self) -> Shell:
        self._done, writer = os.pipe()
        self._reader = os.fdopen(self._done, "r")
        commands = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._bash = subprocess.Popen(
            ["bash", "-s", str(writer)],
            stdin=subprocess.PIPE, text=True, pass_fds=[writer], env={**os.environ, "PATH": commands},
        )  # fmt: skip
        os.close(writer)
        self._send("set -eu -o pipefail\n")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        self._bash.wait(30)
        self._reader.close()

    def run(self, block: Block) -> None:
        lines = [line for line in block.code.splitlines() if not line.startswith(NOT_RUN)]
        if not any(line.strip() for line in lines):
            return
        # What a command reads must not be the commands that follow it.
        self._send("{\n" + "\n".join(lines) + "\n} </dev/null\n" + 'echo done >&"$1"\n')
        if self._reader.readline() != "done\n":
            raise RuntimeError(f"line {block.line}: a command failed: {block.code}")

    def _send(self, text: str) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(text)
        self._bash.stdin.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
