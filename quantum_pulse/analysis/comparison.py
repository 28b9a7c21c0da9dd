"""Compare the durations of operations between two sets of recordings; derived in `docs/statistics.md`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from quantum_pulse.analysis.compared import COLUMNS, DIFFERS, SIDES, Comparison, warmup_frame
from quantum_pulse.analysis.ratios import Between, Side, Within, ratio_of
from quantum_pulse.analysis.significance import benjamini_hochberg, level_after_selection
from quantum_pulse.analysis.warmup import settling
from quantum_pulse.arguments import between, real

if TYPE_CHECKING:
    import numpy.typing as npt


#: Operation -> durations in ns, in the order in which they were recorded.
Run: TypeAlias = "Mapping[str, npt.ArrayLike]"

#: A quantile is tested when this many samples are expected beyond it, on each side.
FEWEST_BEYOND: Final = 5


class RunVariation(NamedTuple):
    """How much a quantile of an operation varies from run to run, as earlier runs show.

    Attributes
    ----------
    variance : float
        Variance of the logarithm of the quantile.
    freedom : float
        Its degrees of freedom: the number of earlier runs, minus 1.

    Examples
    --------
    >>> qp.History("baselines/").variation()
    {}
    """

    variance: float
    freedom: float


def compare_samples(
    baseline: Run | Sequence[Run],
    current: Run | Sequence[Run],
    *,
    quantiles: Sequence[float] = (0.5, 0.95, 0.99),
    min_effect: float = 0.05,
    alpha: float = 0.05,
    skip_warmup: bool = True,
    variation: Mapping[tuple[str, float], RunVariation] | None = None,
) -> Comparison:
    """Compare the durations of operations between two sets of runs, quantile by quantile.

    Parameters
    ----------
    baseline, current : mapping of str to array-like of int, or sequence of such mappings
        For each operation its durations in nanoseconds, in the order in which they were recorded;
        the order shows how far samples depend on each other. A sequence has one mapping per run.
        An operation may be missing in some.
    quantiles : sequence of float, default (0.5, 0.95, 0.99)
        The quantiles to compare, each above 0 and below 1.
    min_effect : float, default 0.05
        The smallest relative change that matters.
    alpha : float, default 0.05
        The false discovery rate that is accepted over all rows. Intervals are corrected like the
        verdicts, so that they never contradict each other. It must be above 0 and below 0.5.
    skip_warmup : bool, default True
        Whether to set aside the first samples of each operation and run that are still settling.
        `Comparison.warmup` counts them.
    variation : mapping of (str, float) to RunVariation, optional
        For operations and quantiles, how much they vary from run to run, as `History.variation`
        knows it.

    Returns
    -------
    Comparison
        One row per operation and quantile, with a verdict each:

        - "regressed" and "improved": the quantiles differ by more than `min_effect`;
        - "differs": they differ by more than `min_effect` in these two runs, one per side, and as
          nothing shows how much runs vary, it may be the runs;
        - "equivalent": they are shown to differ by less;
        - "inconclusive": neither is shown;
        - "too_few": fewer than 5 samples are expected beyond the quantile on a side;
        - "added" and "removed": only one side has the operation.

    Raises
    ------
    TypeError
        If a side is neither a mapping nor a sequence of mappings.
    ValueError
        If durations are negative, not finite or not one-dimensional, or a number is out of range.

    See Also
    --------
    Capture.compare : Compare captures.
    History.check : Compare a capture with the runs of a history.

    Notes
    -----
    The shares of samples beyond a common threshold are compared between the sides (Mood 1950; for
    the interval of a quantile, Woodruff 1952). The long-run variance of exceeding the threshold
    (for dependent data, Sun & Lahiri 2006) is estimated from low-frequency cosines, with Student's t
    (Lazarus et al. 2018). With several runs per side, the ratio must exceed the variation between
    runs as well. q-values over the table are by Benjamini & Hochberg (1995), and the level of the
    intervals is what is left after selection (Benjamini & Yekutieli 2005).

    References
    ----------
    - A. M. Mood (1950). Introduction to the Theory of Statistics. McGraw-Hill.
    - R. S. Woodruff (1952). Confidence intervals for medians and other position measures. Journal
      of the American Statistical Association 47.
    - S. Sun & S. N. Lahiri (2006). Bootstrapping the sample quantile of a weakly dependent
      sequence. Sankhyā 68.
    - E. Lazarus, D. J. Lewis, J. H. Stock & M. W. Watson (2018). HAR inference: recommendations
      for practice. Journal of Business & Economic Statistics 36.
    - Y. Benjamini & Y. Hochberg (1995). Controlling the false discovery rate. Journal of the Royal
      Statistical Society B 57.
    - Y. Benjamini & D. Yekutieli (2005). False discovery rate-adjusted multiple confidence intervals
      for selected parameters. Journal of the American Statistical Association 100.

    Examples
    --------
    >>> import numpy as np
    >>> from quantum_pulse import analysis
    >>> rng = np.random.default_rng(1)
    >>> before = {"Shop.PARSE": rng.lognormal(10, 0.3, 2000)}
    >>> after = {"Shop.PARSE": 1.5 * rng.lognormal(10, 0.3, 2000)}
    >>> found = analysis.compare_samples(before, after)
    >>> found.verdict
    'differs'
    >>> analysis.compare_samples([before] * 2, [after] * 2).verdict
    'regressed'
    >>> found.table[["quantile", "verdict"]].values.tolist()
    [[0.5, 'differs'], [0.95, 'differs'], [0.99, 'differs']]
    """
    import pandas as pd

    levels = checked(quantiles, min_effect, alpha)
    sides = [_runs(baseline, "baseline"), _runs(current, "current")]
    warmup = []
    if skip_warmup:
        warmup = [row for side, runs in zip(SIDES, sides, strict=True) for row in _set_aside(side, runs)]
    names = sorted({name for side in sides for run in side for name in run})
    rows: list[_Row] = []
    known = variation or {}
    for name in names:
        before, after = (Side.of([run[name] for run in side if name in run]) for side in sides)
        rows += [_row(name, level, before, after, min_effect, known.get((name, level))) for level in levels]
    q_values = benjamini_hochberg([row.p_change for row in rows]).tolist()
    # A false "equivalent" hides a regression: corrected in the same way, as a family of its own.
    q_equivalent = benjamini_hochberg([row.p_equivalent for row in rows]).tolist()
    levels_of = interval_levels(q_values, q_equivalent, alpha)
    cells = []
    for row, q, equivalent in zip(rows, q_values, q_equivalent, strict=True):
        word = row.verdict or verdict(row.slower, q, equivalent, alpha)
        interval = row.interval(levels_of(word))
        cells.append((*row.cells, *interval, q, row.verdict or _reserved(word, row)))
    table = pd.DataFrame(cells, columns=list(COLUMNS))
    table = table.astype(dict.fromkeys(COLUMNS[1:-1], "float64"))
    return Comparison(
        table,
        min_effect,
        alpha,
        len(sides[0]),
        len(sides[1]),
        warmup=warmup_frame(warmup),
        history_runs=1 + round(max((one.freedom for one in known.values()), default=-1)),
    )


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


def interval_levels(q_change: Sequence[float], q_equivalent: Sequence[float], alpha: float) -> Callable[[str], float]:
    """Error rates of intervals by verdict, with which no interval contradicts its verdict.

    The interval of what changed lies beyond the smallest effect that matters, that of what is equivalent within it, and
    any other does neither: each is the one that the test inverts, at the level that is left after selection.
    """
    changed = level_after_selection(q_change, alpha)
    # Two one-sided tests, each at the whole level.
    equivalent = min(2 * level_after_selection(q_equivalent, alpha), 0.9)
    levels = {"regressed": changed, "improved": changed, "equivalent": equivalent}
    return lambda word: levels.get(word, min(changed, equivalent))


def _reserved(found: str, row: _Row) -> str:
    """The verdict, reserved where nothing shows how much runs vary."""
    return DIFFERS if found in ("regressed", "improved") and not row.between_runs else found


@dataclass(frozen=True)
class _Row:
    """A row of the table before the correction over all rows. `verdict` is empty where that decides."""

    cells: tuple[str, float, float, float, float]
    p_change: float = math.nan
    p_equivalent: float = math.nan
    slower: bool = False
    verdict: str = ""
    #: What sees how uncertain the ratio is: variation within runs, and if that is known between them.
    views: tuple[Within | Between, ...] = ()

    @property
    def between_runs(self) -> bool:
        """Whether variation from run to run was seen."""
        return len(self.views) > 1

    def interval(self, alpha: float) -> tuple[float, float]:
        """The interval of the change by all views, at the error rate `alpha`; NaN where nothing was tested."""
        bounds = [view.interval(alpha) for view in self.views]
        if not bounds:
            return math.nan, math.nan
        return min(bound[0] for bound in bounds) - 1, max(bound[1] for bound in bounds) - 1


def _row(name: str, level: float, before: Side, after: Side, min_effect: float, known: RunVariation | None) -> _Row:
    low, high = before.quantile(level), after.quantile(level)
    unknown = (name, level, low / 1000, high / 1000, math.nan)
    if not before.count or not after.count:
        return _Row(unknown, verdict="removed" if before.count else "added")
    ratio = ratio_of(high, low)
    if min(before.count, after.count) * min(level, 1 - level) < FEWEST_BEYOND - 1e-9:
        return _Row((*unknown[:4], ratio - 1), verdict="too_few")
    views: list[Within | Between] = [Within.of(before, after, level)]
    if known is not None or len(before.runs) + len(after.runs) > 2:
        views.append(Between.of(before, after, level, *(known or ())))
    # Each view sees something that the other may not: the less certain one counts.
    margin = 1 + min_effect
    slower = max(view.p_greater(margin) for view in views)
    faster = max(view.p_less(1 / margin) for view in views)
    equivalent = max(max(view.p_less(margin), view.p_greater(1 / margin)) for view in views)
    return _Row(
        (*unknown[:4], ratio - 1), min(1.0, 2 * min(slower, faster)), equivalent, slower < faster, "", tuple(views)
    )
