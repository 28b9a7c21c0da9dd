"""Decide when rules fire and recover, from counts of calls and bad calls; the same for a live capture and a past one.

Whether more than a share p of calls are bad beyond chance: k bad ones of n have, where p is true, a probability of at
most exp(-n KL(k/n || p)) (W. Hoeffding, 1963, "Probability inequalities for sums of bounded random variables", theorem
1). That holds for any n, so one bad call of one at night proves nothing, and needs no tables. Memory is bounded: a
window has at most _SLOTS entries, however many calls.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from quantum_pulse.alerts.rules import Alert, Check, Rule, checks_of

#: How often rules are evaluated, in seconds.
TICK_S: Final = 5.0
#: What is less probable than one in e**_SURE by chance fires: 1e-8, as there are millions of evaluations in a year.
_SURE: Final = 8 * math.log(10)
#: It recovers once the share is so far below the limit.
_RECOVERED: Final = 0.8
_SLOTS: Final = 60


class Change(NamedTuple):
    """A rule began to fire or recovered, at `at_s`, Unix time; it has fired since `since_s`."""

    title: str
    severity: str
    is_firing: bool
    at_s: float
    since_s: float
    summary: str


class Evaluator:
    """The state of some rules. Times are Unix times in seconds, which never go back."""

    def __init__(self, rules: Sequence[Rule], start_s: float) -> None:
        self.rules = tuple(rules)
        self._states = [_State(rule, start_s) for rule in rules]

    def add(self, rule: int, at_s: float, calls: int, bad: int) -> None:
        """Count calls that have ended by `at_s`; `rule` is a position in `rules`."""
        self._states[rule].add(at_s, calls, bad)

    def step(self, now_s: float) -> list[Change]:
        """What has changed by `now_s`."""
        return [change for state in self._states for change in state.step(now_s)]

    def firing(self) -> list[Change]:
        """What fires now."""
        return [change for state in self._states for change in state.firing.values()]


class _Window:
    """Calls, and bad ones, of the last `length_s` seconds."""

    def __init__(self, length_s: float) -> None:
        self.length_s = length_s
        self.calls = self.bad = 0
        self._slot_s = max(length_s / _SLOTS, TICK_S)
        self._slots: deque[tuple[float, int, int]] = deque()

    def add(self, at_s: float, calls: int, bad: int) -> None:
        self.calls += calls
        self.bad += bad
        if self._slots and at_s < self._slots[-1][0] + self._slot_s:
            first_s, more, worse = self._slots[-1]
            self._slots[-1] = first_s, more + calls, worse + bad
        else:
            self._slots.append((at_s, calls, bad))

    def forget(self, now_s: float) -> None:
        while self._slots and self._slots[0][0] <= now_s - self.length_s:
            _, calls, bad = self._slots.popleft()
            self.calls -= calls
            self.bad -= bad

    def is_above(self, limit: float) -> bool:
        return self.bad > limit * self.calls


class _State:
    """One rule: its windows, and what fires by severity."""

    def __init__(self, rule: Rule, start_s: float) -> None:
        self.rule = rule
        self.firing: dict[str, Change] = {}
        self._checks = checks_of(rule)
        self._lengths = {length: _Window(length) for check in self._checks for length in (check.long_s, check.short_s)}
        self._last_call_s = start_s
        self._clear_since: dict[str, float] = {}

    def add(self, at_s: float, calls: int, bad: int) -> None:
        if calls:
            self._last_call_s = max(self._last_call_s, at_s)
            for window in self._lengths.values():
                window.add(at_s, calls, bad)

    def step(self, now_s: float) -> list[Change]:
        for window in self._lengths.values():
            window.forget(now_s)
        if isinstance(self.rule, Alert) and self.rule.expect_every_s is not None:
            silence_s = now_s - self._last_call_s
            why = f"no call has ended for {silence_s:,.0f} s" if silence_s >= self.rule.expect_every_s else ""
            return self._changed(self.rule.severity, why, now_s, 0.0)
        changes: list[Change] = []
        for severity in dict.fromkeys(check.severity for check in self._checks):
            own = [check for check in self._checks if check.severity == severity]
            reasons = (self._reason(check, is_firing=severity in self.firing) for check in own)
            changes += self._changed(
                severity, next(filter(None, reasons), ""), now_s, min(check.short_s for check in own)
            )
        return changes

    def _reason(self, check: Check, *, is_firing: bool) -> str:
        """Why `check` fires, or goes on firing; empty where it does not."""
        long, short = self._lengths[check.long_s], self._lengths[check.short_s]
        if is_firing:
            limit = check.limit * _RECOVERED
            return "it goes on" if long.is_above(limit) and (not short.calls or short.is_above(limit)) else ""
        # With no call in the short window there is no news, and what the long one says stands.
        if short.calls and not short.is_above(check.limit):
            return ""
        if not long.is_above(check.limit) or _surprise(long.calls, long.bad, check.limit) < _SURE:
            return ""
        share = long.bad / long.calls
        return (
            f"{share:.3%} of {long.calls:,} calls in {long.length_s:,.0f} s were bad; {check.limit:.3%} are the limit"
        )

    def _changed(self, severity: str, why: str, now_s: float, hold_s: float) -> list[Change]:
        before = self.firing.get(severity)
        if why:
            self._clear_since.pop(severity, None)
            if before is None:
                change = Change(self.rule.title, severity, True, now_s, now_s, why)
                self.firing[severity] = change
                return [change]
        elif before is not None and now_s - self._clear_since.setdefault(severity, now_s) >= hold_s:
            del self.firing[severity], self._clear_since[severity]
            return [before._replace(is_firing=False, at_s=now_s, summary=f"recovered; {before.summary}")]
        return []


def _surprise(calls: int, bad: int, limit: float) -> float:
    """Minus the logarithm of a bound on the probability of so many bad calls where a share `limit` is bad."""
    share = bad / calls
    if share <= limit:
        return 0.0
    good = 0.0 if bad == calls else (1 - share) * math.log((1 - share) / (1 - limit))
    return calls * (share * math.log(share / limit) + good)
