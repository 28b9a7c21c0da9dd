/* The layout of a ring file, as `schema.py` documents it; a test compares the two.
 *
 * Each word has one writer, so the program and the agent hand segments over without locks. `docs/format.md` has the
 * protocol and its memory order. */
#ifndef QP_LAYOUT_H
#define QP_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define RING_MAGIC "QPRING05"
#define RING_HEADER_BYTES 24576
#define RING_TABLE_BYTES 16
#define FIRST_SLOTS_OFFSET 4096
#define TEXTS_OFFSET 8192
#define TEXTS_BYTES (RING_HEADER_BYTES - TEXTS_OFFSET)
#define OTHER_TEXT UINT32_MAX
#define SEGMENT_BYTES 65536
#define SEGMENT_HEADER_BYTES 128
#define ROW_BYTES 52
#define SEGMENT_ROWS ((SEGMENT_BYTES - SEGMENT_HEADER_BYTES) / ROW_BYTES / 8 * 8)
#define SLOT_BYTES 64
#define SLOTS_OFFSET 128 /* of a segment that has slots */
#define TRIPS 16
#define COLLECTION UINT32_C(0xFFFFFFFE) /* operation of a row that is a garbage collection */
#define DETAILS UINT32_C(0xFFFFFFFD)    /* of a row with details of the sample before it */
#define NO_VALUE INT64_MIN              /* in a row of details: nothing is known */
#define MOST_ATTRIBUTES 24              /* of an operation */
#define VALUES_PER_ROW 3                /* of attributes, in a row of details */
#define WAKE_SEGMENTS 800
#define COUNTERS_OFFSET 1024
#define COUNTERS 48

/* What to do with a sample when all segments are in use: lose it, give up the oldest ones, or wait. */
enum { DROP = 0, OVERWRITE = 1, WAIT = 2 };

/* States of a segment. */
enum { FREE = 0, OWNED = 1, FULL = 2, HAS_SLOTS = 3, HAS_TEXTS = 4 };

/* Blocks that the threads which share it have entered: where threads record at the same time, each has a line of the cache
 * to itself as far as they go. */
typedef struct {
    uint64_t entered;
    char pad[56];
} Counter;

/* A watched sample that was found. */
typedef struct {
    uint32_t operation, error;
    int64_t span, duration;
    int64_t pad;
} Trip;

typedef struct {
    char magic[8];
    int64_t process;
    int64_t first_span;
    uint32_t limit, on_full;
    char pad0[32];
    /* Written by the program while it records. */
    int64_t last_span;
    uint64_t lost;
    uint32_t used, texts_bytes;
    uint64_t gc_collections, gc_pause_ns;
    uint64_t trips;
    uint32_t counters; /* how many of `counter` count blocks that were entered; 0: their numbers follow one another */
    char pad1[12];
    /* Requests of the program. */
    uint64_t asked;
    uint32_t stopped;
    char pad2[52];
    /* Written by the agent. */
    uint64_t answered, taken_trips, released;
    int64_t released_ns, seen_ns, anchor_ns;
    uint64_t drained_rows;
    int64_t span_offset;
    uint32_t reserved, no_room, finished, failure_bytes;
    char failure[232];
    uint32_t attached, pad3;
    Trip trip[TRIPS];
    Counter counter[COUNTERS];
} RingHeader;

_Static_assert(offsetof(RingHeader, last_span) == 64, "ring header as schema.py has it");
_Static_assert(offsetof(RingHeader, trips) == 104, "ring header as schema.py has it");
_Static_assert(offsetof(RingHeader, counters) == 112, "ring header as schema.py has it");
_Static_assert(offsetof(RingHeader, counter) == COUNTERS_OFFSET, "ring header as schema.py has it");
_Static_assert(offsetof(RingHeader, asked) == 128, "ring header as schema.py has it");
_Static_assert(offsetof(RingHeader, answered) == 192, "ring header as schema.py has it");
_Static_assert(offsetof(RingHeader, failure) == 272, "ring header as schema.py has it");
_Static_assert(offsetof(RingHeader, trip) == 512 && sizeof(Trip) == 32, "ring header as schema.py has it");
_Static_assert(sizeof(RingHeader) <= FIRST_SLOTS_OFFSET, "slots have a page of their own");

typedef struct {
    uint32_t state;
    uint32_t pad0;
    uint64_t sequence;
    int64_t thread;
    char pad1[40];
    uint32_t written;
    uint32_t pad2;
    uint32_t inverse; /* of `written`: whoever reads the file of a killed process sees by it that neither was damaged */
    char pad3[52];
    int64_t start[SEGMENT_ROWS];
    int64_t duration[SEGMENT_ROWS];
    int64_t span[SEGMENT_ROWS];
    int64_t parent[SEGMENT_ROWS];
    int64_t task[SEGMENT_ROWS];
    uint32_t operation[SEGMENT_ROWS];
    uint32_t error[SEGMENT_ROWS];
    int32_t weight[SEGMENT_ROWS];
} Segment;

_Static_assert(offsetof(Segment, written) == 64, "segment header as schema.py has it");
_Static_assert(offsetof(Segment, inverse) == 72, "segment header as schema.py has it");
_Static_assert(offsetof(Segment, start) == SEGMENT_HEADER_BYTES, "segment header as schema.py has it");
_Static_assert(sizeof(Segment) <= SEGMENT_BYTES, "a segment holds its rows");

static inline size_t
segments_at(uint32_t limit)
{
    return RING_HEADER_BYTES + ((size_t)limit * RING_TABLE_BYTES + 4095) / 4096 * 4096;
}

/* What the agent writes into the table `drained` once all rows of a segment are in parts. */
static inline uint64_t
drained_mark(const Segment *segment)
{
    return segment->sequence << 32 | segment->written;
}

#endif
