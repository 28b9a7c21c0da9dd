"""The command line: ``quantum-pulse`` and ``python -m quantum_pulse``."""

from __future__ import annotations

import argparse
import os
import runpy
import shutil
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.errors import CaptureError, NotACaptureError, QuantumPulseError

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.demo.engine import DemoResult

DEFAULT_MESSAGES = 32_000

#: What `compare` may fail on: verdicts, and budgets that the current side breaks.
FAIL_ON = ("regressed", "improved", "inconclusive", "removed", "budget")

_EXAMPLES = """\
examples:
  quantum-pulse demo                              record a trading engine at work and show what is slow in it
  quantum-pulse run server.py --port 8080         record a script; its own arguments come after it
  quantum-pulse run --into captures/t -m tests    the same for a module
  quantum-pulse stats captures/t                  the table of a capture
  quantum-pulse stats captures/t --sort p99_us --top 10
  quantum-pulse stats captures/* --by capture,operation
  quantum-pulse compare captures/main captures/branch --format markdown

what a script records is what it marks: `with Op.MEMBER:` or `@Op.MEMBER`, Op being a quantum_pulse.Operation.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 for what --fail-on names, 2 for misuse, or that of the
    program that was run."""
    parser = _parser()
    try:
        options = parser.parse_args(argv)
    except SystemExit as error:  # argparse has said why
        return error.code if isinstance(error.code, int) else 2
    if options.command is None:
        parser.print_help()
        return 2
    try:
        code: int = options.command(options)
        return code
    except (QuantumPulseError, _Misuse) as error:
        print(f"quantum-pulse: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("quantum-pulse: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has gone. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


class _Misuse(Exception):  # noqa: N818 - never leaves this module
    pass


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="quantum-pulse",
        description="Record every sample of named operations, and read the recordings.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"quantum-pulse {qp.__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="record a real program and show what is slow in it",
        description="Record an order-handling engine at work (feeds, risk, a loopback exchange, SQLite), check the "
        "capture against the engine's own counts, and show the result. Takes about 15 seconds.",
    )
    demo.add_argument("--into", metavar="DIR", help="where the capture goes (default: captures/demo-TIME)")
    demo.add_argument(
        "--messages", metavar="N", type=_positive, default=DEFAULT_MESSAGES, help="feed messages (default: %(default)s)"
    )
    demo.set_defaults(command=_demo)

    stats = commands.add_parser("stats", help="the table of a capture", description="Show the statistics of a capture.")
    stats.add_argument(
        "captures", metavar="CAPTURE", nargs="+", help="the directory of a capture, or of several to read as one"
    )
    stats.add_argument(
        "--by",
        metavar="WHAT",
        default="operation",
        help="rows, as in operation,thread: operation category thread process task error capture (default: operation)",
    )
    stats.add_argument("--quantiles", metavar="Q", type=_numbers, help="others than the usual ones, as in 0.5,0.9999")
    stats.add_argument(
        "--sort", metavar="COLUMN", help="by a column, as in p99_us, or by priority (default: by category)"
    )
    stats.add_argument("--top", metavar="N", type=_positive, help="only the first N rows")
    stats.add_argument("--min-count", metavar="N", type=_positive, default=0, help="only rows of at least N calls")
    stats.add_argument("--unit", choices=("auto", "us", "ms", "s"), default="auto", help="of times (default: auto)")
    stats.add_argument("--approximate", action="store_true", help="quantiles within 1 %%, without reading the samples")
    stats.set_defaults(command=_stats)

    compare = commands.add_parser(
        "compare",
        help="did it get slower?",
        description="Compare captures, operation by operation and quantile by quantile: what regressed, what improved, "
        "what is the same, and what cannot be told. Several captures a side, separated by commas, show what varies "
        "from run to run. Exit status: 0, 1 when something was found that --fail-on names, 2 for misuse.",
    )
    compare.add_argument("baseline", metavar="BASE", help="a capture, or several: captures/a,captures/b")
    compare.add_argument("current", metavar="CURRENT", help="the same, of what is to be judged")
    compare.add_argument(
        "--fail-on",
        metavar="WHAT",
        type=_verdicts,
        default=("regressed",),
        help=f"what makes the exit status 1: {', '.join(FAIL_ON)}, or none; several with commas (default: regressed)",
    )
    compare.add_argument("--format", choices=("text", "markdown", "json"), default="text", help="default: text")
    compare.add_argument("--min-effect", metavar="SHARE", type=float, default=0.05, help="smallest change that matters")
    compare.add_argument("--alpha", metavar="SHARE", type=float, default=0.05, help="share of false reports accepted")
    compare.add_argument("--all", action="store_true", help="also rows where nothing was found")
    compare.set_defaults(command=_compare)

    recover = commands.add_parser(
        "recover",
        help="make parts of what killed processes left in a capture",
        description="Write what processes that were killed had finished, and not yet written, into parts of their "
        "capture. Recordings that go on are left alone. Harmless when repeated.",
    )
    recover.add_argument("capture", metavar="CAPTURE", help="the directory of a capture")
    recover.set_defaults(command=_recover)

    run = commands.add_parser(
        "run",
        help="run a script or a module and record it",
        usage="quantum-pulse run [--into DIR] (SCRIPT | -m MODULE) [ARGUMENTS ...]",
        description="Run a Python program as if by python itself and record it. The exit code is the program's own; "
        "the capture is saved also when it fails.",
    )
    run.add_argument("--into", metavar="DIR", help="where the capture goes (default: captures/NAME-TIME)")
    run.add_argument("-m", dest="module", metavar="MODULE", nargs=argparse.REMAINDER, help="run a module, as python -m")
    run.add_argument("script", metavar="SCRIPT", nargs=argparse.REMAINDER, help="the script and its arguments")
    run.set_defaults(command=_run)
    return parser


def _verdicts(text: str) -> tuple[str, ...]:
    wanted = tuple(word for word in text.split(",") if word)
    if wanted == ("none",):
        return ()
    for word in wanted:
        if word not in FAIL_ON:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(FAIL_ON)}, none")
    return wanted


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return number


