"""Files of the table `rollups`: what their footers say beside the rows, how they are read, written and added up."""

from __future__ import annotations

import json
import zlib
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

from quantum_pulse import records, schema
from quantum_pulse.agent import rollups
from quantum_pulse.agent.ended import Ended
from quantum_pulse.directories import Folder

if TYPE_CHECKING:
    import pyarrow as pa

#: Samples that are summed up at once: about 40 MB.
_BATCH_ROWS: Final = 1 << 17
#: Rows that are read at once by whoever reads a time interval.
_GROUP_ROWS: Final = 1 << 13
#: These files are written a few times and stay for years.
_COMPRESSION_LEVEL: Final = 9


class Part(NamedTuple):
    """What distinguishes a part that has expired from another one that was written under its name later."""

    rows: int
    first_ns: int | None
    last_ns: int | None


class Summary(NamedTuple):
    """What a rollup file says. All of it can be added to that of another file."""

    rows: pa.Table
    interval_ns: int
    #: Summaries of all of `rows` by operation.
    whole: pa.Table
    #: Just after the last sample that has expired started; None where only other rows have.
    until_ns: int | None = None
    operations: Sequence[dict[str, Any]] = ()
    #: Table -> name -> the parts that this file replaces. They are deleted after it is there.
    replaces: dict[str, dict[str, Part]] = {}  # noqa: RUF012 - never changed
    #: Recording -> table -> rows that have expired.
    expired: dict[str, dict[str, int]] = {}  # noqa: RUF012 - never changed
    #: What process files said that are folded into this one, and the names of those that are yet to be deleted.
    ended: Ended = Ended()
    folded: Sequence[str] = ()
    #: Names of rollup files that this one was made of. They are deleted after it is there.
    merged: Sequence[str] = ()


def nothing() -> Summary:
    """A summary of nothing."""
    return Summary(rollups.empty(), rollups.MINUTE_NS, rollups.empty())


def added(summaries: Sequence[Summary], interval_ns: int, kept: Container[str]) -> Summary:
    """`summaries`, the oldest first, as one by `interval_ns`. Rows expired are of the recordings in `kept` alone.

    Raises OverflowError as `rollups.combined`.
    """
    expired: dict[str, dict[str, int]] = {}
    ended = Ended()
    for one in summaries:
        ended = ended.plus(one.ended)
        for recording, rows in one.expired.items():
            if recording in kept:
                own = expired.setdefault(recording, {})
                for table, count in rows.items():
                    own[table] = own.get(table, 0) + count
    return Summary(
        rollups.combined([one.rows for one in summaries], interval_ns),
        interval_ns,
        rollups.combined([one.whole for one in summaries], rollups.WHOLE),
        max((one.until_ns for one in summaries if one.until_ns is not None), default=None),
        records.newest([definition for one in summaries for definition in one.operations]),
        expired=expired,
        ended=ended,
    )


def of_part(folder: Folder, name: str) -> tuple[pa.Table, list[dict[str, Any]]]:
    """The samples in the file `name` by the minute, and the definitions of their operations.

    Raises OSError, ValueError, OverflowError and pyarrow's errors.
    """
    import pyarrow.parquet as pq

    found = []
    with (
        folder.open(name) as raw,
        pq.ParquetFile(
            raw, read_dictionary=["operation", "category", "error"], page_checksum_verification=True
        ) as file,
    ):
        definitions = records.footer(file.metadata).get("operations", [])
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(rollups.NEEDED), use_threads=False):
            found.append(rollups.of_samples(batch))
    return rollups.combined(found), definitions


def footer(metadata: Any) -> dict[str, Any]:
    """Our JSON in the metadata of a rollup file. Raises ValueError as `records.footer`."""
    content = records.footer(metadata)
    records.check_rollup_footer(content)
    return content


def read(folder: Folder, name: str) -> Summary:
    """The rollup file `name`. Raises OSError, ValueError and pyarrow's errors."""
    import pyarrow.parquet as pq

    from quantum_pulse import arrow

    with folder.open(name) as raw, pq.ParquetFile(raw, page_checksum_verification=True) as file:
        content = footer(file.metadata)
        rows = file.read().cast(arrow.layout(rollups.TABLE))
    return Summary(
        rows,
        content["interval_ns"],
        rollups.of_plain(content["histograms"]),
        content["until_ns"],
        content["operations"],
        {table: {name: Part(*part) for name, part in own.items()} for table, own in content["replaces"].items()},
        content["expired"],
        Ended.of_plain(content["ended"]),
        content["folded"],
        content.get("merged", []),
    )


def write(folder: Folder, name: str, summary: Summary, host: str) -> None:
    """Write `summary` as the rollup file `name`. Raises OSError."""
    content = {
        "format": schema.FORMAT_VERSION,
        "host": host,
        "interval_ns": summary.interval_ns,
        "until_ns": summary.until_ns,
        "operations": list(summary.operations),
        "histograms": rollups.plain(summary.whole),
        "replaces": summary.replaces,
        "expired": summary.expired,
        "ended": summary.ended.plain(),
        "folded": list(summary.folded),
        "merged": list(summary.merged),
    }
    text = json.dumps(content, separators=(",", ":"))
    folder.write(name, lambda file: _write(file, summary.rows, text), durable=True)


def _write(file: BinaryIO, rows: pa.Table, text: str) -> None:
    import pyarrow.parquet as pq

    columns = schema.ROLLUPS
    crc = f"{zlib.crc32(text.encode()):08x}"
    # Any, because types for pyarrow, where they are installed, know only the boolean.
    named: Any = [column.name for column in columns if column.encoding == "dictionary"]
    numeric: Any = [column.name for column in columns if not column.type.endswith(("string", "string>"))]
    pq.write_table(
        rows.replace_schema_metadata({schema.FOOTER_KEY: text, schema.FOOTER_CHECKSUM_KEY: crc}),
        file,
        row_group_size=_GROUP_ROWS,
        compression="zstd",
        compression_level=_COMPRESSION_LEVEL,
        use_dictionary=named,
        write_statistics=numeric,
        column_encoding={column.name: column.encoding for column in columns if column.encoding.isupper()},
        write_page_checksum=True,
    )
