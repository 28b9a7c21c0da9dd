"""Read the rollups of expired samples, and since when samples are available."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import histogram, plausible, schema
from quantum_pulse.ranges import start_range
from quantum_pulse.reading import totals
from quantum_pulse.reading.groups import Groups
from quantum_pulse.reading.reader import Part, Source
from quantum_pulse.reading.scan import UnreadablePartError
from quantum_pulse.reading.selection import Selection
from quantum_pulse.reading.totals import Summary, Totals

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

#: Rows whose histograms are unpacked at once, at up to 400 buckets each: about 100 MB.
_ROWS_AT_ONCE: Final = 1 << 11
#: What rollups distinguish.
LEVELS: Final = frozenset({"operation", "category", "capture", "window"})
MINUTE_NS: Final = schema.ROLLUP_INTERVALS_NS[0]
_NAMES: Final = dict(zip(schema.ROLLUP_INTERVALS_NS, ("minute", "hour", "day"), strict=True))
_KEYS: Final = ("operation", "category", "start")
_NUMBERS: Final = ("count", "errors", "sum_ns", "min_ns", "max_ns", "m2_ns2")


def until_ns(source: Source) -> int | None:
    """The moment from which on no sample has expired, Unix time; None where none has."""
    known = [part.footer["until_ns"] for part in source.sound(schema.ROLLED_UP)]
    return max((moment for moment in known if moment is not None), default=None)


def until(source: Source) -> pd.Timestamp | None:
    """As `until_ns`, as a time in UTC."""
    import pandas as pd

    found = until_ns(source)
    return None if found is None else pd.Timestamp(found, tz="UTC")


def sentence(source: Source) -> str:
    """What a reader of a table or a report should know of it; empty where nothing has expired."""
    moment = until(source)
    if moment is None:
        return ""
    parts = [part for part in source.sound(schema.ROLLED_UP) if part.rows]
    calls = sum(summary["count"] for part in parts for summary in part.footer["histograms"])
    present = {part.footer["interval_ns"] for part in parts}
    intervals = [name for length, name in _NAMES.items() if length in present] or ["minute"]
    return (
        f"Samples from before {moment:%Y-%m-%d %H:%M:%S} UTC have expired. {calls:,} calls of that time are summarised "
        f"by the {' and the '.join(intervals)}, for stats(approximate=True), and timeline() with windows of whole "
        f"{intervals[-1]}s."
    )


def parts(source: Source, selection: Selection) -> list[Part]:
    """The rollup files that may hold some of `selection`."""
    return [
        part
        for part in source.sound(schema.ROLLED_UP)
        if part.rows
        and (selection & part.within).overlaps(part.first_ns, part.last_ns)
        and (selection.names is None or not _names(part).isdisjoint(selection.names))
    ]


def add(found: Totals, source: Source, groups: Groups, selection: Selection) -> None:
    """Add to `found` the rollups of intervals that begin in `selection`, if they distinguish what `groups` does.

    Raises UnreadablePartError.
    """
    if not LEVELS.issuperset(groups.levels):
        return
    if (selection & source.within).where:
        return  # rollups do not tell attributes apart
    for part in parts(source, selection):
        wanted = selection & part.within
        is_whole = "window" not in groups.levels and wanted.covers(part.first_ns, part.last_ns)
        if not (is_whole and totals.add_summaries(found, part, groups, wanted)):
            for rows in _rows(source, part, selection, [*_KEYS, *_NUMBERS, "buckets"]):
                with _reading(source, part):
                    found.add(*_summary(rows, part, groups))


def starts(source: Source, selection: Selection) -> npt.NDArray[np.int64]:
    """When the intervals in `selection` begin, an entry for each row, ascending. Raises UnreadablePartError."""
    import numpy as np
    import pyarrow as pa

    found = [np.zeros(0, np.int64)]
    for part in parts(source, selection):
        for rows in _rows(source, part, selection, ["operation", "start"]):
            found.append(rows["start"].cast(pa.int64()).to_numpy())
    return np.sort(np.concatenate(found))


def check_window(source: Source, selection: Selection, window_ns: int) -> None:
    """Raise ValueError where rollups in `selection` are of intervals that windows of that length would cut."""
    cut = [part for part in parts(source, selection) if window_ns % part.footer["interval_ns"]]
    if not cut:
        return
    interval_ns = max(part.footer["interval_ns"] for part in cut)
    until = time.gmtime(max((part.last_ns or 0) + part.footer["interval_ns"] for part in cut) // 10**9)
    moment = time.strftime("%Y-%m-%d %H:%M", until)
    raise ValueError(
        f"samples before {moment} UTC have expired; their rollups are by the {_NAMES[interval_ns]}, and a window "
        f"of {window_ns // 10**9} s would split these; choose a window of whole {_NAMES[interval_ns]}s, or "
        f"start={moment!r}"
    )


def _names(part: Part) -> set[str]:
    return {str(summary["operation"]) for summary in part.footer["histograms"]}


def _rows(source: Source, part: Part, selection: Selection, columns: list[str]) -> Iterator[Any]:
    """The rows of `part` in `selection`, as pyarrow.Tables of a few rows each."""
    import pyarrow.parquet as pq

    selection &= part.within
    with contextlib.ExitStack() as stack:
        with _reading(source, part):
            file = stack.enter_context(
                pq.ParquetFile(part.file, read_dictionary=["operation", "category"], page_checksum_verification=True)
            )
        for group in range(file.num_row_groups):
            if selection.overlaps(*start_range(file.metadata, group)):
                with _reading(source, part):
                    content = file.read_row_group(group, columns=columns, use_threads=False)
                    plausible.check_rows(content, schema.ROLLED_UP)
                    rows = _chosen(content, selection)
                for first in range(0, rows.num_rows, _ROWS_AT_ONCE):
                    yield rows.slice(first, _ROWS_AT_ONCE)


def _chosen(rows: Any, selection: Selection) -> Any:
    import numpy as np
    import pyarrow as pa

    start = rows["start"].cast(pa.int64()).to_numpy()
    is_chosen = np.ones(len(start), np.bool_)
    if selection.start_ns is not None:
        is_chosen &= start >= selection.start_ns
    if selection.end_ns is not None:
        is_chosen &= start < selection.end_ns
    if selection.names is not None:
        is_chosen &= np.isin(rows["operation"].to_pandas().astype(str), selection.names)
    return rows if is_chosen.all() else rows.filter(pa.array(is_chosen))


def _summary(rows: Any, part: Part, groups: Groups) -> tuple[Summary, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of rollups by the groups that they fall into: summary, cells, calls, as `Totals.add` takes them."""
    import numpy as np

    group, order, first = _grouped(_numbers(rows, part, groups))
    sizes = np.diff(first, append=len(order))
    own = {name: rows[name].to_numpy()[order] for name in _NUMBERS}
    count = np.add.reduceat(own["count"], first)
    total = np.add.reduceat(own["sum_ns"].astype(object), first)
    gap = own["sum_ns"] / own["count"] - np.repeat((total / count).astype(np.float64), sizes)
    summary = Summary(
        group,
        count,
        np.add.reduceat(own["errors"], first),
        total,
        np.minimum.reduceat(own["min_ns"], first),
        np.maximum.reduceat(own["max_ns"], first),
        np.add.reduceat(own["m2_ns2"] + gap * gap * own["count"], first),
    )
    texts = rows["buckets"].to_pylist()
    which, buckets, calls = histogram.unpack_all([texts[row] for row in order.tolist()])
    if not np.array_equal(np.bincount(which, calls, len(texts)), own["count"]):
        raise ValueError("its histograms count other calls than its rows")
    cells, order, first = _grouped(np.repeat(group, sizes)[which] * histogram.BUCKETS + buckets)
    return summary, cells, np.add.reduceat(calls[order], first)


