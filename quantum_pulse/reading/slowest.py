"""Find the slowest samples, each with its ancestors, its children and concurrent calls."""

from __future__ import annotations

import numbers
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantum_pulse import arrow
from quantum_pulse.arguments import whole
from quantum_pulse.operations import Operation
from quantum_pulse.reading import scan, spans, tables
from quantum_pulse.reading.reader import Part, Source
from quantum_pulse.reading.selection import EVERYTHING, Moment, Operations, Recorded, Selection, Where, select
from quantum_pulse.shown import visible

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

#: Children that are kept of a sample: the longest; and ancestors: the innermost.
LARGEST_FAMILY: Final = 1000
#: Calls that are kept of what ran at the same time: it and what is around it, then the longest in common with it.
MOST_CONCURRENT: Final = 2000
#: Longer than any sample.
_LONGEST_NS: Final = (1 << 63) - 1
#: Row groups that are kept while ancestors are looked for.
_MOST_READ: Final = 4


class SlowSample(NamedTuple):
    """One slow sample and its surroundings, as `Capture.slowest` finds them.

    Attributes
    ----------
    sample : pandas.Series
        Its row of the raw samples.
    ancestors : pandas.DataFrame
        The raw samples that enclose it, the outermost first, as far as the capture has them; at
        most the innermost 1,000.
    children : pandas.DataFrame
        The raw samples directly inside it, ordered by start; at most the longest 1,000.
    meanwhile : pandas.DataFrame
        What else ran at the same time, in any thread, neither around it nor inside it. One row per
        process, thread and operation, the longest overlap first: ``calls``, ``overlap_us`` (the time
        in common, in microseconds) and ``share`` (of the duration of the sample). With several
        captures, also ``capture``.
    events : pandas.DataFrame
        The garbage collections and clock steps in its process at that time.
    concurrent : pandas.DataFrame
        The raw samples of all that ran at that time, in any thread, ordered by start: itself, its ancestors
        and what ran inside it first of all, then those with the longest time in common; at most 2,000. The
        column ``relation`` is "call", "ancestor", "descendant" or "other".

    Examples
    --------
    >>> capture = qp.sample("slow_exchange")
    >>> slow = capture.slowest(1, capture.operations.Engine.ORDER)[0]
    >>> slow.children["operation"].tolist()
    ['Engine.ENCODE', 'Engine.SUBMIT', 'Engine.ACK_DECODE']
    """

    sample: pd.Series[Any]
    ancestors: pd.DataFrame
    children: pd.DataFrame
    meanwhile: pd.DataFrame
    events: pd.DataFrame
    concurrent: pd.DataFrame

    def __repr__(self) -> str:
        return visible(
            f"<SlowSample {self.sample['operation']}: {self.sample['duration_ns'] / 1000:,.1f} µs, "
            f"{len(self.ancestors)} ancestors, {len(self.children)} children>"
        )


class Slowest:
    """The slowest samples of a capture. ``slowest[0]`` is the first with its surroundings.

    Attributes
    ----------
    table : pandas.DataFrame
        The raw samples, the slowest first.

    See Also
    --------
    Capture.slowest : Find them.

    Examples
    --------
    >>> slowest = qp.sample("slow_exchange").slowest(3)
    >>> slowest.table["operation"].tolist()
    ['Engine.FEED_PACKET', 'Engine.FEED_PACKET', 'Engine.FEED_PACKET']
    >>> slowest[0]
    <SlowSample Engine.FEED_PACKET: ... µs, 0 ancestors, 0 children>
    """

    def __init__(self, source: Source, table: pd.DataFrame, recordings: list[str]) -> None:
        self._source = source
        self._recordings = recordings
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, position: int) -> SlowSample:
        """Read the surroundings of the sample at `position` in the table.

        Parameters
        ----------
        position : int
            Position in the table, counted from 0.

        Returns
        -------
        SlowSample
            The sample, with its ancestors, its children and what ran at the same time.

        Raises
        ------
        IndexError
            If `position` is outside the table.
        TypeError
            If `position` is not a whole number.

        Examples
        --------
        >>> slow = qp.sample("slow_exchange").slowest(3)[0]
        >>> slow.sample["operation"]
        'Engine.FEED_PACKET'
        """
        if isinstance(position, bool) or not isinstance(position, numbers.Integral):
            raise TypeError(f"the position of a sample in the table must be a whole number, not {position!r}")
        if not -len(self) <= position < len(self):
            raise IndexError(f"position {position} is out of range: there are {len(self)} samples, counted from 0")
        sample = self.table.iloc[position]
        recording = self._recordings[position]
        return scan.whole(lambda: _surroundings(self._source, sample, recording))

    def __iter__(self) -> Iterator[SlowSample]:
        return (self[position] for position in range(len(self)))

    def __repr__(self) -> str:
        return visible(repr(self.table))

    def _repr_html_(self) -> str:
        return str(self.table.to_html(max_rows=100, notebook=True))


