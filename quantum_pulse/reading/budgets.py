"""Read the budgets of operations, and the durations to check against them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from quantum_pulse.evidence import Budget, Run
from quantum_pulse.operations import DEFAULT_BUDGET_QUANTILE
from quantum_pulse.reading import definitions, durations, scan, unfinished
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import EVERYTHING, Selection

if TYPE_CHECKING:
    import pandas as pd


def defined(source: Source, chosen: Selection = EVERYTHING) -> dict[str, Budget]:
    """The budget of each operation in `chosen` that has one; the newest definition counts."""
    newest = {str(definition["name"]): definition for definition in source.definitions()}
    return {
        name: Budget(limit_us, float(one.get("budget_quantile", DEFAULT_BUDGET_QUANTILE)))
        for name, one in newest.items()
        if (limit_us := definitions.budget_us(one)) is not None and (chosen.names is None or name in chosen.names)
    }


def counted(source: Source, chosen: Selection = EVERYTHING) -> pd.DataFrame:
    """A row per operation that has a budget, the one with most above it first.

    Columns: budget_us count over share open_over quantile. One pass, in memory that does not grow. An operation of
    which no call in `chosen` has ended is among them if one is above the budget already.
    """
    import pandas as pd

    budgets = defined(source, chosen)
    limits = {name: budget.limit_us for name, budget in budgets.items()}
    found = scan.whole(lambda: _over(source, limits, chosen)) if limits else {}
    open_over = _open_over(source, limits, chosen) if limits else {}
    found = {name: [0, 0] for name in open_over} | found
    frame = pd.DataFrame.from_dict(found, orient="index", columns=["count", "over"], dtype="int64")
    frame.index.name = "operation"
    # An empty frame would take over the rows of what is put into it.
    frame.insert(0, "budget_us", pd.Series(limits, dtype="float64").reindex(frame.index))
    frame["share"] = frame["over"] / frame["count"].clip(lower=1)
    frame["open_over"] = pd.Series(open_over, dtype="int64").reindex(frame.index, fill_value=0)
    quantiles = pd.Series({name: one.quantile for name, one in budgets.items()}, dtype="float64")
    frame["quantile"] = quantiles.reindex(frame.index)
    return frame.sort_index().sort_values(["share", "over", "open_over"], ascending=False, kind="stable")


def _open_over(source: Source, limits: Mapping[str, float], within: Selection) -> dict[str, int]:
    """Calls that have not ended and are above the limit in microseconds already, by operation, where there are some."""
    import pandas as pd

    calls = unfinished.frame(source, ["weight"])
    is_over = calls["elapsed_us"] > calls["operation"].map(limits).astype("float64")
    if within.start_ns is not None:
        is_over &= calls["start"] >= pd.Timestamp(within.start_ns, tz="UTC")
    if within.end_ns is not None:
        is_over &= calls["start"] < pd.Timestamp(within.end_ns, tz="UTC")
    found = calls[is_over].groupby("operation")["weight"].sum()
    return {str(name): int(count) for name, count in found.items()}


def runs(source: Source, chosen: Selection = EVERYTHING) -> Iterator[tuple[str, list[Run]]]:
    """Each operation in `chosen` that has a budget and ran, with its durations in each capture."""
    return durations.of_each(source, list(defined(source, chosen)), chosen)


def _over(source: Source, limits: Mapping[str, float], within: Selection) -> dict[str, list[int]]:
    """Calls, and calls above the limit in microseconds, by operation."""
    import threading

    import numpy as np

    lock = threading.Lock()
    found: dict[str, list[int]] = {}

    def work(batch: Any, _: Any) -> None:
        names = batch["operation"].dictionary.to_pylist()
        codes = batch["operation"].indices.to_numpy()
        limit_ns = np.array([limits.get(name, np.inf) * 1000 for name in names])
        weights = batch["weight"].to_numpy()
        is_over = batch["duration_ns"].to_numpy() > limit_ns[codes]
        calls = np.bincount(codes, weights, len(names)).astype(int)
        over = np.bincount(codes[is_over], weights[is_over], len(names)).astype(int)
        with lock:
            for name, own, above in zip(names, calls.tolist(), over.tolist(), strict=True):
                if own:
                    entry = found.setdefault(name, [0, 0])
                    entry[0] += own
                    entry[1] += above

    chosen = within._replace(names=tuple(limits))
    columns = ["operation", "duration_ns", "weight"]
    scan.each(source, scan.parts(source, chosen), lambda _: columns, chosen, work, "budgets")
    return found
