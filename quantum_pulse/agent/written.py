"""What parts hold already, so that nothing is written twice after an agent or a program died."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quantum_pulse import directories, files, records, schema
from quantum_pulse.agent import parts

if TYPE_CHECKING:
    import numpy.typing as npt

    from quantum_pulse.agent.merging import Merger
    from quantum_pulse.rings.contents import Contents


def rows_in_parts(capture: Path, name: str, merger: Merger | None = None) -> dict[str, int]:
    """How many rows of each table are in parts of the recording `name`.

    `merger` takes note of those parts, to merge what agents before this one have left small.
    """
    found = dict.fromkeys(schema.RECORDED, 0)
    for table in found:
        for path in parts_of(capture, table, name):
            rows = _rows_of(path)
            found[table] += rows
            if merger is not None and rows:  # of a part that cannot be read none are known
                merger.add(table, path, rows)
    return found


def parts_of(capture: Path, table: str, name: str) -> list[Path]:
    """The parts of a recording, without those whose rows are in a larger one as well."""
    found = sorted((capture / table).glob(f"{name}-*.parquet"))
    merged = parts.merged(found)
    return [path for path in found if path.name not in merged]


def delete_leftovers(capture: Path, name: str) -> None:
    """Delete what an agent leaves that dies: unfinished files, and parts whose rows are in larger ones."""
    for folder in (*schema.TABLES, schema.PROCESSES):
        delete_temporary(capture, folder, name)
    for table in schema.RECORDED:
        for merged in parts.merged((capture / table).glob(f"{name}-*.parquet")):
            with contextlib.suppress(OSError):
                directories.delete(capture / table / merged)


def delete_temporary(capture: Path, folder: str, name: str = "") -> None:
    """Delete files in a folder of the capture that never became whole, as far as that can be done."""
    with contextlib.suppress(OSError), directories.Folder.at(capture) as root, root.existing(folder) as own:
        own.delete_temporary(name)


def spans_in_parts(capture: Path, name: str, contents: Contents) -> npt.NDArray[np.int64]:
    """Spans of samples in parts of a recording that may be in `contents` too."""
    return spans_in(parts_of(capture, "samples", name), contents)


def spans_in(paths: Iterable[Path], contents: Contents) -> npt.NDArray[np.int64]:
    """Spans of samples in `paths` that may be in `contents` too: rows that wait, and blocks that are open.

    A part that cannot be read is taken for empty: its rows are given up for lost by whoever reads the capture.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    own = contents.batch.columns["span"]
    lowest, highest = (int(own.min()), int(own.max())) if len(own) else (0, -1)
    opened = np.sort(np.fromiter((block.span for block in contents.unfinished), np.int64))
    spans = [np.zeros(0, np.int64)]
    for path in paths:
        try:
            files.check(path)
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                for number in range(file.num_row_groups):
                    group = file.metadata.row_group(number)
                    column = next(
                        one for one in map(group.column, range(group.num_columns)) if one.path_in_schema == "span"
                    )
                    known: Any = column.statistics
                    if known is not None and known.has_min_max:
                        is_between = np.searchsorted(opened, known.min) < np.searchsorted(opened, known.max, "right")
                        if not is_between and (known.min > highest or known.max < lowest):
                            continue
                    spans.append(file.read_row_group(number, columns=["span"])["span"].to_numpy())
        except (OSError, pa.ArrowException, ValueError, MemoryError, StopIteration):
            continue
    return np.concatenate(spans)


def events_in(paths: Iterable[Path]) -> list[tuple[int, int]]:
    """Start (Unix ns) and duration of the events in some parts, as far as they can be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: list[tuple[int, int]] = []
    for path in paths:
        try:
            files.check(path)
            rows = pq.read_table(path, columns=["start", "duration_ns"])
            starts = rows["start"].cast(pa.int64()).to_pylist()
            pairs: Any = zip(starts, rows["duration_ns"].to_pylist(), strict=True)
            found += pairs
        except (OSError, pa.ArrowException, ValueError, MemoryError):
            continue
    return found


def last_span(capture: Path, name: str) -> int:
    """The largest span in parts of a recording, 0 where there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    largest = 0
    for path in parts_of(capture, "samples", name):
        try:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    spans = file.read_row_group(group, columns=["span"])["span"].to_numpy()
                    largest = max(largest, int(np.max(spans, initial=0)))
        except (OSError, pa.ArrowException, ValueError, MemoryError):
            continue
    return largest


def _rows_of(path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        files.check(path)
        metadata = pq.read_metadata(path)
        records.footer(metadata)
    except (OSError, pa.ArrowException, ValueError, MemoryError):
        return 0
    return int(metadata.num_rows)
