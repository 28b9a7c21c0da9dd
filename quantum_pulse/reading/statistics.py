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
from quantum_pulse.reading.selection import Moment, Operations, Recorded, Selection
from quantum_pulse.statistics import QUANTILES, STATISTICS
from quantum_pulse.statistics import quantile as statistic_of

if TYPE_CHECKING:
    import pandas as pd

#: What `sort` takes besides columns and levels of the index.
PRIORITY: Final = "priority"


def stats(
    source: Source,
    by: str | Iterable[str] = "operation",
    *,
    quantiles: float | Sequence[float] | None = None,
    operations: Operations = None,
    start: Moment = None,
    end: Moment = None,
    approximate: bool = False,
    expected_interval_us: float | Mapping[Operation, float] | Mapping[Recorded, float] | None = None,
    include_empty: bool = False,
    min_count: int = 0,
    sort: str | None = None,
    top: int | None = None,
    with_expired: bool = False,
) -> pd.DataFrame:
    """A row for each group, with `statistics.COLUMNS` or other quantiles; see `Capture.stats`.

    `with_expired` adds to what is approximate the rollups of what has expired.
    """
    levels = grouping.levels(by)
    wanted = QUANTILES if quantiles is None else quantile_columns(quantiles)
    chosen = selection.select(source, operations, start, end)
    intervals = _intervals(source, expected_interval_us)
    min_count = whole(min_count, "min_count", 0)
    top = None if top is None else whole(top, "top", 1)
    categories = source.categories_of()

    def work() -> pd.DataFrame:
        groups = Groups(levels, categories)
        return summarise(
            source,
            groups,
            chosen,
            wanted,
            approximate=approximate,
            intervals_ns=intervals,
            with_expired=with_expired,
        )

    frame = scan.whole(work)
    if include_empty:
        frame = _with_empty(source, frame, operations, chosen)
    if min_count:
        frame = frame[frame["count"] >= min_count]
    if sort is None and top is not None:
        sort = "total_us"
    return _sorted(source, frame, sort).iloc[:top]


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


def summarise(
    source: Source,
    groups: Groups,
    chosen: Selection,
    quantiles: Mapping[str, float],
    *,
    approximate: bool = False,
    intervals_ns: Mapping[str, int] | None = None,
    with_expired: bool = False,
) -> pd.DataFrame:
    """A row for each group, sorted by the index, with these quantiles. Raises scan.UnreadablePartError.

    `with_expired` adds to what is approximate the rollups of what has expired, which intervals cannot correct.
    """
    calls = Calls(groups, intervals_ns)
    ranks = list(quantiles.values())
    is_few = scan.rows_at_most(source, chosen) <= sorting.FEW_ROWS and not intervals_ns
    if is_few and not approximate:
        return _frame(groups, quantiles, sorting.describe(source, calls, chosen, ranks))
    # The second pass notices a footer that contradicts its samples; then only samples count.
    for trust_footers in (True, False):
        found = totals.gather(source, calls, chosen, trust_footers=trust_footers)
        if approximate:
            if with_expired and not intervals_ns:
                expired.add(found, source, groups, chosen)
            return _frame(groups, quantiles, found.described(quantile_pass.approximate(found, ranks)))
        with contextlib.suppress(quantile_pass.ChangedError):
            values = quantile_pass.exact(source, calls, chosen, found, ranks)
            return _frame(groups, quantiles, found.described(values))
    raise CaptureError(f"{source.path} changed while it was read")


def _frame(groups: Groups, quantiles: Mapping[str, float], found: totals.Described) -> pd.DataFrame:
    import pandas as pd

    values = {name: found.quantiles[:, place] / 1000 for place, name in enumerate(quantiles)}
    columns: dict[str, Any] = {}
    for one in STATISTICS:
        if one.of is not None:
            columns[one.name] = one.of(found)
        else:
            # All quantiles that are wanted come where the first of the usual ones does.
            columns |= values
    keys = [groups.keys[number] for number in found.groups.tolist()]
    return pd.DataFrame(columns, index=index(groups.levels, keys)).sort_index()


def index(levels: Sequence[str], keys: Sequence[tuple[Any, ...]]) -> pd.Index[Any]:
    """Keys as an index with a level for each of `levels`."""
    import pandas as pd

    arrays = [pd.Index([key[place] for key in keys], name=level) for place, level in enumerate(levels)]
    if not keys:
        arrays = [pd.Index([], dtype="object", name=level) for level in levels]
    return arrays[0] if len(arrays) == 1 else pd.MultiIndex.from_arrays(arrays)


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


def _with_empty(source: Source, frame: pd.DataFrame, operations: Operations, chosen: Selection) -> pd.DataFrame:
    """`frame` with a row of no calls for each operation that is defined and did not run."""
    import pandas as pd

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
    levels = [str(level) for level in frame.index.names]
    if not set(levels) <= {"category", "operation"}:
        raise ValueError(f"include_empty needs rows by operation or category, not by {', '.join(levels)}")
    whole = {key if len(levels) == 2 else key[0] for key in known}
    missing = sorted(whole.difference(frame.index.tolist()))
    if not missing:
        return frame
    keys = [key if isinstance(key, tuple) else (key,) for key in missing]
    empty = pd.DataFrame(float("nan"), index=index(levels, keys), columns=frame.columns)
    for one in STATISTICS:
        if one.name in empty:
            empty[one.name] = one.of_no_calls
    empty = empty.astype(frame.dtypes.to_dict())
    return (pd.concat([frame, empty]) if len(frame) else empty).sort_index()


def _sorted(source: Source, frame: pd.DataFrame, sort: str | None) -> pd.DataFrame:
    levels = [str(level) for level in frame.index.names]
    if sort is None:
        return frame
    if isinstance(sort, str) and sort == PRIORITY:
        level = next((name for name in ("operation", "category") if name in levels), None)
        if level is None:
            raise ValueError(f"sort='priority' needs rows by operation or category, not by {', '.join(levels)}")
        known = definitions.priorities(source)
        of_each = known.operation if level == "operation" else known.category
        rank = [of_each(str(name)) for name in frame.index.get_level_values(level)]
        return (
            frame.assign(_rank=rank).sort_values(["_rank", "total_us"], ascending=[True, False]).drop(columns="_rank")
        )
    if isinstance(sort, str) and sort in levels:
        return frame.sort_index(level=sort, sort_remaining=True)
    if not isinstance(sort, str) or sort not in frame.columns:
        choices = [*frame.columns, *levels, PRIORITY]
        near = difflib.get_close_matches(str(sort), choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"sort must be one of {', '.join(map(str, choices))}, not {sort!r}{hint}")
    return frame.sort_values(sort, ascending=False, kind="stable")
