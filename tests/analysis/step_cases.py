"""Kinds of series whose steps are known, as results of successive runs are: shared by the tests and the calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tests.analysis.series import persistent

#: A step that is reported this far from its place is found.
MARGIN = 5

Draw = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A kind of series."""

    name: str
    draw: Draw
    #: Places of the first values after each step.
    steps: tuple[int, ...] = ()
    drifts: bool = False

    def found(self, places: list[int]) -> bool:
        """Whether these are its steps: as many, and each near."""
        return len(places) == len(self.steps) and all(
            abs(place - step) <= MARGIN for place, step in zip(places, self.steps, strict=True)
        )


def white(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.standard_normal(count)


def levels(name: str, heights: list[float], sizes: list[int], deviation: float) -> Case:
    """Levels in white noise."""
    level = np.repeat(np.array(heights, float), sizes)
    return Case(name, lambda rng: level + deviation * white(rng, level.size), places_of(sizes))


def places_of(sizes: list[int]) -> tuple[int, ...]:
    return tuple(np.cumsum(sizes)[:-1].tolist())


def changed(case: Case, name: str, change: Callable[[np.random.Generator, np.ndarray], np.ndarray]) -> Case:
    """A case with something else on top."""
    return Case(name, lambda rng: change(rng, case.draw(rng)), case.steps)


def spikes(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """Three of a hundred values are twice as large."""
    return np.where(rng.random(values.size) < 0.03, 2 * values, values)


def clusters(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """Twice three or four values in a row are half as much again."""
    for first, size in ((values.size // 4, 3), (2 * values.size // 3, 4)):
        values[first : first + size] *= 1.5
    return values


def gaps(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    values = np.where(rng.random(values.size) < 0.2, np.nan, values)
    values[12:18] = np.nan
    return values


def louder(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """The second half varies three times as much."""
    values[values.size // 2 :] += np.sqrt(8) * white(rng, values.size - values.size // 2)
    return values


def sloping(total: float) -> Callable[[np.random.Generator, np.ndarray], np.ndarray]:
    return lambda _, values: values + np.linspace(0, total, values.size)


def cycling(period: int, height: float) -> Callable[[np.random.Generator, np.ndarray], np.ndarray]:
    def change(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
        return values + height * np.sin(2 * np.pi * (np.arange(values.size) / period + rng.random()))

    return change


def weekends(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """Two of seven values are lower."""
    return values - 3 * (np.arange(values.size) % 7 >= 5)


def two_modes(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """Three of ten values are at a second level."""
    return values + 4 * (rng.random(values.size) < 0.3)


def rounded(_: np.random.Generator, values: np.ndarray) -> np.ndarray:
    return np.round(values)


def low_before_the_step(_: np.random.Generator, values: np.ndarray) -> np.ndarray:
    values[[48, 49]] -= 8
    return values


def autocorrelated(name: str, height: float, phi: float, count: int = 100) -> Case:
    return Case(
        name,
        lambda rng: 100 + persistent(rng, count, 1, phi)[:, 0] + height * (np.arange(count) >= count // 2),
        (count // 2,) if height else (),
    )


def heavy(rng: np.random.Generator) -> np.ndarray:
    return 100 + rng.standard_t(2, 100) + 6 * (np.arange(100) >= 60)


def skewed(rng: np.random.Generator) -> np.ndarray:
    return np.repeat([50.0, 70.0, 55.0], [40, 30, 50]) * np.exp(0.1 * white(rng, 120))


FLAT = levels("flat", [100], [120], 1)
ONE = levels("one", [100, 105], [60, 60], 1)

CASES = (
    # Several steps.
    levels("five stairs", [100, 105, 110, 115, 120], [30] * 5, 1),
    levels("stairs down, of unlike lengths", [120, 112, 106, 100], [12, 60, 25, 50], 1.5),
    levels("100 and 110 in turn, 5 x 24", [100, 110] * 2 + [100], [24] * 5, 2),
    levels("100 and 110 in turn, 6 x 40", [100, 110] * 3, [40] * 6, 2),
    levels("100 and 110 in turn, 10 x 30", [100, 110] * 5, [30] * 10, 2),
    levels("100 and 110 in turn, 6 x 40, noise of 3", [100, 110] * 3, [40] * 6, 3),
    levels("six levels", [70, 135, 148, 70, 149, 70], [6, 14, 101, 7, 12, 110], 3),
    levels("fixed, and not quite", [100, 120, 104], [50, 30, 60], 2),
    # Short ones.
    levels("hump of 5", [100, 108, 100], [45, 5, 50], 1),
    levels("hump of 6", [100, 108, 100], [45, 6, 49], 1),
    levels("hump of 8", [100, 106, 100], [60, 8, 62], 1),
    levels("hump of 30 in 1,000", [100, 104, 100], [500, 30, 470], 1),
    levels("seven values at the start", [108, 100], [7, 93], 1),
    levels("five values at the end", [100, 108], [95, 5], 1),
    levels("twelve values", [100, 110], [6, 6], 1),
    # Back again.
    levels("there and back", [100, 103, 100], [40, 40, 40], 1),
    levels("two humps", [100, 106, 100, 106, 100], [30, 10, 40, 10, 30], 1),
    # Outliers.
    changed(ONE, "spikes and a step", spikes),
    changed(FLAT, "spikes", spikes),
    changed(FLAT, "clusters of outliers", clusters),
    changed(ONE, "two low values twelve before the step", low_before_the_step),
    Case("noise of a heavy tail", heavy, (60,)),
    Case("skewed noise", skewed, (40, 70)),
    # Gaps and ties.
    changed(levels("", [100, 105, 100], [40, 40, 40], 1), "gaps", gaps),
    changed(levels("", [7, 9], [50, 50], 0.7), "whole numbers", rounded),
    levels("no noise", [7, 8, 7], [30, 20, 30], 0),
    # Changes of variance.
    changed(FLAT, "louder", louder),
    changed(levels("", [100, 106], [30, 90], 1), "a step, and louder", louder),
    # Drift.
    Case("a drift", lambda rng: sloping(8)(rng, FLAT.draw(rng)), drifts=True),
    Case("a drift and a step", lambda rng: sloping(5)(rng, ONE.draw(rng) + 2 * (np.arange(120) >= 60)), (60,), True),
    # Periods, and noise that persists.
    changed(FLAT, "a week", weekends),
    changed(levels("", [100, 106], [70, 70], 1), "a week and a step", weekends),
    changed(FLAT, "a cycle of 12", cycling(12, 1.5)),
    changed(levels("", [100, 108], [72, 72], 1), "a cycle of 24 and a step", cycling(24, 1.5)),
    changed(FLAT, "two modes", two_modes),
    autocorrelated("AR(1) 0.5 and a step", 4, 0.5),
    autocorrelated("AR(1) 0.5", 0, 0.5, 200),
)


def matched(places: list[int], steps: tuple[int, ...]) -> int:
    """How many of the steps have a report near, each report counting once."""
    left = list(places)
    hits = 0
    for step in steps:
        near = min(left, key=lambda place: abs(place - step), default=None)
        if near is not None and abs(near - step) <= MARGIN:
            left.remove(near)
            hits += 1
    return hits


def history(rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, ...], tuple[int, ...]]:
    """Results of nightly runs, their steps, and those of them that are clear: of three deviations, between levels that
    last eight values.

    Levels last 8 to 100 values and differ by 1 to 12 deviations, and a third of them return to the one before. Noise is
    partly persistent, differs from level to level by half, and has outliers.
    """
    sizes = rng.integers(8, 100, rng.integers(2, 8)).tolist()
    heights = [0.0]
    for _ in sizes[1:]:
        back = len(heights) > 1 and rng.random() < 1 / 3
        step = np.exp(rng.uniform(0, np.log(12))) * rng.choice([-1, 1])
        heights.append(heights[-2] if back else heights[-1] + step)
    loudness = np.repeat(np.exp(0.4 * rng.standard_normal(len(sizes))), sizes)
    count = sum(sizes)
    noise = 0.9 * white(rng, count) + 0.4 * persistent(rng, count, 1, 0.8)[:, 0]
    values = 100 + np.repeat(heights, sizes) + loudness * noise
    values += np.where(rng.random(count) < 0.02, 10 * rng.random(count), 0)
    steps = places_of(sizes)
    clear = tuple(
        step
        for step, (before, after) in zip(steps, pairwise(heights), strict=True)
        if abs(after - before) >= 3 * loudness[step - 1 : step + 1].max()
    )
    return values, steps, clear
