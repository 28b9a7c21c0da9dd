"""Scan the samples of a capture batch by batch, reading only the parts, row groups and columns that are needed."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from quantum_pulse import arrow, plausible
from quantum_pulse.ranges import start_range
from quantum_pulse.reading import attributes
from quantum_pulse.reading.criteria import EVERYTHING, Selection
from quantum_pulse.reading.reader import Part, Source

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

T = TypeVar("T")

#: Rows in a batch: a whole part of a long recording, so that reading it is not cut up. About 60 MB a thread.
BATCH_ROWS: Final = 1 << 20
#: What becomes of a part that expires while somebody has the capture open.
_GONE: Final = "it was deleted after the capture was opened, as parts are that expire; open it again"
#: Below this many rows a pass is over before anybody could read a progress bar.
PROGRESS_ROWS: Final = 2_000_000
#: More threads than this decode Parquet no faster, and each holds a batch in memory.
LARGEST_CREW: Final = 8


class UnreadablePartError(Exception):
    """A part turned out to be damaged. It has been noted in the source: whoever counted it must begin again."""


def whole(work: Callable[[], T]) -> T:
    """What `work()` returns once it meets no damaged part any more: each time it has one less to read."""
    while True:
        with contextlib.suppress(UnreadablePartError):
            return work()


class _Unit(NamedTuple):
    part: Part
    group: int
    rows: int


def parts(source: Source, selection: Selection) -> list[Part]:
    """The sound parts of the samples that may hold some of `selection`, going by what their footers say."""
    found = []
    for part in source.sound("samples"):
        wanted = selection & part.within
        if not part.rows or not wanted.overlaps(part.first_ns, part.last_ns):
            continue
        held = names_in(part)
        if wanted.names is None or held is None or not held.isdisjoint(wanted.names):
            found.append(part)
    return found


def rows_at_most(source: Source, selection: Selection) -> int:
    """Samples in `selection` cannot be more than this, going by what the footers say."""
    rows = 0
    for part in parts(source, selection):
        if selection.names is None or names_in(part) is None:
            rows += part.rows
        else:
            own = (summary for summary in part.footer["histograms"] if summary["operation"] in selection.names)
            rows += sum(summary["samples"] for summary in own)
    return rows


def count(source: Source) -> int:
    """How many samples there are. What a restriction cuts is read."""
    rows, cut = 0, []
    for part in parts(source, EVERYTHING):
        if part.within.where or part.within.names is not None or not part.within.covers(part.first_ns, part.last_ns):
            cut.append(part)
        else:
            rows += part.rows
    lock = threading.Lock()

    def work(batch: Any, _: Part) -> None:
        nonlocal rows
        with lock:
            rows += batch.num_rows

    each(source, cut, lambda _: ["start"], EVERYTHING, work, "counting")
    return rows


def names_in(part: Part) -> set[str] | None:
    """Names of the operations in `part`; None when its footer does not say."""
    summaries = part.footer.get("histograms")
    if not isinstance(summaries, list):
        return None
    try:
        held = {str(summary["operation"]) for summary in summaries}
        return held if sum(summary["samples"] for summary in summaries) == part.rows else None
    except (KeyError, TypeError):
        return None


def each(
    source: Source,
    chosen: Sequence[Part],
    columns: Callable[[Part], Iterable[str]],
    selection: Selection,
    work: Callable[[Any, Part], None],
    label: str,
) -> None:
    """Call `work` with each pyarrow.RecordBatch of the samples in `selection` and its part, on several threads at once.

    A batch has the columns that `columns(part)` names and at most BATCH_ROWS rows; the batches come in no order.
    Raises UnreadablePartError.
    """
    units = list(_units(source, chosen, selection))
    total = sum(unit.rows for unit in units)
    stopped = threading.Event()

    def one(unit: _Unit) -> int:
        for batch in batches(source, unit.part, [unit.group], list(columns(unit.part)), selection):
            if stopped.is_set():
                break
            if batch.num_rows:
                work(batch, unit.part)
        return unit.rows

    crew = min(len(units), os.cpu_count() or 1, LARGEST_CREW)
    with progress(total, label) as advance:
        if crew <= 1 or total <= BATCH_ROWS:
            for unit in units:
                advance(one(unit))
            return
        with ThreadPoolExecutor(crew, thread_name_prefix="capture-scan") as pool:
            try:
                for rows in pool.map(one, units):
                    advance(rows)
            except BaseException:
                # An interrupt, or a part that cannot be read: do not read the rest first.
                stopped.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def batches(
    source: Source,
    part: Part,
    groups: Sequence[int] | None,
    columns: Sequence[str],
    selection: Selection,
    batch_rows: int | None = None,
) -> Iterator[Any]:
    """Record batches of the row groups `groups` (None: all that may be wanted) of `part`, filtered by `selection`.

    Raises UnreadablePartError, after noting the part in `source`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    selection &= part.within
    times = not selection.covers(part.first_ns, part.last_ns)
    held = names_in(part)
    by_name = selection.names is not None and (held is None or not held.issubset(selection.names))
    needed = [*columns]
    needed += [name for name, used in (("start", times), ("operation", by_name)) if used and name not in needed]
    needed += [name for name in attributes.columns_of(selection.where) if name not in needed]
    # What the consumer of a batch raises is its own fault, not the part's.
    with contextlib.ExitStack() as stack:
        with reading(source, part):
            metadata = pq.read_metadata(part.file)
            stored = arrow.stored("samples", needed, metadata.schema.to_arrow_schema().names)
            file = stack.enter_context(
                pq.ParquetFile(
                    part.file,
                    metadata=metadata,
                    read_dictionary=[
                        *(name for name in ("operation", "category", "error") if name in stored),
                        *(attributes.STORED if attributes.COLUMN in stored else ()),
                    ],
                    page_checksum_verification=True,
                )
            )
            if groups is None:
                groups = [unit.group for unit in _part_units(part, metadata, selection)]
            found = file.iter_batches(
                batch_rows or BATCH_ROWS, row_groups=list(groups), columns=stored, use_threads=False
            )
        while True:
            with reading(source, part):
                batch: Any = next(found, None)
                if batch is not None:
                    plausible.check_rows(batch, "samples")
            if batch is None:
                return
            batch = arrow.with_nulls(batch, "samples", needed)
            mask = _mask(batch, selection, times=times, by_name=by_name)
            if mask is not None:
                batch = batch.filter(pa.array(mask))
            yield batch.select(list(columns))


