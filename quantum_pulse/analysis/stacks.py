"""Stacks of calls, as icicles and flame graphs show them: the time of each path, and what it was in a baseline.

B. Gregg, "The Flame Graph", Communications of the ACM 59(6), 2016: frames are as wide as their time, in the frame that
called them. Of concurrent calls each counts in full, so a frame is as wide as its self time and the frames inside it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

#: Whose time frames are as wide as: that of calls with all inside them, from the outermost in; or that of operations
#: alone, with their callers inside them.
KINDS: Final = ("total", "self")


class Stack(NamedTuple):
    """Calls on one path. `path` has (category, operation) from the outermost in; time is spent in the last alone."""

    path: tuple[tuple[str, str], ...]
    self_us: float
    calls: float


class Share(NamedTuple):
    """A share of the time of all stacks, which is that of the outermost calls where no calls inside run at once."""

    #: Of self time: these shares of all operations add up to 1.
    own: float
    #: Of self time and that of the calls inside: 1 for what encloses all other calls.
    inclusive: float


class Shares(NamedTuple):
    """The shares of each path, in the order of the stacks, of operations by (category, operation), of categories."""

    paths: list[Share]
    operations: dict[tuple[str, str], Share]
    categories: dict[str, Share]


class Frame:
    """A box of an icicle: calls of an operation inside those of the frame above."""

    __slots__ = ("baseline_us", "category", "children", "count", "name", "self_us", "total_us")

    def __init__(self, category: str, name: str) -> None:
        self.category = category
        self.name = name
        #: Its width: the time of its own and of all frames inside.
        self.total_us = 0.0
        self.self_us = 0.0
        self.count = 0.0
        #: The time that it would have taken in the baseline, None without one.
        self.baseline_us: float | None = None
        self.children: list[Frame] = []

    @property
    def change_us(self) -> float:
        """How much more time it takes than in the baseline; 0 without one."""
        return 0.0 if self.baseline_us is None else self.total_us - self.baseline_us


def of_tree(tree: pd.DataFrame) -> list[Stack]:
    """The stacks of a call tree, as `Capture.tree` returns it.

    Where it is not known what ran inside of calls, their self time is what the calls inside do not take in all.
    """
    import numpy as np

    depth, total = tree["depth"].to_numpy(int), tree["total_us"].to_numpy(float)
    inside = np.zeros(len(tree))
    above: list[int] = []
    paths: list[tuple[tuple[str, str], ...]] = []
    for place, (level, category, name) in enumerate(zip(depth, tree["category"], tree["operation"], strict=True)):
        del above[level:]
        if above:
            inside[above[-1]] += total[place]
        paths.append((*(paths[above[-1]] if above else ()), (str(category), str(name))))
        above.append(place)
    own = tree["self_us"].to_numpy(float)
    own = np.where(np.isnan(own), np.maximum(total - inside, 0), own)
    return [Stack(*row) for row in zip(paths, own.tolist(), tree["count"].to_numpy(float).tolist(), strict=True)]


def shares(stacks: Sequence[Stack]) -> Shares:
    """How the time of all stacks divides, empty for no time. `stacks` are as `of_tree` returns them.

    A stack counts once for an operation, and for a category, that is on its path, however often it is there.
    """
    whole = sum(stack.self_us for stack in stacks)
    if not whole:
        return Shares([], {}, {})
    own: dict[Any, float] = defaultdict(float)
    inclusive: dict[Any, float] = defaultdict(float)
    for stack in stacks:
        category, _ = stack.path[-1]
        for last in (stack.path, stack.path[-1], category):
            own[last] += stack.self_us
        enclosing = {stack.path[:length] for length in range(1, len(stack.path) + 1)}
        for key in (*enclosing, *{*stack.path}, *{category for category, _ in stack.path}):
            inclusive[key] += stack.self_us

    def share(key: Any) -> Share:
        return Share(own[key] / whole, inclusive[key] / whole)

    operations = dict.fromkeys(key for stack in stacks for key in stack.path)
    return Shares(
        [share(stack.path) for stack in stacks],
        {key: share(key) for key in operations},
        {category: share(category) for category, _ in operations},
    )


def scaled(baseline: Sequence[Stack], current: Sequence[Stack]) -> list[Stack]:
    """The baseline as if each outermost operation had been called as often as it was in `current`.

    Outermost operations that did not run in `current` are left out.
    """
    before, after = _outermost(baseline), _outermost(current)
    factors = {root: after[root] / count for root, count in before.items() if root in after and count}
    return [
        stack._replace(self_us=stack.self_us * factors[stack.path[0]], calls=stack.calls * factors[stack.path[0]])
        for stack in baseline
        if stack.path[0] in factors
    ]


def _outermost(stacks: Sequence[Stack]) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = defaultdict(float)
    for stack in stacks:
        if len(stack.path) == 1:
            found[stack.path[0]] += stack.calls
    return found


def icicle(current: Sequence[Stack], baseline: Sequence[Stack] | None = None, by: str = "total") -> Frame:
    """A frame around all others. `by` is one of KINDS; `baseline` is `scaled`."""
    whole = _grown(current, by)
    if baseline is not None:
        # Frames of equal paths, from the outermost in.
        waiting: list[tuple[Frame, Frame | None]] = [(whole, _grown(baseline, by))]
        while waiting:
            frame, before = waiting.pop()
            frame.baseline_us = 0.0 if before is None else before.total_us
            known = {} if before is None else {(one.category, one.name): one for one in before.children}
            waiting += [(child, known.get((child.category, child.name))) for child in frame.children]
    return whole


def _grown(stacks: Sequence[Stack], by: str) -> Frame:
    whole = Frame("", "all")
    places: dict[tuple[int, str, str], Frame] = {}
    for stack in stacks:
        whole.total_us += stack.self_us
        frame = whole
        path = stack.path if by == "total" else stack.path[::-1]
        for category, name in path:
            key = id(frame), category, name
            inner = places.get(key)
            if inner is None:
                inner = places[key] = Frame(category, name)
                frame.children.append(inner)
            inner.total_us += stack.self_us
            frame = inner
        # Time and calls are those of the last operation of a path, which is the outermost frame the other way round.
        spending = frame if by == "total" else places[id(whole), *path[0]]
        spending.self_us += stack.self_us
        spending.count += stack.calls
    for frame in frames(whole):
        frame.children.sort(key=lambda child: -child.total_us)
    return whole


def frames(whole: Frame) -> Iterator[Frame]:
    """All frames, the widest first in each."""
    waiting = [whole]
    while waiting:
        frame = waiting.pop()
        yield frame
        waiting += reversed(frame.children)


def folded(stacks: Iterable[Stack]) -> str:
    """Folded stacks, as flamegraph.pl and speedscope read them: a line a path, frames by semicolons, self time in ns.

    A name with a semicolon or a line break has a space there.
    """
    lines = []
    for stack in stacks:
        own = round(stack.self_us * 1000)
        if own:
            lines.append(f"{';'.join(_plain(name) for _, name in stack.path)} {own}\n")
    return "".join(lines)


def _plain(name: str) -> str:
    return " ".join(name.replace(";", " ").split())


def speedscope(stacks: Sequence[Stack], title: str) -> str:
    """A sampled profile of speedscope's format: one sample a path, which weighs its self time.

    The format: "Importing from custom sources", wiki of speedscope.
    """
    numbers: dict[str, int] = {}
    samples = [[numbers.setdefault(name, len(numbers)) for _, name in stack.path] for stack in stacks]
    weights = [round(stack.self_us * 1000) for stack in stacks]
    profile: dict[str, Any] = {
        "type": "sampled",
        "name": title,
        "unit": "nanoseconds",
        "startValue": 0,
        "endValue": sum(weights),
        "samples": samples,
        "weights": weights,
    }
    content = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": "quantum_pulse",
        "name": title,
        "shared": {"frames": [{"name": name} for name in numbers]},
        "profiles": [profile],
    }
    return json.dumps(content, ensure_ascii=False)
