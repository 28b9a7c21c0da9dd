"""The pytest plugin: a recorded run, a comparison with earlier ones, and the fixture `pulse`.

pytest finds it by its entry point. Without its options and its fixture it does nothing.
"""

from __future__ import annotations

import os
import re

import pytest

from quantum_pulse.core import core
from quantum_pulse.integrations.naming import FoundOperations, with_digits
from quantum_pulse.recorder import session

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    import pandas as pd

    from quantum_pulse.facade import Capture
    from quantum_pulse.operations import Operation
    from quantum_pulse.recorder.recording import Recorder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("quantum_pulse", "performance of the tests (quantum_pulse)")
    group.addoption(
        "--pulse-record", metavar="DIR", help="record the run into the capture DIR, each test as an operation"
    )
    group.addoption(
        "--pulse-baseline",
        metavar="DIR",
        help="compare what --pulse-record records with the capture DIR, or with several that a pattern names, and fail "
        "the run where it is slower",
    )
    group.addoption(
        "--pulse-fail-on",
        metavar="WORDS",
        default="regressed,killed",
        help="what fails the run, as --fail-on of quantum-pulse compare (default: %(default)s). One run against one "
        "can only show that the two differ: name several runs as the baseline, or add differs here",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Record the run if it is asked for."""
    target, baseline = config.getoption("pulse_record"), config.getoption("pulse_baseline")
    if baseline and not target:
        raise pytest.UsageError("--pulse-baseline needs --pulse-record DIR, where this run is recorded")
    if target:
        fail_on = _fail_on(config.getoption("pulse_fail_on"))
        config.pluginmanager.register(_RecordedRun(config, target, baseline, fail_on), "quantum_pulse_recorded_run")


def _fail_on(words: str) -> list[str]:
    """What `--pulse-fail-on` names. Raises UsageError."""
    from quantum_pulse.analysis.compared import FAIL_ON

    named = [word.strip() for word in words.split(",") if word.strip()]
    for word in named:
        if word not in FAIL_ON:
            raise pytest.UsageError(f"--pulse-fail-on: {word!r} is not among {', '.join(FAIL_ON)}")
    return named


class _RecordedRun:
    """A run that is recorded. Under pytest-xdist each worker records into the one capture."""

    def __init__(self, config: pytest.Config, target: str, baseline: str | None, fail_on: list[str]) -> None:
        self._fail_on = fail_on
        self._is_worker = hasattr(config, "workerinput")
        folder = config.invocation_params.dir
        self._target = folder / target
        self._baseline = None if baseline is None else str(folder / baseline)
        self._recorder: Recorder | None = None
        self._report = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Begin the recording. What QUANTUM_PULSE has begun gives way."""
        if session.active() is not None:
            session.stop()
        self._recorder = session.start(self._target)

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """Time a test, without its fixtures."""
        block = core.Block(operation_of(pyfuncitem))
        try:
            done = yield
        except BaseException as error:
            block.end(type(error))
            raise
        block.end()
        return done

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """End the recording, and fail the run if it is slower than its baseline."""
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return
        recorder.stop()
        if self._is_worker or self._baseline is None:
            return
        from quantum_pulse import facade
        from quantum_pulse.errors import CaptureError

        try:
            found = facade.open(self._target).compare(facade.open(self._baseline))
        except CaptureError as error:
            self._report = f"no comparison: {error}"
            failures = ["no comparison"]
        else:
            self._report = found.to_text()
            failures = found.failures(self._fail_on)
        if failures and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Show the comparison."""
        if self._report:
            terminalreporter.section("quantum_pulse")
            terminalreporter.write_line(self._report.rstrip())


_tests = FoundOperations("Tests", __name__, "Tests", lambda text: _test_name(text))


def _test_name(place: str) -> str:
    """The name of the operation of a test, ``tests__test_shop__TestCart__test_total``."""
    path, _, inside = place.partition("::")
    parts = [*path.removesuffix(".py").split("/"), *inside.split("::")]
    is_plain = all(part.isidentifier() and part.isascii() and "__" not in part.strip("_") for part in parts)
    name = "__".join(re.sub(r"\W", "_", part, flags=re.ASCII) for part in parts).strip("_")
    return name if is_plain and name.isidentifier() else with_digits(f"test_{name}", place)


def operation_of(item: pytest.Function) -> Operation:
    """The operation of a test: a member of an enum called `Tests`, one for all parameters of a test."""
    path, separator, inside = item.nodeid.partition("::")
    return _tests[f"{path}{separator}{inside.partition('[')[0]}"]


class Pulse:
    """What a test records; the fixture `pulse`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._since_ns = recorder.now_ns()

    def stats(self, **options: Any) -> pd.DataFrame:
        """The table of `Capture.stats`, of what this process has finished since the test began.

        Parameters
        ----------
        **options
            What `Capture.stats` takes, but for the interval.

        Returns
        -------
        DataFrame
            A row for each operation, empty where none ran.
        """
        from datetime import UTC, datetime, timedelta

        since = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self._since_ns // 1000)
        # Under pytest-xdist other workers record into the same capture meanwhile.
        where = {**(options.pop("where", None) or {}), "process": os.getpid()}
        return self._recorder.stats(start=since, where=where, **options)

    def capture(self) -> Capture:
        """The capture as it is now, with what other tests have recorded into it.

        Returns
        -------
        Capture
            With everything that has finished.
        """
        from quantum_pulse import facade

        self._recorder.flush()
        return facade.so_far(self._recorder.path)


@pytest.fixture
def pulse(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pulse, None, None]:
    """What the test records: `pulse.stats()` is its table. Where nothing is recorded yet, the test is."""
    running = session.active()
    if running is not None:
        yield Pulse(running)
        return
    with session.record(tmp_path_factory.mktemp("pulse") / "capture") as recorder:
        yield Pulse(recorder)
