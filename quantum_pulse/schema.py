"""The capture format as plain data: columns, types, files, version and its history.

`docs/format.md` is generated from this module (``python -m quantum_pulse.reading.format``). It imports next to
nothing, so that a recording service and a reader of captures share it at no cost.
"""

from __future__ import annotations

from quantum_pulse import metrics

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Final, NamedTuple
else:
    from quantum_pulse.tuples import NamedTuple

FORMAT_VERSION: Final = 2

#: What each version of the format changed. A reader refuses versions that are not listed here.
HISTORY: Final[dict[int, str]] = {
    1: "First version: samples, metrics and events as Parquet parts, one footer a part, rings while recording.",
    2: "Metrics of the container, of waiting for a CPU and of stolen time. Nulls in `cpu_machine_percent`, "
    "`voluntary_switches` and `involuntary_switches` where they cannot be read. Events have a `value`, and of other "
    "kinds than `gc` neither `generation` nor `collected`; `clock_step` is new. Processes say their `cpu_quota`, and "
    "how they ended. Rollups of what has expired: the table `rollups`, whose footers name the parts and process files "
    "that they replace. Forked processes that end soon share a recording. Samples have `attributes` and `cpu_ns`; "
    "an `error` may be what the program declared.",
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
    Column(
        "error",
        "dictionary<string>",
        _DICT,
        "",
        "What failed: the type name of the exception that left the block, or what the program declared.",
        True,
    ),
    Column("weight", "int32", _DICT, "calls", "How many calls this sample represents."),
    Column("process", "int32", _DICT, "", "Process id."),
    Column(
        "attributes",
        "map<string, string>",
        _DICT,
        "",
        "Values of the attributes that were set, as text; null where none was.",
        True,
    ),
    Column(
        "cpu_ns",
        "int64",
        _SPLIT,
        "ns",
        "CPU time of the thread in the block; null where it was not recorded, and where the block moved to another "
        "thread or the thread ran another task, greenlet or caller of a generator in between.",
        True,
    ),
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

ROLLUPS: Final[tuple[Column, ...]] = (
    Column("operation", "dictionary<string>", _DICT, "", "Class and member, as in `samples`."),
    Column("category", "dictionary<string>", _DICT, "", "Category of the operation when it ran."),
    Column("start", "timestamp[ns, UTC]", _DELTA, "ns", "Begin of the interval in which the calls started."),
    Column("interval_ns", "int64", _DICT, "ns", "Length of the interval: a minute, an hour or a day."),
    Column("count", "int64", _DELTA, "calls", "Calls that started in the interval."),
    Column("errors", "int64", _DELTA, "calls", "Calls of these that failed."),
    Column("samples", "int64", _DELTA, "", "Rows of `samples` that this row replaces."),
    Column("sum_ns", "int64", _DELTA, "ns", "Sum of the durations of the calls."),
    Column("min_ns", "int64", _DELTA, "ns", "Shortest duration."),
    Column("max_ns", "int64", _DELTA, "ns", "Longest duration."),
    Column("m2_ns2", "double", _SPLIT, "ns²", "Sum of the squared distances of the durations to their mean."),
    Column("buckets", "string", "default", "", "Histogram of the durations, as text; see below."),
)

#: Folder of a capture -> columns of the Parquet parts in it.
TABLES: Final[dict[str, tuple[Column, ...]]] = {
    "samples": SAMPLES,
    "metrics": METRICS,
    "events": EVENTS,
    "rollups": ROLLUPS,
}
#: The table that sums up what has expired. Of it there may be no folder, where nothing has.
ROLLED_UP: Final = "rollups"
#: The tables that recordings write.
RECORDED: Final = ("samples", "metrics", "events")
#: Intervals of rollups, from the finest: those that are long ago become coarser so that their bytes stay bounded.
ROLLUP_INTERVALS_NS: Final = (60 * 10**9, 3600 * 10**9, 86_400 * 10**9)

#: File that marks a directory as a capture.
MANIFEST: Final = "capture.json"
#: One JSON file a recorded process: who it was, its clock, its final account.
PROCESSES: Final = "processes"
#: Ring files and name journals of processes that are recording, or were when they died.
RINGS: Final = "rings"
RING_SUFFIX: Final = ".ring"
#: What the name of the recording of short-lived forked processes ends with.
WORKERS: Final = ".workers"
NAMES_SUFFIX: Final = ".names"
#: Rows that a part may have that was made of smaller ones. Parts of more than half of that are left alone.
MERGED_ROWS: Final = 1 << 20
#: Parts with more rows are never replaced by larger ones.
FINAL_ROWS: Final = 2 * MERGED_ROWS
#: Rows of a row group that no writer of quantum_pulse exceeds.
MOST_GROUP_ROWS: Final = 1 << 22
#: No clock shows a later time, in ns since its epoch, and no block takes longer: the sum of both fits into 64 bits.
MOST_NS: Final = 1 << 62
#: Key of the JSON text in each Parquet part's metadata.
FOOTER_KEY: Final = "quantum_pulse"
#: Key of the checksum of that text. Parquet has checksums for pages of rows only.
FOOTER_CHECKSUM_KEY: Final = "quantum_pulse_crc32"

# The histogram of durations in each footer: log-linear, 2**HISTOGRAM_BITS buckets an octave. Exact below that value;
# above it a bucket is at most 1/64 of its lower edge wide, so its middle is within 0.8 % of any value in it.
HISTOGRAM_BITS: Final = 6

# Ring buffers. A ring file holds the samples of one process that are in no part yet: a header, two tables with an entry
# for each segment, and then the segments. A segment belongs to one thread and has a header and SEGMENT_ROWS entries of
# each column, columns side by side in this order. Each word has one writer, the program or the agent, so the two hand
# segments over without locks; `docs/format.md` describes the protocol.
RING_MAGIC: Final = b"QPRING05"
#: Header fields, slots and error names. The tables follow.
RING_HEADER_BYTES: Final = 24576
#: Bytes of the two tables for each segment: `drained` comes first, then `claimed`, both of 64-bit words.
RING_TABLE_BYTES: Final = 16
#: Header of a ring: field, `struct` code, offset. `first_span` was the last one before the recording. Where `counters`
#: is 0, `last_span - first_span` blocks were entered in it. Else threads have taken numbers up to `last_span` in
#: advance, and the sum of so many counters says how many blocks were entered.
RING_FIELDS: Final[tuple[tuple[str, str, int], ...]] = (
    ("process", "q", 8),
    ("first_span", "q", 16),
    ("limit", "I", 24),  # segments that there is address space for
    ("on_full", "I", 28),  # as in the contract of cores: drop, overwrite, wait
    # Written by the program while it records.
    ("last_span", "q", 64),
    ("lost", "Q", 72),  # samples that found no room or were overwritten
    ("used", "I", 80),  # segments that were taken at least once: the first ones
    ("texts_bytes", "I", 84),  # of the texts in the header that are complete
    ("gc_collections", "Q", 88),
    ("gc_pause_ns", "Q", 96),
    ("trips", "Q", 104),  # watched samples that were found, in all
    ("counters", "I", 112),  # that are in use
    # Requests of the program.
    ("asked", "Q", 128),  # number of the last flush
    ("stopped", "I", 136),  # 1: it records no more, and no row will follow
    # Written by the agent.
    ("answered", "Q", 192),  # flushes that are done
    ("taken_trips", "Q", 200),
    ("released", "Q", 208),  # how often segments were given back
    ("released_ns", "q", 216),  # when that was last, on the core's clock
    ("seen_ns", "q", 224),  # when the agent last looked, on the core's clock
    ("anchor_ns", "q", 232),  # what to add to the core's clock for Unix time, as of `seen_ns`; 0: unknown
    ("drained_rows", "Q", 240),  # samples in parts
    ("span_offset", "q", 248),  # what was added to spans in parts, where several processes share a recording
    ("reserved", "I", 256),  # segments that have memory; the program may have reserved more
    ("no_room", "I", 260),  # 1: there is no memory for more segments now
    ("finished", "I", 264),  # 1: everything is in parts after `stopped`
    ("failure_bytes", "I", 268),  # of the text below; 0: nothing is wrong
    ("attached", "I", 504),  # agents that have looked at the ring
)
#: Why nothing can be written at the moment, as UTF-8 text.
RING_FAILURE_OFFSET: Final = 272
RING_FAILURE_BYTES: Final = 232
#: The last watched samples that were found: a ring buffer of TRIPS entries.
TRIPS_OFFSET: Final = 512
TRIPS: Final = 16
TRIP_BYTES: Final = 32
#: Counters of entered blocks, 64-bit words, so many bytes apart.
COUNTERS_OFFSET: Final = 1024
COUNTERS: Final = 48
COUNTER_BYTES: Final = 64
#: Texts in the order of their numbers, from 1: a 32-bit length and UTF-8 text each. They are names of errors and values
#: of attributes. What finds no room in the header is in segments of state HAS_TEXTS.
TEXTS_OFFSET: Final = 8192
TEXTS_BYTES: Final = RING_HEADER_BYTES - TEXTS_OFFSET
#: Number of all texts that found no room, and of those beyond the bound of their kind.
OTHER_TEXT: Final = 0xFFFFFFFF

SEGMENT_BYTES: Final = 65536
SEGMENT_HEADER_BYTES: Final = 128
#: Columns of a segment: name, `struct` code. `start` is on the monotonic clock; the journal of names resolves the
#: numbers of operations, the texts those of errors (error 0: none).
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
#: `operation` of a row that is a garbage collection: `error` is its generation, `parent` the objects that it freed.
COLLECTION: Final = 0xFFFFFFFE
#: `operation` of a row with details of the sample before it, whose `span` it has: `error` counts such rows, and `start`
#: is the CPU time in the first of them. The values of VALUES_PER_ROW attributes are in the columns DETAIL_COLUMNS.
DETAILS: Final = 0xFFFFFFFD
#: In a row of details: nothing is known.
NO_VALUE: Final = -(1 << 63)
DETAIL_COLUMNS: Final = ("duration", "parent", "task")
VALUES_PER_ROW: Final = len(DETAIL_COLUMNS)
#: Attributes of an operation.
MOST_ATTRIBUTES: Final = 24
#: The longest text that an attribute keeps whole, in characters.
MOST_TEXT: Final = 256
#: What represents the texts of an attribute, and names of errors, beyond their bound.
OTHER: Final = "(other)"
#: Segments in use at which the agent is woken, if that is not more than half of them.
WAKE_SEGMENTS: Final = 800
RING_ROW_BYTES: Final = 5 * 8 + 3 * 4
SEGMENT_ROWS: Final = (SEGMENT_BYTES - SEGMENT_HEADER_BYTES) // RING_ROW_BYTES // 8 * 8
#: All bits of a 32-bit word; what `inverse` is taken from.
WORD: Final = 0xFFFFFFFF
#: Header of a segment: field, `struct` code, offset. The program alone writes it.
SEGMENT_FIELDS: Final[tuple[tuple[str, str, int], ...]] = (
    ("state", "I", 0),
    ("sequence", "Q", 8),  # grows by one each time that a segment is taken; 0: it is being overwritten
    ("thread", "q", 16),
    ("written", "I", 64),  # rows that are complete; stored after the row itself
    ("inverse", "I", 72),  # of `written`, bit by bit, stored just before it: shows that neither was damaged
)
#: States of a segment: never taken or about to be taken again; owned by a thread that fills it; full, or its thread has
#: ended; holds slots instead of rows; holds texts, `written` bytes of them after `thread` earlier ones.
FREE: Final = 0
OWNED: Final = 1
FULL: Final = 2
HAS_SLOTS: Final = 3
HAS_TEXTS: Final = 4

# Slots describe blocks that are open and samples that were lost, by operation and thread. They are in the second page
# of a ring, and in segments of state HAS_SLOTS from SLOTS_OFFSET on.
FIRST_SLOTS_OFFSET: Final = 4096
FIRST_SLOTS_END: Final = TEXTS_OFFSET
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


def segments_at(limit: int) -> int:
    """Offset of the first segment in a ring of `limit` segments, in bytes: the first page after the tables."""
    return RING_HEADER_BYTES + -(-limit * RING_TABLE_BYTES // 4096) * 4096


def ring_limit(budget_bytes: int) -> int:
    """How many segments a ring of `budget_bytes` has: at least one. The tables come on top, 0.02 % of it."""
    return max(1, (budget_bytes - RING_HEADER_BYTES) // SEGMENT_BYTES)
