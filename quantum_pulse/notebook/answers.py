"""Gather the answer below a cell: its runs, earlier runs, and what ran inside."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantum_pulse import facade, schema
from quantum_pulse.analysis.display import runs as view
from quantum_pulse.analysis.runs import Runs
from quantum_pulse.errors import CaptureError, EmptyCaptureError
from quantum_pulse.notebook.names import did_you_mean, near
from quantum_pulse.operations import Operation

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.recorder.recording import Recorder


@dataclass(frozen=True, eq=False, repr=False)
class Pulse(Runs):
    """The answer of ``%%pulse``, which shows itself; ``--as NAME`` binds it to a variable.

    It has the attributes of `analysis.runs.Runs`, and these.

    Attributes
    ----------
    path : pathlib.Path
        The capture that keeps the samples.

    Examples
    --------
    In a notebook::

        %%pulse Trading.SUBMIT --repeat 20 --as found
        submit(order)

    ``found.judgement`` then says whether that was usual.
    """

    path: Path = Path()

    @property
    def capture(self) -> facade.Capture:
        """The capture that keeps the samples, opened anew."""
        return facade.open(self.path)

    def __repr__(self) -> str:
        return view.as_text(self)

    def _repr_html_(self) -> str:
        return view.as_html(self)


def answer(
    recorder: Recorder,
    operation: Operation,
    begun_ns: int,
    baselines: Sequence[Path] | None,
    capture_name: str,
    stopped_by: BaseException | None,
) -> Pulse:
    """Return the answer for the runs of `operation` that this thread has begun since `begun_ns`.

    `baselines`: where the capture to compare with may be, None if none is requested; `capture_name`: of the recording,
    unless it is that of this session; `stopped_by`: the exception that has ended the cell. Raises what reading a
    capture raises.
    """
    import pandas as pd

    path = recorder.path
    recorder.flush()
    begun = pd.Timestamp(begun_ns, tz="UTC")
    own, inside = _Samples(), None
    earlier: list[int] = []
    try:
        capture = facade.open(path) if recorder.is_recording else None
    except EmptyCaptureError:
        capture = None
    if capture is not None:
        samples = capture.samples(operation, columns=_COLUMNS)
        samples = _outermost(samples[samples["process"] == os.getpid()])
        is_now = samples["start"] >= begun
        own = _Samples.of(samples[is_now & (samples["thread"] == threading.get_native_id())])
        earlier = _Samples.of(samples[~is_now]).finished
        inside = _inside(capture, operation, begun) if own else None
    against = _Baseline() if baselines is None else _Baseline.among(baselines, path, operation)
    return Pulse(
        str(operation),
        own.finished,
        earlier,
        own.errors,
        own.failed,
        operation.budget_us,
        "" if own else _why_nothing(recorder, operation, stopped_by),
        against.name,
        against.durations_ns,
        against.why_not,
        capture_name,
        inside,
        operation.budget_quantile,
        path,
    )


_COLUMNS = ["process", "thread", "task", "start", "duration_ns", "error"]


@dataclass(frozen=True)
class _Baseline:
    """The runs to compare with, or why there are none."""

    name: str = ""
    durations_ns: Sequence[int] = ()
    why_not: str = ""

    @classmethod
    def among(cls, places: Sequence[Path], current: Path, operation: Operation) -> _Baseline:
        """From the first of `places` that exists; `current` is where the runs themselves are recorded."""
        if not places:
            return cls(why_not=f"this notebook has no capture earlier than {current.name}")
        path = next((place for place in places if place.is_dir()), None)
        if path is None:
            names = [manifest.parent.name for manifest in places[-1].parent.glob(f"*/{schema.MANIFEST}")]
            missing = " and no ".join(map(str, places))
            return cls(why_not=f"there is no {missing}{did_you_mean(places[-1].name, names)}")
        if path.resolve() == current.resolve():
            return cls(why_not=f"{path.name} is the capture of this run itself")
        try:
            capture = facade.open(path)
        except EmptyCaptureError:
            return cls(why_not=f"no operation ran in {path.name}")
        except CaptureError as error:
            return cls(why_not=str(error))
        samples = _outermost(capture.samples(operation, columns=_COLUMNS))
        if len(samples):
            return cls(path.name, _Samples.of(samples).finished)
        known = [str(name) for name in capture.stats(approximate=True).index.get_level_values("operation")]
        listed = near(str(operation), known, 3) or known[:_MOST_LISTED]
        left = len(known) - len(listed)
        more = f" and {left} more" if left else ""
        return cls(why_not=f"{path.name} has no {operation}; it has {', '.join(listed)}{more}")


#: Operations of a baseline that are named where none is like the one that is looked for.
_MOST_LISTED = 8


class _Samples:
    """Durations in ns, of the runs that finished and of those that an exception ended."""

    def __init__(self) -> None:
        self.finished: list[int] = []
        self.failed: list[int] = []
        self.errors: list[str] = []

    @classmethod
    def of(cls, rows: pd.DataFrame) -> _Samples:
        found = cls()
        is_failed = rows["error"].notna()
        found.finished = rows.loc[~is_failed, "duration_ns"].tolist()
        found.failed = rows.loc[is_failed, "duration_ns"].tolist()
        found.errors = [str(kind) for kind in rows.loc[is_failed, "error"]]
        return found

    def __bool__(self) -> bool:
        return bool(self.finished or self.failed)


def _why_nothing(recorder: Recorder, operation: Operation, stopped_by: BaseException | None) -> str:
    if stopped_by is not None:
        return f"{type(stopped_by).__name__} ended the cell before it was timed"
    if not recorder.is_recording:
        is_off = not recorder.path.exists()
        return "recording is off" if is_off else f"the cell stopped the recording into {recorder.path.name}"
    if operation.sample_every > 1:
        return f"one call in {operation.sample_every:,} of this operation is recorded (sample_every)"
    if operation.detail:
        return "this operation is only recorded at level full (detail)"
    return f"qp.open({str(recorder.path)!r}).losses() may show why"


def _outermost(samples: pd.DataFrame) -> pd.DataFrame:
    """Without those that ran inside another of them: a cell may call what it is timed as. In order of their start."""
    start = samples["start"].astype("int64")
    where = [samples[name] for name in ("process", "thread", "task")]
    before = (start + samples["duration_ns"]).groupby(where).cummax().groupby(where).shift(fill_value=0)
    return samples[start >= before]


def _inside(capture: facade.Capture, operation: Operation, begun: Any) -> pd.DataFrame:
    # Its figures are of these calls alone; statistics by operation would count those in other threads too.
    tree = capture.tree(operation, start=begun)
    return tree.loc[tree["depth"] > 0, ["depth", "operation", "count", "total_us", "mean_us", "max_us"]]
