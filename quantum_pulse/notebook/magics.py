"""Define the magics ``%%pulse Op.X``, ``%pulse Op.X statement`` and ``%pulse_record``."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import Any, Final

from IPython.core.error import UsageError
from IPython.core.magic import (
    Magics,
    cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
)
from IPython.display import display
from traitlets import Unicode, observe

from quantum_pulse.errors import QuantumPulseError
from quantum_pulse.notebook import answers, names, options
from quantum_pulse.notebook.cells import Cell, OutOfSight
from quantum_pulse.operations import Operation
from quantum_pulse.reading import reader
from quantum_pulse.recorder import recording, session

#: How the moment in the name of a session's capture is written.
_STARTED: Final = "%Y%m%d-%H%M%S"


@magics_class
class PulseMagics(Magics):
    """The magics of quantum_pulse: ``%%pulse``, ``%pulse`` and ``%pulse_record``."""

    #: The InteractiveShell. IPython declares it optional; a magic is never called without one.
    shell: Any

    folder = Unicode("captures", help="Directory for the captures of sessions.").tag(config=True)
    baseline = Unicode("none", help="A capture to compare cells with; last: the previous one; or none.").tag(
        config=True
    )

    #: The capture of this session, when a cell has been recorded into it.
    _path: Path | None = None

    @observe("folder")
    def _move(self, _change: Any) -> None:
        """What is recorded next goes into a capture in the new folder."""
        self.stop()
        self._path = None

    def stop(self) -> None:
        """End the recording that a cell has started, and print where it is. Explicit recordings continue."""
        running = session.active()
        if running is not None and running._is_implicit:
            running.stop()
            print(f"recorded into {running.path}: {_account(running)}")

    @no_var_expand
    @cell_magic("pulse")  # type: ignore[arg-type]  # IPython types it for functions without self
    def pulse_cell(self, line: str, cell: str) -> Any:
        """Time the cell as one run of an operation, keep the sample, and show whether the time is usual.

        Usage: ``%%pulse Op.MEMBER [options]``, with options before the operation or after it.

        --repeat N       run the cell N times
        --for LENGTH     run it repeatedly for this long, such as 2s
        --warmup N       run it N times first, without timing it
        --into CAPTURE   keep the samples in CAPTURE; by default one capture keeps those of the
                         session, captures/NOTEBOOK-TIME
        --baseline NAME  compare with a capture as well: its path, its name in captures/, "last" (the
                         newest one of this notebook, or with a name of its own), or "none"
        --as NAME        bind the answer to a variable
        --quiet          do not show the answer

        The cell runs as it does without the magic: its value is shown and kept in ``_``, it may
        await, and its errors are its own. Samples go to the recording that is running, or to one
        that is started for this session. The answer lists the operations that ran inside the cell.
        A ``clear_output(wait=True)`` that ends the cell clears when the answer is shown.
        ``%config PulseMagics`` shows the settings.

        Example::

            %%pulse Trading.SUBMIT --repeat 20
            submit(order)
        """
        __tracebackhide__ = True
        with OutOfSight():
            chosen, operation, compiled = self._prepared(line, cell)
            if compiled.is_async:
                raise UsageError("%%pulse: a cell that awaits cannot run inside another magic")
            return self._run(compiled, operation, chosen)

    @no_var_expand
    @line_magic("pulse")  # type: ignore[arg-type]  # as above
    def pulse_line(self, line: str) -> Any:
        """Time one statement: ``%pulse Op.MEMBER [options] statement``.

        The options are those of ``%%pulse``; see ``%%pulse?``.

        Example::

            %pulse Trading.SUBMIT --repeat 20 submit(order)
        """
        __tracebackhide__ = True
        with OutOfSight():
            chosen = options.parse(line, "%pulse")
            operation = names.resolve(chosen.operation, self._namespace, "%pulse")
            if not chosen.statement:
                raise UsageError("%pulse needs a statement after the operation; use %%pulse for a cell")
            compiled = Cell(self.shell, chosen.statement)
            if compiled.is_async:
                raise UsageError("%pulse: a statement that awaits needs a cell with %%pulse")
            return self._run(compiled, operation, chosen)

    @line_magic
    def pulse_record(self, line: str) -> None:
        """Record across cells: ``%pulse_record start [CAPTURE]``, ``stop`` or ``status``.

        CAPTURE is a directory, in quotes if it contains spaces; by default it is the capture of this
        session. Samples are added to what it holds. Until ``stop``, cells under ``%%pulse`` are
        recorded there as well.

        Example::

            %pulse_record start captures/experiment
            ...
            %pulse_record stop
        """
        word, rest = options.parted(line.strip())
        if word not in ("start", "stop", "status"):
            wrong = f", not {word!r}{names.did_you_mean(word, ('start', 'stop', 'status'))}" if word else ""
            raise UsageError(f"%pulse_record takes start [CAPTURE], stop or status{wrong}")
        into, more = options.value(rest) if word == "start" else ("", rest)
        if more:
            takes = "one CAPTURE, in quotes if it contains spaces" if word == "start" else "no arguments"
            raise UsageError(f"%pulse_record {word} takes {takes}, not {more!r}")
        if word == "start":
            recorder = self._recorder(into or None, "%pulse_record")
            if recorder._is_implicit:
                recorder._is_implicit = False
                print(f"recording into {recorder.path}")
            else:
                print(
                    f"recording into {recorder.path} continues: {_account(recorder)}; to record elsewhere, run "
                    "%pulse_record stop, then %pulse_record start CAPTURE"
                )
            return
        running = session.active()
        if running is None:
            print("nothing is being recorded; start a recording with %pulse_record start [CAPTURE]")
            return
        if word == "stop":
            running.stop()
        verb = "recorded" if word == "stop" else "recording"
        print(f"{verb} into {running.path}: {_account(running)}")

    async def run_async(self, line: str, cell: str) -> Any:
        """Run a cell that awaits under ``%%pulse``; `route` calls it."""
        __tracebackhide__ = True
        with OutOfSight():
            chosen, operation, compiled = self._prepared(line, cell)
            recorder = self._recorder(chosen.into)
            begun_ns = recorder.now_ns()
            try:
                return await compiled.run_async(operation, chosen)
            finally:
                self._answer(recorder, operation, begun_ns, chosen)

    def route(self, lines: list[str]) -> list[str]:
        """Transform a cell under ``%%pulse`` that awaits into one that is awaited, on the notebook's own loop.

        Raises SyntaxError if the cell has one, which IPython then shows as that of any cell.
        """
        if not lines or lines[0].split()[:1] != ["%%pulse"]:
            return lines
        line, cell = lines[0].strip()[len("%%pulse") :], "".join(lines[1:])
        _, code, taken = options.continued(line, cell)
        # Between cells the next one is meant; another magic in a cell that runs may transform what is below it.
        number = self.shell.execution_count if self.shell.displayhook.exec_result is None else None
        with OutOfSight():
            if not Cell(self.shell, code, line_offset=1 + taken, number=number).is_async:
                return lines
        return [f"await get_ipython().magics_manager.registry['PulseMagics'].run_async({line!r}, {cell!r})\n"]

    # The magic decides whether what is typed in a terminal is complete yet, which then ends with an empty line.
    route.has_side_effects = True  # type: ignore[attr-defined]

    def complete(self, _shell: Any, event: Any) -> list[str]:
        """Complete the line of a magic: enums, members, options, and captures after the options that take one."""
        symbol = str(event.symbol)
        before = str(getattr(event, "text_until_cursor", "")).removesuffix(symbol).replace("=", " ").split()
        if before[-1:] == ["--baseline"] or before[-1:] == ["--into"]:
            words = [path.parent.name for path in Path(self.folder).glob("*/*.json")]
            words = sorted({*words, *(("last", "none") if before[-1] == "--baseline" else ())})
        elif symbol.startswith("-"):
            words = list(options.OPTIONS)
        else:
            words = [*names.enums(self._namespace), *names.known(self._namespace)]
        return [word for word in words if word.startswith(symbol)]

    @property
    def _namespace(self) -> dict[str, Any]:
        # Two, in a shell that is embedded into a function.
        shell = self.shell
        return shell.user_ns if shell.user_ns is shell.user_global_ns else {**shell.user_global_ns, **shell.user_ns}

    def _prepared(self, line: str, cell: str) -> tuple[options.Options, Operation, Cell]:
        """What is asked for, and the cell, compiled. Raises UsageError and SyntaxError."""
        __tracebackhide__ = True
        line, cell, taken = options.continued(line, cell)
        chosen = options.parse(line, "%%pulse")
        operation = names.resolve(chosen.operation, self._namespace, "%%pulse")
        return chosen, operation, Cell(self.shell, cell, line_offset=1 + taken)

    def _run(self, compiled: Cell, operation: Operation, chosen: options.Options) -> Any:
        __tracebackhide__ = True
        recorder = self._recorder(chosen.into)
        begun_ns = recorder.now_ns()
        try:
            return compiled.run(operation, chosen)
        finally:
            self._answer(recorder, operation, begun_ns, chosen)

    def _answer(
        self, recorder: recording.Recorder, operation: Operation, begun_ns: int, chosen: options.Options
    ) -> None:
        """Show what is known of the runs since `begun_ns`. The cell's value or error goes on, whatever happens here."""
        if chosen.quiet and not chosen.name:
            return
        stopped_by = sys.exception()
        try:
            places = self._baselines(chosen.baseline, recorder.path)
            into = "" if recorder.path == self._path else recorder.path.name
            found = answers.answer(recorder, operation, begun_ns, places, into, stopped_by)
            if chosen.name:
                self.shell.user_ns[chosen.name] = found
            if not chosen.quiet:
                display(found)  # type: ignore[no-untyped-call]  # IPython has no type for it
        except Exception as error:  # noqa: BLE001 - a capture that the cell has deleted, a full disk
            print(f"%%pulse: {operation} ran, but its samples cannot be shown: {error}", file=sys.stderr)

    def _baselines(self, named: str | None, current: Path) -> list[Path] | None:
        """Where the capture may be that is to be compared with, best first; None when none is wanted.

        `named`: what the cell says, instead of what is configured.
        """
        wanted = named or self.baseline
        if wanted == "none":
            return None
        if wanted == "last":
            folders = {current.absolute().parent, Path(self.folder).absolute()}
            newest = reader.newest(folders, current.absolute(), lambda path: not _is_of_another_program(path))
            if newest is not None:
                return [newest]
            # A first session has none; only a cell that asks for it needs to know.
            return None if named is None else []
        return [Path(wanted), Path(self.folder) / wanted]

    def _recorder(self, into: str | None, magic: str = "%%pulse") -> recording.Recorder:
        """The recording that was asked for, if one goes on, or else one into `into` or the capture of this session."""
        running = session.active()
        wanted = None if into is None else Path(into).absolute()
        if running is not None and (wanted is None or running.path.absolute() == wanted) and not running._is_implicit:
            return running
        if running is not None and not running._is_implicit:
            raise UsageError(
                f"{magic}: a recording into {running.path} is active; stop it with %pulse_record stop, then run "
                "this again"
            )
        if wanted is None and self._path is None:
            self._path = Path(self.folder).absolute() / f"{_notebook()}-{time.strftime(_STARTED)}"
        path = wanted or self._path
        assert path is not None
        if running is not None and running.path == path:
            return running
        try:
            recorder = session.start(path, if_exists="append")
        except (QuantumPulseError, OSError) as error:
            raise UsageError(f"{magic}: {error}") from error
        # A cell that begins a recording of its own does so with the magic as without it.
        recorder._is_implicit = True
        return recorder


