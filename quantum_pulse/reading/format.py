"""Generate `docs/format.md` from `schema`: ``python -m quantum_pulse.reading.format`` writes it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from quantum_pulse import metrics, schema
from quantum_pulse.rings import documentation

_PURPOSE: Final = {
    "samples": "One row for each execution of an operation.",
    "metrics": "One row for each interval: what the process, its container and the machine did in it.",
    "events": "One row for each thing that held up the process, or moved its clock.",
    "rollups": "One row for each operation and minute, hour or day of which the samples have expired.",
}

_FILES: Final = f"""\
# The capture format, version {schema.FORMAT_VERSION}

<!-- Generated from quantum_pulse/schema.py by `python -m quantum_pulse.reading.format`. Do not edit. -->

A capture is a directory. Its tables are Parquet files that any reader understands unaided:

```sql
-- DuckDB
select operation, count(*), quantile_cont(duration_ns, 0.99) / 1000 as p99_us
from 'monday/samples/*.parquet' group by operation order by p99_us desc;

select date_trunc('second', start::timestamptz) as second, max(duration_ns) / 1000 as max_us
from 'monday/samples/*.parquet' where operation = 'Trading.ORDER_SUBMISSION' group by second order by second;

-- of what has expired
select operation, date_trunc('day', start::timestamptz) as day, sum(count), sum(sum_ns) / sum(count) / 1000 as mean_us
from 'monday/rollups/*.parquet' group by operation, day order by day;
```

```python
import polars as pl

pl.scan_parquet("monday/samples/*.parquet").group_by("operation").agg(pl.col("duration_ns").quantile(0.99)).collect()
```

## Files

| Path | What it is |
| --- | --- |
| `{schema.MANIFEST}` | Marks the directory as a capture: `format` (version), `writer`, `created` (ISO 8601, UTC); \
of an imported trace `imported`: `file`, `format`, `events`, `samples`, `refused` (reason and number) and `notes`. |
| `{schema.PROCESSES}/*.json` | One for each recording of a process: who it was, its clock, its account, its losses. \
Forked processes that end before anything of theirs is written share one, `*{schema.WORKERS}.json`. |
{{tables}}
| `{schema.RINGS}/` | Only while recording, or after everything was killed: rows that are in no part yet. |

A part is written under a name that begins with a dot and then renamed, so a `*.parquet` is always whole. Parts are
independent: each can be read, copied or deleted alone. A capture may hold parts of several versions: a column that
an older part lacks is null there (in DuckDB: `read_parquet('monday/metrics/*.parquet', union_by_name = true)`).

A process file is a JSON object:

