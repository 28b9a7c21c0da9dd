"""Simulate service-years of stationary, bursty traffic: how often a page is false, and how soon one comes.

The calls of each minute follow a Poisson distribution whose mean is drawn from a gamma distribution of shape 0.3: most
minutes have few calls or none, and some many times the mean. Bad calls are independent of each other. A healthy service
spends half of its budget: of its calls 0.05 % miss an objective of 99.9 %, 0.5 % exceed the limit of the 99th
percentile.
"""

from __future__ import annotations

import math
import time

import numpy as np

from quantum_pulse.alerts.evaluator import TICK_S, Evaluator
from quantum_pulse.alerts.rules import SLO, Alert
from quantum_pulse.reading.selection import Recorded

REQUEST = Recorded("Api.REQUEST")
RULES = (
    SLO(REQUEST, within_us=5_000, objective=0.999),
    Alert(REQUEST, quantile=0.99, above_us=5_000),
    Alert(REQUEST, errors_above=0.01),
)
#: Shares of bad calls for each of the rules.
HEALTHY = (0.0005, 0.005, 0.0005)
DAY_S = 86400
MINUTE_TICKS = round(60 / TICK_S)
#: Calls a second, and days that are simulated: a busy service is evaluated at each tick.
TRAFFIC = ((37 / DAY_S, 365), (0.01, 365), (0.5, 365), (10, 60), (100, 60), (1000, 60))
#: log2 of the largest time of a call to the median one; what doubles takes one more.
SPREAD = 0.5


def main() -> None:
    print("| calls a second | days | false pages | false pages a year | 90 % fail: paged after s | p99 doubles: s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for rate, days in TRAFFIC:
        random = np.random.default_rng(20)
        begun = time.perf_counter()
        pages = false_pages(random, rate, days)
        outage, slower = (delay(random, rate, bad) for bad in ((0.9, 0.9, 0.9), doubled()))
        shown = f"{rate:.4g}", str(days), str(pages), f"{pages * 365 / days:.2f}", seconds(outage), seconds(slower)
        print(f"| {' | '.join(shown)} |  <!-- {time.perf_counter() - begun:.0f} s -->", flush=True)


def seconds(found: list[float]) -> str:
    return f"{np.median(found):,.0f}, at most {max(found):,.0f}" if max(found) < math.inf else "not within a day"


def doubled() -> tuple[float, float, float]:
    """Shares of bad calls once a lognormal latency has doubled whose 99.5 % are at the limit."""
    from statistics import NormalDist

    # In units of sigma = SPREAD (natural): the limit is at the quantile of 1 - share.
    def after(share: float) -> float:
        return 1 - NormalDist().cdf(NormalDist().inv_cdf(1 - share) - math.log(2) / SPREAD)

    return after(HEALTHY[0]), after(HEALTHY[1]), HEALTHY[2]


def traffic(random: np.random.Generator, rate: float, minutes: int, *, is_bursty: bool = True) -> np.ndarray:
    """Calls in each tick."""
    means = random.gamma(0.3, rate * TICK_S / 0.3, minutes) if is_bursty else np.full(minutes, rate * TICK_S)
    return random.poisson(np.repeat(means, MINUTE_TICKS))


def false_pages(random: np.random.Generator, rate: float, days: int) -> int:
    evaluator = Evaluator(RULES, 0.0)
    pages = 0
    for day in range(days):
        calls = traffic(random, rate, DAY_S // 60)
        # Only calls make anything fire: what is silent is not evaluated.
        ticks = np.flatnonzero(calls)
        bad = [random.binomial(calls[ticks], share) for share in HEALTHY]
        for tick, own, *worse in zip(
            ticks.tolist(), calls[ticks].tolist(), *(one.tolist() for one in bad), strict=True
        ):
            now_s = day * DAY_S + (tick + 1) * TICK_S
            for rule, count in enumerate(worse):
                evaluator.add(rule, now_s, own, count)
            pages += sum(one.is_firing and one.severity == "critical" for one in evaluator.step(now_s))
    return pages


def delay(random: np.random.Generator, rate: float, bad: tuple[float, ...], runs: int = 20) -> list[float]:
    """Seconds from the moment at which calls become bad to the first page, after two healthy hours; steady traffic."""
    found = []
    for _ in range(runs):
        evaluator = Evaluator(RULES, 0.0)
        begin_s, first = 7200.0, math.inf
        calls = traffic(random, rate, 24 * 60, is_bursty=False)
        for tick in range(len(calls)):
            now_s = (tick + 1) * TICK_S
            shares = HEALTHY if now_s <= begin_s else bad
            for rule, share in enumerate(shares):
                evaluator.add(rule, now_s, int(calls[tick]), int(random.binomial(calls[tick], share)))
            paged = [one for one in evaluator.step(now_s) if one.is_firing and one.severity == "critical"]
            if paged and now_s > begin_s:
                first = now_s - begin_s
                break
        found.append(first)
    return found


if __name__ == "__main__":
    main()