def _numbers(rows: Any, part: Part, groups: Groups) -> npt.NDArray[np.int64]:
    """The number of the group of each row."""
    import numpy as np
    import pyarrow as pa

    operation, category = (rows[name].unify_dictionaries().combine_chunks() for name in ("operation", "category"))
    names, categories = operation.dictionary.to_pylist(), category.dictionary.to_pylist()
    windows = rows["start"].cast(pa.int64()).to_numpy() // (groups.window_ns or 1) * groups.window_ns
    keys = np.column_stack([operation.indices.to_numpy(), category.indices.to_numpy(), windows])
    different, place = np.unique(keys, axis=0, return_inverse=True)
    found = []
    for name, own, window in different.tolist():
        values = {
            "operation": names[name],
            "category": groups.category(names[name], categories[own]),
            "capture": part.capture,
            "window": window,
        }
        found.append(groups.number(tuple(values[level] for level in groups.levels)))
    return np.array(found, np.int64)[place.ravel()]


def _grouped(
    numbers: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The different numbers, ascending, an order that puts equal ones together, and where each begins in it."""
    import numpy as np

    order = np.argsort(numbers, kind="stable")
    first = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    return numbers[order][first], order, first


@contextlib.contextmanager
def _reading(source: Source, part: Part) -> Iterator[None]:
    """What reads a rollup file in this block and fails makes it a bad one, and raises UnreadablePartError."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException, ValueError, MemoryError, OverflowError) as error:
        samples = sum(summary["samples"] for summary in part.footer["histograms"])
        source.report_damage(part.path, error, samples)
        raise UnreadablePartError(part.path) from error
