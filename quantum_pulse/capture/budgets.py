"""Which operations have a budget, and what they took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse.capture import definitions, scan, tables
from quantum_pulse.capture.reader import Source
from quantum_pulse.capture.selection import EVERYTHING, Selection
from quantum_pulse.operations import DEFAULT_BUDGET_QUANTILE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

#: Samples of several operations that are read at once: about 400 MB while they are taken apart.
AT_ONCE: Final = 8_000_000


class Budget(NamedTuple):
    """`quantile` of the durations may be `limit_us` at most."""

    limit_us: float
    quantile: float


#: Durations in ns in the order recorded, and for how many calls each stands.
Run = tuple["npt.NDArray[np.int64]", "npt.NDArray[np.int32]"]


def defined(source: Source, chosen: Selection = EVERYTHING) -> dict[str, Budget]:
    """The budget of each operation in `chosen` that has one; the newest definition counts."""
    newest = {str(definition["name"]): definition for definition in source.definitions()}
    return {
        name: Budget(limit_us, float(one.get("budget_quantile", DEFAULT_BUDGET_QUANTILE)))
        for name, one in newest.items()
        if (limit_us := definitions.budget_us(one)) is not None and (chosen.names is None or name in chosen.names)
    }


def counted(source: Source, chosen: Selection = EVERYTHING) -> pd.DataFrame:
    """A row per operation that has a budget, the one with most above it first: budget_us count over share quantile.

    One pass, in memory that does not grow.
    """
    import pandas as pd

    budgets = defined(source, chosen)
    limits = {name: budget.limit_us for name, budget in budgets.items()}
    found = scan.whole(lambda: _over(source, limits, chosen)) if limits else {}
    frame = pd.DataFrame.from_dict(found, orient="index", columns=["count", "over"], dtype="int64")
    frame.index.name = "operation"
    frame.insert(0, "budget_us", pd.Series(limits, dtype="float64"))
    frame["share"] = frame["over"] / frame["count"]
    frame["quantile"] = pd.Series({name: one.quantile for name, one in budgets.items()}, dtype="float64")
    return frame.sort_index().sort_values(["share", "over"], ascending=False, kind="stable")


def runs(source: Source, chosen: Selection = EVERYTHING) -> Iterator[tuple[str, list[Run]]]:
    """Each operation in `chosen` that has a budget and ran, with its durations in each capture.

    As many operations at once in memory as have AT_ONCE samples together, at least one.
    """
    several = [tables.CAPTURE] if source.captures else []
    for names in _together(source, chosen):
        wanted = [*several, "operation", "start", "duration_ns", "weight"]
        rows = tables.read(source, "samples", wanted, chosen._replace(names=names)).combine_chunks()
        if not rows.num_rows:
            continue
        by_name = _split(rows, "operation")
        for name in names:
            if (own := by_name.get(name)) is not None:
                yield name, [_in_order(part) for part in (_split(own, tables.CAPTURE).values() if several else [own])]


def _together(source: Source, chosen: Selection) -> Iterator[tuple[str, ...]]:
    """Names of the operations that have a budget, as many at a time as may be read at once."""
    names: list[str] = []
    rows = 0
    for name in defined(source, chosen):
        own = scan.rows_at_most(source, chosen._replace(names=(name,)))
        if names and rows + own > AT_ONCE:
            yield tuple(names)
            names, rows = [], 0
        names.append(name)
        rows += own
    if names:
        yield tuple(names)


def _split(rows: Any, column: str) -> dict[str, Any]:
    """The rows of a table for each value of a dictionary column, in the order that they have."""
    import numpy as np
    import pyarrow as pa

    coded: Any = rows[column].combine_chunks()
    codes, values = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    # Numbers of 16 bits are sorted by their digits.
    order = np.argsort(codes.astype(np.uint16) if len(values) <= 1 << 16 else codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(values))).tolist()
    sorted_rows = rows.drop_columns([column]).take(pa.array(order))
    return {
        value: sorted_rows.slice(first, end - first)
        for value, first, end in zip(values, [0, *ends], ends, strict=False)
        if end > first
    }


def _in_order(rows: Any) -> Run:
    import numpy as np

    start = rows["start"].cast("int64").to_numpy()
    duration, weight = rows["duration_ns"].to_numpy(), rows["weight"].to_numpy()
    if np.all(start[1:] >= start[:-1]):
        return duration, weight
    order = np.argsort(start, kind="stable")
    return duration[order], weight[order]


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
