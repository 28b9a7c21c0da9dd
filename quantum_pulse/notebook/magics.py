"""``%%pulse Op.X``: time a cell as one run of an operation."""

from __future__ import annotations

import ast
import difflib
import enum
import os
import threading
import time
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class, no_var_expand, output_can_be_silenced
from IPython.display import display

from quantum_pulse import facade
from quantum_pulse.errors import EmptyCaptureError
from quantum_pulse.operations import Operation
from quantum_pulse.recorder import session
from quantum_pulse.view import html, numbers, text

if TYPE_CHECKING:
    import pandas as pd


class Pulse:
    """What a cell under ``%%pulse`` shows: this run, and all runs of the operation in the capture so far."""

    def __init__(self, name: str, path: Path, this_ns: int | None, error: str | None, stats: pd.DataFrame) -> None:
        self.name = name
        #: The capture that keeps the samples.
        self.path = path
        #: Duration of this run in ns; None when it was not recorded.
        self.duration_ns = this_ns
        #: Type name of the exception that ended the cell, or None.
        self.error = error
        #: All runs so far: the row of `Capture.stats` of this operation.
        self.stats = stats

    def _headline(self) -> str:
        if self.duration_ns is None:
            return f"{self.name}: this run was not recorded; qp.open({str(self.path)!r}).losses() may say why"
        failed = f", ended by {self.error}" if self.error else ""
        return f"{self.name}: {numbers.duration(self.duration_ns)}{failed}"

    def __repr__(self) -> str:
        return f"{self._headline()}\nall runs, in {self.path}:\n{text.stats_table(self.stats)}"

    def _repr_html_(self) -> str:
        headline = f"<div><strong>{escape(self._headline())}</strong></div>"
        return headline + html.stats_table(self.stats, caption=f"all runs, in {self.path}")


@magics_class
class PulseMagics(Magics):
    """The magics of quantum_pulse."""

    #: The InteractiveShell. IPython declares it optional; a magic is never called without one.
    shell: Any

    _path: Path | None = None

    @no_var_expand
    @output_can_be_silenced
    @cell_magic
    def pulse(self, line: str, cell: str) -> Any:
        """``%%pulse Op.MEMBER`` times the cell as one run of that operation and keeps the sample.

        Samples go to the recording that is running, or to one that is started for this session in `captures/`.
        The value of the last line is shown as it would be without the magic.
        """
        operation = resolve(line.strip(), self.shell.user_ns)
        body, last = self._compile(cell)
        recorder = self._recorder()
        namespace = self.shell.user_ns
        try:
            with operation:
                exec(body, namespace)
                value = eval(last, namespace) if last is not None else None
        finally:
            recorder.flush()
            display(_result(operation, recorder.path))  # type: ignore[no-untyped-call]  # IPython has no type for it
        return value

    def _compile(self, cell: str) -> tuple[Any, Any]:
        """The cell as IPython would run it: its statements, and its last expression on its own or None."""
        code = self.shell.transform_cell(cell)
        # Under this name IPython finds the source for tracebacks.
        name = self.shell.compile.cache(code, self.shell.execution_count, raw_code=cell)
        tree = self.shell.transform_ast(self.shell.compile.ast_parse(code, filename=name))
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr):
            expression = ast.Expression(tree.body.pop().value)
            last = self.shell.compile(expression, name, "eval")
        return self.shell.compile(tree, name, "exec"), last

    def _recorder(self) -> session.Recorder:
        running = session.active()
        if running is not None:
            return running
        if self._path is None:
            # Jupyter's server says which notebook a kernel belongs to; other front ends do not.
            notebook = Path(os.environ.get("JPY_SESSION_NAME", "")).stem or "session"
            self._path = Path("captures").absolute() / f"{notebook}-{time.strftime('%Y%m%d-%H%M%S')}"
        return session.start(self._path, if_exists="append")


def resolve(dotted: str, namespace: Mapping[str, Any]) -> Operation:
    """The member that `dotted` names in `namespace`, found by attributes only: nothing is evaluated.

    Raises UsageError, which names the nearest member, when there is none.
    """
    if not dotted:
        raise UsageError("%%pulse needs an operation, as in %%pulse Op.MEMBER" + _nearest(dotted, namespace))
    names = dotted.split(".")
    if not all(name.isidentifier() for name in names):
        raise UsageError(f"%%pulse needs the name of an operation, as in Op.MEMBER, not {dotted!r}")
    if names[0] not in namespace:
        raise UsageError(f"%%pulse {dotted}: there is no {names[0]}" + _nearest(dotted, namespace))
    found = namespace[names[0]]
    for name in names[1:]:
        try:
            found = getattr(found, name)
        except AttributeError:
            raise UsageError(f"%%pulse {dotted}: there is no {name} in it" + _nearest(dotted, namespace)) from None
    if not isinstance(found, Operation):
        raise UsageError(
            f"%%pulse {dotted}: that is no operation but a {type(found).__name__}" + _nearest(dotted, namespace)
        )
    return found


def _nearest(dotted: str, namespace: Mapping[str, Any]) -> str:
    known = [
        f"{name}.{member}"
        for name, value in namespace.items()
        if isinstance(value, enum.EnumType) and issubclass(value, Operation)
        for member in value.__members__
    ]
    if not known:
        return "; define one: class Op(qp.Operation): MEMBER = qp.op('what it does')"
    lowered = {name.lower(): name for name in known}
    near = difflib.get_close_matches(dotted.lower(), lowered, n=1, cutoff=0.4)
    return f"; did you mean {lowered[near[0]]}?" if near else f"; there are {', '.join(known[:8])}"


def _result(operation: Operation, path: Path) -> Pulse:
    name = str(operation)
    try:
        capture = facade.open(path)
    except EmptyCaptureError:
        return Pulse(name, path, None, None, _empty())
    own = capture.samples(operation)
    stats = capture.stats()
    recorded = set(own["operation"].unique())
    stats = stats[stats.index.get_level_values("operation").isin(recorded)]
    here = own[(own["process"] == os.getpid()) & (own["thread"] == threading.get_native_id())]
    if here.empty:
        return Pulse(name, path, None, None, stats)
    # The cell may have run the same operation inside: of this thread's runs, the cell itself is the one to end last.
    ends = here["start"].astype("int64") + here["duration_ns"]
    row = here.iloc[int(ends.to_numpy().argmax())]
    error = row["error"] if isinstance(row["error"], str) else None
    return Pulse(name, path, int(row["duration_ns"]), error, stats)


def _empty() -> pd.DataFrame:
    import pandas as pd

    from quantum_pulse.capture.statistics import COLUMNS

    return pd.DataFrame(columns=["category", "operation", *COLUMNS]).set_index(["category", "operation"])
