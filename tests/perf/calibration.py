"""How often the analysis is wrong when nothing happened, and how often it finds what did.

Each rate has its 95 % interval (Wilson 1927). ``python -m tests.perf calibration``; about twenty minutes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import quantum_pulse as qp
from quantum_pulse import analysis
from quantum_pulse.analysis import contrasts as interval
from quantum_pulse.analysis import history, warmup, windows
from quantum_pulse.analysis.significance import student_quantile
from quantum_pulse.evidence import Budget
from tests.analysis import step_cases
from tests.analysis.series import persistent
from tests.perf import statistics

TRIALS = 200
MANY_TRIALS = 1000
FEW_TRIALS = 60
#: Verdicts that say that something changed; with one run per side, in these two runs.
ALARMS = ("regressed", "improved", "differs")


def report(case: str, hits: int, trials: int, bar: str) -> None:
    z = student_quantile(0.025, float("inf"))
    rate = hits / trials
    middle = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    width = z / (1 + z * z / trials) * np.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials**2))
    low, high = max(middle - width, 0), min(middle + width, 1)
    print(f"| {case} | {rate:.1%} | {low:.1%} to {high:.1%} | {trials} | {bar} |", flush=True)


def latency(rng: np.random.Generator, count: int, columns: int = 1, phi: float = 0.0) -> np.ndarray:
    """Lognormal durations in ns around 50 µs with a coefficient of variation of 30 %."""
    noise = persistent(rng, count, columns, phi) if phi else rng.standard_normal((count, columns))
    return 50_000 * np.exp(np.sqrt(np.log1p(0.09)) * noise)


def two_modes(rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    return latency(rng, count, columns) * np.where(rng.random((count, columns)) < 0.01, 10, 1)


def bursts(rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    """Half of the time 50 % slower, changing about a hundred times."""
    slow = np.cumsum(rng.random((count, columns)) < 100 / count, axis=0) % 2
    return latency(rng, count, columns) * (1 + 0.5 * slow)


def long_bursts(rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    """As `bursts`, but changing only about ten times."""
    slow = np.cumsum(rng.random((count, columns)) < 10 / count, axis=0) % 2
    return latency(rng, count, columns) * (1 + 0.5 * slow)


def heavy(rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    """Pareto's tail with an exponent of 1.5: no variance."""
    return 10_000 * (1 + rng.pareto(1.5, (count, columns)))


