"""The capture format as plain data: columns, types, files, version and its history.

`docs/format.md` is generated from this module (``python -m quantum_pulse.capture.format``). Nothing is imported
but ``typing`` and the declarations of `metrics`, so that a recording service and a reader of captures share it at no
cost.
"""

from typing import Final, NamedTuple

from quantum_pulse import metrics

FORMAT_VERSION: Final = 2

#: What each version of the format changed. A reader refuses versions that are not listed here.
HISTORY: Final[dict[int, str]] = {
    1: "First version: samples, metrics and events as Parquet parts, one footer a part, rings while recording.",
    2: "Metrics of the container, of waiting for a CPU and of stolen time. Nulls in `cpu_machine_percent`, "
    "`voluntary_switches` and `involuntary_switches` where they cannot be read. Events have a `value`, and of other "
    "kinds than `gc` neither `generation` nor `collected`; `clock_step` is new. Processes say their `cpu_quota`.",
}


class Column(NamedTuple):
    """A column of a Parquet file. `type` is Arrow's name of the type; `encoding` is Parquet's."""

    name: str
    type: str
    encoding: str
    unit: str
    meaning: str
    nullable: bool = False


_DELTA: Final = "DELTA_BINARY_PACKED"
_SPLIT: Final = "BYTE_STREAM_SPLIT"
_DICT: Final = "dictionary"

SAMPLES: Final[tuple[Column, ...]] = (
    Column("operation", "dictionary<string>", _DICT, "", "Class and member, as in `Trading.ORDER_SUBMISSION`."),
    Column("category", "dictionary<string>", _DICT, "", "Category of the operation when it ran."),
    Column("start", "timestamp[ns, UTC]", _DELTA, "ns", "When the block was entered."),
    Column("duration_ns", "int64", _SPLIT, "ns", "Time from entering the block to leaving it."),
    Column("thread", "int64", _DICT, "", "The thread's native id, as the operating system shows it."),
    Column("task", "int64", _SPLIT, "", "Number of the asyncio task, unique in the process; 0 outside asyncio."),
    Column("span", "int64", _DELTA, "", "Number of this execution, unique in the process."),
    Column("parent", "int64", _SPLIT, "", "`span` of the enclosing execution; 0 at a root."),
    Column("error", "dictionary<string>", _DICT, "", "Type name of the exception that left the block.", True),
    Column("weight", "int32", _DICT, "calls", "How many calls this sample stands for."),
    Column("process", "int32", _DICT, "", "Process id."),
)

_ENCODINGS: Final = {"int64": _DELTA, "double": "default"}

METRICS: Final[tuple[Column, ...]] = (
    Column("time", "timestamp[ns, UTC]", _DELTA, "ns", "End of the interval that this row describes."),
    Column("interval_ns", "int64", _DELTA, "ns", "Length of the interval; counts below are counts in it."),
    Column("process", "int32", _DICT, "", "Process id."),
    *(
        Column(metric.name, metric.type, _ENCODINGS[metric.type], metric.unit, metric.meaning, metric.nullable)
        for metric in metrics.METRICS
    ),
)

#: Kinds of events, with what `value` is of each.
EVENT_KINDS: Final[dict[str, str]] = {
    "gc": "A garbage collection; no `value`.",
    "clock_step": "The wall clock was set, or the machine slept. `value` is by how many seconds wall time moved "
    "against the monotonic clock; `duration_ns` and `thread` are 0.",
}

EVENTS: Final[tuple[Column, ...]] = (
    Column("event", "dictionary<string>", _DICT, "", "Kind of the event, as below."),
    Column("start", "timestamp[ns, UTC]", _DELTA, "ns", "When it began."),
    Column("duration_ns", "int64", _DELTA, "ns", "How long it took."),
    Column("thread", "int64", _DICT, "", "The thread that it held up (native id); 0 for an event of the process."),
    Column("generation", "int32", _DICT, "", "Oldest generation that `gc` collected.", True),
    Column("collected", "int64", _DELTA, "objects", "Objects that `gc` freed.", True),
    Column("process", "int32", _DICT, "", "Process id."),
    Column("value", "double", "default", "", "Size of the event; what it means depends on the kind.", True),
)

#: Folder of a capture -> columns of the Parquet parts in it.
TABLES: Final[dict[str, tuple[Column, ...]]] = {"samples": SAMPLES, "metrics": METRICS, "events": EVENTS}

