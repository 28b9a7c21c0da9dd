/* Rings: samples in a mapped file, segments of it owned by threads. `schema.py` documents the layout, and a test
 * compares the two.
 *
 * All of it runs under the interpreter lock, so nothing here locks. The one exception is the end of an operating
 * system thread, which only raises a flag.
 */
#ifndef QP_RINGS_H
#define QP_RINGS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stddef.h>
#include <stdint.h>

#include "accounts.h"
#include "clock.h"

#ifdef Py_GIL_DISABLED
#error "the native core relies on the interpreter lock"
#endif

#define RING_HEADER_BYTES 4096
#define SEGMENT_BYTES 65536
#define SEGMENT_HEADER_BYTES 128
#define ROW_BYTES 52
#define SEGMENT_ROWS ((SEGMENT_BYTES - SEGMENT_HEADER_BYTES) / ROW_BYTES / 8 * 8)
/* Disk blocks are reserved for this many segments at a time: a system call every 80,000 samples. */
#define RESERVE_SEGMENTS 64
#define WAKE_SEGMENTS 800
#define LONGEST_WAIT_NS 5000000000
#define BRAKE_NS 4000000
#define LONGEST_BRAKING_NS 2000000000
#define BRAKE_SEGMENTS 64 /* a smaller ring is full before anybody could react */

typedef struct {
    uint32_t state; /* 0 free, 1 being filled, 2 full, 3 has slots instead of rows */
    uint32_t pad0;
    uint64_t sequence;
    int64_t thread;
    char pad1[40];
    uint32_t written;
    uint32_t consumed;
    uint32_t inverse; /* of `written`: whoever reads the file of a killed process sees by it that neither was damaged */
    char pad2[52];
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
_Static_assert(offsetof(Segment, start) == SEGMENT_HEADER_BYTES, "segment header as schema.py has it");
_Static_assert(sizeof(Segment) <= SEGMENT_BYTES, "a segment holds its rows");

typedef struct {
    char magic[8];
    int64_t process;
    int64_t first_span; /* the last one before this recording */
    int64_t last_span;
    uint64_t lost;
} RingHeader;

_Static_assert(offsetof(RingHeader, lost) == 32, "ring header as schema.py has it");

/* What to do with a sample when all segments are in use: lose it, give up the oldest ones, or wait. */
enum { DROP = 0, OVERWRITE = 1, WAIT = 2 };

/* An operating system thread that has recorded. */
typedef struct Thread {
    uint64_t session;
    uint64_t tstate_id;
    uint64_t context_version;
    uint64_t task_version; /* context's version for which the stack knows its task */
    struct Stack *stack;   /* of the current context; borrowed, valid while the context's version stands */
    Segment *segment;
    int64_t id;
    Count *counts; /* by probe id */
    uint32_t counts_length;
    int ended;
    uint32_t lost_in_a_row; /* since it last had a segment or paused */
    int never_waits;  /* it is the one that makes room */
    uint64_t random;  /* state of a generator, not 0 */
    struct Thread *next;
} Thread;

typedef struct {
    Segment *segment;
    uint32_t drained;
} Busy;

typedef struct {
    Segment *segment;
    uint32_t end;
} Drained;

/* The recording. One per process. */
typedef struct {
    int recording;
    int in_use;
    uint64_t session; /* number of the recording, so that what is left of an earlier one is known */
    int fd;
    char *memory;
    RingHeader *header; /* at the beginning of the memory */
    size_t bytes;
    uint32_t limit, reserved, used; /* segments */
    Segment **free_segments;
    uint32_t free_length;
    struct Slot *free_slots;
    uint32_t slot_segments;
    Busy *busy; /* in the order taken */
    uint32_t busy_length;
    Drained *drained;
    uint32_t drained_length;
    uint64_t sequence;
    int wake_fd;
    uint32_t wake_at; /* segments in use */
    int is_awake;     /* whoever drains; until it has released */
    PyObject *error_numbers; /* by name of the type */
    uint32_t last_error;
    PyObject *on_error_name;
    int on_full;
    int is_hopeless; /* waiting was in vain, so nobody waits until there is room again */
    int64_t released_ns; /* when room was made last */
    int production;  /* details are not recorded */
} Rings;

extern Rings ring;
extern int64_t last_span; /* number of the last block that was entered in this process */
extern Thread *threads;
extern __thread Thread *this_thread;

/* This thread's record, attached to the current recording; NULL without memory. */
Thread *attach_thread(void);
/* Make sure of a free segment without taking any from the samples. */
int make_room(void);
Segment *take_segment(Thread *thread);
int prepare_rings(void);
extern PyMethodDef ring_functions[];

static inline Thread *
current_thread(void)
{
    Thread *thread = this_thread;
    return thread != NULL && thread->session == ring.session ? thread : attach_thread();
}

static inline Count *
count_of(Thread *thread, uint32_t probe_id)
{
    return probe_id < thread->counts_length ? &thread->counts[probe_id] : grow_counts(thread, probe_id);
}

typedef struct {
    int64_t start, end, span, parent, task;
    uint32_t probe_id, error;
    int32_t weight;
    struct Slot *slot; /* where it stood while it was open; may be NULL */
} Sample;

/* Count a finished sample as lost, for which there is no room. */
void lose(const Thread *thread, Count *count, const Sample *sample);

/* Write a finished sample, or count it as lost when there is no room. */
static inline void
commit(Thread *thread, const Sample *sample)
{
    Count *count = count_of(thread, sample->probe_id);
    if (count == NULL)
        return;
    Segment *segment = thread->segment;
    if (segment == NULL || segment->written == SEGMENT_ROWS) {
        uint64_t session = ring.session;
        segment = take_segment(thread);
        if (ring.session != session)
            return; /* the recording has ended while this thread waited */
        if (segment == NULL) {
            lose(thread, count, sample);
            return;
        }
    }
    uint32_t row = segment->written;
    segment->start[row] = sample->start;
    segment->duration[row] = sample->end - sample->start;
    segment->span[row] = sample->span;
    segment->parent[row] = sample->parent;
    segment->task[row] = sample->task;
    segment->operation[row] = sample->probe_id;
    segment->error[row] = sample->error;
    segment->weight[row] = sample->weight;
    count->committed++;
    /* Last, so that whoever reads the file of a killed process finds whole rows only. */
    segment->inverse = ~(row + 1);
    __atomic_store_n(&segment->written, row + 1, __ATOMIC_RELEASE);
    if (count->is_watched)
        look_at(sample->probe_id, sample->end - sample->start, sample->error, sample->span);
}

#endif
