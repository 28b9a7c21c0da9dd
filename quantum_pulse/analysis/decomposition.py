"""Attribute a change of a category's time to calls, mix and durations; derived in `docs/statistics.md`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Final = ("baseline_us", "current_us", "change_us", "calls_us", "mix_us", "durations_us")


def average(stats: Sequence[pd.DataFrame], runs: int) -> pd.DataFrame:
    """`count`, `errors`, `total_us` and `mean_us` of a run, on average over `runs` that are in `stats` together.

    Each of `stats` as of `Capture.stats`, index (category, operation). Raises ValueError without any.
    """
    import pandas as pd

    if not stats or runs < 1:
        raise ValueError("average needs at least one run")
    sums = pd.concat([one[["count", "errors", "total_us"]] for one in stats]).groupby(level=[0, 1]).sum() / runs
    return sums.assign(mean_us=sums["total_us"] / sums["count"])


def decompose(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Attribute the change of each category's time to calls, mix and durations.

    Parameters
    ----------
    before, after : pandas.DataFrame
        The calls of a run on each side, as `Capture.stats` returns them: index
        ``(category, operation)``, columns ``count`` and ``total_us``.

    Returns
    -------
    pandas.DataFrame
        One row per category, the largest change first, in microseconds per run. The columns are
        ``baseline_us``, ``current_us`` and ``change_us``, which is the sum of

        - ``calls_us``: due to the number of calls, in the old mix and with the old durations;
        - ``mix_us``: due to other operations of the category than before, new ones included;
        - ``durations_us``: due to calls that take longer than those of the same operation did.

    See Also
    --------
    Capture.compare : `Comparison.decomposition` has this for two captures.

    Notes
    -----
    It is accounting's variance analysis into volume, mix and price, weighted with the old
    durations and the new calls.

    Examples
    --------
    Twice as many calls, each taking half as long again:

    >>> import pandas as pd
    >>> from quantum_pulse import analysis
    >>> index = pd.MultiIndex.from_tuples([("Shop", "Shop.PARSE")], names=["category", "operation"])
    >>> before = pd.DataFrame({"count": [100], "total_us": [1000.0]}, index)
    >>> after = pd.DataFrame({"count": [200], "total_us": [3000.0]}, index)
    >>> analysis.decompose(before, after).loc["Shop"].to_dict()  # doctest: +NORMALIZE_WHITESPACE
    {'baseline_us': 1000.0, 'current_us': 3000.0, 'change_us': 2000.0,
     'calls_us': 1000.0, 'mix_us': 0.0, 'durations_us': 1000.0}
    """
    import pandas as pd

    sides = [side[["count", "total_us"]].add_suffix(f"_{number}") for number, side in enumerate((before, after))]
    both = sides[0].join(sides[1], how="outer")
    both = both.fillna(0.0).astype(float)
    mean_1 = both["total_us_1"] / both["count_1"].where(both["count_1"] > 0)
    # An operation that is new has no old duration: all that it takes is due to the mix.
    mean_0 = (both["total_us_0"] / both["count_0"].where(both["count_0"] > 0)).fillna(mean_1)
    rows = {}
    for category, own in both.groupby(level=0, sort=False):
        old, new = own["count_0"].sum(), own["count_1"].sum()
        usual = mean_0[own.index]
        baseline, current = own["total_us_0"].sum(), own["total_us_1"].sum()
        calls = baseline * (new - old) / old if old else 0.0
        durations = float((own["count_1"] * (mean_1[own.index] - usual)).sum())
        rows[str(category)] = (
            baseline,
            current,
            current - baseline,
            calls,
            current - baseline - calls - durations,
            durations,
        )
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS), dtype="float64")
    frame.index.name = "category"
    return frame.sort_values("change_us", key=abs, ascending=False, kind="stable")
