"""Calculate exact statistics of durations by operation, thread and so on, in bounded memory."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.arguments import real, whole
from quantum_pulse.errors import CaptureError
from quantum_pulse.operations import LARGEST_BUDGET_US, Operation
from quantum_pulse.reading import definitions, expired, scan, selection, sorting, totals
from quantum_pulse.reading import groups as grouping
from quantum_pulse.reading import quantiles as quantile_pass
from quantum_pulse.reading.calls import Calls
from quantum_pulse.reading.groups import Groups
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import Moment, Operations, Recorded, Selection, Where
from quantum_pulse.statistics import QUANTILES, STATISTICS, Grouped
from quantum_pulse.statistics import quantile as statistic_of

if TYPE_CHECKING:
    import pandas as pd

#: What `sort` takes besides columns and levels of the index.
PRIORITY: Final = "priority"


def table(
    source: Source,
    by: str | Iterable[str] = "operation",
    *,
    quantiles: float | Sequence[float] | None = None,
    operations: Operations = None,
    start: Moment = None,
    end: Moment = None,
    where: Where = None,
    approximate: bool = False,
    expected_interval_us: float | Mapping[Operation, float] | Mapping[Recorded, float] | None = None,
    include_empty: bool = False,
    min_count: int = 0,
    sort: str | None = None,
    top: int | None = None,
    with_expired: bool = False,
) -> Grouped:
    """Statistics of each group, with `statistics.COLUMNS` or other quantiles; see `Capture.stats`.

    `with_expired` adds to what is approximate the rollups of what has expired.
    """
    levels = grouping.levels(by, source)
    wanted = QUANTILES if quantiles is None else quantile_columns(quantiles)
    chosen = selection.select(source, operations, start, end, where)
    intervals = _intervals(source, expected_interval_us)
    min_count = whole(min_count, "min_count", 0)
    top = None if top is None else whole(top, "top", 1)
    categories = source.categories_of()

    def work() -> Grouped:
        groups = Groups(levels, categories)
        return describe(
            source,
            groups,
            chosen,
            wanted,
            approximate=approximate,
            intervals_ns=intervals,
            with_expired=with_expired,
        )

    found = scan.whole(work)
    if include_empty:
        found = _with_empty(source, found, operations, chosen)
    if min_count:
        found = found.taken([place for place, calls in enumerate(found.columns["count"]) if calls >= min_count])
    if sort is None and top is not None:
        sort = "total_us"
    return found.taken(_order(source, found, sort)[:top])


def stats(source: Source, by: str | Iterable[str] = "operation", **options: Any) -> pd.DataFrame:
    """As `table`, as a frame."""
    return table(source, by, **options).frame()


def quantile_columns(quantiles: float | Sequence[float]) -> dict[str, float]:
    """Column -> quantile: 0.5 is p50_us, 0.999 p999_us, 0.05 p05_us, 1 p100_us. Raises ValueError outside [0, 1]."""
    found = {}
    several = quantiles if isinstance(quantiles, Iterable) and not isinstance(quantiles, str) else [quantiles]
    for quantile in several:
        value = real(quantile)
        if not 0 <= value <= 1:
            hint = f"; did you mean {value / 100:g}?" if 1 < value <= 100 else ""
            raise ValueError(f"a quantile is a number between 0 and 1, not {quantile!r}{hint}")
        found[statistic_of(value).name] = value
    return found


def describe(
    source: Source,
    groups: Groups,
    chosen: Selection,
    quantiles: Mapping[str, float],
    *,
    approximate: bool = False,
    intervals_ns: Mapping[str, int] | None = None,
    with_expired: bool = False,
) -> Grouped:
    """Statistics of each group, in the order of the keys, with these quantiles. Raises scan.UnreadablePartError.

    `with_expired` adds to what is approximate the rollups of what has expired, which intervals cannot correct.
    """
    calls = Calls(groups, intervals_ns)
    ranks = list(quantiles.values())
    is_few = scan.rows_at_most(source, chosen) <= sorting.FEW_ROWS and not intervals_ns
    if is_few and not approximate:
        return _grouped(groups, quantiles, sorting.describe(source, calls, chosen, ranks))
    # The second pass notices a footer that contradicts its samples; then only samples count.
    for trust_footers in (True, False):
        found = totals.gather(source, calls, chosen, trust_footers=trust_footers)
        if approximate:
            if with_expired and not intervals_ns:
                expired.add(found, source, groups, chosen)
            return _grouped(groups, quantiles, found.described(quantile_pass.approximate(found, ranks)))
        with contextlib.suppress(quantile_pass.ChangedError):
            values = quantile_pass.exact(source, calls, chosen, found, ranks)
            return _grouped(groups, quantiles, found.described(values))
    raise CaptureError(f"{source.path} changed while it was read")


def summarise(
    source: Source, groups: Groups, chosen: Selection, quantiles: Mapping[str, float], **options: Any
) -> pd.DataFrame:
    """As `describe`, as a frame."""
    return describe(source, groups, chosen, quantiles, **options).frame()


def _grouped(groups: Groups, quantiles: Mapping[str, float], found: totals.Described) -> Grouped:
    values = {name: found.quantiles[:, place] / 1000 for place, name in enumerate(quantiles)}
    columns: dict[str, Any] = {}
    for one in STATISTICS:
        if one.of is not None:
            columns[one.name] = one.of(found)
        else:
            # All quantiles that are wanted come where the first of the usual ones does.
            columns |= values
    return Grouped(groups.levels, [groups.keys[number] for number in found.groups.tolist()], columns).by_key()


def _intervals(
    source: Source, given: float | Mapping[Operation, float] | Mapping[Recorded, float] | None
) -> dict[str, int]:
    """Expected interval by name of the operation, in ns."""
    if given is None:
        return {}
    if isinstance(given, Mapping):
        pairs = [(name, us) for member, us in given.items() for name in selection.recorded_names(source, member)]
    else:
        pairs = [(str(definition["name"]), given) for definition in source.definitions()]
    found = {}
    for name, us in pairs:
        if not 0.001 <= real(us) <= LARGEST_BUDGET_US:
            raise ValueError(
                f"expected_interval_us must be a number of microseconds from 0.001 to {LARGEST_BUDGET_US:g}, not {us!r}"
            )
        found[name] = round(real(us) * 1000)
    return found


def _with_empty(source: Source, found: Grouped, operations: Operations, chosen: Selection) -> Grouped:
    """`found` with a group of no calls for each operation that is defined and did not run."""
    import numpy as np

    newest = {str(definition["name"]): str(definition["category"]["name"]) for definition in source.definitions()}
    known = {(category, name) for name, category in newest.items()}
    if operations is not None:
        known = {key for key in known if key[1] in (chosen.names or ())}
        recorded = {name for _, name in known}
        for member in selection.members(source, operations):
            if isinstance(member, Recorded):
                continue
            if not recorded.intersection(selection.recorded_names(source, member)):
                known.add((member.definition.category.name, member.definition.name))
    if not {"category", "operation"}.issuperset(found.levels):
        raise ValueError(f"include_empty needs rows by operation or category, not by {', '.join(found.levels)}")
    missing = sorted({key if len(found.levels) == 2 else key[:1] for key in known}.difference(found.keys))
    of_no_calls = {one.name: one.of_no_calls for one in STATISTICS}
    columns = {
        name: np.concatenate([values, np.full(len(missing), of_no_calls.get(name, np.nan)).astype(values.dtype)])
        for name, values in found.columns.items()
    }
    return Grouped(found.levels, [*found.keys, *missing], columns).by_key()


def _order(source: Source, found: Grouped, sort: str | None) -> list[int]:
    """The places of the groups in the order that `sort` names."""
    places = list(range(len(found.keys)))
    if sort is None:
        return places
    if isinstance(sort, str) and sort == PRIORITY:
        level = next((name for name in ("operation", "category") if name in found.levels), None)
        if level is None:
            raise ValueError(f"sort='priority' needs rows by operation or category, not by {', '.join(found.levels)}")
        known = definitions.priorities(source)
        of_each = known.operation if level == "operation" else known.category
        where, totals_us = found.levels.index(level), found.columns["total_us"].tolist()
        return sorted(places, key=lambda place: (of_each(str(found.keys[place][where])), -totals_us[place]))
    if isinstance(sort, str) and sort in found.levels:
        return found.order(sort)
    if not isinstance(sort, str) or sort not in found.columns:
        choices = [*found.columns, *found.levels, PRIORITY]
        near = difflib.get_close_matches(str(sort), choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"sort must be one of {', '.join(choices)}, not {sort!r}{hint}")
    values = found.columns[sort]
    return [int(place) for place in (-values).argsort(kind="stable")]
