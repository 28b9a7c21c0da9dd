"""Compare the durations of operations between two sets of recordings; derived in `docs/statistics.md`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from quantum_pulse import shown
from quantum_pulse.analysis.ratios import Between, Side, Within, ratio_of
from quantum_pulse.analysis.significance import benjamini_hochberg
from quantum_pulse.analysis.warmup import settling
from quantum_pulse.arguments import between, real

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from quantum_pulse.analysis.explanation import Explanation

#: Operation -> durations in ns, in the order in which they were recorded.
Run: TypeAlias = "Mapping[str, npt.ArrayLike]"

COLUMNS: Final = (
    "operation",
    "quantile",
    "baseline_us",
    "current_us",
    "change",
    "ci_low",
    "ci_high",
    "q_value",
    "verdict",
)

#: Columns of `Comparison.warmup`, and their types.
WARMUP: Final = {
    "side": "object",
    "run": "int64",
    "operation": "object",
    "set_aside": "int64",
    "samples": "int64",
    "change": "float64",
}

#: The worst first: the verdict on the whole is the first of these that some row has.
VERDICTS: Final = ("regressed", "improved", "inconclusive", "too_few", "equivalent", "added", "removed")
#: Of a regression: the operation took over time of the one around it, and together they are not slower.
MOVED: Final = "moved"

#: What `Comparison.failures` may name: verdicts, budgets that the current side misses, and what had not ended in it.
FAIL_ON: Final = ("regressed", "improved", "inconclusive", "removed", "budget", "killed", "unfinished")
#: What fails a build unless it says otherwise.
USUAL_FAIL_ON: Final = ("regressed", "budget", "killed")
#: States of a call whose process or recording ended before it did; one that is "running" may still end.
ENDED_STATES: Final = ("killed", "stopped")

#: A quantile is tested when this many samples are expected beyond it, on each side.
FEWEST_BEYOND: Final = 5
SIDES: Final = ("baseline", "current")


def warmup_frame(rows: Sequence[tuple[str, int, str, int, int, float]] = ()) -> pd.DataFrame:
    """Rows of `Comparison.warmup`."""
    import pandas as pd

    return pd.DataFrame(rows, columns=list(WARMUP)).astype(WARMUP)


class OpenCalls(NamedTuple):
    """Unfinished calls of an operation in one place; `elapsed_ns` is how long the first of them has taken, NaN
    where it had only just started."""

    operation: str
    #: "killed", "stopped" or "running", as in `Capture.unfinished`.
    state: str
    elapsed_ns: float
    calls: int = 1


@dataclass(frozen=True)
class StillOpen:
    """Unfinished calls of the current side: they have no samples, so the table leaves them out."""

    #: What takes longest first. Of what is still recorded only calls that take longer than any that ended.
    calls: tuple[OpenCalls, ...] = ()
    #: Whether some process of it is still being recorded, so that the run is incomplete.
    still_recorded: bool = False
    #: How many processes were recorded.
    processes: int = 1

    def of_state(self, *states: str) -> list[OpenCalls]:
        return [call for call in self.calls if call.state in states]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare_samples` found."""

    #: A row per operation and quantile: operation, quantile, baseline_us, current_us, change (current / baseline - 1),
    #: ci_low, ci_high (of the change, at 1 - alpha, each row for itself), q_value, verdict. Sorted by operation.
    table: pd.DataFrame
    #: Shares of 1: the smallest change that matters, and the accepted false discovery rate.
    min_effect: float
    alpha: float
    #: How many runs each side had.
    baseline_runs: int
    current_runs: int
    #: What differs between the environments of the two sides, in words; see `analysis.environments`.
    differences: tuple[str, ...] = ()
    #: What was set aside because it was still settling, a row per side ("baseline", "current"), run (counted from 0)
    #: and operation of which something was: set_aside, of so many samples, and change, the ratio of the median of what
    #: was set aside to that of the rest, minus 1.
    warmup: pd.DataFrame = field(default_factory=warmup_frame)
    #: What `Capture.budgets` says of the current side; None where they were not requested.
    budgets: pd.DataFrame | None = None
    #: Unfinished calls of the current side, whichever operations are compared.
    unfinished: StillOpen = StillOpen()

    @property
    def judged(self) -> pd.DataFrame:
        """`table`, with the verdict "moved" where that is known of a regression; see `results.Comparison`."""
        return self.table

    @property
    def explanation(self) -> Explanation | None:
        """Why operations regressed, where that can be known."""
        return None

    @property
    def improvement_groups(self) -> pd.DataFrame | None:
        """What got faster together, where that can be known."""
        return None

    @property
    def regressions(self) -> pd.DataFrame:
        """Rows of `table` that got slower, the largest change first."""
        return self._having("regressed", ascending=False)

    @property
    def improvements(self) -> pd.DataFrame:
        """Rows of `table` that got faster, the largest change first."""
        return self._having("improved", ascending=True)

    @property
    def verdict(self) -> str:
        """One word for the whole: of the verdicts in the table the first of VERDICTS; "too_few" for an empty table."""
        present = set(self.judged["verdict"])
        return next((verdict for verdict in VERDICTS if verdict in present), "too_few")

    def failures(self, fail_on: Sequence[str] = USUAL_FAIL_ON) -> list[str]:
        """What of `fail_on` was found, a line each, as in "regressed: Shop.PARSE"; empty when a build may pass.

        `fail_on`: of FAIL_ON, "budget" being budgets that are shown to be missed, where `budgets` are known, "killed"
        calls that had not ended when a process of the current side was killed, and "unfinished" these and those that
        had not when its recording was stopped, as a thread that waits for work has one. Raises ValueError for another
        word.
        """
        for word in fail_on:
            if word not in FAIL_ON:
                raise ValueError(f"fail_on must contain only {', '.join(map(repr, FAIL_ON))}, not {word!r}")
        judged = self.judged
        found = [
            f"{word}: {name}"
            for word in fail_on
            for name in dict.fromkeys(map(str, judged.loc[judged["verdict"] == word, "operation"]))
        ]
        if "budget" in fail_on and self.budgets is not None:
            found += [f"missed budget: {name}" for name in self.budgets.index[self.budgets["verdict"] == "missed"]]
        for word, states in (("killed", ("killed",)), ("unfinished", ENDED_STATES)):
            if word in fail_on:
                names = (call.operation for call in self.unfinished.of_state(*states))
                found += [f"{word}: {name}" for name in dict.fromkeys(names)]
        return found

    @property
    def between_runs(self) -> bool:
        """Whether variation from run to run was seen and allowed for: some side had several runs."""
        return max(self.baseline_runs, self.current_runs) > 1

    @property
    def summary(self) -> str:
        """The verdict in a sentence or two, with what limits it."""
        return self.summarised(shown.visible)

    def summarised(self, quoted: Callable[[str], str]) -> str:
        """The same, where `quoted` makes names from outside safe to show."""
        operations = self.judged.groupby("operation", sort=False)["verdict"].agg(set)
        order = (*VERDICTS, MOVED)
        # Each operation counts once, for what matters most of it.
        worst = [next(verdict for verdict in order if verdict in found) for found in operations]
        counts = [f"{worst.count(verdict)} {verdict.replace('_', ' ')}" for verdict in order if verdict in worst]
        text = f"Of {len(operations)} operations: {', '.join(counts)}." if counts else "Nothing to compare."
        if not self.between_runs:
            text += " There is one run per side, so variation between runs is unknown and may explain the differences."
        if len(self.warmup):
            text += (
                f" Excluded as warm-up: the first {int(self.warmup['set_aside'].sum()):,} of "
                f"{int(self.warmup['samples'].sum()):,} samples of {self._named(self.warmup['operation'], quoted)}."
            )
        if self.differences:
            text += f" The recording conditions differ: {'; '.join(map(quoted, self.differences))}."
        return text

    @staticmethod
    def _named(operations: pd.Series[Any], quoted: Callable[[str], str]) -> str:
        """Up to three of the operations by name."""
        names = list(dict.fromkeys(map(str, operations)))
        return ", ".join(map(quoted, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    def _having(self, verdict: str, *, ascending: bool) -> pd.DataFrame:
        judged = self.judged
        rows = judged[judged["verdict"] == verdict]
        return rows.sort_values("change", ascending=ascending, kind="stable")


def compare_samples(
    baseline: Run | Sequence[Run],
    current: Run | Sequence[Run],
    *,
    quantiles: Sequence[float] = (0.5, 0.95, 0.99),
    min_effect: float = 0.05,
    alpha: float = 0.05,
    skip_warmup: bool = True,
) -> Comparison:
    """Compare durations of operations, quantile by quantile.

    `baseline`, `current`: a mapping of operation to its durations in ns, in the order recorded (the order shows how
    samples depend on each other), or a sequence of such mappings, one per run. An operation may be missing in some.

    A row is "regressed" or "improved" when the ratio of quantiles is beyond 1 + `min_effect` (or its inverse), and not
    merely beyond 1, with a false discovery rate over all rows of at most `alpha`; "equivalent" when it is shown to be
    within, "inconclusive" otherwise, "too_few" when fewer than FEWEST_BEYOND samples are to be expected beyond the
    quantile on a side. "added" and "removed" are operations of one side only.

    With `skip_warmup` the first samples of each operation and run that are still settling are set aside, and counted in
    `Comparison.warmup`; see `analysis.warmup` for how they are told.

    Method: the share of samples beyond a common threshold is compared between the sides (Mood 1950; as an interval of
    the quantile, Woodruff 1952), with the long-run variance of exceeding (as for quantiles of dependent data Sun &
    Lahiri 2006) from low-frequency cosines and Student's t (Lazarus, Lewis, Stock & Watson 2018). With several runs
    the ratio must stand out of the variation between runs as well. Benjamini & Hochberg 1995 over the table.

    Raises TypeError for what is not a mapping or a sequence of them, and ValueError for durations that are negative,
    not finite or not one-dimensional and for arguments out of range.
    """
    import pandas as pd

    levels = checked(quantiles, min_effect, alpha)
    sides = [_runs(baseline, "baseline"), _runs(current, "current")]
    warmup = []
    if skip_warmup:
        warmup = [row for side, runs in zip(SIDES, sides, strict=True) for row in _set_aside(side, runs)]
    names = sorted({name for side in sides for run in side for name in run})
    rows: list[_Row] = []
    for name in names:
        before, after = (Side.of([run[name] for run in side if name in run]) for side in sides)
        rows += [_row(name, level, before, after, min_effect, alpha) for level in levels]
    q_values = benjamini_hochberg([row.p_change for row in rows])
    # A false "equivalent" hides a regression: corrected in the same way, as a family of its own.
    q_equivalent = benjamini_hochberg([row.p_equivalent for row in rows])
    table = pd.DataFrame(
        [
            (*row.cells, q, row.verdict or verdict(row.slower, q, equivalent, alpha))
            for row, q, equivalent in zip(rows, q_values.tolist(), q_equivalent.tolist(), strict=True)
        ],
        columns=list(COLUMNS),
    )
    table = table.astype(dict.fromkeys(COLUMNS[1:-1], "float64"))
    return Comparison(table, min_effect, alpha, len(sides[0]), len(sides[1]), warmup=warmup_frame(warmup))


def _set_aside(side: str, runs: list[dict[str, npt.NDArray[Any]]]) -> list[tuple[str, int, str, int, int, float]]:
    """Take what is still settling out of `runs`; rows of `Comparison.warmup`."""
    import numpy as np

    rows = []
    for number, run in enumerate(runs):
        for name, durations in run.items():
            if first := settling(durations):
                early, run[name] = durations[:first], durations[first:]
                change = ratio_of(float(np.median(early)), float(np.median(run[name]))) - 1
                rows.append((side, number, name, first, durations.size, change))
    return rows


def checked(quantiles: Sequence[float], min_effect: float, alpha: float) -> list[float]:
    """The quantiles, ascending. Raises ValueError for arguments out of range."""
    several = isinstance(quantiles, Iterable) and not isinstance(quantiles, str | bytes)
    levels = sorted({real(level) for level in quantiles}) if several else []
    if not levels or not all(0 < level < 1 for level in levels):
        raise ValueError(f"quantiles must be a list of numbers between 0 and 1, at least one, not {quantiles!r}")
    check_shares(min_effect, alpha)
    return levels


def check_shares(min_effect: float, alpha: float) -> None:
    """Raise ValueError where `min_effect` or `alpha` is invalid."""
    if not 0 <= real(min_effect) < math.inf:
        raise ValueError(f"min_effect must be a share, a number of 0 or more, not {min_effect!r}")
    between(alpha, "alpha", 0, 0.5)


def _runs(runs: Run | Sequence[Run], what: str) -> list[dict[str, npt.NDArray[Any]]]:
    """Each run with its durations as arrays; operations without samples are left out."""
    import numpy as np

    if isinstance(runs, Mapping):
        runs = [runs]
    if isinstance(runs, str | bytes) or not isinstance(runs, Sequence):
        raise TypeError(f"{what} must be a mapping of operation to durations, or a sequence of them, not {runs!r}")
    if not runs:
        raise ValueError(f"{what} has no runs")
    found = []
    for run in runs:
        if not isinstance(run, Mapping):
            raise TypeError(f"each run of {what} must be a mapping of operation to durations, not {run!r}")
        arrays = {str(name): np.asarray(durations) for name, durations in run.items()}
        for name, durations in arrays.items():
            if durations.ndim != 1 or (durations.size and durations.dtype.kind not in "iuf"):
                raise ValueError(f"durations of {name} in {what} must be a sequence of numbers")
            if durations.size and not (durations.min() >= 0 and durations.max() < math.inf):
                raise ValueError(f"durations of {name} in {what} must be finite and not negative")
        found.append({name: durations for name, durations in arrays.items() if durations.size})
    return found


def verdict(slower: bool, q: float, q_equivalent: float, alpha: float) -> str:
    """One word for a row that was tested: its q-values of having changed and of being the same."""
    if q <= alpha:
        return "regressed" if slower else "improved"
    return "equivalent" if q_equivalent <= alpha else "inconclusive"


@dataclass(frozen=True)
class _Row:
    """A row of the table before the correction over all rows. `verdict` is empty where that decides."""

    cells: tuple[str, float, float, float, float, float, float]
    p_change: float = math.nan
    p_equivalent: float = math.nan
    slower: bool = False
    verdict: str = ""


def _row(name: str, level: float, before: Side, after: Side, min_effect: float, alpha: float) -> _Row:
    low, high = before.quantile(level), after.quantile(level)
    unknown = (name, level, low / 1000, high / 1000, math.nan, math.nan, math.nan)
    if not before.count or not after.count:
        return _Row(unknown, verdict="removed" if before.count else "added")
    ratio = ratio_of(high, low)
    if min(before.count, after.count) * min(level, 1 - level) < FEWEST_BEYOND - 1e-9:
        return _Row((*unknown[:4], ratio - 1, math.nan, math.nan), verdict="too_few")
    views: list[Within | Between] = [Within.of(before, after, level)]
    if len(before.runs) + len(after.runs) > 2:
        views.append(Between.of(before, after, level))
    # Each view sees something that the other may not: the less certain one counts.
    margin = 1 + min_effect
    slower = max(view.p_greater(margin) for view in views)
    faster = max(view.p_less(1 / margin) for view in views)
    equivalent = max(max(view.p_less(margin), view.p_greater(1 / margin)) for view in views)
    bounds = [view.interval(alpha) for view in views]
    interval = (min(bound[0] for bound in bounds) - 1, max(bound[1] for bound in bounds) - 1)
    cells = (*unknown[:4], ratio - 1, *interval)
    return _Row(cells, min(1.0, 2 * min(slower, faster)), equivalent, slower < faster)