def _notebook() -> str:
    """The name of this notebook. Jupyter's server says which one a kernel belongs to; other front ends do not."""
    return Path(os.environ.get("JPY_SESSION_NAME", "")).stem or "session"


def _is_of_another_program(capture: Path) -> bool:
    """Whether a capture has the name that another notebook or program gives to one where nobody chooses it."""
    program = re.fullmatch(r"(.+)-\d{8}-\d{6}", capture.name)
    return program is not None and program[1] != _notebook()


def _account(recorder: recording.Recorder) -> str:
    account = recorder.account()
    samples = "1 sample" if account["started"] == 1 else f"{account['started']:,} samples"
    lost = f", {account['lost']:,} lost" if account["lost"] else ""
    return f"{samples}{lost}, {account['open']:,} unfinished"


def register(shell: Any) -> None:
    """Give the magics to an IPython shell, once."""
    if "PulseMagics" in shell.magics_manager.registry:
        return
    magics = PulseMagics(shell=shell)
    shell.register_magics(magics)
    shell.input_transformers_cleanup.append(magics.route)
    for name in ("%%pulse", "%pulse"):
        shell.set_hook("complete_command", magics.complete, str_key=name)
    shell.set_hook("complete_command", lambda *_: ["start", "status", "stop"], str_key="%pulse_record")


def unregister(shell: Any) -> None:
    """Undo `register`; IPython keeps what completes the names that are gone."""
    magics = shell.magics_manager.registry.pop("PulseMagics", None)
    if magics is None:
        return
    magics.stop()
    running = session.active()
    if running is not None:
        print(f"recording into {running.path} continues: {_account(running)}; qp.stop() ends it")
    shell.input_transformers_cleanup.remove(magics.route)
    shell.configurables.remove(magics)
    for kind, known in magics.magics.items():
        for name in known:
            shell.magics_manager.magics[kind].pop(name, None)
