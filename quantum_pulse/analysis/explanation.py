"""Find the causes of regressions, from the nesting of calls and from when operations were slow.

Derived in `docs/statistics.md`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from quantum_pulse.analysis.compared import Comparison, directed
from quantum_pulse.analysis.comparison import compare_samples
from quantum_pulse.analysis.correlation import effective_size
from quantum_pulse.analysis.significance import benjamini_hochberg, student_tail

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from quantum_pulse.evidence import Calls

Run: TypeAlias = "Mapping[str, Calls]"

CAUSES: Final = ("operation", "change_us", "own_us", "inside_us", "reason", "inside")
SHIFTS: Final = ("operation", "from", "gained_us", "given_us", "verdict")
BATCHES: Final = ("operation", "around", "baseline_calls", "current_calls", "baseline_us", "current_us", "verdict")
GROUPS: Final = ("lead", "with", "change", "quantile", "reason")

#: Parts of a run's time that two operations are compared in, and how their shares of slow calls must correlate there.
WINDOWS: Final = 64
TOGETHER: Final = 0.7
#: Calls inside another are fewer where there are at most this share of them.
FEWER: Final = 0.9
#: Operations that are compared so, at most: those that got slower by most time.
MOST: Final = 30


@dataclass(frozen=True, eq=False)
class Explanation:
    """The causes of regressions, as `explain` finds them.

    Attributes
    ----------
    causes : pandas.DataFrame
        One row per operation that regressed, except for shifts: ``operation``; ``change_us`` of its
        mean; of that, ``own_us`` in its own code and ``inside_us`` in the calls inside it;
        ``reason`` ("own", "slower inside" or "more calls inside"); and ``inside``, the operation
        that the reason refers to, else "".
    shifts : pandas.DataFrame
        Costs that moved, one row per operation that regressed or is new: ``operation``; ``from``, the
        operation around it that gave the time away; ``gained_us`` and ``given_us``, per call of that;
        and ``verdict``, as in the table of the comparison.
    groups : pandas.DataFrame
        One row per thing that got slower: ``lead``, the operation that explains it; ``with``, a tuple
        of the operations that moved with it; ``change`` and ``quantile`` of the row of the lead that
        changed most; and ``reason``, why they belong together: "nested", "same time", both, or "".
    batches : pandas.DataFrame
        Operations whose calls became fewer and larger, one row per operation: ``around``, the operation
        that encloses them; their number and time per call of that, before and now,
        ``baseline_calls``, ``current_calls``, ``baseline_us`` and ``current_us``; and ``verdict``, the one
        they would have by themselves.

    Examples
    --------
    >>> found = qp.sample("engine").compare(qp.sample("slow_exchange"))
    >>> found.explanation.causes.columns.tolist()
    ['operation', 'change_us', 'own_us', 'inside_us', 'reason', 'inside']
    """

    causes: pd.DataFrame
    shifts: pd.DataFrame
    groups: pd.DataFrame
    batches: pd.DataFrame


def explain(comparison: Comparison, before: Sequence[Run], after: Sequence[Run]) -> Explanation:
    """Find why operations regressed: by themselves, by calls inside them, or not at all.

    Parameters
    ----------
    comparison : Comparison
        The comparison whose regressions are explained.
    before, after : sequence of mapping of str to Calls
        For each run of each side, the calls of each operation: ``start`` and ``duration`` (int64
        arrays of nanoseconds), ``self_time`` (a float array of nanoseconds without the calls
        inside), and ``inside``, which maps each operation around them to the nanoseconds that they
        took in it.

    Returns
    -------
    Explanation
        Causes, shifts of cost, and groups of operations that got slower together.

    See Also
    --------
    Capture.compare : `Comparison.explanation` has this for two captures.

    Notes
    -----
    Self time is compared as `compare_samples` compares whole calls, so that chance is excluded
    here as well.

    - An operation is slower because of one inside it if most of its change is in there, and not
      in its own self time with that shown to have regressed.
    - A cost has moved if the self time of the operation around is shown to have fallen, by half to
      twice as much as was gained, and that operation did not regress itself.

    Operations that nest form one group, led by the innermost one that explains the others. Groups
    whose leads are slow at the same times, in windows of the current runs, are one as well: the
    degrees of freedom of that correlation are by Pyper & Peterman (1998).

    References
    ----------
    - B. J. Pyper & R. M. Peterman (1998). Comparison of methods to account for autocorrelation
      in correlation analyses. Canadian Journal of Fisheries and Aquatic Sciences 55.

    Examples
    --------
    An operation whose own code takes half as long again:

    >>> import numpy as np
    >>> from quantum_pulse import analysis
    >>> from quantum_pulse.reading.self_time import Calls
    >>> def run(factor, seed):
    ...     durations = (factor * np.random.default_rng(seed).lognormal(10, 0.1, 1000)).astype(np.int64)
    ...     return {"Shop.PARSE": Calls(np.cumsum(durations), durations, durations.astype(float), {})}
    >>> before, after = run(1, seed=1), run(1.5, seed=2)
    >>> durations = [{"Shop.PARSE": run["Shop.PARSE"].duration} for run in (before, after)]
    >>> found = analysis.explain(analysis.compare_samples(*durations), [before], [after])
    >>> found.causes[["operation", "reason"]].values.tolist()
    [['Shop.PARSE', 'own']]
    """
    import pandas as pd

    comparison = replace(comparison, table=directed(comparison.table))
    table = comparison.table
    slower = set(table.loc[table["verdict"] == "regressed", "operation"])
    new = set(table.loc[table["verdict"] == "added", "operation"])
    sides = [_Means.of(before), _Means.of(after)]
    if not slower and not new:
        return Explanation(*(pd.DataFrame(columns=list(names)) for names in (CAUSES, SHIFTS, GROUPS, BATCHES)))
    outer = {name for side in sides for inner in slower | new for name in side.around(inner)}
    own = _own_verdicts(comparison, before, after, slower | outer)
    shifts = [
        (inner, around, gained, given, "added" if inner in new else "regressed")
        for inner in sorted(slower | new)
        for around, gained, given in [_shift(inner, sides, set(table["operation"]) - slower, slower | new, own)]
        if around
    ]
    slower -= {row[0] for row in shifts}
    batches = [row for name in sorted(slower) if (row := _batch(name, sides, slower)) is not None]
    slower -= {row[0] for row in batches}
    causes = [_cause(name, sides, slower, own) for name in sorted(slower)]
    groups = _groups(comparison, {row[0]: row[5] for row in causes if row[4] == "slower inside"}, slower, after)
    return Explanation(
        pd.DataFrame(causes, columns=list(CAUSES)),
        pd.DataFrame(shifts, columns=list(SHIFTS)),
        pd.DataFrame(groups, columns=list(GROUPS)),
        pd.DataFrame(batches, columns=list(BATCHES)),
    )


def improved_groups(comparison: Comparison, before: Sequence[Run], after: Sequence[Run]) -> pd.DataFrame:
    """Group what got faster together: `Explanation.groups` of the comparison with its sides exchanged.

    What got faster from then to now is slower from now to then, so the same evidence groups it: calls that enclose
    each other, and operations that were slow at the same times before. An operation that merely gave its time to the
    one around it is in no group. `change` is that of the comparison.
    """
    table = directed(comparison.table)
    other = {"regressed": "improved", "improved": "regressed", "added": "removed", "removed": "added"}
    exchanged = table.rename(columns={"baseline_us": "current_us", "current_us": "baseline_us"})
    inverse = 1 / (1 + table[["change", "ci_low", "ci_high"]]) - 1
    exchanged[["change", "ci_low", "ci_high"]] = inverse[["change", "ci_high", "ci_low"]].to_numpy()
    exchanged["verdict"] = [other.get(str(verdict), str(verdict)) for verdict in table["verdict"]]
    groups = explain(replace(comparison, table=exchanged), after, before).groups
    changes = table.set_index(["operation", "quantile"])["change"]
    groups["change"] = [changes[lead, level] for lead, level in zip(groups["lead"], groups["quantile"], strict=True)]
    return groups


@dataclass(frozen=True)
class _Means:
    """Mean times of one side, over all runs, in µs a call."""

    whole: dict[str, float]
    own: dict[str, float]
    #: (around, inside) -> time inside a call of the operation around.
    inside: dict[tuple[str, str], float]
    calls: dict[str, int]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> _Means:
        calls: dict[str, int] = {}
        whole: dict[str, float] = {}
        own: dict[str, float] = {}
        inside: dict[tuple[str, str], float] = {}
        for run in runs:
            for name, found in run.items():
                calls[name] = calls.get(name, 0) + found.duration.size
                whole[name] = whole.get(name, 0.0) + float(found.duration.sum())
                # Without the self time of all calls there is no mean of it.
                known = float(found.self_time.sum()) if found.self_time.size == found.duration.size else math.nan
                own[name] = own.get(name, 0.0) + known
                for around, time in found.inside.items():
                    inside[around, name] = inside.get((around, name), 0.0) + time
        return cls(
            {name: total / calls[name] / 1000 for name, total in whole.items()},
            {name: total / calls[name] / 1000 for name, total in own.items()},
            {pair: time / calls[pair[0]] / 1000 for pair, time in inside.items()},
            calls,
        )

    def around(self, name: str) -> list[str]:
        """Operations that enclose calls of this one."""
        return [around for around, inner in self.inside if inner == name and around != name]

    def within(self, name: str) -> list[str]:
        """Operations that it encloses."""
        return [inner for around, inner in self.inside if around == name and inner != name]


def _own_verdicts(
    comparison: Comparison, before: Sequence[Run], after: Sequence[Run], names: set[str]
) -> dict[str, set[str]]:
    """What became of the self time of operations: the verdicts over the quantiles that were compared."""
    if not before or not after:
        return {}
    own = compare_samples(
        *([{name: run[name].self_time for name in names if name in run} for run in side] for side in (before, after)),
        quantiles=sorted(set(comparison.table["quantile"])),
        min_effect=comparison.min_effect,
        alpha=comparison.alpha,
    ).table
    return {str(name): set(verdicts) for name, verdicts in directed(own).groupby("operation")["verdict"]}


def _shift(
    inner: str, sides: list[_Means], givers: set[str], grown: set[str], own: dict[str, set[str]]
) -> tuple[str, float, float]:
    """Which of `givers`, around `inner`, gave it its time, and what was gained and given a call of it; "" for none."""
    before, after = sides
    found = ("", 0.0, 0.0)
    for around in after.around(inner):
        if around not in givers or around not in before.whole or "improved" not in own.get(around, ()):
            continue
        gained = {name: _gain(sides, around, name) for name in after.within(around) if name in grown}
        given = before.own[around] - after.own[around]
        all_gained = sum(gain for gain in gained.values() if gain > 0)
        if gained[inner] > found[1] and all_gained / 2 <= given <= 2 * all_gained:
            found = (around, gained[inner], given)
    return found


def _batch(
    inner: str, sides: list[_Means], slower: set[str]
) -> tuple[str, str, float, float, float, float, str] | None:
    """A row of `Explanation.batches`: everything that calls `inner` calls it less often, spends less time in it, and is
    not slower. A single call of a batch takes longer, and that is what it is for."""
    before, after = sides
    around = after.around(inner)
    nested = sum(after.inside[outer, inner] * after.calls[outer] for outer in around)
    if not around or nested < FEWER * after.whole[inner] * after.calls[inner]:
        return None
    rows = []
    for outer in around:
        then, now = before.inside.get((outer, inner), 0.0), after.inside[outer, inner]
        calls = then / before.whole[inner], now / after.whole[inner]
        if outer in slower or now > then or calls[1] > FEWER * calls[0]:
            return None
        rows.append((inner, outer, *calls, then, now, "regressed"))
    return max(rows, key=lambda row: row[5] * after.calls[row[1]])


def _gain(sides: list[_Means], around: str, inner: str) -> float:
    """What a call of `around` spends more in `inner` than before, µs."""
    return sides[1].inside.get((around, inner), 0.0) - sides[0].inside.get((around, inner), 0.0)


def _cause(
    name: str, sides: list[_Means], slower: set[str], own: dict[str, set[str]]
) -> tuple[str, float, float, float, str, str]:
    """A row of `Explanation.causes`."""
    change, own_change = (
        values[1].get(name, math.nan) - values[0].get(name, math.nan)
        for values in ([side.whole for side in sides], [side.own for side in sides])
    )
    row = (name, change, own_change, change - own_change)
    if "regressed" in own.get(name, ()) and own_change >= change / 2:
        return (*row, "own", "")
    gains = {inner: _gain(sides, name, inner) for inner in sides[1].within(name)}
    inner = max((one for one in gains if one in slower and gains[one] > 0), key=gains.__getitem__, default="")
    if inner:
        return (*row, "slower inside", inner)
    inner = max((one for one in gains if gains[one] >= change / 2 > 0), key=gains.__getitem__, default="")
    return (*row, "more calls inside", inner) if inner else (*row, "own", "")


def _groups(
    comparison: Comparison, because: dict[str, str], slower: set[str], after: Sequence[Run]
) -> list[tuple[str, tuple[str, ...], float, float, str]]:
    """Rows of `Explanation.groups`, the largest change first."""
    table = comparison.table
    rows = table[(table["verdict"] == "regressed") & table["operation"].isin(slower)]
    rows = rows.sort_values("change", ascending=False, kind="stable").drop_duplicates("operation")
    worst = {str(name): row for name, row in rows.set_index("operation")[["change", "quantile"]].iterrows()}
    nested: dict[str, list[str]] = {}
    for name in sorted(slower):
        nested.setdefault(_innermost(name, because), []).append(name)
    found = []
    for leads in _at_once(comparison, sorted(nested), after):
        lead = leads[0]
        others = [name for own in leads for name in nested[own] if name != lead]
        reasons = ["nested"] * (len(others) >= len(leads)) + ["same time"] * (len(leads) > 1)
        found.append((lead, tuple(others), worst[lead]["change"], worst[lead]["quantile"], " and ".join(reasons)))
    return sorted(found, key=lambda row: -row[2])


def _innermost(name: str, because: dict[str, str]) -> str:
    """Follow what explains it. Calls that enclose each other in turn end where they began."""
    seen = [name]
    while (inner := because.get(seen[-1], "")) and inner not in seen:
        seen.append(inner)
    return min(seen[seen.index(inner) :]) if inner else seen[-1]


def _at_once(comparison: Comparison, leads: list[str], after: Sequence[Run]) -> list[list[str]]:
    """The leads in groups that were slow at the same times, each with the one first that took most time more.

    In each window of the current runs, the share of calls beyond the baseline's quantile that regressed; Pearson's
    correlation over the windows, with as many degrees of freedom as their autocorrelation leaves (Pyper & Peterman
    1998), and q-values over all pairs.
    """
    import numpy as np

    if not after:
        return [[name] for name in leads]
    rows = comparison.table[comparison.table["verdict"] == "regressed"]
    limits = rows.groupby("operation")["baseline_us"].first().to_dict()
    lost = {name: _lost(name, limits[name] * 1000, after) for name in leads}
    leads = sorted(leads, key=lost.__getitem__, reverse=True)
    shares = {name: _slow_shares(name, limits[name] * 1000, after) for name in leads[:MOST]}
    pairs = [(one, other) for place, one in enumerate(shares) for other in list(shares)[place + 1 :]]
    tests = [_correlation(shares[one], shares[other]) for one, other in pairs]
    q_values = benjamini_hochberg(np.array([p for _, p in tests])) if tests else np.empty(0)
    groups = {name: [name] for name in leads}
    for (one, other), (correlation, _), q in zip(pairs, tests, q_values.tolist(), strict=True):
        if correlation >= TOGETHER and q <= comparison.alpha and groups[one] is not groups[other]:
            groups[one].extend(groups[other])
            for name in groups[other]:
                groups[name] = groups[one]
    distinct = {id(group): sorted(group, key=leads.index) for group in groups.values()}
    return list(distinct.values())


def _lost(name: str, limit_ns: float, after: Sequence[Run]) -> float:
    """Time beyond the limit, over all calls, in ns."""
    return float(sum((run[name].duration - limit_ns).clip(0).sum() for run in after if name in run))


def _slow_shares(name: str, limit_ns: float, after: Sequence[Run]) -> npt.NDArray[np.float64]:
    """The share of calls beyond the limit in each of WINDOWS of each run, NaN where none started."""
    import numpy as np

    shares = []
    for run in after:
        calls = run.get(name)
        if calls is None:
            shares.append(np.full(WINDOWS, np.nan))
            continue
        begin = min(int(one.start[0]) for one in run.values())
        end = max(int(one.start[-1]) for one in run.values()) + 1
        window = (calls.start - begin) * WINDOWS // (end - begin)
        count = np.bincount(window, minlength=WINDOWS)
        slow = np.bincount(window, calls.duration > limit_ns, WINDOWS)
        shares.append(np.where(count > 0, slow / np.maximum(count, 1), np.nan))
    return np.concatenate(shares)


def _correlation(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Pearson's correlation of two series, and its one-sided p-value; NaN where they have too little in common."""
    import numpy as np

    known = ~(np.isnan(one) | np.isnan(other))
    pairs = int(known.sum())
    if pairs < WINDOWS // 4 or np.ptp(one[known]) == 0 or np.ptp(other[known]) == 0:
        return math.nan, math.nan
    r = float(np.corrcoef(one[known], other[known])[0, 1])
    size = effective_size(one, other, pairs)
    if size <= 3 or r <= 0:
        return r, 1.0
    return r, student_tail(r * math.sqrt((size - 2) / max(1 - r * r, 1e-12)), size - 2)
