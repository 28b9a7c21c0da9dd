"""The capture format as plain data: columns, types, files, version and its history.

`docs/format.md` is generated from this module (``python -m quantum_pulse.capture.format``). Nothing is imported
but ``typing``, so that a recording service and a reader of captures share it at no cost.
"""

from typing import Final, NamedTuple

FORMAT_VERSION: Final = 1

#: What each version of the format changed. A reader refuses versions that are not listed here.
HISTORY: Final[dict[int, str]] = {
    1: "First version: samples, metrics and events as Parquet parts, one footer a part, rings while recording.",
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

METRICS: Final[tuple[Column, ...]] = (
    Column("time", "timestamp[ns, UTC]", _DELTA, "ns", "End of the interval that this row describes."),
    Column("interval_ns", "int64", _DELTA, "ns", "Length of the interval; counts below are counts in it."),
    Column("process", "int32", _DICT, "", "Process id."),
    Column("cpu_process_percent", "double", "default", "%", "CPU of the process; 100 is one core."),
    Column("cpu_machine_percent", "double", "default", "%", "CPU of the machine; 100 is all cores."),
    Column("rss_bytes", "int64", _DELTA, "bytes", "Resident memory of the process."),
    Column("minor_faults", "int64", _DELTA, "faults", "Page faults served without input or output."),
    Column("major_faults", "int64", _DELTA, "faults", "Page faults that had to read from disk."),
    Column("voluntary_switches", "int64", _DELTA, "switches", "Times that the process gave up the CPU."),
    Column("involuntary_switches", "int64", _DELTA, "switches", "Times that the CPU was taken from the process."),
    Column("threads", "int64", _DELTA, "threads", "Threads of the process."),
    Column("disk_read_bytes", "int64", _DELTA, "bytes", "Read from disk by the process.", True),
    Column("disk_write_bytes", "int64", _DELTA, "bytes", "Written to disk by the process.", True),
    Column("net_sent_bytes", "int64", _DELTA, "bytes", "Sent by the machine, loopback included.", True),
    Column("net_received_bytes", "int64", _DELTA, "bytes", "Received by the machine, loopback included.", True),
    Column("load_1m", "double", "default", "tasks", "Load average of the machine over one minute.", True),
    Column("pressure_cpu_us", "int64", _DELTA, "us", "Time that some task waited for a CPU (PSI).", True),
    Column("pressure_memory_us", "int64", _DELTA, "us", "Time that some task waited for memory (PSI).", True),
    Column("pressure_io_us", "int64", _DELTA, "us", "Time that some task waited for input or output (PSI).", True),
    Column("gc_collections", "int64", _DELTA, "collections", "Garbage collections that ended in the interval."),
    Column("gc_pause_us", "double", "default", "us", "Time spent in those collections."),
)

EVENTS: Final[tuple[Column, ...]] = (
    Column("event", "dictionary<string>", _DICT, "", "Kind of the event: `gc` is a garbage collection."),
    Column("start", "timestamp[ns, UTC]", _DELTA, "ns", "When it began."),
    Column("duration_ns", "int64", _DELTA, "ns", "How long it took."),
    Column("thread", "int64", _DICT, "", "The thread that it held up (native id)."),
    Column("generation", "int32", _DICT, "", "Oldest generation collected."),
    Column("collected", "int64", _DELTA, "objects", "Objects freed."),
    Column("process", "int32", _DICT, "", "Process id."),
)

ROLLUPS: Final[tuple[Column, ...]] = (
    Column("operation", "dictionary<string>", _DICT, "", "Class and member, as in `samples`."),
    Column("category", "dictionary<string>", _DICT, "", "Category of the operation when it ran."),
    Column("start", "timestamp[ns, UTC]", _DELTA, "ns", "Begin of the interval in which the calls started."),
    Column("interval_ns", "int64", _DICT, "ns", "Length of the interval: a minute, an hour or a day."),
    Column("count", "int64", _DELTA, "calls", "Calls that started in the interval."),
    Column("errors", "int64", _DELTA, "calls", "Calls of these that an exception ended."),
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