def _numbers(text: str) -> list[float]:
    try:
        return [float(one) for one in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers with commas between, as in 0.5,0.99, not {text!r}") from None


def _into(wanted: str | None, name: str) -> Path:
    return Path(wanted) if wanted else Path("captures") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _show(capture: qp.Capture, stats: pd.DataFrame, unit: str = "auto", *, keep_order: bool = False) -> None:
    from quantum_pulse.view import numbers, text

    print(text.stats_table(stats, capture.categories, unit=unit, keep_order=keep_order))
    budgets = text.budget_lines(capture.budgets())
    if budgets:
        print(f"\n{budgets}")
    unexpected = text.validation_lines(capture.validate(expected_only=True))
    if unexpected:
        print(f"\n{unexpected}")
    losses = capture.losses()
    if len(losses):
        known = int(losses["count"].sum())
        how_many = [numbers.count(known)] if known else []
        how_many += ["an unknown number of"] if losses["count"].isna().any() else []
        print(f"\nNOT in this table: {' and '.join(how_many)} samples that were lost or cannot be read:")
        for cause, rows in losses.groupby("cause", sort=False):
            lost = numbers.count(int(rows["count"].sum())) if rows["count"].notna().all() else "?"
            print(f"  {text.clean(str(cause))}: {lost}")


def _stats(options: argparse.Namespace) -> int:
    capture = qp.open(options.captures[0] if len(options.captures) == 1 else options.captures)
    try:
        stats = capture.stats(
            options.by.split(","),
            quantiles=options.quantiles,
            approximate=options.approximate,
            min_count=options.min_count,
            sort=options.sort,
            top=options.top,
        )
    except ValueError as error:
        raise _Misuse(f"stats: {error}") from error
    _show(capture, stats, options.unit, keep_order=options.sort is not None or options.top is not None)
    return 0


def _compare(options: argparse.Namespace) -> int:
    import json

    from quantum_pulse.view import text

    before, (current, *also) = (
        [qp.open(path) for path in side.split(",")] for side in (options.baseline, options.current)
    )
    try:
        found = current.compare(before, also=also, min_effect=options.min_effect, alpha=options.alpha)
    except ValueError as error:
        raise _Misuse(f"compare: {error}") from error
    broken: dict[str, float] = {}
    if "budget" in options.fail_on:
        for capture in (current, *also):
            rows = capture.budgets()
            # The budget is for the p99: more than one call in a hundred was above it.
            broken.update({str(name): float(share) for name, share in rows["share"].items() if share > 0.01})
    if options.format == "json":
        rows = json.loads(found.table.to_json(orient="records"))
        print(json.dumps({"verdict": found.verdict, "summary": found.summary, "over_budget": broken, "rows": rows}))
    else:
        print(
            found.to_markdown(everything=options.all)
            if options.format == "markdown"
            else found.to_text(everything=options.all)
        )
        for name, share in broken.items():
            print(f"over budget: {text.clean(str(name))}, {share:.1%} of its calls")
    verdicts = set(found.table["verdict"])
    return 1 if broken or verdicts & set(options.fail_on) else 0


def _recover(options: argparse.Namespace) -> int:
    from quantum_pulse.recorder.recover import recover
    from quantum_pulse.view import numbers

    path = Path(options.capture)
    if not (path / schema.MANIFEST).is_file():
        raise NotACaptureError(f"{path} is no capture: it has no {schema.MANIFEST}")
    try:
        found = recover(path)
    except OSError as error:
        raise _Misuse(f"recover: {path}: {error.strerror or error}") from error
    for one in found:
        print(
            f"process {one.process}: {numbers.count(one.samples)} samples recovered, {numbers.count(one.open)} blocks "
            f"had not ended, {numbers.count(one.lost)} were lost before"
        )
        for damage in one.damage:
            print(f"  damaged: {damage}")
    if not found:
        print("nothing to recover")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from quantum_pulse.demo import engine
    from quantum_pulse.view import numbers

    path = _into(options.into, "demo")
    print(f"Recording an order-handling engine at work into {path} ...")
    with (
        tqdm(total=options.messages, unit="message", file=sys.stderr, dynamic_ncols=True) as bar,
        qp.record(path, if_exists="error"),
    ):
        result = engine.run(messages=options.messages, progress=bar.update)
    capture = qp.open(path)
    print(
        f"\n{numbers.count(result.orders)} orders and {numbers.count(result.fills)} fills "
        f"in {numbers.duration(result.seconds * 1e9)}.\n"
    )
    agree = _compare_counts(capture, result)
    print()
    _show(capture, capture.stats())
    picture = path.with_suffix(".png")
    capture.plot().savefig(picture, dpi=150)
    # As it was called: `make demo` runs it from a virtual environment that is not on the path.
    command = "quantum-pulse" if shutil.which("quantum-pulse") else os.path.relpath(sys.argv[0])
    steps = {
        f"{command} stats {path}": "this table again",
        str(picture): "the same as a picture",
        "make lab": "JupyterLab; open notebooks/01-first-pulse.ipynb",
        "in Python": f"capture = quantum_pulse.open({str(path)!r}); capture.samples(); capture.metrics()",
    }
    column = max(map(len, steps))
    print("\nWhat to do next")
    for step, what in steps.items():
        print(f"  {step:<{column}}   {what}")
    return 0 if agree else 1


def _compare_counts(capture: qp.Capture, result: DemoResult) -> bool:
    from quantum_pulse.view import numbers

    sums = capture.stats()["count"].groupby("operation").sum()
    recorded = {str(name): int(calls) for name, calls in sums.items()}
    counted = {str(name): calls for name, calls in result.calls.items() if calls}
    differing = sorted(name for name in recorded.keys() | counted.keys() if recorded.get(name) != counted.get(name))
    if not differing:
        total = numbers.count(sum(counted.values()))
        print(f"Every sample is there: {total} calls that the engine counted itself = {total} samples in the capture.")
        return True
    print("The capture differs from what the engine counted itself:")
    for name in differing:
        print(f"  {name}: {counted.get(name, 0)} calls, {recorded.get(name, 0)} samples")
    return False


def _run(options: argparse.Namespace) -> int:
    is_module = options.module is not None
    command = options.module if is_module else options.script
    # `--` only separates.
    if not is_module and command[:1] == ["--"]:
        command = command[1:]
    if not command:
        raise _Misuse("run: name a script, or a module after -m; see quantum-pulse run --help")
    target, arguments = command[0], command[1:]
    if not is_module and not Path(target).exists():
        raise _Misuse(f"run: there is no script {target}")
    path = _into(options.into, target.rpartition(".")[2] if is_module else Path(target).stem)
    argv, search, main_module = sys.argv[:], sys.path[:], sys.modules["__main__"]
    others = set(threading.enumerate())
    recorder = qp.start(path)
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
    _say_where(path)
    return code


def _say_where(path: Path) -> None:
    # On standard error: standard output is the program's.
    try:
        capture = qp.open(path)
    except CaptureError as error:
        print(f"quantum-pulse: {error}", file=sys.stderr)
    else:
        print(f"quantum-pulse: {capture!r}; quantum-pulse stats {path} shows it", file=sys.stderr)


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
        # Our own frames tell nobody anything.
        while frames is not None and frames.tb_frame.f_code.co_filename in (__file__, runpy.__file__, "<frozen runpy>"):
            frames = frames.tb_next
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


if __name__ == "__main__":
    sys.exit(main())