def slowest(
    source: Source,
    n: int = 10,
    operation: Operations = None,
    start: Moment = None,
    end: Moment = None,
    where: Where = None,
) -> Slowest:
    """The `n` samples of the longest duration; see `Capture.slowest`."""
    if isinstance(n, Operation | Recorded):
        raise TypeError(f"n must be the number of calls; the operation is the second argument: slowest(10, {n})")
    n = whole(n, "n", 1)
    chosen = select(source, operation, start, end, where)
    return scan.whole(lambda: _slowest(source, n, chosen))


def between(source: Source, n: int, chosen: Selection, low_ns: int, high_ns: int) -> Slowest:
    """The `n` slowest samples of a selection that took `low_ns` or longer, and less than `high_ns`."""
    return scan.whole(lambda: _slowest(source, n, chosen, low_ns, high_ns))


def _slowest(source: Source, n: int, chosen: Selection, low_ns: int = 0, high_ns: int = _LONGEST_NS) -> Slowest:
    import pandas as pd
    import pyarrow.dataset as ds

    least = max(_threshold(source, n, chosen, high_ns), low_ns)
    found = []
    columns = tables.columns_of(source)
    is_wanted = (ds.field("duration_ns") >= least) & (ds.field("duration_ns") < high_ns)
    for part in scan.parts(source, chosen):
        if _longest(part, chosen) >= least:
            rows = tables.read_part(source, part, columns, chosen, is_wanted)
            found.append(tables.frame_of(rows).assign(recording=part.origin))
    if not found:
        return Slowest(source.whole, tables.empty(source), [])
    together = pd.concat(found, ignore_index=True).sort_values(["duration_ns", "start"], ascending=[False, True])
    chosen_rows = together.head(n).reset_index(drop=True)
    # What surrounds a call may be outside of what the source is restricted to.
    return Slowest(source.whole, chosen_rows[tables.columns_of(source)], chosen_rows["recording"].tolist())


def _threshold(source: Source, n: int, chosen: Selection, high_ns: int) -> int:
    """Duration of the slowest sample below `high_ns` but n - 1, in ns; -1 where there are fewer."""
    import numpy as np

    lock = threading.Lock()
    kept = np.zeros(0, np.int64)

    def work(batch: Any, _: Part) -> None:
        nonlocal kept
        own = arrow.values(batch["duration_ns"])
        own = own[own < high_ns]
        own = own[own >= kept[0]] if len(kept) == n else own
        with lock:
            kept = np.sort(np.concatenate([kept, own]))[-n:]

    # Parts with the longest samples first: the others then often need not be read.
    parts = sorted(scan.parts(source, chosen), key=lambda part: _longest(part, chosen), reverse=True)
    while parts:
        now = [part for part in parts[:4] if len(kept) < n or _longest(part, chosen) >= kept[0]]
        del parts[:4]
        scan.each(source, now, lambda _: ["duration_ns"], chosen, work, "slowest")
    return int(kept[0]) if len(kept) == n else -1


def _longest(part: Part, chosen: Selection) -> float:
    """No sample of `part` in the selection is longer than this, in ns."""
    if scan.names_in(part) is None:
        return float("inf")
    own = (s for s in part.footer["histograms"] if chosen.names is None or s["operation"] in chosen.names)
    return max((float(summary.get("max_ns", "inf")) for summary in own), default=-1.0)


def _surroundings(source: Source, sample: pd.Series[Any], recording: str) -> SlowSample:
    import numpy as np
    import pandas as pd

    begin, length = int(sample["start"].as_unit("ns").value), int(sample["duration_ns"])
    end = begin + max(length, 1)
    rows = _running(source, begin, end)
    starts = rows["start"].astype("int64").to_numpy()
    common = np.minimum(starts + rows["duration_ns"].to_numpy(), end) - np.maximum(starts, begin)
    rows["overlap_us"] = common / 1000
    own = rows[rows["recording"] == recording].sort_values("span")
    inside = _descendants(own["span"].to_numpy(), own["parent"].to_numpy(), int(sample["span"]))
    ancestors = _ancestors(source, recording, int(sample["parent"]))
    children = own[own["parent"] == sample["span"]].nlargest(LARGEST_FAMILY, "duration_ns").sort_values("span")
    is_around = own["span"].isin([sample["span"], *ancestors["span"]]).to_numpy()
    others = rows.drop(index=own.index[inside | is_around])
    relation = pd.Series("other", rows.index)
    relation[own.index[inside]] = "descendant"
    relation[own.index[is_around]] = "ancestor"
    relation[own.index[own["span"] == sample["span"]]] = "call"
    keys = [*(["capture"] if source.captures else []), "process", "thread", "operation"]
    meanwhile = others.groupby(keys, observed=True).agg(calls=("weight", "sum"), overlap_us=("overlap_us", "sum"))
    meanwhile["share"] = meanwhile["overlap_us"] * 1000 / max(length, 1)
    meanwhile = meanwhile.reset_index([level for level in keys if level == tables.CAPTURE])
    events = tables.whole(source, "events", "start")
    event_starts = events["start"].astype("int64")
    ran = (event_starts < end) & (event_starts + events["duration_ns"] > begin)
    for name in keys[:-2]:
        ran &= events[name] == sample[name]
    return SlowSample(
        sample,
        ancestors.reset_index(drop=True),
        children[tables.columns_of(source)].reset_index(drop=True),
        meanwhile.sort_values("overlap_us", ascending=False),
        events[ran].reset_index(drop=True),
        _nearest(rows.assign(relation=relation))[[*tables.columns_of(source), "relation"]],
    )


