"""A cell, compiled before its clock starts and run as IPython would."""

from __future__ import annotations

import ast
import inspect
import time
from types import CodeType
from typing import Any

from quantum_pulse.notebook.options import Options
from quantum_pulse.operations import Operation


class Cell:
    """The statements of a cell, and its last expression on its own if it has one."""

    def __init__(self, shell: Any, source: str, *, line_offset: int = 0) -> None:
        """Compile. `line_offset`: lines above the source in what the user sees. Raises SyntaxError."""
        code = "\n" * line_offset + shell.transform_cell(source)
        # Under this name IPython finds the source for tracebacks.
        number = len(shell.history_manager.input_hist_parsed) - 1
        name = shell.compile.cache(code, number, raw_code="\n" * line_offset + source)
        tree = shell.transform_ast(shell.compile.ast_parse(code, filename=name))
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr) and shell.ast_node_interactivity != "none":
            last = ast.Expression(tree.body.pop().value)
        with shell.compile.extra_flags(ast.PyCF_ALLOW_TOP_LEVEL_AWAIT):
            self._body: CodeType | None = shell.compile(tree, name, "exec") if tree.body else None
            self._last: CodeType | None = None if last is None else shell.compile(last, name, "eval")

    @property
    def is_async(self) -> bool:
        """Whether it awaits, and so has to run on the notebook's loop."""
        return any(code is not None and code.co_flags & inspect.CO_COROUTINE for code in (self._body, self._last))

    def run(self, operation: Operation, namespace: dict[str, Any], options: Options) -> Any:
        """Run it as often as `options` say, each time as one run of `operation`; returns the last value."""
        __tracebackhide__ = True  # what fails is the user's; IPython leaves our frames out
        body, last, value = self._body, self._last, None
        for _ in range(options.warmup):
            _execute(body, last, namespace)
        for _ in _rounds(options):
            with operation:
                if body is not None:
                    exec(body, namespace)
                if last is not None:
                    value = eval(last, namespace)
        return value

    async def run_async(self, operation: Operation, namespace: dict[str, Any], options: Options) -> Any:
        """The same for a cell that awaits."""
        __tracebackhide__ = True
        value = None
        for _ in range(options.warmup):
            await self._await(namespace)
        for _ in _rounds(options):
            with operation:
                value = await self._await(namespace)
        return value

    async def _await(self, namespace: dict[str, Any]) -> Any:
        __tracebackhide__ = True
        value = None
        for code in (self._body, self._last):
            if code is not None:
                value = eval(code, namespace)
                if code.co_flags & inspect.CO_COROUTINE:
                    value = await value
        return None if self._last is None else value


def _execute(body: CodeType | None, last: CodeType | None, namespace: dict[str, Any]) -> None:
    if body is not None:
        exec(body, namespace)
    if last is not None:
        eval(last, namespace)


def _rounds(options: Options) -> Any:
    """An iterator that ends when the runs are enough: by number, by time, whichever comes last; one by default."""
    least = options.repeat or 1
    if options.seconds is None:
        yield from range(least)
        return
    end = time.perf_counter() + options.seconds
    done = 0
    while done < least or time.perf_counter() < end:
        yield done
        done += 1
