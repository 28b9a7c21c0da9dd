"""Why the slow calls of an operation are slow: shares of their excess; derived in `docs/statistics.md`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse.analysis.significance import benjamini_hochberg
from quantum_pulse.shown import visible

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Flags = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float64]

COLUMNS: Final = ("cause", "kind", "share_of_excess", "ci_low", "ci_high", "q_value", "quantile_without_us", "evidence")
UNEXPLAINED: Final = "unexplained"

#: Causes that are named at most.
MOST: Final = 5
#: Fewer slow calls than this are not explained.
FEWEST_SLOW: Final = 10
#: A cause has at least this share of the excess.
LEAST_SHARE: Final = 0.1
#: A circumstance makes calls slow at least so many times as often as they are without it.
LEAST_RATIO: Final = 2.0
#: Calls with and without a circumstance that it takes to judge it, and the share of calls that may lack it at least.
FEWEST_CALLS: Final = 5
LEAST_WITHOUT: Final = 0.02
#: A child stands out if its share of the excess is above its share of ordinary calls by so much, and by this part of
#: what is missing to all of it; or if it runs so many times as often.
LEAST_MORE: Final = 0.15
LEAST_PART: Final = 0.3
MANY_TIMES: Final = 2.0
#: The rest of a call is at least this share of it: what is shorter grows many times by chance.
LEAST_REST: Final = 0.2
#: Self time is waiting if at least this share of its excess was not on a CPU, and computing otherwise.
LEAST_WAITING: Final = 0.5
#: Calls up to this quantile are ordinary ones.
ORDINARY: Final = 0.75
#: The first calls are slow together if half of them are above this quantile of the others.
FIRST_ABOVE: Final = 0.9
#: Two values together are the cause, and not one of them, if calls with one alone have at most this share of the
#: excess per call of those with both.
MOST_ALONE: Final = 0.35
#: Values of an attribute that are paired with others.
MOST_PAIRED: Final = 8
#: Between circumstances that explain almost the same, the earlier kind counts: what a user can look up comes first.
KINDS: Final = (
    "attribute",
    "attributes",
    "garbage collection",
    "throttling",
    "run queue",
    "memory",
    "start-up",
    "burst",
    "concurrent",
    "event loop",
    "error",
    "child",
    "waiting",
    "computing",
)
ALMOST: Final = 0.9
#: Repetitions of the bootstrap, and intervals of time that it draws.
REPETITIONS: Final = 200
BLOCKS: Final = 50


class Condition(NamedTuple):
    """Something that some calls met and others did not: what it is called, its kind, and which calls met it."""

    name: str
    kind: str
    met: Flags
    #: Name and value of an attribute, by which it can be combined with those of another.
    attribute: tuple[str, str] | None = None
    #: Whether it holds for the first calls only, so that shifting it in time tells nothing.
    is_first: bool = False


@dataclass(frozen=True, eq=False)
class Circumstances:
    """The calls of an operation in the order in which they started, and what is known of each.

    `paths` has a row for each of the calls `examined`, slow and other ones, and a column for each operation: its time
    on the critical path in ns; `counts` has how many calls of it ran inside. Each of them `represents` so many calls.
    `on_cpu_ns` has the CPU time of each call, NaN where it is not known. `taken` maps what took time of calls to how
    much it took of each, in ns.
    """

    operation: str
    start_ns: npt.NDArray[np.int64]
    duration_ns: npt.NDArray[np.int64]
    weight: npt.NDArray[np.int64]
    conditions: Sequence[Condition]
    examined: npt.NDArray[np.int64]
    represents: Floats
    paths: pd.DataFrame
    counts: pd.DataFrame
    on_cpu_ns: Floats
    taken: Mapping[str, Floats] = field(default_factory=dict)


class _Cause(NamedTuple):
    name: str
    kind: str
    #: Time that it took of each call, in ns; 0 of calls that are not slow.
    explained: Floats
    p_value: float
    quantile_without_ns: float
    evidence: str
    #: Slow calls that it is seen in.
    calls: Flags
    #: Of its share; None where it follows from the calls that it is seen in.
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Causes:
    """Why the slow calls of an operation are slow: the result of `Capture.why`, which shows itself.

    Attributes
    ----------
    table : pandas.DataFrame
        A row per cause, the largest first, at most five, and the row "unexplained". The columns are

        - ``cause``, ``kind``: its name, and one of "attribute", "attributes", "garbage collection",
          "throttling", "run queue", "memory", "start-up", "burst", "concurrent", "event loop",
          "error", "child", "waiting" and "computing";
        - ``share_of_excess``: of the time by which the slow calls exceed a typical call; the shares
          add up to 1;
        - ``ci_low``, ``ci_high``: the 95 % interval of the share;
        - ``q_value``: of "it has nothing to do with slow calls", corrected for what was tested;
        - ``quantile_without_us``: what the quantile would be without it, in microseconds;
        - ``evidence``: the figures that speak for it, as a sentence.
    operation : str
        The operation.
    quantile : float
        The quantile above which calls count as slow.
    threshold_us, typical_us : float
        That quantile, and the median, in microseconds.
    slow_count, count : int
        How many calls are slow, and how many there are.
    excess_us : float
        By how much all slow calls together exceed the median, in microseconds.
    alpha : float
        The false discovery rate that is accepted.

    Examples
    --------
    >>> capture = qp.sample("slow_exchange")
    >>> causes = capture.why(capture.operations.Engine.STORE)
    >>> causes.table["cause"].tolist()
    ['Engine.LEDGER_LOCK', 'unexplained']
    """

    table: pd.DataFrame
    operation: str
    quantile: float
    threshold_us: float
    typical_us: float
    slow_count: int
    count: int
    excess_us: float
    alpha: float
    #: The samples of the slow calls by cause; see `calls`.
    _samples: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def found(self) -> pd.DataFrame:
        """The rows of `table` that name a cause."""
        return self.table[self.table["cause"] != UNEXPLAINED]

    def calls(self, cause: str | int = 0) -> pd.DataFrame:
        """Return slow calls that show a cause, the slowest first.

        Parameters
        ----------
        cause : str or int, default 0
            A cause of the table by its name, or by its position.

        Returns
        -------
        pandas.DataFrame
            Samples, with the columns of `Capture.samples`; at most 100.

        Raises
        ------
        KeyError
            If the table does not name the cause.

        Examples
        --------
        >>> capture = qp.sample("slow_exchange")
        >>> causes = capture.why(capture.operations.Engine.STORE)
        >>> causes.calls()["operation"].unique().tolist()
        ['Engine.STORE']
        """
        names = list(self.found["cause"])
        if isinstance(cause, int) and not isinstance(cause, bool) and -len(names) <= cause < len(names):
            return self._samples[names[cause]]
        if cause in self._samples:
            return self._samples[str(cause)]
        known = f"it has {', '.join(map(repr, names))}" if names else "none was found"
        raise KeyError(f"{cause!r} is not a cause of the table; {known}")

    @property
    def summary(self) -> str:
        """A sentence or two: how much slower the slow calls are, and what explains most of it."""
        from quantum_pulse.analysis.display import causes

        return causes.summary(self)

    def __repr__(self) -> str:
        from quantum_pulse.analysis.display import causes

        return visible(causes.as_text(self))

    def _repr_html_(self) -> str:
        from quantum_pulse.analysis.display import causes

        return causes.as_html(self)


def explain(known: Circumstances, quantile: float = 0.99, alpha: float = 0.05) -> tuple[Causes, Mapping[str, Flags]]:
    """Explain the excess of the slow calls, and say which of the calls show each cause; see `Capture.why`."""
    import numpy as np

    threshold = weighted_quantile(known.duration_ns, known.weight, quantile)
    typical = weighted_quantile(known.duration_ns, known.weight, 0.5)
    is_slow = known.duration_ns > threshold
    excess = np.where(is_slow, (known.duration_ns - typical) * known.weight, 0.0)
    tested = _Tested(known, is_slow, excess, quantile)
    found: list[_Cause] = []
    if int(is_slow.sum()) >= FEWEST_SLOW and excess.sum() > 0:
        found = _chosen(tested, alpha)
    table = _table(tested, found)
    causes = Causes(
        table,
        known.operation,
        quantile,
        threshold / 1000,
        typical / 1000,
        int(known.weight[is_slow].sum()),
        int(known.weight.sum()),
        float(excess.sum()) / 1000,
        alpha,
    )
    return causes, {one.name: one.calls for one in found}


def with_samples(causes: Causes, samples: Mapping[str, pd.DataFrame]) -> Causes:
    """`causes` that can show calls."""
    return replace(causes, _samples=samples)


class _Tested(NamedTuple):
    known: Circumstances
    is_slow: Flags
    #: Of each slow call, in ns, times its weight; 0 of the others.
    excess: Floats
    quantile: float


def weighted_quantile(values: npt.NDArray[np.int64], weights: npt.NDArray[Any], quantile: float) -> float:
    """The smallest value that a share `quantile` of the weight does not exceed."""
    import numpy as np

    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, quantile * reached[-1])])


# ---- which causes ---------------------------------------------------------------------------------------------------


def _chosen(tested: _Tested, alpha: float) -> list[_Cause]:
    """The causes, the most specific of what explains the same first: what took time, then what calls met, then where
    the rest of the time went."""
    import numpy as np

    known = tested.known
    taken = list(_taken(tested))
    conditions = [one for one in known.conditions if _can_be_judged(one.met)]
    p_values = [_association(tested, one) for one in conditions]
    q_values = benjamini_hochberg([*(one.p_value for one in taken), *p_values])
    found = [one._replace(p_value=q) for one, q in zip(taken, q_values.tolist(), strict=False) if q <= alpha]
    left = tested.excess - sum((one.explained for one in found), np.zeros(len(tested.excess)))
    candidates = [(one, q) for one, q in zip(conditions, q_values[len(taken) :].tolist(), strict=True) if q <= alpha]
    outside = np.ones(len(left), np.bool_)
    while candidates and len(found) < MOST:
        best = _best(tested, candidates, left, outside)
        if best is None:
            break
        condition, q = best
        explained = _attributable(condition.met, left, known.weight, outside)
        calls = condition.met & outside & tested.is_slow
        evidence = _evidence(tested, condition, outside)
        without = _quantile_of(tested, ~condition.met)
        found.append(_Cause(condition.name, condition.kind, explained, q, without, evidence, calls))
        left = left - explained
        outside &= ~condition.met
        candidates = [
            (one, max(q, _association(tested, one, outside)))
            for one, q in candidates
            if one.name != condition.name and _can_be_judged(one.met[outside])
        ]
        candidates = [(one, q) for one, q in candidates if q <= alpha]
    found += _mechanisms(tested, left, alpha)
    found.sort(key=lambda one: -float(one.explained.sum()))
    return found[:MOST]


def _can_be_judged(met: Flags) -> bool:
    return int(met.sum()) >= FEWEST_CALLS and int((~met).sum()) >= max(FEWEST_CALLS, LEAST_WITHOUT * len(met))


def _best(
    tested: _Tested, candidates: Sequence[tuple[Condition, float]], left: Floats, outside: Flags
) -> tuple[Condition, float] | None:
    """The condition that explains most of what is left, or a pair that explains as much and is narrower."""
    whole = float(tested.excess.sum())
    weight = tested.known.weight
    shares = {}
    for condition, q in candidates:
        share = float(_attributable(condition.met, left, weight, outside).sum()) / whole
        if share >= LEAST_SHARE and _ratio(tested, condition.met, outside) >= LEAST_RATIO:
            shares[condition.name] = (share, condition, q)
    if not shares:
        return None
    most = max(share for share, _, _ in shares.values())
    near = [one for one in shares.values() if one[0] >= ALMOST * most]
    _, condition, q = min(near, key=lambda one: (KINDS.index(one[1].kind), -one[0]))
    if condition.attribute is not None:
        paired = _pair(condition, [one for one, _ in candidates], left, weight, outside)
        if paired is not None:
            return paired, q
    return condition, q


def _pair(
    condition: Condition, others: Sequence[Condition], left: Floats, weight: npt.NDArray[np.int64], outside: Flags
) -> Condition | None:
    """`condition` together with the value of another attribute, if calls are slow only where both meet."""
    assert condition.attribute is not None
    for other in others[: MOST_PAIRED * 8]:
        if other.attribute is None or other.attribute[0] == condition.attribute[0]:
            continue
        both = condition.met & other.met
        first, second = condition.met & ~other.met & outside, other.met & ~condition.met & outside
        if min(int(both.sum()), int(first.sum()), int(second.sum())) < FEWEST_CALLS:
            continue
        together = _mean(left, weight, both & outside)
        alone = max(_mean(left, weight, first), _mean(left, weight, second))
        if together > 0 and alone <= MOST_ALONE * together:
            return Condition(f"{condition.name}, {other.name}", "attributes", both)
    return None


def _mean(left: Floats, weight: npt.NDArray[np.int64], chosen: Flags) -> float:
    calls = int(weight[chosen].sum())
    return float(left[chosen].sum()) / calls if calls else 0.0


def _attributable(met: Flags, left: Floats, weight: npt.NDArray[np.int64], outside: Flags) -> Floats:
    """How much of what is left of each slow call a condition explains: that by which calls that met it exceed the
    others, the attributable fraction (Levin 1953, The occurrence of lung cancer in man)."""
    import numpy as np

    with_it, without = met & outside, ~met & outside
    mean = _mean(left, weight, with_it)
    fraction = max(1 - _mean(left, weight, without) / mean, 0.0) if mean > 0 else 0.0
    return np.where(with_it, left * fraction, 0.0)


def _ratio(tested: _Tested, met: Flags, outside: Flags) -> float:
    """How many times as often calls that met a condition are slow."""
    slow = tested.is_slow * tested.known.weight
    with_it, without = met & outside, ~met & outside
    often = _mean(slow.astype(float), tested.known.weight, with_it)
    seldom = _mean(slow.astype(float), tested.known.weight, without)
    return often / seldom if seldom else math.inf if often else 0.0


def _association(tested: _Tested, condition: Condition, outside: Flags | None = None) -> float:
    """p-value of "which calls met it has nothing to do with which are slow".

    All shifts in time of the one against the other show what chance makes of two series that are each as bursty as
    they are (Harris 2020, A shift test for independence in generic time series, arXiv:2012.06862). What exceeds all of
    them is extrapolated by the normal distribution. Conditions of the first calls hold once, so that shifts cannot
    tell: for them the number of slow ones is binomial.
    """
    import numpy as np

    from quantum_pulse.analysis.significance import binomial_tail, student_tail

    chosen = np.ones(len(tested.is_slow), np.bool_) if outside is None else outside
    met, slow = condition.met[chosen], tested.is_slow[chosen]
    both = int((met & slow).sum())
    if not both:
        return 1.0
    if condition.is_first:
        others = ~met
        durations = tested.known.duration_ns[chosen]
        if np.median(durations[met]) < np.quantile(durations[others], FIRST_ABOVE):
            return 1.0
        rate = (int(slow[others].sum()) + 1) / (int(others.sum()) + 1)
        return binomial_tail(both, min(int(met.sum()), 100_000), rate)
    size = len(met)
    spectrum = np.fft.rfft(met.astype(float)).conj() * np.fft.rfft(slow.astype(float))
    shifted = np.round(np.fft.irfft(spectrum, size)[1:])
    exceeded = int((shifted >= both).sum())
    if exceeded:
        return (1 + exceeded) / size
    spread = float(shifted.std())
    beyond = student_tail((both - float(shifted.mean()) - 0.5) / spread, math.inf) if spread else 0.0
    return min(max(beyond, 1e-9), 1 / size)


def _quantile_of(tested: _Tested, chosen: Flags) -> float:
    known = tested.known
    return (
        weighted_quantile(known.duration_ns[chosen], known.weight[chosen], tested.quantile)
        if chosen.any()
        else math.nan
    )


def _evidence(tested: _Tested, condition: Condition, outside: Flags) -> str:
    weight, slow = tested.known.weight, tested.is_slow
    with_it, without = condition.met & outside, ~condition.met & outside
    figures = [int(weight[one].sum()) for one in (with_it & slow, with_it, without & slow, without)]
    said = "{:,} of {:,} calls with it are slow, {:,} of {:,} others".format(*figures)
    inside = _where(tested, with_it & slow)
    return f"{said}; {inside}" if inside else said


def _where(tested: _Tested, calls: Flags) -> str:
    """Where the excess of some slow calls is, if most of it is in one operation."""
    known = tested.known
    own = calls[known.examined]
    if int(own.sum()) < FEWEST_CALLS or not len(known.paths.columns):
        return ""
    slow = tested.is_slow[known.examined]
    more = known.paths[own].mean() - _typical(known, slow, known.paths.to_numpy(float))
    whole = float(more.sum())
    name = str(more.idxmax())
    if whole <= 0 or float(more.max()) < whole / 2:
        return ""
    place = "the operation itself" if name == known.operation else name
    return f"{float(more.max()) / whole:.0%} of their excess is in {place}".replace("%", " %")


# ---- time that is known ---------------------------------------------------------------------------------------------


def _taken(tested: _Tested) -> Iterator[_Cause]:
    """What took time of slow calls, more than its share of any time."""
    import numpy as np

    known = tested.known
    ordinary = known.duration_ns <= np.quantile(known.duration_ns, ORDINARY)
    for name, amount in known.taken.items():
        # A longer call has more of what comes at random: as much as ordinary calls have of it, for their time.
        usual = float(amount[ordinary].sum()) / max(float(known.duration_ns[ordinary].sum()), 1.0)
        more = np.where(tested.is_slow, np.maximum(amount - usual * known.duration_ns, 0) * known.weight, 0.0)
        explained = np.minimum(more, tested.excess)
        if float(explained.sum()) < LEAST_SHARE * float(tested.excess.sum()):
            continue
        half = amount > (tested.known.duration_ns - np.median(tested.known.duration_ns)) / 2
        met = (amount > 0) & half
        p_value = _association(tested, Condition(name, name, met))
        without = weighted_quantile((known.duration_ns - amount).astype(np.int64), known.weight, tested.quantile)
        calls = tested.is_slow & (amount > 0)
        took = float(amount[calls].sum()) / max(int(calls.sum()), 1)
        evidence = f"{int(calls.sum()):,} slow calls were held up by it, for {took / 1000:,.0f} µs on average"
        yield _Cause(name, name, explained, p_value, without, evidence, calls)


# ---- where the rest of the time went --------------------------------------------------------------------------------


def _mechanisms(tested: _Tested, left: Floats, alpha: float) -> list[_Cause]:
    """Children, and waiting, that have far more of the excess than of typical calls; of what is left of it."""
    import numpy as np

    known = tested.known
    slow = tested.is_slow[known.examined]
    if int(slow.sum()) < FEWEST_SLOW or int((~slow).sum()) < FEWEST_SLOW or not len(known.paths.columns):
        return []
    times = known.paths.to_numpy(float)
    names = [str(name) for name in known.paths.columns]
    typical = _typical(known, slow, times)
    usual = typical / max(float(typical.sum()), 1.0)
    runs = known.counts.to_numpy(float)
    # Larger requests have more of everything: what counts is that one operation runs more often while the rest does not
    # take longer.
    rest_of = times[slow].mean(axis=0).sum() - times[slow].mean(axis=0)
    usual_rest = np.maximum(typical.sum() - typical, LEAST_REST * typical.sum())
    grown = np.maximum(rest_of / np.maximum(usual_rest, 1.0), 1.0)
    is_more = runs[slow].mean(axis=0) > MANY_TIMES * grown * np.maximum(_typical(known, slow, runs), 1.0)
    more = np.maximum(times[slow] - typical, 0.0)
    portion = more / np.maximum(more.sum(axis=1), 1.0)[:, None]
    rest = left[known.examined][slow]
    if not float(rest.sum()):
        return []
    own = rest @ portion / float(rest.sum())
    spread = _resampled(portion, rest)
    found = []
    for place in np.argsort(-own).tolist():
        missing = 1 - usual[place]
        bound = usual[place] + max(min(LEAST_MORE, missing / 2), LEAST_PART * missing)
        # That it runs so much more often is enough: in calls that are just slower it would not.
        bound = LEAST_SHARE if is_more[place] else bound
        p_value = (1 + int((spread[:, place] <= bound).sum())) / (len(spread) + 1)
        share = float(own[place]) * float(left.sum()) / float(tested.excess.sum())
        if own[place] < bound or share < LEAST_SHARE or p_value > alpha:
            continue
        cause = _mechanism(tested, names[place], times[:, place], slow, left * float(own[place]), p_value)
        if cause is not None:
            part = float(cause.explained.sum()) / max(float(tested.excess.sum()) * float(own[place]), 1.0)
            low, high = (np.quantile(spread[:, place], [0.025, 0.975]) * part).tolist()
            found.append(cause._replace(interval=(low, high)))
    return found


def _resampled(portion: Floats, rest: Floats) -> Floats:
    """The shares of what is left, of calls that are drawn again."""
    import numpy as np

    random = np.random.default_rng(1)
    drawn = random.integers(0, len(rest), (REPETITIONS, len(rest)))
    return np.array(
        [(portion[one] * rest[one][:, None]).sum(axis=0) / max(float(rest[one].sum()), 1.0) for one in drawn]
    )


def _typical(known: Circumstances, slow: Flags, values: Floats) -> Floats:
    """The mean of each column of `values` over ordinary calls."""
    import numpy as np

    duration = known.duration_ns[known.examined]
    ordinary = ~slow & (duration <= weighted_quantile(duration, known.represents, ORDINARY))
    mean: Floats = np.average(values[ordinary], axis=0, weights=known.represents[ordinary])
    return mean


def _mechanism(
    tested: _Tested, name: str, times: Floats, slow: Flags, explained: Floats, p_value: float
) -> _Cause | None:
    import numpy as np

    known = tested.known
    usual = float(_typical(known, slow, times[:, None])[0])
    durations = known.duration_ns[known.examined]
    shortened = durations - np.maximum(times - usual, 0)
    without = weighted_quantile(shortened.astype(np.int64), known.represents, tested.quantile)
    calls = tested.is_slow & np.isin(np.arange(len(tested.is_slow)), known.examined)
    if name != known.operation:
        runs = known.counts[name].to_numpy(float)
        often, before = float(runs[slow].mean()), float(_typical(known, slow, runs[:, None])[0])
        is_more = often > MANY_TIMES * max(before, 1.0)
        more = f"; it runs {often:.1f} times instead of {before:.1f}" if is_more else ""
        took = [f"{one / 1000:,.0f} µs" for one in (float(times[slow].mean()), usual)]
        return _Cause(
            name,
            "child",
            explained,
            p_value,
            without,
            f"it takes {took[0]} of slow calls, {took[1]} of others{more}",
            calls,
        )
    on_cpu = known.on_cpu_ns[known.examined]
    if np.isnan(on_cpu).all():
        return None  # the operation itself: whether it computed or waited is not known
    waited = np.clip(np.nan_to_num(durations - on_cpu), 0, times)
    more_waiting = float(waited[slow].mean() - _typical(known, slow, waited[:, None])[0])
    share = more_waiting / max(float(times[slow].mean()) - usual, 1.0)
    share = min(max(share, 0.0), 1.0)
    kind, where = ("waiting", "not on a CPU") if share >= LEAST_WAITING else ("computing", "on a CPU")
    part = max(share, 1 - share)
    evidence = f"{100 * part:.0f} % of the excess of its self time was {where}"
    return _Cause(f"{kind} outside of calls", kind, explained * part, p_value, without, evidence, calls)


# ---- the table ------------------------------------------------------------------------------------------------------


def _table(tested: _Tested, found: Sequence[_Cause]) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    whole = float(tested.excess.sum())
    rows = []
    for one in found:
        low, high = one.interval or _interval(tested, one.explained)
        share = float(one.explained.sum()) / whole
        rows.append((one.name, one.kind, share, low, high, one.p_value, one.quantile_without_ns / 1000, one.evidence))
    rest = max(1 - sum(float(row[2]) for row in rows), 0.0)
    empty = math.nan
    rows.append((UNEXPLAINED, UNEXPLAINED, rest, empty, empty, empty, empty, ""))
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype(dict.fromkeys(COLUMNS[2:7], np.float64))


def _interval(tested: _Tested, explained: Floats) -> tuple[float, float]:
    """The 95 % interval of a share: intervals of time are drawn again, since slow calls come together (Künsch 1989, The
    jackknife and the bootstrap for general stationary observations)."""
    import numpy as np

    blocks = min(BLOCKS, len(explained))
    place = np.arange(len(explained)) * blocks // len(explained)
    own = np.bincount(place, explained, blocks)
    whole = np.bincount(place, tested.excess, blocks)
    drawn = np.random.default_rng(1).integers(0, blocks, (REPETITIONS, blocks))
    sums = whole[drawn].sum(axis=1)
    shares = own[drawn].sum(axis=1)[sums > 0] / sums[sums > 0]
    low, high = np.quantile(shares, [0.025, 0.975]) if len(shares) else (0.0, 1.0)
    return float(low), float(high)
