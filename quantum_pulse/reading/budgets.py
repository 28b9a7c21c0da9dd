"""Read the budgets of operations, and the durations to check against them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import arrow
from quantum_pulse.evidence import Budget, Run
from quantum_pulse.operations import DEFAULT_BUDGET_QUANTILE
from quantum_pulse.reading import definitions, durations, scan, unfinished
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import EVERYTHING, Selection

if TYPE_CHECKING:
    import pandas as pd

#: What is counted, and its type in a frame.
COLUMNS: Final = {
    "budget_us": "float64",
    "count": "int64",
    "over": "int64",
    "share": "float64",
    "open_over": "int64",
    "quantile": "float64",
}


def defined(source: Source, chosen: Selection = EVERYTHING) -> dict[str, Budget]:
    """The budget of each operation in `chosen` that has one; the newest definition counts."""
    newest = {str(definition["name"]): definition for definition in source.definitions()}
    return {
        name: Budget(limit_us, float(one.get("budget_quantile", DEFAULT_BUDGET_QUANTILE)))
        for name, one in newest.items()
        if (limit_us := definitions.budget_us(one)) is not None and (chosen.names is None or name in chosen.names)
    }


def counts(source: Source, chosen: Selection = EVERYTHING) -> dict[str, dict[str, Any]]:
    """The operations that have a budget, the one with most calls above it first, with a value for each of COLUMNS.

    One pass, in memory that does not grow. An operation of which no call in `chosen` has ended is among them if one is
    above the budget already.
    """
    budgets = defined(source, chosen)
    limits = {name: budget.limit_us for name, budget in budgets.items()}
    found = scan.whole(lambda: _over(source, limits, chosen)) if limits else {}
    open_over = _open_over(source, limits, chosen) if limits else {}
    found = {name: [0, 0] for name in open_over} | found
    rows = {
        name: {
            "budget_us": limits[name],
            "count": calls,
            "over": over,
            "share": over / max(calls, 1),
            "open_over": open_over.get(name, 0),
            "quantile": budgets[name].quantile,
        }
        for name, (calls, over) in sorted(found.items())
    }
    return dict(sorted(rows.items(), key=lambda one: [-one[1][name] for name in ("share", "over", "open_over")]))


def frame(rows: Mapping[str, Mapping[str, Any]], more: Iterable[str] = ()) -> pd.DataFrame:
    """What `counts` says as a frame, with the columns `more` that the rows have as well."""
    import pandas as pd

    names = [*COLUMNS, *more]
    index = pd.Index(list(rows), dtype="object", name="operation")
    found = pd.DataFrame([[row.get(name) for name in names] for row in rows.values()], columns=names, index=index)
    return found.astype(COLUMNS)


def _open_over(source: Source, limits: Mapping[str, float], within: Selection) -> dict[str, int]:
    """Calls that have not ended and are above the limit in microseconds already, by operation, where there are some."""
    found: dict[str, int] = {}
    for call in unfinished.rows(source):
        start_ns, elapsed_us = call["start"], call["elapsed_us"]
        if elapsed_us is None or not elapsed_us > limits.get(call["operation"], math.inf):
            continue
        # What has elapsed is known of calls that say when they started.
        if within.overlaps(start_ns, start_ns):
            found[call["operation"]] = found.get(call["operation"], 0) + call["weight"]
    return found


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
        codes = arrow.values(batch["operation"].indices)
        limit_ns = np.array([limits.get(name, np.inf) * 1000 for name in names])
        weights = arrow.values(batch["weight"])
        is_over = arrow.values(batch["duration_ns"]) > limit_ns[codes]
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