def _nearest(rows: pd.DataFrame) -> pd.DataFrame:
    """The MOST_CONCURRENT of some samples that matter most for one of them, ordered by start."""
    if len(rows) > MOST_CONCURRENT:
        ordered = rows.assign(apart=rows["relation"] == "other").sort_values(
            ["apart", "overlap_us"], ascending=[True, False]
        )
        rows = ordered.head(MOST_CONCURRENT)
    return rows.sort_values(["start", "duration_ns"], ascending=[True, False], ignore_index=True)


def _running(source: Source, begin: int, end: int) -> pd.DataFrame:
    """Raw samples that ran at some time in [begin, end), Unix ns, with the `recording` of each."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds

    chosen = Selection(end_ns=end)
    reaches = ds.field("start").cast(pa.int64()) + ds.field("duration_ns") > begin
    found = []
    columns = tables.columns_of(source)
    for part in scan.parts(source, chosen):
        # Unix time in ns does not fit into a float; a difference of times does.
        if part.last_ns is not None and _longest(part, EVERYTHING) <= begin - part.last_ns:
            continue
        rows = tables.read_part(source, part, columns, chosen, reaches)
        found.append(tables.frame_of(rows).assign(recording=part.origin))
    return pd.concat(found, ignore_index=True)


def _descendants(span_of: npt.NDArray[np.int64], parents: npt.NDArray[np.int64], span: int) -> npt.NDArray[np.bool_]:
    """Which of some samples, ascending by span, are nested in `span`, however deep."""
    import numpy as np

    count = len(span_of)
    place = np.searchsorted(span_of, parents)
    # A block is entered after the one that encloses it: with that there are no circles. The last entry is no sample.
    is_known = (place < np.arange(count)) & (span_of[np.minimum(place, count - 1)] == parents) if count else place > 0
    above = np.append(np.where(is_known, place, count), count)
    inside = np.append(parents == span, False)
    # Each step looks twice as far up as the one before.
    while (above < count).any():
        inside |= inside[above]
        above = above[above]
    return inside[:count]


def _ancestors(source: Source, recording: str, parent: int) -> pd.DataFrame:
    """Raw samples from the outermost down to `parent`, the innermost LARGEST_FAMILY of them."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds

    units = [
        unit
        for part in scan.parts(source, EVERYTHING)
        if part.origin == recording
        for unit in spans.units(source, part)
        if parent and unit.first_span <= parent
    ]
    wanted = _chain(source, units, parent)
    columns = tables.columns_of(source)
    found = [tables.empty(source)]
    if wanted:
        is_wanted = ds.field("span").isin(pa.array(wanted, pa.int64()))
        own = {unit.part.path: unit.part for unit in units if unit.last_span >= wanted[-1]}
        found = [tables.read_part(source, part, columns, EVERYTHING, is_wanted).to_pandas() for part in own.values()]
    return pd.concat(found, ignore_index=True).sort_values("span", ignore_index=True)


def _chain(source: Source, units: list[spans.Unit], parent: int) -> list[int]:
    """`parent` and the spans around it, as far as the row groups `units` have them, the innermost LARGEST_FAMILY."""
    import numpy as np

    found: list[int] = []
    # Numbers descend on the way up, so that hardly any row group is read twice.
    read: dict[tuple[str, int], tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = {}

    def above(span: int) -> int | None:
        for unit in units:
            if unit.first_span <= span <= unit.last_span:
                key = (str(unit.part.path), unit.group)
                if key not in read:
                    if len(read) >= _MOST_READ:
                        read.clear()
                    own, parents = spans.columns(source, unit.part, unit.group, ["span", "parent"])
                    order = np.argsort(own, kind="stable")
                    read[key] = own[order], parents[order]
                own, parents = read[key]
                place = int(np.searchsorted(own, span))
                if place < len(own) and own[place] == span:
                    return int(parents[place])
        return None

    while parent and len(found) < LARGEST_FAMILY:
        around = above(parent)
        if around is None:
            break
        found.append(parent)
        # A block is entered after the one that encloses it, so its number is larger: with that there are no circles.
        parent = around if around < parent else 0
    return found