| Key | What it is |
| --- | --- |
| `pid`, `host`, `argv`, `python` | Which process it was. |
| `title` | Of an imported trace: what the trace calls the process, or null. |
| `state` | `recording`, `finished`, `recovered` (it was killed) or `snapshot`; in version 1 also `starting` and \
`failed`. |
| `ended` | Null while it is running, or how it ended, as far as that can be known: `stop`, `exec`, `exit status 3`, \
`SIGTERM`. Of workers, how many ended in each way. |
| `parent`, `is_forked` | The recording of the process that started this one, or null; whether it was forked. |
| `workers` | Of several forked processes together: how many they are. |
| `failure` | Null, or why nothing could be written when this was saved. |
| `failures` | When nothing could be written, the last 100 times: `start`, `end` (Unix ns, or null while it continues) \
and `reason`. |
| `started_ns`, `stopped_ns` | When it was recorded, in Unix time as of its start: their difference is the length, \
also where the wall clock was set meanwhile. |
| `core`, `clock`, `clock_anchor_ns` | What recorded; what was read (`monotonic` is CLOCK_MONOTONIC, `counter` a \
counter that follows it); what was added to that to get Unix time. |
| `level`, `on_full` | Options of the recording. |
| `operations` | How many were `defined` by then, and of these with `detail` and `sampled`. |
| `overhead` | Null or, in ns, `clock_resolution_ns`, `clock_read_ns`, `sample_ns` (what a sample takes) and \
`inside_ns` (the part of it that is in its own duration). |
| `environment` | Null, or `cpu`, `cores`, `cpu_quota` (cores that the control group's quota allows, or null) and \
`memory_bytes` that the process may use (the last two not in older captures), `governor`, `load_1m`, `kernel`, \
`python`, `packages` with their versions, and `commit`. |
| `account` | In samples: `started` = `written` + `open` + `lost` + `pending` (in rings that are still there). |
| `accounts` | The same by `operation` and `thread`: `started` = `ended` + `open` + `lost`. Thread 0 represents some \
that ended long ago. |
| `rows` | Written into parts, by table. |
| `losses` | As in the footers. |
| `unfinished` | The open blocks: a list of `operation`, `category`, `start` (Unix ns, or null where it \
had only just begun), `thread`, `task`, `span`, `parent` and `weight`. |
| `whole_from` | Of a snapshot: since when nothing that ended is missing in it, Unix ns; null where nothing is. |
| `open_spans` | Of a snapshot: the spans of the open blocks. |
| `unused` | The operations that were defined and did not run, as in the footers (of a process that was killed, all). |
"""


def _intervals() -> str:
    names = {60 * 10**9: "a minute", 3600 * 10**9: "an hour", 86_400 * 10**9: "a day"}
    return ", ".join(f"{interval} ({names[interval]})" for interval in schema.ROLLUP_INTERVALS_NS)


_FOOTER: Final = f"""\
## Footer

Each Parquet file has JSON text in its key-value metadata under `{schema.FOOTER_KEY}`, and its CRC-32 in eight \
hexadecimal digits under `{schema.FOOTER_CHECKSUM_KEY}`. Pages of rows carry Parquet's own checksums.

| Key | What it is |
| --- | --- |
| `format` | Version of the format. |
| `process` | Process id. |
| `core` | Which core recorded: `native` or `python`. |
| `clock_anchor_ns` | What was added to a reading of the monotonic clock to get Unix time, in ns. |
| `operations` | In samples: a list of `name`, `module`, `description`, `priority`, `budget_us` (or null), \
`detail`, `sample_every`, `expect_us` (null or two numbers), `budget_quantile` (the share of calls that must keep \
`budget_us`; 0.99 where it is missing), `attributes` (a list of `name`, `type`, `choices` (or null) and \
`optional`), `cpu_time` and `category`, which has `name`, `description`, `colour` (or null), \
`priority` and `budget_us` (or null). |
| `losses` | In samples: a list of `operation`, `thread`, `count`, `start`, `end` (Unix ns) and `cause`. |
| `saved_for` | Of a flight recorder: the samples for which it saved, a list of `operation`, `span`, `duration_ns`, \
`error` and `noticed_ns` (Unix time). |
| `others` | In samples, where there are some: a list of `operation`, `attribute` and `count`, of values that were \
recorded as `(other)` because there were too many different ones. |
| `merged` | Where it was made of smaller parts: their names. They are deleted after it is there; where some still \
are, it holds their rows too. |
| `histograms` | In samples: for each operation in this part a summary of its durations, as below. |

A summary can be added to that of another part. `operation` and `category` say of what; `count` and `errors` \
are calls, `samples` rows; `sum_ns`, `min_ns` and
`max_ns` are of durations; `m2_ns2` is the sum over the calls of the squared distance to their mean, merged as \
m2 = m2_a + m2_b + (mean_b - mean_a)^2 * n_a * n_b / (n_a + n_b);
`buckets` is the histogram, as text.

## Expiry

With `keep=` the oldest parts expire, and rollups stay: files of the table `rollups`, which say in their footers

| Key | What it is |
| --- | --- |
| `host` | The host whose agent wrote the file. |
| `interval_ns` | Interval of all rows in the file: {_intervals()}. |
| `until_ns` | Just after the last expired sample in the file started, Unix ns; null where there is none. |
| `operations`, `histograms` | As in samples, of all rows in the file. |
| `replaces` | By table: the name of each part that the file replaces, and its rows, first and last time. The \
parts are deleted after the file is there; where one still is, it does not count. |
| `expired` | By recording and table: how many rows have expired. |
| `ended` | Process files of recordings of which nothing is left, added up: `recordings`, `started_ns` (of the first), \
`stopped_ns` (of the last), `account`, `rows`, `losses` and `unused`. |
| `folded` | Names of those process files. They are deleted after the file is there; where one still is, it does not \
count. |
| `merged` | As in parts. |

Rows of one operation, category and interval may be in several files: add them up. Rows of `metrics` and `events` \
expire without a rollup.

## Histogram

Log-linear and mergeable: add the counts of equal buckets. With b = {schema.HISTOGRAM_BITS} there are \
2^b = {2**schema.HISTOGRAM_BITS} buckets an octave. Durations below
{2**schema.HISTOGRAM_BITS} ns have a bucket each; above that a bucket is at most \
1/{2**schema.HISTOGRAM_BITS} of its lower edge wide, so that its middle is within
{100 / 2 ** (schema.HISTOGRAM_BITS + 1):.1f} % of any duration in it.

As text it is a sequence of integers, bucket after bucket from bucket 0: the calls in the bucket or, negative, \
the number of empty buckets that follow. Each integer is written with ZigZag and LEB128 \
(as in the version 2 encoding of HdrHistogram), and the bytes in base64.
"""

_SCOPES: Final[dict[str, str]] = {
    "process": "Of the process, so that rows of several processes add up",
    "container": "Of the control group of the process, equal for all processes in it",
    "machine": "Of the machine, equal for all processes on it",
}


def _about_metrics() -> list[str]:
    def named(chosen: Iterable[metrics.Metric]) -> str:
        return ", ".join(f"`{metric.name}`" for metric in chosen)

    levels = named(metric for metric in metrics.METRICS if metric.kind == "level")
    scopes = [
        f"- {meaning}: {named(metric for metric in metrics.METRICS if metric.scope == scope)}."
        for scope, meaning in _SCOPES.items()
    ]
    return ["", f"Levels: {levels}. All other metrics are growth in the interval.", "", *scopes]


def _about_events() -> list[str]:
    return ["", *(f"- `{kind}`: {meaning}" for kind, meaning in schema.EVENT_KINDS.items())]


#: Table -> lines after its columns.
_AFTER: Final = {"metrics": _about_metrics(), "events": _about_events()}


def document() -> str:
    """The text of `docs/format.md`."""
    folders = "\n".join(f"| `{table}/*.parquet` | {_PURPOSE[table]} |" for table in schema.TABLES)
    sections = [_FILES.replace("{tables}", folders)]
    for table, columns in schema.TABLES.items():
        lines = [f"## Table `{table}`", "", _PURPOSE[table], ""]
        lines += ["| Column | Type | Unit | Null | Encoding | Meaning |", "| --- | --- | --- | --- | --- | --- |"]
        for column in columns:
            null = "yes" if column.nullable else ""
            unit, encoding = column.unit, column.encoding
            lines.append(f"| `{column.name}` | {column.type} | {unit} | {null} | {encoding} | {column.meaning} |")
        lines += _AFTER.get(table, [])
        sections.append("\n".join(lines) + "\n")
    sections += [_FOOTER, documentation.section()]
    history = "\n".join(f"- **{version}**: {text}" for version, text in sorted(schema.HISTORY.items()))
    sections.append(f"## History\n\nA reader refuses a version that it does not know.\n\n{history}\n")
    return "\n".join(sections)


def main() -> None:
    """Write `docs/format.md` of the source tree that this module is in, or to the path given."""
    root = Path(__file__).resolve().parents[2]
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "docs" / "format.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(document(), encoding="utf-8")
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
