"""Rules: `Alert` and `SLO`, and the checks that they come down to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from quantum_pulse.operations import Category, checked
from quantum_pulse.reading.selection import Recorded

if TYPE_CHECKING:
    from quantum_pulse.operations import Operation

    Severity = Literal["info", "warning", "critical"]
    Watched: TypeAlias = Operation | Recorded | Category

SEVERITIES: Final = ("info", "warning", "critical")
LARGEST_FOR_S: Final = 30 * 86400.0


class Check(NamedTuple):
    """Fires where more than `limit` of the calls in the last `long_s` seconds are bad beyond chance, and of those in
    the last `short_s` as well."""

    long_s: float
    short_s: float
    limit: float
    severity: str


class Measure(NamedTuple):
    """What is a bad call: longer than `limit_ns` (None: no matter how long), or, where `with_errors`, failed."""

    limit_ns: int | None
    with_errors: bool


# B. Beyer et al. (2018), "The Site Reliability Workbook", chapter 5, table 5-8; the first row, which spends as much of
# the budget as the second, is ours: it tells of an outage within minutes where the objective leaves a large budget.
_BURN_RATES: Final = (
    (300.0, 60.0, 172.8, "critical"),
    (3600.0, 300.0, 14.4, "critical"),
    (21600.0, 1800.0, 6.0, "critical"),
    (259200.0, 21600.0, 1.0, "warning"),
)
#: No rate of bad calls that is higher is asked for: an outage must fire whatever the budget.
_LARGEST_LIMIT: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class _Rule:
    name: str | None = None

    def _check_name(self) -> None:
        if self.name is not None and (not isinstance(self.name, str) or not self.name.strip()):
            raise ValueError(f"name must be text that is not empty, not {self.name!r}")


@dataclass(frozen=True)
class Alert(_Rule):
    """A condition on the calls of an operation, or of a category, that makes an alert fire.

    Exactly one condition: `quantile` with `above_us`, `errors_above`, or `expect_every_s`.

    Parameters
    ----------
    of : operation or Category
        What is watched.
    quantile : float, optional
        The quantile of durations that must not exceed `above_us`.
    above_us : float, optional
        The limit of that quantile, in microseconds.
    errors_above : float, optional
        The share of calls that may fail, from 0 to 1.
    expect_every_s : float, optional
        Fire when nothing has ended for so many seconds.
    for_s : float, default 60.0
        The window that is looked at, in seconds: a rule fires when the calls in it exceed the limit
        by more than chance explains, and recovers when they are well below it for as long.
    severity : {"critical", "warning", "info"}, default "critical"
        How bad it is.
    name : str, optional
        What the alert is called; by default what it is about.

    Raises
    ------
    TypeError
        If `of` is not an operation or a category.
    ValueError
        If there is not exactly one condition, or a value is out of range.

    See Also
    --------
    SLO : An objective over a month, with alerts by burn rates.

    Examples
    --------
    >>> class Api(qp.Operation):
    ...     REQUEST = qp.op("One request")
    >>> qp.Alert(Api.REQUEST, quantile=0.99, above_us=5_000, for_s=120).title
    'Api.REQUEST: p99 above 5,000 µs'
    """

    of: Watched
    quantile: float | None = None
    above_us: float | None = None
    errors_above: float | None = None
    expect_every_s: float | None = None
    for_s: float = 60.0
    severity: Severity = "critical"

    def __post_init__(self) -> None:
        _check_watched(self.of)
        self._check_name()
        pair = (self.quantile is None, self.above_us is None)
        if pair[0] != pair[1]:
            raise ValueError("quantile and above_us go together, as in quantile=0.99, above_us=5_000")
        conditions = [not pair[0], self.errors_above is not None, self.expect_every_s is not None]
        if sum(conditions) != 1:
            raise ValueError("an alert has one condition: quantile= with above_us=, errors_above= or expect_every_s=")
        _check_share("quantile", self.quantile)
        _check_share("errors_above", self.errors_above)
        for name, value in (("above_us", self.above_us), ("expect_every_s", self.expect_every_s)):
            if value is not None:
                _check_between(name, value, 0, math.inf)
        _check_between("for_s", self.for_s, 5, LARGEST_FOR_S, includes=True)
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity must be 'info', 'warning' or 'critical', not {self.severity!r}")

    @property
    def title(self) -> str:
        """What the alert is called."""
        if self.name is not None:
            return self.name
        if self.quantile is not None:
            return f"{watched_name(self.of)}: p{self.quantile * 100:.6g} above {self.above_us:,.6g} µs"
        if self.errors_above is not None:
            return f"{watched_name(self.of)}: more than {self.errors_above * 100:.6g}% fail"
        return f"{watched_name(self.of)}: nothing for {self.expect_every_s:,.6g} s"


@dataclass(frozen=True)
class SLO(_Rule):
    """A service level objective: the share of calls that must succeed, in time, over 30 days.

    It fires where the budget of bad calls burns too fast, by several windows: critical at 14.4 times
    the rate that would spend it in 30 days, over an hour, at 6 times over 6 hours, or at 173 times
    over 5 minutes; a warning above that rate over 3 days. A few bad calls of few prove nothing: the
    excess must be more than chance explains.

    Parameters
    ----------
    of : operation or Category
        What is watched.
    within_us : float, optional
        The time in which a call must end, in microseconds; by default only failed calls are bad.
    objective : float, default 0.999
        The share of good calls, from 0 to 1.
    name : str, optional
        What the alert is called; by default what it is about.

    Raises
    ------
    TypeError
        If `of` is not an operation or a category.
    ValueError
        If a value is out of range.

    See Also
    --------
    Alert : One condition over one window.

    References
    ----------
    - B. Beyer, N. R. Murphy, D. K. Rensin, K. Kawahara & S. Thorne (2018). The Site Reliability
      Workbook, chapter 5, "Alerting on SLOs". O'Reilly.

    Examples
    --------
    >>> class Api(qp.Operation):
    ...     REQUEST = qp.op("One request")
    >>> qp.SLO(Api.REQUEST, within_us=5_000, objective=0.999).title
    'Api.REQUEST: 99.9% within 5,000 µs'
    """

    of: Watched
    within_us: float | None = None
    objective: float = 0.999

    def __post_init__(self) -> None:
        _check_watched(self.of)
        self._check_name()
        _check_share("objective", self.objective)
        if self.within_us is not None:
            _check_between("within_us", self.within_us, 0, math.inf)

    @property
    def title(self) -> str:
        """What the alert is called."""
        if self.name is not None:
            return self.name
        within = "succeed" if self.within_us is None else f"within {self.within_us:,.6g} µs"
        return f"{watched_name(self.of)}: {self.objective * 100:.6g}% {within}"


Rule: TypeAlias = Alert | SLO


def measure_of(rule: Rule) -> Measure:
    """Which calls are bad."""
    limit_us = rule.above_us if isinstance(rule, Alert) else rule.within_us
    with_errors = isinstance(rule, SLO) or rule.errors_above is not None
    return Measure(None if limit_us is None else round(limit_us * 1000), with_errors)


def checks_of(rule: Rule) -> tuple[Check, ...]:
    """When it fires, unless it waits for calls."""
    if isinstance(rule, Alert):
        limit = rule.errors_above if rule.quantile is None else 1 - rule.quantile
        return () if limit is None else (Check(rule.for_s, rule.for_s, limit, rule.severity),)
    budget = 1 - rule.objective
    return tuple(
        Check(long_s, short_s, min(rate * budget, max(_LARGEST_LIMIT, budget)), severity)
        for long_s, short_s, rate, severity in _BURN_RATES
    )


def watched_name(of: Watched) -> str:
    """Name of the operation or the category that a rule is about."""
    if isinstance(of, Category):
        return of.name
    return str(of) if isinstance(of, Recorded) else of.definition.name


def _check_watched(of: object) -> None:
    if not isinstance(of, Category | Recorded):
        checked(of)


def _check_share(name: str, value: float | None) -> None:
    if value is not None:
        _check_between(name, value, 0, 1)


def _check_between(name: str, value: object, low: float, high: float, *, includes: bool = False) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not (low <= value <= high if includes else low < value < high):  # type: ignore[operator]
        bounds = f"above {low:g}" if high == math.inf else f"between {low:g} and {high:g}"
        raise ValueError(f"{name} must be a number {bounds}, not {value!r}")
