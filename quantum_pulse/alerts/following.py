"""Count calls and bad calls for rules: of all samples of a capture, or of those that are new."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from quantum_pulse import arrow
from quantum_pulse.alerts.evaluator import TICK_S, Change, Evaluator
from quantum_pulse.alerts.rules import Rule, measure_of, watched_name
from quantum_pulse.operations import Category
from quantum_pulse.reading import reader, scan
from quantum_pulse.reading.reader import File, Part, Source
from quantum_pulse.reading.selection import EVERYTHING

#: Of each tick and rule: calls and bad calls. A tick is a number of intervals of TICK_S since 1970.
Counts = dict[int, dict[int, tuple[int, int]]]

_COLUMNS: Final = ("operation", "category", "start", "duration_ns", "weight", "error")
_TICK_NS: Final = int(TICK_S * 1e9)


def replay(source: Source, rules: Sequence[Rule]) -> Iterator[Change]:
    """What would have fired over the samples of a capture, each call counted when it ended."""
    counts = scan.whole(lambda: counted(source, scan.parts(source, EVERYTHING), rules))
    if not counts:
        return
    first, last = min(counts), max(counts)
    evaluator = Evaluator(rules, first * TICK_S)
    for tick in range(first, last + 1):
        now_s = (tick + 1) * TICK_S
        for rule, (calls, bad) in counts.get(tick, {}).items():
            evaluator.add(rule, now_s, calls, bad)
        yield from evaluator.step(now_s)


class Follower:
    """Evaluates rules on what is written to the capture at `path` from now on. Raises CaptureError."""

    def __init__(self, path: Path, rules: Sequence[Rule]) -> None:
        self.evaluator = Evaluator(rules, time.time())
        self._path = path
        self._known: dict[File, Part] = {}
        self._seen: set[str] = set()
        self._polled_ns = time.time_ns()
        self._new_parts()

    def poll(self) -> list[Change]:
        """What has changed since the last time. Raises CaptureError."""
        before_ns, now_ns = self._polled_ns, time.time_ns()
        source, parts = self._new_parts()
        for part in parts:
            # Of one that was merged before it was seen, what ended since.
            since_ns = before_ns if part.footer.get("merged") else None
            try:
                found = counted(source, [part], self.evaluator.rules, since_ns)
            except scan.UnreadablePartError:
                continue  # it is noted as a loss
            for by_rule in found.values():
                for rule, (calls, bad) in by_rule.items():
                    self.evaluator.add(rule, now_ns / 1e9, calls, bad)
        self._polled_ns = now_ns
        return self.evaluator.step(now_ns / 1e9)

    def _new_parts(self) -> tuple[Source, list[Part]]:
        """The parts with samples that were not seen before."""
        source = reader.find(self._path, self._known)
        parts = source.sound("samples")
        new = [
            part
            for part in parts
            if part.path.name not in self._seen and not self._seen.issuperset(part.footer.get("merged") or [""])
        ]
        merged = {name for part in parts for name in part.footer.get("merged") or ()}
        self._seen = merged | {part.path.name for part in parts}
        return source, new


def counted(source: Source, parts: Sequence[Part], rules: Sequence[Rule], since_ns: int | None = None) -> Counts:
    """Calls and bad calls in `parts` that ended after `since_ns`, Unix time. Raises UnreadablePartError."""
    lock, found = threading.Lock(), Counts()

    def work(batch: Any, _: Part) -> None:
        own = list(_of_batch(batch, rules, since_ns))
        with lock:
            for tick, rule, calls, bad in own:
                by_rule = found.setdefault(tick, {})
                before = by_rule.get(rule, (0, 0))
                by_rule[rule] = before[0] + calls, before[1] + bad

    if parts:
        scan.each(source, parts, lambda _: _COLUMNS, EVERYTHING, work, "alerts")
    return found


def _of_batch(batch: Any, rules: Sequence[Rule], since_ns: int | None) -> Iterable[tuple[int, int, int, int]]:
    """Tick, rule, calls and bad calls."""
    import numpy as np

    duration = arrow.values(batch["duration_ns"])
    end = arrow.values(batch["start"]) + duration
    weight = arrow.values(batch["weight"])
    failed = batch["error"].is_valid().to_numpy(zero_copy_only=False)
    codes = {
        name: (batch[name].dictionary.to_pylist(), arrow.values(batch[name].indices))
        for name in ("operation", "category")
    }
    for number, rule in enumerate(rules):
        names, own = codes["category" if isinstance(rule.of, Category) else "operation"]
        if watched_name(rule.of) not in names:
            continue
        is_own = own == names.index(watched_name(rule.of))
        if since_ns is not None:
            is_own &= end > since_ns
        limit_ns, with_errors = measure_of(rule)
        is_bad = np.zeros(len(duration), np.bool_) if limit_ns is None else duration > limit_ns
        if with_errors:
            is_bad |= failed
        ticks, place = np.unique(end[is_own] // _TICK_NS, return_inverse=True)
        calls = np.bincount(place, weight[is_own], len(ticks))
        bad = np.bincount(place, weight[is_own] * is_bad[is_own], len(ticks))
        for tick, all_of_it, own_bad in zip(ticks.tolist(), calls.tolist(), bad.tolist(), strict=True):
            yield tick, number, int(all_of_it), int(own_bad)
