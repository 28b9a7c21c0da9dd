"""The answer below a cell, gathered: its runs, those before, and what ran inside."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantum_pulse import facade
from quantum_pulse.analysis.runs import Runs
from quantum_pulse.errors import EmptyCaptureError
from quantum_pulse.operations import Operation
from quantum_pulse.view import runs as view

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.recorder.session import Recorder


@dataclass(frozen=True, eq=False, repr=False)
class Pulse(Runs):
    """What ``%%pulse`` found."""

    #: The capture that keeps the samples.
    path: Path = Path()

    @property
    def capture(self) -> facade.Capture:
        """The capture that keeps the samples, read anew."""
        return facade.open(self.path)

    def __repr__(self) -> str:
        return view.as_text(self)

    def _repr_html_(self) -> str:
        return view.as_html(self)


def answer(
    recorder: Recorder, operation: Operation, begun_ns: int, baseline: Path | None, stopped_by: BaseException | None
) -> Pulse:
    """What is known of the runs of `operation` that this thread has begun since `begun_ns`.

    `baseline` is a capture to compare with, `stopped_by` what has ended the cell. Raises what reading a capture raises.
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
    return Pulse(
        str(operation),
        own.finished,
        earlier,
        own.errors,
        own.failed,
        operation.budget_us,
        "" if own else _why_nothing(recorder, operation, stopped_by),
        "" if baseline is None else baseline.name,
        [] if baseline is None else _Samples.of(_outermost(facade.open(baseline).samples(operation))).finished,
        inside,
        operation.budget_quantile,
        path,
    )


_COLUMNS = ["process", "thread", "task", "start", "duration_ns", "error"]


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
        return f"{type(stopped_by).__name__} ended it before it was timed"
    if not recorder.is_recording:
        is_off = not recorder.path.exists()
        return "recording is switched off" if is_off else f"the cell ended the recording into {recorder.path.name}"
    if operation.sample_every > 1:
        return f"of this operation one call in {operation.sample_every:,} is recorded (sample_every)"
    if operation.detail:
        return "this operation is recorded at the level full only (detail)"
    return f"qp.open({str(recorder.path)!r}).losses() may say why"


def _outermost(samples: pd.DataFrame) -> pd.DataFrame:
    """Without those that ran inside another of them: a cell may call what it is timed as. In order of their start."""
    start = samples["start"].astype("int64")
    where = [samples[name] for name in ("process", "thread", "task")]
    before = (start + samples["duration_ns"]).groupby(where).cummax().groupby(where).shift(fill_value=0)
    return samples[start >= before]


def _inside(capture: facade.Capture, operation: Operation, begun: Any) -> pd.DataFrame:
    tree = capture.tree(operation, start=begun)
    tree = tree[tree["depth"] > 0]
    stats = capture.stats(start=begun).droplevel("category") if len(tree) else None
    rows = tree[["depth", "operation", "count", "total_us"]].copy()
    for key in ("p50_us", "p99_us"):
        rows[key] = [] if stats is None else stats[key].reindex(rows["operation"]).to_numpy()
    return rows