def coarse(rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    """A clock that ticks every 20 µs: five values or so."""
    return np.round(latency(rng, count, columns) / 20_000) * 20_000


def drifting(rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    """20 % slower at the end than at the start."""
    return latency(rng, count, columns) * np.linspace(1, 1.2, count)[:, None]


def unlike_runs(rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    """A run whose operations are all faster or slower than in other runs, by 10 %, and each by 5 % of its own."""
    shifts = 0.1 * rng.standard_normal() + 0.05 * rng.standard_normal(columns)
    return latency(rng, count, columns) * np.exp(shifts)


SAME = {
    "iid lognormal": latency,
    "AR(1) 0.5": lambda rng, count, columns: latency(rng, count, columns, 0.5),
    "two modes, 1 % of 10x": two_modes,
    "bursts": bursts,
}
#: More of what latencies may be like, and what no bar is set for: how they are drawn, and the samples of each run.
OTHERS = [
    ("AR(1) 0.9", lambda rng, count, columns: latency(rng, count, columns, 0.9), [2000], [2000]),
    ("Pareto 1.5", heavy, [2000], [2000]),
    ("a clock of 20 µs", coarse, [2000], [2000]),
    ("drifting by 20 %", drifting, [2000], [2000]),
    ("long bursts", long_bursts, [2000], [2000]),
    ("iid lognormal", latency, [30], [30]),
    ("iid lognormal", latency, [200], [20_000]),
    ("bursts", bursts, [500], [4000]),
    ("iid lognormal", latency, [2000], [2000] * 3),
    ("runs that differ", unlike_runs, [1000] * 3, [1000] * 3),
    ("runs that differ", unlike_runs, [1000], [1000] * 3),
    ("runs that differ", unlike_runs, [300, 1000, 3000], [1000] * 3),
    ("runs that differ", unlike_runs, [1000] * 5, [1000] * 5),
]


def run(samples: np.ndarray) -> dict[str, np.ndarray]:
    return {f"Op.{column}": samples[:, column] for column in range(samples.shape[1])}


def same_against_same(trials: int, only: str | None = None) -> None:
    for name, draw in SAME.items():
        if only not in (None, name):
            continue
        rng, hits = np.random.default_rng(1), 0
        for _ in range(trials):
            found = analysis.compare_samples(run(draw(rng, 2000, 64)), run(draw(rng, 2000, 64)), min_effect=0)
            hits += found.verdict in ALARMS
        report(f"compare: same against same, {name}, 64 operations of 2,000", hits, trials, "≤ 5 %")


def other_series(trials: int) -> None:
    for name, draw, before, after in OTHERS:
        rng, hits = np.random.default_rng(7), 0
        for _ in range(trials):
            sides = [[run(draw(rng, size, 64)) for size in sizes] for sizes in (before, after)]
            hits += analysis.compare_samples(*sides, min_effect=0).verdict in ALARMS
        sizes = " against ".join(" + ".join(f"{size:,}" for size in side) for side in (before, after))
        report(f"compare: same against same, {name}, 64 operations of {sizes}", hits, trials, "none set")


def histories_of_runs(trials: int) -> None:
    """Runs that differ, with what ten earlier runs say of how much, and without."""
    for runs in (1, 2, 3):
        for known in (True, False):
            rng, hits = np.random.default_rng(10), 0
            for _ in range(trials):
                past: dict[tuple[str, float], list[float]] = {}
                for _ in range(10 if known else 0):
                    for name, durations in run(unlike_runs(rng, 300, 16)).items():
                        for level in (0.5, 0.95):
                            past.setdefault((name, level), []).append(float(np.quantile(durations, level)))
                sides = [[run(unlike_runs(rng, 300, 16)) for _ in range(runs)] for _ in range(2)]
                variation = history.variation(past)
                found = analysis.compare_samples(*sides, quantiles=(0.5, 0.95), variation=variation)
                hits += bool({"regressed", "improved"} & set(found.table["verdict"]))
            what = "a history of 10" if known else "no history"
            report(f"compare: runs that differ, {runs} per side, {what}, 16 operations", hits, trials, "≤ 5 %")


def starts(trials: int) -> None:
    """Whether anything is set aside as warm-up, of series without and with one."""
    rng = np.random.default_rng(8)
    draws = SAME | {name: draw for name, draw, *_ in OTHERS[:5]}
    for name, draw in draws.items():
        found = np.array([warmup.settling(column) for column in draw(rng, 5000, trials).T])
        bar = "≤ 1 %" if name in SAME else "none set"
        report(f"warm-up: none planted, {name}, 5,000 samples", int((found > 0).sum()), trials, bar)
    for share, factor, count in ((0.02, 2, 2000), (0.02, 2, 5000), (0.02, 5, 1000), (0.05, 2, 5000), (0.05, 5, 50_000)):
        first = int(share * count)
        slower = np.ones(count)
        slower[:first] += (factor - 1) * np.exp(-3 * np.arange(first) / first)
        series = latency(rng, count, TRIALS) * slower[:, None]
        found = np.array([warmup.settling(column) for column in series.T])
        what = f"first {share:.0%} of {count:,} up to {factor} times as slow"
        report(f"warm-up: {what}, found", int((found > 0).sum()), TRIALS, "none set")
        near = (found > first / 2) & (found < 2 * first)
        report("warm-up: the same, half to twice as many set aside", int(near.sum()), TRIALS, "none set")


def limits(trials: int) -> None:
    """Budgets that are just what the quantile is, so that each verdict is wrong, and such as are kept or missed."""
    rng = np.random.default_rng(9)
    for phi, count in ((0, 300), (0, 5000), (0.5, 5000), (0.9, 5000)):
        series = latency(rng, count, trials, phi)
        true = 50 * np.exp(np.sqrt(np.log1p(0.09)) * 2.326348)
        what = f"budget: p99, AR(1) {phi}, {count:,} samples"
        hits = sum(judged(column, true) in ("kept", "missed") for column in series.T)
        report(f"{what}, at the budget, kept or missed", hits, trials, "≤ 5 %" if phi < 0.9 else "none set")
        for factor, verdict in ((1.2, "kept"), (1 / 1.2, "missed")) if count == 5000 else ():
            hits = sum(judged(column, true * factor) == verdict for column in series.T)
            which = "a budget a fifth above it" if factor > 1 else "a budget a sixth below it"
            report(f"{what}, {which}, {verdict}", hits, trials, "none set")


def judged(durations: np.ndarray, limit_us: float) -> str:
    calls = [(durations, np.ones(durations.size, np.int32))]
    return analysis.check_budgets({"a": Budget(limit_us, 0.99)}, [("a", calls)])["verdict"].iloc[0]


def planted_regressions(trials: int) -> None:
    rng = np.random.default_rng(2)
    hits = tails = medians = 0
    for _ in range(trials):
        table = analysis.compare_samples({"a": latency(rng, 5000)[:, 0]}, {"a": 1.1 * latency(rng, 5000)[:, 0]}).table
        hits += table["verdict"][0] in ("regressed", "differs")
        slow = latency(rng, 50_000)[:, 0]
        slow = np.where(slow > np.quantile(slow, 0.97), 1.3 * slow, slow)
        table = analysis.compare_samples({"a": latency(rng, 50_000)[:, 0]}, {"a": slow}).table
        tails += table["verdict"][2] in ("regressed", "differs")
        medians += table["verdict"][0] in ("regressed", "differs")
    report("compare: +10 %, 5,000 samples, p50", hits, trials, "≥ 95 %")
    report("compare: tail +30 %, 50,000 samples, p99", tails, trials, "≥ 90 %")
    report("compare: the same, p50", medians, trials, "0 %")


def stationary(rng: np.random.Generator, count: int, trials: int) -> dict[str, tuple[np.ndarray, str]]:
    """Series without a step, as columns, and how many may have a report."""
    normal = 100 + 5 * rng.standard_normal((count, trials))
    white = rng.standard_normal((count, trials))
    return {
        "normal cv 5 %": (normal, "≤ 2 %"),
        "lognormal 0.3": (np.exp(0.3 * rng.standard_normal((count, trials))), "≤ 5 %"),
        "3 % spikes x2": (normal * np.where(rng.random((count, trials)) < 0.03, 2, 1), "≤ 5 %"),
        "AR(1) 0.5": (persistent(rng, count, trials, 0.5), "≤ 3 %"),
        "AR(1) 0.7": (persistent(rng, count, trials, 0.7), "none set"),
        "AR(1) 0.9": (persistent(rng, count, trials, 0.9), "≤ 8 %"),
        "AR(1) 0.8 and white noise": (persistent(rng, count, trials, 0.8) + 0.6 * white, "none set"),
        "AR(1) 0.95 and white noise": (persistent(rng, count, trials, 0.95) + white, "≤ 12 %"),
    }


def steps(trials: int) -> None:
    rng = np.random.default_rng(3)
    for count, own in ((40, trials), (100, trials), (300, trials // 2)):
        for name, (series, within) in stationary(rng, count, own).items():
            hits = sum(bool(analysis.change_points(column)) for column in series.T)
            report(
                f"change points: stationary, {name}, {count} values", hits, own, within if count >= 100 else "none set"
            )
    for size, bar in ((0.05, "≥ 50 %"), (0.10, "≥ 90 %"), (0.20, "≥ 99 %")):
        hits = 0
        for _ in range(trials):
            place = int(rng.integers(20, 81))
            series = 100 + 5 * rng.standard_normal(100)
            series[place:] *= 1 + size
            hits += any(abs(point.index - place) <= 3 for point in analysis.change_points(series))
        report(f"change points: one step of {size:.0%}, within ±3", hits, trials, bar)


def kinds_of_steps(trials: int) -> None:
    right = 0
    for case in step_cases.CASES:
        draws = [case.draw(np.random.default_rng(seed)) for seed in range(trials)]
        hits = sum(case.found([point.index for point in analysis.change_points(values)]) for values in draws)
        right += hits >= 0.85 * trials
        report(f"change points: {case.name}, exactly its steps", hits, trials, "none set")
    report("change points: kinds whose steps are right in at least 85 %", right, len(step_cases.CASES), "≥ 25 of 27")


def histories(trials: int) -> None:
    """What sensitivity is for: steps of histories against reports where nothing but noise wanders."""
    for sensitivity in ("low", "medium", "high"):
        found = reported = steps = clear_found = clear_steps = 0
        for seed in range(trials):
            values, own, clear = step_cases.history(np.random.default_rng(seed))
            places = [point.index for point in analysis.change_points(values, sensitivity=sensitivity)]
            found, reported = found + step_cases.matched(places, own), reported + len(places)
            clear_found, clear_steps = clear_found + step_cases.matched(places, clear), clear_steps + len(clear)
            steps += len(own)
        what = f"change points: histories, sensitivity {sensitivity}"
        report(f"{what}, reports that are steps (precision)", found, reported, "≥ 90 %")
        report(f"{what}, clear steps found", clear_found, clear_steps, "≥ 80 %")
        report(f"{what}, steps found", found, steps, "none set")
        rng = np.random.default_rng(6)
        series = persistent(rng, 100, trials, 0.95) + rng.standard_normal((100, trials))
        hits = sum(bool(analysis.change_points(column, sensitivity=sensitivity)) for column in series.T)
        report(f"{what}, AR(1) 0.95 and white noise, any report", hits, trials, "none set")
        small = rng.standard_normal((100, trials)) + (np.arange(100) >= 50)[:, None]
        hits = sum(bool(analysis.change_points(column, sensitivity=sensitivity)) for column in small.T)
        report(f"{what}, one step of one deviation, any report", hits, trials, "none set")


def random_walk(rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    return np.cumsum(rng.standard_normal((count, columns)), axis=0)


def under_noise(rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    return persistent(rng, count, columns, 0.95) + rng.standard_normal((count, columns))


def second_order(rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    """AR(2) with a pseudo-cycle of 12 windows."""
    noise = rng.standard_normal((count + 200, columns))
    for row in range(2, count + 200):
        noise[row] += 1.9 * np.cos(2 * np.pi / 12) * noise[row - 1] - 0.9025 * noise[row - 2]
    return noise[200:]


def cycles(rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    """A cycle of 20 windows at any phase, as of jobs that run by the clock, and noise."""
    phases = np.arange(count)[:, None] / 20 + rng.random(columns)
    return 1.5 * np.sin(2 * np.pi * phases) + rng.standard_normal((count, columns))


def stepping(rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    """One step of three standard deviations at any place."""
    after = np.arange(count)[:, None] >= rng.integers(count // 5, count - count // 5, columns)
    return rng.standard_normal((count, columns)) + 3 * after


def growing(rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    """Memory: it grows in steps."""
    return np.cumsum(rng.random((count, columns)) < 0.05, axis=0) + 0.01 * rng.standard_normal((count, columns))


def bursts_of_counts(rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    return rng.poisson(np.exp(1.5 * persistent(rng, count, columns, 0.9) - 2)).astype(float)


def with_gaps(rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    """AR(1) 0.9 of which 40 % is missing."""
    return np.where(rng.random((count, columns)) < 0.4, np.nan, persistent(rng, count, columns, 0.9))


def saturating(rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    """It fills up, and there is a bit of noise."""
    filled = 1 - np.exp(-np.arange(count)[:, None] / rng.uniform(count / 6, count / 2, columns))
    return 20 * filled + persistent(rng, count, columns, 0.5)


#: Independent series of latency and of a metric, and whether there is a bar.
UNRELATED = {
    **{f"AR(1) {phi}": (lambda rng, n, k, phi=phi: persistent(rng, n, k, phi)) for phi in (0, 0.5, 0.9, 0.98)},
    "AR(2), pseudo-cycle": second_order,
    "random walk": random_walk,
    "AR(1) 0.95 and white noise": under_noise,
    "cycles of one period": cycles,
    "Student's t, 1.5 degrees": lambda rng, n, k: rng.standard_t(1.5, (n, k)),
    "one step": stepping,
    "growing": growing,
    "saturating": saturating,
    "rare events, 3 % of windows": lambda rng, n, k: rng.poisson(0.03, (n, k)).astype(float),
    "bursts of counts": bursts_of_counts,
    "40 % missing": with_gaps,
}
BARS = ("AR(1) 0", "AR(1) 0.5", "AR(1) 0.9", "AR(1) 0.98")


def alarms(y: np.ndarray, x: np.ndarray) -> int:
    return sum(
        analysis.correlate(pd.Series(own), pd.DataFrame({"m": metric}))["p_value"][0] <= 0.05
        for own, metric in zip(y.T, x.T, strict=True)
    )


def correlations(trials: int) -> None:
    rng = np.random.default_rng(4)
    for name, draw in UNRELATED.items():
        own = 4 * trials if name in BARS else trials
        bar = "≤ 6 %" if name in BARS else "none set"
        hits = alarms(draw(rng, 300, own), draw(rng, 300, own))
        report(f"correlate: independent, {name}, n=300, p ≤ 0.05", hits, own, bar)
    for count in (60, 1000):
        hits = alarms(persistent(rng, count, trials, 0.9), persistent(rng, count, trials, 0.9))
        report(f"correlate: independent, AR(1) 0.9, n={count}, p ≤ 0.05", hits, trials, "none set")
    mixed = alarms(persistent(rng, 300, trials, 0.98), UNRELATED["rare events, 3 % of windows"](rng, 300, trials))
    report("correlate: independent, AR(1) 0.98 and rare events, n=300, p ≤ 0.05", mixed, trials, "none set")
    restless = np.exp(0.8 * persistent(rng, 300, trials, 0.9))
    hits = alarms(restless * persistent(rng, 300, trials, 0.3), restless * persistent(rng, 300, trials, 0.3))
    report("correlate: independent but restless at the same times, n=300, p ≤ 0.05", hits, trials, "none set")
    real("engine", 0.005)
    real("slow_exchange", 0.01)
    planted(trials)


def real(name: str, window_s: float) -> None:
    """Each operation of a real capture with the time in each, but moved by a quarter to three quarters of the whole."""
    rng = np.random.default_rng(8)
    timeline = qp.open(Path(__file__).parents[2] / "sample_data" / name).timeline(window_s, quantiles=[0.95])
    latency, busy, _ = windows.aligned(timeline, window_s, [])
    tested = hits = 0
    for own in latency.columns:
        moves = rng.integers(len(busy) // 4, len(busy) * 3 // 4, 3 * busy.shape[1])
        moved = pd.DataFrame(
            {str(n): np.roll(busy.iloc[:, n % busy.shape[1]].to_numpy(), by) for n, by in enumerate(moves.tolist())},
            index=busy.index,
        )
        p = analysis.correlate(latency[own], moved)["p_value"].dropna()
        tested, hits = tested + len(p), hits + int((p <= 0.05).sum())
    report(f"correlate: {name}, operations with others at another time, p ≤ 0.05", hits, tested, "none set")


def planted(trials: int) -> None:
    rng = np.random.default_rng(6)
    for size, bars in ((0.5, ("≥ 90 %", "≥ 80 %")), (0.3, ("none set", "none set"))):
        found = near = 0
        for trial in range(trials):
            lag = trial % 6
            x, noise = persistent(rng, 305, 2, 0.5).T
            y = size * x[5 - lag : 305 - lag] + np.sqrt(1 - size**2) * noise[5:]
            row = analysis.correlate(pd.Series(y), pd.DataFrame({"m": x[5:]})).iloc[0]
            found += row["q_value"] <= 0.05
            near += abs(row["lag_s"] - lag) <= 1
        report(f"correlate: planted {size}, AR(1) 0.5, lag 0 to 5, found", found, trials, bars[0])
        report("correlate: the same, lag within ±1", near, trials, bars[1])
    found = 0
    for _ in range(trials):
        rare = rng.poisson(0.03, 300)
        slow = np.exp(0.3 * persistent(rng, 300, 1, 0.5)[:, 0]) * (1 + (rare > 0))
        found += analysis.correlate(pd.Series(slow), pd.DataFrame({"m": rare}))["q_value"][0] <= 0.05
    report("correlate: rare events double latency, found", found, trials, "none set")


#: Noise that looks like an incident more than other noise does.
NOISY = ("AR(1) 0.95 and white noise", "bursts of counts")


def incidents(trials: int) -> None:
    """A call of a service gets slower for part of a capture, among 46 figures; nobody knows exactly when."""
    rng = np.random.default_rng(11)
    length = interval.WINDOWS
    for share in (0.05, 0.1, 0.2, 0.3):
        hits = false = 0
        for _ in range(trials):
            whole = round(length / share)
            begin = int(rng.integers(0, whole - length))
            off = rng.uniform(-0.2, 0.2, 2) * length
            low, high = interval.surroundings(begin, begin + length, 0, whole)
            places = np.arange(low, high)
            figures = service(rng, places, begin + off[0], begin + length + off[1], rng.uniform(2, 5))
            inside = (places >= begin) & (places < begin + length)
            q = analysis.contrast(pd.DataFrame(figures), inside)["q_value"]
            hits, false = hits + (q[0] <= 0.05), false + (q[1:] <= 0.05).any()
        what = f"contrast: an incident of {share:.0%} of a capture, 2 to 5 times as slow, edges off by up to 20 %"
        report(f"{what}, found", hits, trials, "≥ 90 %")
        report("contrast: the same, anything else with q ≤ 0.05", false, trials, "≤ 5 %")


def service(rng: np.random.Generator, places: np.ndarray, begin: float, end: float, factor: float) -> np.ndarray:
    """The p95 of 23 operations in each window, and their calls, as columns: under a load that varies by 10 % and with
    calls that vary by 60 %. The first is `factor` times as slow from `begin` to `end`."""
    load = 0.1 * persistent(rng, places.size, 1, 0.93)
    columns = []
    for number in range(23):
        calls = int(rng.integers(3, 30))
        durations = np.exp(np.sqrt(np.log1p(0.36)) * rng.standard_normal((places.size, calls)) + load)
        if not number:
            times = places[:, None] + rng.random(durations.shape)
            durations *= np.where((times >= begin) & (times < end), factor, 1)
        columns += [np.quantile(durations, 0.95, axis=1), rng.poisson(calls * np.exp(load[:, 0]))]
    return np.stack(columns, axis=1)


def contrasts(trials: int) -> None:
    """An interval of 20 windows in the middle of 100, and at the end of 60; then figures of 40 operations at once."""
    rng = np.random.default_rng(7)
    middle, end = np.arange(100) // 20 == 2, np.arange(60) >= 40
    draws = {
        **{f"AR(1) {phi}": (lambda n, k, phi=phi: persistent(rng, n, k, phi)) for phi in (0, 0.5, 0.9, 0.98)},
        **{
            name: (lambda n, k, name=name: UNRELATED[name](rng, n, k))
            for name in ("random walk", "AR(1) 0.95 and white noise", "rare events, 3 % of windows", "bursts of counts")
        },
    }
    for name, draw in draws.items():
        for where, inside in (("in the middle", middle), ("at the end", end)):
            p = analysis.contrast(pd.DataFrame(draw(inside.size, 4 * trials)), inside)["p_value"]
            bar = "≤ 5 %" if name in NOISY else "none set"
            report(f"contrast: {name}, {where}, p ≤ 0.05", int((p <= 0.05).sum()), 4 * trials, bar)
    mixed = [persistent(rng, 100, 20 * trials, phi).reshape(100, trials, 20) for phi in (0.3, 0.6, 0.9)]
    tables = np.concatenate(mixed, axis=2)
    alarms = sum(
        (analysis.contrast(pd.DataFrame(own), middle)["q_value"] <= 0.05).any() for own in np.moveaxis(tables, 1, 0)
    )
    report("contrast: 60 series of AR(1) 0.3, 0.6, 0.9, any with q ≤ 0.05", int(alarms), trials, "none set")
    for size in (1, 2, 3):
        for phi in (0, 0.5, 0.8):
            own = [persistent(rng, 100, 60, 0.5) for _ in range(trials)]
            found = 0
            for series in own:
                series[:, 0] = persistent(rng, 100, 1, phi)[:, 0] + size * middle
                found += analysis.contrast(pd.DataFrame(series), middle)["q_value"][0] <= 0.05
            report(f"contrast: {size} σ in one of 60 series, its AR(1) {phi}, found", found, trials, "none set")


def slower_nested(factor: float) -> Callable[[np.random.Generator, int, int], dict[str, np.ndarray]]:
    """48 operations six deep, lognormal; those of the innermost eight `factor` times as slow."""

    def columns(rng: np.random.Generator, first: int, rows: int) -> dict[str, np.ndarray]:
        content = statistics.nested(rng, first, rows)
        inner = content["operation"] >= 8 * (statistics.DEPTH - 1)
        noise = np.exp(0.1 * rng.standard_normal(rows)) * np.where(inner, factor, 1)
        return content | {"duration": (content["duration"] * noise).astype(np.int64)}

    return columns


def speed() -> None:
    rng = np.random.default_rng(5)
    before, after = (run(latency(rng, 156_250, 64).astype(np.int64)) for _ in range(2))
    begin = time.perf_counter()
    analysis.compare_samples(before, after)
    print(f"\ncompare_samples, two captures of 10 million samples, 64 operations: {time.perf_counter() - begin:.1f} s")
    with tempfile.TemporaryDirectory(prefix="quantum-pulse-compare-") as folder:
        for name, factor in (("before", 1.0), ("after", 1.1)):
            statistics.write(Path(folder) / name, 10_000_000, slower_nested(factor))
        begin = time.perf_counter()
        compared = qp.open(Path(folder) / "after").compare(qp.open(Path(folder) / "before"))
        print(f"Capture.compare of two such captures, read from disk: {time.perf_counter() - begin:.1f} s")
        begin = time.perf_counter()
        compared.to_text()
        print(f"what explains what in them, on top of it: {time.perf_counter() - begin:.1f} s")
    begin = time.perf_counter()
    for _ in range(1000):
        analysis.change_points(rng.standard_normal(300))
    print(f"change_points, 1,000 series of 300: {time.perf_counter() - begin:.1f} s (bar: 5 s)")
    values = rng.standard_normal(100_000)
    for number in range(1, 11):
        values[9000 * number :] += 3 * (-1) ** number
    begin = time.perf_counter()
    found = analysis.change_points(values)
    seconds = time.perf_counter() - begin
    print(f"change_points, 100,000 values with ten steps: {seconds:.2f} s (bar: 1 s), {len(found)} found")


def main() -> None:
    print("| case | rate | 95 % interval | trials | bar |\n| --- | --: | --- | --: | --- |", flush=True)
    planted_regressions(TRIALS)
    starts(MANY_TRIALS)
    limits(MANY_TRIALS)
    other_series(FEW_TRIALS)
    histories_of_runs(TRIALS)
    steps(MANY_TRIALS)
    kinds_of_steps(FEW_TRIALS)
    histories(TRIALS)
    same_against_same(TRIALS)
    correlations(MANY_TRIALS)
    contrasts(TRIALS)
    incidents(TRIALS)
    speed()