#: File that marks a directory as a capture.
MANIFEST: Final = "capture.json"
#: One JSON file a recorded process: who it was, its clock, its final account.
PROCESSES: Final = "processes"
#: Ring files and name journals of processes that are recording, or were when they died.
RINGS: Final = "rings"
RING_SUFFIX: Final = ".ring"
NAMES_SUFFIX: Final = ".names"
#: Rows that a part may have that was made of smaller ones. Parts of more than half of that are left alone.
MERGED_ROWS: Final = 1 << 20
#: Key of the JSON text in each Parquet part's metadata.
FOOTER_KEY: Final = "quantum_pulse"
#: Key of the checksum of that text. Parquet has checksums for pages of rows only.
FOOTER_CHECKSUM_KEY: Final = "quantum_pulse_crc32"

# The histogram of durations in each footer: log-linear, 2**HISTOGRAM_BITS buckets an octave. Exact below that value;
# above it a bucket is at most 1/64 of its lower edge wide, so its middle is within 0.8 % of any value in it.
HISTOGRAM_BITS: Final = 6

# Rings. A ring file is one header page and then segments of SEGMENT_BYTES; a segment is a header and then
# SEGMENT_ROWS of each column, columns side by side in this order.
RING_MAGIC: Final = b"QPRING03"
RING_HEADER_BYTES: Final = 4096
#: Header of a ring: field, `struct` code, offset. `first_span` was the last one before the recording, so that
#: `last_span - first_span` blocks were entered in it.
RING_FIELDS: Final[tuple[tuple[str, str, int], ...]] = (
    ("process", "q", 8),
    ("first_span", "q", 16),
    ("last_span", "q", 24),
    ("lost", "Q", 32),  # samples that found no room
)
SEGMENT_BYTES: Final = 65536
SEGMENT_HEADER_BYTES: Final = 128
#: Columns of a segment: name, `struct` code. `start` is on the monotonic clock; `operation` and `error` are
#: numbers that the journal of names resolves (error 0: none).
RING_COLUMNS: Final[tuple[tuple[str, str], ...]] = (
    ("start", "q"),
    ("duration", "q"),
    ("span", "q"),
    ("parent", "q"),
    ("task", "q"),
    ("operation", "I"),
    ("error", "I"),
    ("weight", "i"),
)
#: Segments in use at which the writer is woken, if that is not more than half of them.
WAKE_SEGMENTS: Final = 800
RING_ROW_BYTES: Final = 5 * 8 + 3 * 4
SEGMENT_ROWS: Final = (SEGMENT_BYTES - SEGMENT_HEADER_BYTES) // RING_ROW_BYTES // 8 * 8
#: All bits of a 32-bit word; what `inverse` is taken from.
WORD: Final = 0xFFFFFFFF
#: Header of a segment: field, `struct` code, offset.
SEGMENT_FIELDS: Final[tuple[tuple[str, str, int], ...]] = (
    ("state", "I", 0),  # 0 free, 1 being filled, 2 full, 3 has slots instead of rows
    ("sequence", "Q", 8),  # grows by one each time that a segment is taken
    ("thread", "q", 16),
    ("written", "I", 64),  # rows that are complete; stored after the row itself
    ("consumed", "I", 68),  # rows that stand in a finished part
    ("inverse", "I", 72),  # of `written`, bit by bit, stored just before it: shows that neither was damaged
)

# Slots tell of blocks that are open and of samples that were lost, by operation and thread. They stand in the first
# page of a ring and in segments of state 3, from SLOTS_OFFSET on.
SLOTS_OFFSET: Final = 128
SLOT_BYTES: Final = 64
#: Kinds of a slot. It says last of all that it is not free.
SLOT_FREE: Final = 0
SLOT_OPEN: Final = 1
SLOT_LOST: Final = 2
#: A block that was entered and not left: field, `struct` code, offset. It counts if `span` is at most `last_span` and
#: there is no sample of that number. `start` is 0 until the clock was read.
OPEN_SLOT_FIELDS: Final[tuple[tuple[str, str, int], ...]] = (
    ("kind", "I", 0),
    ("operation", "I", 4),
    ("thread", "q", 8),
    ("span", "q", 16),
    ("start", "q", 24),
    ("parent", "q", 32),
    ("task", "q", 40),
    ("weight", "i", 48),
)
#: How many samples of an operation and thread were lost in the whole recording, when the first of them began and the
#: last ended, and why: 0 no room, 1 overwritten. There may be several of the same.
LOST_SLOT_FIELDS: Final[tuple[tuple[str, str, int], ...]] = (
    ("kind", "I", 0),
    ("operation", "I", 4),
    ("thread", "q", 8),
    ("samples", "Q", 16),
    ("first", "q", 24),
    ("last", "q", 32),
    ("cause", "q", 40),
)
