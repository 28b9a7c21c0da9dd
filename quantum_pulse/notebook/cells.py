"""Compile a cell before it is timed, and run it as IPython would."""

from __future__ import annotations

import ast
import inspect
import time
from collections.abc import Iterator
from types import CodeType, TracebackType
from typing import Any

from IPython.core.displayhook import DisplayHook

from quantum_pulse.notebook.options import Options
from quantum_pulse.operations import Operation


class OutOfSight:
    """Around what runs or compiles a cell: keeps the frames of quantum_pulse out of the user's tracebacks.

    IPython leaves out those with `__tracebackhide__`, but in some of its modes only, and not in groups of exceptions
    and syntax errors; a debugger shows them around a breakpoint, so it is set as well.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith(_OURS):
            trace = trace.tb_next
        # An error from here alone is a bug of quantum_pulse, unless the cell could not be compiled.
        if error is not None and (trace is not None or isinstance(error, SyntaxError)):
            error.__traceback__ = trace


_OURS = f"{__name__.rpartition('.')[0]}."


class Cell:
    """The statements of a cell, each compiled by itself as IPython does, and its last expression if it has one.

    A string between statements is then not taken for a docstring, a `from __future__` may stand anywhere, and what
    is above a `return` that cannot be compiled runs, as it does without the magic. It costs a call a statement.
    """

    def __init__(self, shell: Any, source: str, *, line_offset: int = 0, number: int | None = None) -> None:
        """Compile. `line_offset`: lines above the source in what the user sees; `number`: of the cell, by default that
        of the one that runs. Raises SyntaxError."""
        transformed = shell.transform_cell(source)
        code = "\n" * line_offset + transformed
        # Under this name IPython finds the source for tracebacks.
        number = len(shell.history_manager.input_hist_parsed) - 1 if number is None else number
        name = shell.compile.cache(code, number, raw_code="\n" * line_offset + source)
        self._steps: list[CodeType] = []
        #: Its value is that of the cell, so that it is displayed when the clock has stopped.
        self._last: CodeType | None = None
        self._malformed: SyntaxError | None = None
        # Two, in a shell that is embedded into a function.
        self._globals, self._locals = shell.user_global_ns, shell.user_ns
        try:
            self._compile(shell, code, name)
        except SyntaxError as error:
            # The error has its position in the cell; the position in the compiler is of no use.
            error.__traceback__ = None
            if not self._steps:
                raise
            self._malformed = error
        # It expects what could be parsed.
        self._is_silent = DisplayHook.semicolon_at_end_of_expression(transformed)  # type: ignore[no-untyped-call]

    def _compile(self, shell: Any, code: str, name: str) -> None:
        nodes = shell.transform_ast(shell.compile.ast_parse(code, filename=name)).body
        shown = _shown(nodes, shell.ast_node_interactivity)
        with shell.compile.extra_flags(ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if shell.autoawait else 0):
            for place, node in enumerate(nodes):
                if place not in shown:
                    self._steps.append(shell.compile(ast.Module([node], []), name, "exec"))
                elif place == len(nodes) - 1 and isinstance(node, ast.Expr):
                    self._last = shell.compile(ast.Expression(node.value), name, "eval")
                else:
                    self._steps.append(shell.compile(ast.Interactive([node]), name, "single"))

    @property
    def is_async(self) -> bool:
        """Whether it awaits, and so has to run on the notebook's loop."""
        return any(_awaits(code) for code in (*self._steps, self._last) if code is not None)

    def run(self, operation: Operation, options: Options) -> Any:
        """Run it as often as `options` say, each time as one run of `operation`; returns the value that is shown."""
        __tracebackhide__ = True  # what fails is the user's; IPython leaves out the frames of quantum_pulse
        for _ in range(options.warmup):
            self._execute()
        value = None
        for _ in _rounds(options):
            value = None  # what the run before has made is given back outside of the clock
            with operation:
                value = self._execute()
        return None if self._is_silent else value

    async def run_async(self, operation: Operation, options: Options) -> Any:
        """The same for a cell that awaits."""
        __tracebackhide__ = True
        for _ in range(options.warmup):
            await self._await()
        value = None
        for _ in _rounds(options):
            value = None
            with operation:
                value = await self._await()
        return None if self._is_silent else value

    def _execute(self) -> Any:
        __tracebackhide__ = True
        for code in self._steps:
            exec(code, self._globals, self._locals)
        if self._malformed is not None:
            raise self._malformed
        return None if self._last is None else eval(self._last, self._globals, self._locals)

    async def _await(self) -> Any:
        __tracebackhide__ = True
        for code in self._steps:
            waited = eval(code, self._globals, self._locals)
            if _awaits(code):
                await waited
        if self._malformed is not None:
            raise self._malformed
        if self._last is None:
            return None
        value = eval(self._last, self._globals, self._locals)
        return await value if _awaits(self._last) else value


def _awaits(code: CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_COROUTINE)


def _shown(nodes: list[ast.stmt], interactivity: str) -> range:
    """Places of the statements whose value is displayed. "last_expr_or_assign" adds a statement to `nodes`."""
    if interactivity == "last_expr_or_assign" and nodes and (name := _assigned(nodes[-1])) is not None:
        nodes.append(ast.fix_missing_locations(ast.Expr(ast.Name(name, ast.Load()))))
    if interactivity == "all":
        return range(len(nodes))
    is_shown = interactivity == "last" or (interactivity != "none" and nodes and isinstance(nodes[-1], ast.Expr))
    return range(len(nodes) - 1, len(nodes)) if nodes and is_shown else range(0)


def _assigned(node: ast.stmt) -> str | None:
    """The one name that a statement assigns to."""
    target: ast.expr | None = None
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        target = node.target
    return target.id if isinstance(target, ast.Name) else None


def _rounds(options: Options) -> Iterator[int]:
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
