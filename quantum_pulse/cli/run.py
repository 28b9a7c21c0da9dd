"""``quantum-pulse run``: run a script or a module as python would, and record it."""

from __future__ import annotations

import argparse
import contextlib
import os
import runpy
import sys
import tempfile
import threading
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import quantum_pulse as qp
from quantum_pulse.cli.common import Misuse, into, positive
from quantum_pulse.errors import CaptureError, RecordingError
from quantum_pulse.recorder.configuration import CONFIG, PROFILES, Settings, named_settings, settings, toml
from quantum_pulse.recorder.options import LEVELS, ON_FULL
from quantum_pulse.recorder.session import ENVIRONMENT
from quantum_pulse.shown import say

if TYPE_CHECKING:
    from quantum_pulse.cli.common import Commands


def add_command(commands: Commands) -> None:
    run = commands.add_parser(
        "run",
        help="run a script or a module and record it",
        usage="quantum-pulse run [--into DIR] [--config FILE|PROFILE] [--level LEVEL] [--sample NAME=N] [--keep BOUND] "
        "[--on-full WHAT] (SCRIPT | -m MODULE) [ARGUMENTS ...]",
        description="Run a Python program as python itself would, and record it. The exit code is that of the program; "
        "the capture is saved even if the program fails.",
    )
    run.add_argument("--into", metavar="DIR", help="where the capture goes (default: captures/NAME-TIME)")
    add_settings(run)
    run.add_argument("-m", dest="module", metavar="MODULE", nargs=argparse.REMAINDER, help="run a module, as python -m")
    run.add_argument("script", metavar="SCRIPT", nargs=argparse.REMAINDER, help="the script and its arguments")
    run.set_defaults(command=_run)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Options that set how a program is recorded."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"a file of settings, or a profile: {', '.join(PROFILES)} (default: what {CONFIG} names)",
    )
    parser.add_argument("--level", choices=LEVELS, help="what is recorded, where the program does not say")
    parser.add_argument(
        "--sample", metavar="NAME=N", action="append", default=[], type=_rule,
        help="record one call in N of an operation, an enum or a category; may be given several times",
    )  # fmt: skip
    parser.add_argument("--keep", metavar="BOUND", help="bound of the capture: an age as 30d, or a size as 20GB")
    parser.add_argument("--on-full", choices=tuple(ON_FULL), help="what to do when the ring buffers are full")


def _rule(text: str) -> tuple[str, int]:
    name, _, number = text.rpartition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"must be a name and a number, as in Trading.PARSE=100, not {text!r}")
    return name, positive(number)


def _settings(options: argparse.Namespace) -> Settings:
    """What the options say, over the file or the profile. Raises Misuse."""
    named = options.config or os.environ.get(CONFIG)
    rules = dict(options.sample)
    try:
        chosen = named_settings(named) if named else Settings()
        together = {**(chosen.sampling or {}), **rules}
        own = Settings(options.level, options.on_full, options.keep, together or None)
        return settings(own.over(chosen).given(), "run")
    except RecordingError as error:
        raise Misuse(f"run: {str(error).removeprefix('run: ')}") from None


@contextlib.contextmanager
def _for_workers(chosen: Settings, path: Path) -> Iterator[None]:
    """Record what the program starts in the same way, also what is not forked."""
    changed = {ENVIRONMENT: str(path.absolute())} if os.environ.get(ENVIRONMENT) is None else {}
    before = {name: os.environ.get(name) for name in (ENVIRONMENT, CONFIG)}
    with tempfile.TemporaryDirectory(prefix="quantum-pulse-") as folder:
        if chosen != Settings():
            file = Path(folder) / "run.toml"
            file.write_text(toml(chosen), encoding="utf-8")
            changed[CONFIG] = str(file)
        os.environ.update(changed)
        try:
            yield
        finally:
            for name in changed:
                value = before[name]
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _run(options: argparse.Namespace) -> int:
    is_module = options.module is not None
    command = options.module if is_module else options.script
    # `--` only separates.
    if not is_module and command[:1] == ["--"]:
        command = command[1:]
    if not command:
        raise Misuse("run: name a script, or a module with -m; see quantum-pulse run --help")
    target, arguments = command[0], command[1:]
    # An empty name would be the current folder.
    if not target or (not is_module and not Path(target).exists()):
        raise Misuse(f"run: there is no {'module' if is_module else 'script'} {target!r}")
    path = into(options.into, target.rpartition(".")[2] if is_module else Path(target).stem)
    chosen = _settings(options)
    with _for_workers(chosen, path):
        code = _recorded(target, arguments, path, chosen, is_module=is_module)
    _say_where(path)
    return code


def _recorded(target: str, arguments: list[str], path: Path, chosen: Settings, *, is_module: bool) -> int:
    """Run the program, and return its exit code."""
    argv, search, main_module = sys.argv[:], sys.path[:], sys.modules["__main__"]
    others = set(threading.enumerate())
    recorder = qp.start(path, **chosen.given())
    try:
        sys.argv = [target, *arguments]
        # As python itself does: the folder of a script, the current one for a module.
        sys.path[:0] = [str(Path.cwd() if is_module else Path(target).resolve().parent)]
        code = _exit_code(lambda: _run_module(target) if is_module else _run_script(target))
        # Python waits for these before it exits, and so the recording does.
        for thread in threading.enumerate():
            if thread not in others and not thread.daemon and thread is not threading.current_thread():
                thread.join()
    finally:
        recorder.stop()
        sys.argv, sys.path[:], sys.modules["__main__"] = argv, search, main_module
    return code


def _say_where(path: Path) -> None:
    # On standard error: standard output is the program's.
    try:
        capture = qp.open(path)
    except CaptureError as error:
        say(f"quantum-pulse: {error}", file=sys.stderr)
    else:
        say(f"quantum-pulse: {capture!r}; quantum-pulse stats {path} shows it", file=sys.stderr)


def _exit_code(program: Callable[[], None]) -> int:
    """Run `program` and say what python's exit code would be; tracebacks are printed as python does."""
    try:
        program()
    except SystemExit as error:
        if error.code is None:
            return 0
        if isinstance(error.code, int):
            return error.code & 0xFF
        print(error.code, file=sys.stderr)
        return 1
    except BaseException as error:  # noqa: BLE001 - whatever ends the program, its capture is saved
        frames = error.__traceback__
        # Leave out the frames of quantum_pulse.
        while frames is not None and frames.tb_frame.f_code.co_filename in (__file__, runpy.__file__, "<frozen runpy>"):
            frames = frames.tb_next
        if frames is None and isinstance(error, ImportError):
            # Of runpy, which has not found what to run: there is no program that could have raised it.
            say(f"quantum-pulse: run: {error}", file=sys.stderr)
            return 2
        traceback.print_exception(type(error), error, frames)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _run_module(name: str) -> None:
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _run_script(script: str) -> None:
    if Path(script).is_dir():
        runpy.run_path(script, run_name="__main__")
        return
    # Not runpy.run_path: it empties the module when the last line has run, under the feet of threads that go on.
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=script, __builtins__=__builtins__)
    sys.modules["__main__"] = module
    exec(compile(Path(script).read_bytes(), script, "exec", dont_inherit=True), module.__dict__)