@contextlib.contextmanager
def reading(source: Source, part: Part) -> Iterator[None]:
    """What reads `part` in this block and fails makes it a bad part, and raises UnreadablePartError."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException, ValueError, MemoryError, OverflowError) as error:
        is_gone = isinstance(error, FileNotFoundError)
        source.report_damage(part.path, FileNotFoundError(_GONE) if is_gone else error, part.rows)
        raise UnreadablePartError(part.path) from error


def _mask(batch: Any, selection: Selection, *, times: bool, by_name: bool) -> npt.NDArray[np.bool_] | None:
    import numpy as np
    import pyarrow as pa

    mask: npt.NDArray[np.bool_] | None = None
    if times:
        start = batch["start"].cast(pa.int64()).to_numpy()
        mask = np.ones(len(start), np.bool_)
        if selection.start_ns is not None:
            mask &= start >= selection.start_ns
        if selection.end_ns is not None:
            mask &= start < selection.end_ns
    if by_name:
        column = batch["operation"]
        wanted = set(selection.names or ())
        chosen = np.array([name in wanted for name in column.dictionary.to_pylist()], np.bool_)
        own = chosen[column.indices.to_numpy()]
        mask = own if mask is None else mask & own
    if selection.where:
        own = attributes.chosen(batch, selection.where)
        mask = own if mask is None else mask & own
    return None if mask is None or bool(mask.all()) else mask


def _units(source: Source, chosen: Iterable[Part], selection: Selection) -> Iterator[_Unit]:
    import pyarrow.parquet as pq

    for part in chosen:
        with reading(source, part):
            metadata = pq.read_metadata(part.file)
        yield from _part_units(part, metadata, selection)


def _part_units(part: Part, metadata: Any, selection: Selection) -> Iterator[_Unit]:
    wanted = selection & part.within
    for group in range(metadata.num_row_groups):
        first, last = start_range(metadata, group)
        if wanted.overlaps(first, last):
            yield _Unit(part, group, metadata.row_group(group).num_rows)


@contextlib.contextmanager
def progress(total: int, label: str, least: int | None = None) -> Iterator[Callable[[int], object]]:
    """A bar over `total` samples, drawn once the work has taken a second, where somebody could see it.

    Fewer than `least`, by default PROGRESS_ROWS, are over before.
    """
    if total < (PROGRESS_ROWS if least is None else least):
        yield lambda _: None
        return
    with _bar(total=total, desc=label, unit="sample", unit_scale=True) as bar:
        yield bar.update


@contextlib.contextmanager
def steps(total: int, label: str) -> Iterator[Callable[[], object]]:
    """A bar over `total` steps, as `progress`: for work of many passes, of which each may be over within a second."""
    with _bar(total=total, desc=label, unit="step") as bar:
        yield bar.update


@contextlib.contextmanager
def reading_bytes(total: int, label: str, least: int) -> Iterator[Callable[[int], object]]:
    """A bar over the bytes of a file, as `progress`; a file of fewer than `least` is read before it would show."""
    if total < least:
        yield lambda _: None
        return
    with _bar(total=total, desc=label, unit="B", unit_scale=True) as bar:
        yield bar.update


def _bar(**options: Any) -> Any:
    from tqdm.auto import tqdm

    if _is_unsized():
        # Where a terminal has no lines, tqdm writes none.
        options |= {"ncols": 80, "nrows": 24}
    return tqdm(delay=1, leave=False, disable=not is_shown(), **options)


def _is_unsized() -> bool:
    """Whether standard error is a terminal that does not say how large it is, as that of a serial line."""
    try:
        return 0 in os.get_terminal_size(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):
        return False


#: Threads in which `silent` holds.
_silence = threading.local()


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """No bars of progress in this thread: somebody else shows that there is work."""
    before = getattr(_silence, "holds", False)
    _silence.holds = True
    try:
        yield
    finally:
        _silence.holds = before


def is_shown() -> bool:
    """Whether anybody would see a bar of progress: in a notebook, as a widget, or at a terminal; not in a log file."""
    if getattr(_silence, "holds", False):
        return False
    from tqdm.asyncio import tqdm_asyncio
    from tqdm.auto import tqdm

    return tqdm is not tqdm_asyncio or (sys.stderr is not None and sys.stderr.isatty())


def category_of(part: Part) -> dict[str, str] | None:
    """Operation -> category where the footer of `part` gives every operation in it one category; else None.

    With it the column `category` need not be read.
    """
    if names_in(part) is None:
        return None
    found: dict[str, str] = {}
    for summary in part.footer["histograms"]:
        if found.setdefault(summary["operation"], summary["category"]) != summary["category"]:
            return None
    return found


def has_weights(part: Part) -> bool:
    """Whether samples of `part` may represent more than one call each."""
    if names_in(part) is None:
        return True
    return any(summary.get("count") != summary["samples"] for summary in part.footer["histograms"])


def has_errors(part: Part) -> bool:
    """Whether samples of `part` may have ended in an exception."""
    if names_in(part) is None:
        return True
    return any(summary.get("errors") != 0 for summary in part.footer["histograms"])
