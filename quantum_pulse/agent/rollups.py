"""Samples into rollups, and rollups into fewer: tables with the columns of schema.ROLLUPS.

A row sums up the calls of an operation that started in an interval. Rows of equal operation, category and interval can
be added, in any order and any number of times, and nothing but the spread within buckets of the histogram is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import arrow, histogram, schema

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Integers = npt.NDArray[np.int64]

TABLE: Final = schema.ROLLED_UP
MINUTE_NS: Final = schema.ROLLUP_INTERVALS_NS[0]
#: Columns of samples that `of_samples` needs.
NEEDED: Final = ("operation", "category", "start", "duration_ns", "weight", "error")
#: An interval that all times lie in.
WHOLE: Final = 0
#: Characters of histograms that are added up at once: about 50 MB.
_LARGEST_TEXT: Final = 1 << 18


def of_samples(batch: Any) -> pa.Table:
    """Rows by the minute of `batch`, a pyarrow.RecordBatch of samples with the columns NEEDED.

    Raises OverflowError where a sum of durations does not fit into 64 bits.
    """
    import numpy as np
    import pyarrow as pa

    pairs, code = _pairs(batch["operation"], batch["category"])
    minute = arrow.values(batch["start"]) // MINUTE_NS
    order, first = _grouped(minute, code, len(pairs))
    duration = arrow.values(batch["duration_ns"])[order]
    calls = arrow.values(batch["weight"])[order].astype(np.int64)
    failed = arrow.values(batch["error"].is_valid().cast(pa.int8()))[order]
    group = np.repeat(np.arange(len(first)), np.diff(first, append=len(order)))
    _check_sums(duration.astype(np.float64) * calls, first)
    count, total = _sums(calls, first), _sums(duration * calls, first)
    distance = duration - (total / count)[group]
    return _table(
        pairs,
        code[order][first],
        {
            "start": minute[order][first] * MINUTE_NS,
            "interval_ns": np.full(len(first), MINUTE_NS),
            "count": count,
            "errors": _sums(calls * failed, first),
            "samples": np.diff(first, append=len(order)),
            "sum_ns": total,
            "min_ns": np.minimum.reduceat(duration, first) if len(first) else count,
            "max_ns": np.maximum.reduceat(duration, first) if len(first) else count,
            "m2_ns2": _sums(distance * distance * calls, first),
        },
        _packed(group, histogram.buckets_of(duration), calls, len(first)),
    )


def combined(tables: Iterable[pa.Table], interval_ns: int = MINUTE_NS) -> pa.Table:
    """The rows of `tables` added up by operation, category and interval, in the order of time.

    `interval_ns` is at least that of each row; WHOLE adds up all of an operation. Raises OverflowError as `of_samples`.
    """
    import numpy as np
    import pyarrow as pa

    content = pa.concat_tables([empty(), *tables]).unify_dictionaries().combine_chunks()
    if not content.num_rows:
        return content
    pairs, code = _pairs(content["operation"], content["category"])
    start = arrow.values(content["start"])
    interval = start // interval_ns if interval_ns else np.zeros_like(start)
    order, first = _grouped(interval, code, len(pairs))
    own = {
        name: arrow.values(content[name])[order]
        for name in ("count", "errors", "samples", "sum_ns", "min_ns", "max_ns", "m2_ns2")
    }
    _check_sums(own["sum_ns"].astype(np.float64), first)
    count, total = _sums(own["count"], first), _sums(own["sum_ns"], first)
    sizes = np.diff(first, append=len(order))
    gap = own["sum_ns"] / own["count"] - np.repeat(total / count, sizes)
    return _table(
        pairs,
        code[order][first],
        {
            "start": interval[order][first] * interval_ns if interval_ns else np.minimum.reduceat(start[order], first),
            "interval_ns": np.full(len(first), interval_ns),
            "count": count,
            "errors": _sums(own["errors"], first),
            "samples": _sums(own["samples"], first),
            "sum_ns": total,
            "min_ns": np.minimum.reduceat(own["min_ns"], first),
            "max_ns": np.maximum.reduceat(own["max_ns"], first),
            "m2_ns2": _sums(own["m2_ns2"] + gap * gap * own["count"], first),
        },
        _added([str(text) for text in content["buckets"].to_pylist()], order, first, sizes),
    )


def empty() -> pa.Table:
    """No rows."""
    import pyarrow as pa

    return pa.Table.from_batches([], schema=arrow.layout(TABLE))


def plain(table: pa.Table) -> list[dict[str, Any]]:
    """Rows of `table` as summaries, which are what a footer of samples says of each operation."""
    return table.drop_columns(["start", "interval_ns"]).to_pylist()


def of_plain(summaries: Sequence[dict[str, Any]]) -> pa.Table:
    """The reverse of `plain`; times are 0."""
    import numpy as np

    pairs = [(one["operation"], one["category"]) for one in summaries]
    different = list(dict.fromkeys(pairs))
    numbers = {
        column.name: np.array([one.get(column.name, 0) for one in summaries], _width(column.type))
        for column in schema.ROLLUPS
        if not column.type.endswith(("string", "string>"))
    }
    codes = np.array([different.index(pair) for pair in pairs], np.int64)
    return _table(different, codes, numbers, [one["buckets"] for one in summaries])


def _width(kind: str) -> str:
    return "float64" if kind == "double" else "int64"


def _table(
    pairs: Sequence[tuple[str, str]], code: Integers, numbers: dict[str, npt.NDArray[Any]], buckets: list[str]
) -> pa.Table:
    """A table of rows whose operation and category are ``pairs[code]``."""
    import numpy as np
    import pyarrow as pa

    layout = arrow.layout(TABLE)
    columns: dict[str, Any] = {"buckets": arrow.strings(buckets)}
    for place, name in enumerate(("operation", "category")):
        names = list(dict.fromkeys(pair[place] for pair in pairs))
        places = {text: number for number, text in enumerate(names)}
        table = np.array([places[pair[place]] for pair in pairs], np.int32)
        columns[name] = arrow.named(table[code], names)
    columns |= {name: arrow.array(values, layout.field(name).type) for name, values in numbers.items()}
    return pa.table({name: columns[name] for name in layout.names}, schema=layout)


def _pairs(operation: Any, category: Any) -> tuple[list[tuple[str, str]], Integers]:
    """The combinations of operation and category, and which of them each row has."""
    import numpy as np

    operation, category = (_whole(column) for column in (operation, category))
    names, groups = operation.dictionary.to_pylist(), category.dictionary.to_pylist()
    code = arrow.values(operation.indices).astype(np.int64) * max(len(groups), 1) + arrow.values(category.indices)
    present = np.flatnonzero(np.bincount(code, minlength=1)) if len(code) else np.zeros(0, np.int64)
    place = np.zeros(int(present[-1]) + 1 if len(present) else 0, np.int64)
    place[present] = np.arange(len(present))
    return [(names[one // len(groups)], groups[one % len(groups)]) for one in present.tolist()], place[code]


def _whole(column: Any) -> Any:
    import pyarrow as pa

    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _grouped(time: Integers, code: Integers, codes: int) -> tuple[Integers, Integers]:
    """An order of the rows by time and code, and where each group of equal ones begins in it."""
    import numpy as np

    if not len(time):
        return time, time
    key = (time - int(time.min())) * codes + code
    order = np.argsort(key, kind="stable")
    return order, np.flatnonzero(np.diff(key[order], prepend=-1))


def _sums(values: npt.NDArray[Any], first: Integers) -> npt.NDArray[Any]:
    import numpy as np

    return np.add.reduceat(values, first) if len(first) else values[:0]


def _check_sums(values: npt.NDArray[np.float64], first: Integers) -> None:
    if len(first) and float(_sums(values, first).max()) >= 2.0**63:
        raise OverflowError("the sum of the durations does not fit into 64 bits")


def _packed(which: Integers, buckets: Integers, calls: Integers, texts: int) -> list[str]:
    """A histogram for each of `texts` groups; `which` of them each entry belongs to."""
    import numpy as np

    key = which * histogram.BUCKETS + buckets
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    cells = key[order][first]
    return histogram.pack_all(cells // histogram.BUCKETS, cells % histogram.BUCKETS, _sums(calls[order], first), texts)


def _added(texts: list[str], order: Integers, first: Integers, sizes: Integers) -> list[str]:
    """The histogram of each group: `order` has the rows of the groups one after the other, from `first` on."""
    import numpy as np

    # Most rows have no other to be added to.
    found = [texts[row] for row in order[first].tolist()]
    several = np.flatnonzero(sizes > 1)
    for groups in _chunks(several, np.add.reduceat([len(texts[row]) for row in order.tolist()], first)[several]):
        rows = [order[first[group] : first[group] + sizes[group]] for group in groups.tolist()]
        which, buckets, calls = histogram.unpack_all([texts[row] for own in rows for row in own.tolist()])
        place = np.repeat(np.arange(len(groups)), sizes[groups])
        for group, text in zip(groups.tolist(), _packed(place[which], buckets, calls, len(groups)), strict=True):
            found[group] = text
    return found


def _chunks(groups: Integers, lengths: Integers) -> Iterator[Integers]:
    """`groups` cut where their texts would be too long to be added up at once."""
    import numpy as np

    part = np.cumsum(lengths) // _LARGEST_TEXT
    for number in np.unique(part).tolist():
        yield groups[part == number]
