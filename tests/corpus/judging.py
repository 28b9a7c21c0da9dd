"""What `Capture.why` and two simpler ways say of a program of the corpus, against what was planted in it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

import quantum_pulse as qp
from tests.corpus.registry import Program
from tests.corpus.running import IMPOSSIBLE, TRUTH, ImpossibleError, Service

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

QUANTILE = 0.99
OPERATION = "Service.REQUEST"


class Named(NamedTuple):
    """A cause that was named, and its share of the excess, the most important first."""

    kind: str
    name: str
    share: float


class Verdict(NamedTuple):
    """The rank of each planted cause, None where it was not named, and the share that those together have."""

    ranks: list[int | None]
    share: float
    named: list[Named]

    @property
    def is_first(self) -> bool:
        return 1 in self.ranks

    @property
    def is_among_three(self) -> bool:
        return all(rank is not None and rank <= 3 for rank in self.ranks)


def record(program: Program, capture: Path, seconds: float, seed: int = 1) -> None:
    """Run a program in a process of its own.

    Raises
    ------
    ImpossibleError
        If this machine does not permit what it needs.
    """
    command = [sys.executable, "-m", "tests.corpus", program.name, str(capture)]
    command += ["--seconds", str(seconds), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == IMPOSSIBLE:
        raise ImpossibleError(done.stderr.strip())
    if done.returncode:
        raise RuntimeError(f"{program.name}: exit status {done.returncode}\n{done.stderr}")


def judge(program: Program, named: Sequence[Named]) -> Verdict:
    """Where the planted causes are in what was named, the most important first."""
    ranks: list[int | None] = []
    share = 0.0
    for cause in program.causes:
        places = [place for place, one in enumerate(named, 1) if cause.fits(one.kind, one.name)]
        ranks.append(places[0] if places else None)
        share += sum(named[place - 1].share for place in places)
    return Verdict(ranks, share, list(named))


def explained(capture: Path, quantile: float = QUANTILE) -> list[Named]:
    """What `Capture.why` names."""
    table = qp.open(capture).why(Service.REQUEST, quantile=quantile).found
    return [Named(str(row.kind), str(row.cause), float(row.share_of_excess)) for row in table.itertuples()]


# ---- what was planted -------------------------------------------------------------------------------------------


def slow_calls(capture: Path, quantile: float = QUANTILE) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The requests of a capture, with `excess` in ns over the median, 0 of those that are not slow; and all samples."""
    samples = qp.open(capture).samples()
    calls = samples[samples["operation"] == OPERATION].reset_index(drop=True)
    duration = calls["duration_ns"]
    is_slow = duration > duration.quantile(quantile)
    return calls.assign(is_slow=is_slow, excess=(duration - duration.median()).where(is_slow, 0.0)), samples


def true_share(capture: Path, quantile: float = QUANTILE) -> float | None:
    """The share of the excess of slow calls that was planted; None where nobody can say."""
    calls, _ = slow_calls(capture, quantile)
    took = planted_time(capture, calls)
    if took is None:
        return None
    excess = calls["excess"].to_numpy()
    return float(np.minimum(took, excess)[excess > 0].sum() / excess.sum()) if excess.sum() else 0.0


def planted_time(capture: Path, calls: pd.DataFrame) -> Floats | None:
    """How long what was planted held up the thread of each call while it ran, in ns; None where nobody can say."""
    planted = json.loads(capture.with_name(f"{capture.name}.{TRUTH}").read_text(encoding="utf-8"))
    if planted is None:
        return None
    rows = pd.DataFrame(planted, columns=["thread", "began", "length"])
    took = np.zeros(len(calls))
    begins = calls["start"].astype("int64").to_numpy()
    ends = begins + calls["duration_ns"].to_numpy()
    for thread, own in rows.groupby("thread"):
        held_up = _time_within(own["began"].to_numpy(), (own["began"] + own["length"]).to_numpy())
        mine = calls["thread"].to_numpy() == thread
        took[mine] = held_up(ends[mine]) - held_up(begins[mine])
    return took


def _time_within(begins: Integers, ends: Integers) -> Callable[[Integers], Floats]:
    """A function that says how much time until a moment is within any of these intervals."""
    order = np.argsort(begins)
    begins, ends = begins[order], np.maximum.accumulate(ends[order])
    begins = np.maximum(begins, np.concatenate([begins[:1], ends[:-1]]))
    edges = np.column_stack([begins, np.maximum(ends, begins)]).ravel()
    passed = np.cumsum(np.diff(edges, prepend=edges[:1]) * (np.arange(len(edges)) % 2))
    return lambda moments: np.interp(moments, edges, passed)


# ---- two simpler ways -------------------------------------------------------------------------------------------


def compared_attributes(capture: Path, quantile: float = QUANTILE) -> list[Named]:
    """The values of attributes that slow calls have most more often than others, without any test."""
    calls, _ = slow_calls(capture, quantile)
    found = []
    attributes = pd.DataFrame(calls["attributes"].map(lambda pairs: dict(pairs or ())).tolist())
    is_slow = calls["is_slow"].to_numpy()
    for name in attributes:
        often = attributes[name][is_slow].value_counts(normalize=True)
        usual = attributes[name][~is_slow].value_counts(normalize=True)
        more = often.sub(usual, fill_value=0.0)
        found += [Named("attribute", f"{name}={value}", float(share)) for value, share in more.items() if share > 0]
    if calls["error"].notna().any():
        failed = calls["error"].notna()
        found.append(Named("error", "the call failed", float(failed[is_slow].mean() - failed[~is_slow].mean())))
    return sorted(found, key=lambda one: -one.share)[:5]


def largest_child(capture: Path, quantile: float = QUANTILE) -> list[Named]:
    """The operations directly inside, and the request without them, by how much longer they take in slow calls."""
    calls, samples = slow_calls(capture, quantile)
    inside = samples[samples["parent"].isin(calls["span"])]
    times = inside.pivot_table("duration_ns", "parent", "operation", "sum", fill_value=0, observed=True)
    times = times.reindex(calls["span"], fill_value=0).reset_index(drop=True)
    times.columns = times.columns.astype(str)
    times[OPERATION] = (calls["duration_ns"] - times.sum(axis=1)).clip(lower=0)
    more = times[calls["is_slow"]].mean() - times[~calls["is_slow"]].mean()
    whole = max(float(more.clip(lower=0).sum()), 1.0)
    named = [Named("child", str(name), float(value) / whole) for name, value in more.items() if value > 0]
    return sorted(named, key=lambda one: -one.share)[:5]
