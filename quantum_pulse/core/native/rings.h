/* The recording of this process: samples in a mapped file, segments of it owned by threads.
 *
 * A thread that is in here is attached to the interpreter: it has the interpreter lock, or else what `parallel.h` says
 * replaces it. The one exception is the end of an operating system thread, which only raises a flag.
 */
#ifndef QP_RINGS_H
#define QP_RINGS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "accounts.h"
#include "clock.h"
#include "layout.h"
#include "parallel.h"

/* An operating system thread that has recorded. */
typedef struct Thread {
    uint64_t session;
    uint64_t tstate_id;
    uint64_t context_version;
    uint64_t task_version; /* context's version for which the stack knows its task */
    struct Stack *stack;   /* of the current context; borrowed, valid while the context's version is the same */
    Segment *segment;
    int64_t id;
    Count *counts; /* by probe id */
    uint32_t counts_length;
    int ended;
    uint32_t lost_in_a_row; /* since it last had a segment or paused */
    uint64_t random;  /* state of a generator, not 0 */
    struct Thread *next;
#if PARALLEL
    int64_t last_number, end_of_numbers; /* for spans: those in between are this thread's alone */
    uint64_t *entered;                   /* in the header */
    int shares_entered;                  /* with other threads */
    struct Slot *free_slots;
    uint32_t free_slots_length;
#endif
} Thread;

/* Traits of a probe; a block takes the long way where the recording minds one of them. */
enum { SAMPLED = 1, DETAIL = 2, DETAILED = 4, ANY_PROBE = 8 };

/* What can be switched off while something is recorded. Its blocks are entered and left, with a weight of 0. */
enum { MUTED_NOTHING = 0, MUTED_DETAILS = 1, MUTED_ALL = 2 };

/* The recording. One per process. */
typedef struct {
    int recording;
    uint32_t minded; /* traits of a probe for which its blocks take the long way */
    int cpu_time;    /* of all blocks */
    int in_use;
    uint64_t session; /* number of the recording, so that what is left of an earlier one is known */
    int fd;
    int is_on_disk; /* not in memory */
    char *memory;
    RingHeader *header; /* at the beginning of the memory */
    size_t bytes;
    const uint64_t *drained; /* by segment; written by the agent */
    const uint64_t *claimed;
    uint32_t limit, reserved, used; /* segments */
    uint32_t *free_segments;
    uint32_t free_length;
    uint32_t *full_segments; /* the first one became full first */
    uint32_t full_length;
    uint64_t swept_at;  /* header->released when full segments were looked through last */
    uint64_t waked_at;  /* header->released when the agent was woken last, and 1 more */
    int64_t no_room_until_ns; /* no memory is asked for before */
    struct Slot *free_slots;
    uint32_t slot_segments;
    uint64_t sequence;
    int wake_fd;
    uint32_t wake_at; /* segments in use */
    struct Texts *texts;     /* all tables of texts, the newest first */
    Segment *text_segment;   /* that has the last texts; NULL: they are in the header */
    uint32_t texts_used;     /* bytes there */
    uint32_t last_text, text_segments;
    uint32_t most_values;    /* different ones of an attribute */
    PyObject *on_stall; /* called when the rings are full and the agent has not been seen for a while */
    int64_t stalled_ns; /* when that was last */
    int on_full;
#if PARALLEL
    int64_t left_number, end_of_left; /* numbers for spans that a thread had in advance and did not need */
    uint64_t counters_taken; /* bits; of the header's counters but the first, which threads share that found no other */
#endif
    int is_hopeless; /* waiting was in vain, so nobody waits until there is room again */
    uint64_t hopeless_at; /* header->released by then */
    int production;  /* details are not recorded, from the beginning */
    int muted;       /* what has been switched off since */
} Rings;

extern Rings ring;
extern int64_t last_span; /* number of the last block that was entered in this process, or one after it */
extern Thread *threads;
extern __thread Thread *this_thread;

/* This thread's record, attached to the current recording; NULL without memory. */
Thread *attach_thread(void);
int prepare_threads(void);
/* Free the records of threads that ended, keeping their account. */
void reap(void);
/* The same if any thread has ended since the last time. Whether one had. */
int reap_if_ended(void);

/* Make sure of a free segment without taking any from the samples. */
int make_room(void);
/* The oldest full segment that the agent is not copying becomes free. Whether there was one. */
int overwrite(void);
/* A segment for `thread` to fill, with room for `rows`, in place of the one that it has; NULL when there is none. */
Segment *take_segment(Thread *thread, uint32_t rows);
/* Nobody adds to `segment` any more. */
void finish_segment(Segment *segment);
/* Memory for at most so many segments more, which may fail. */
int reserve(uint32_t count);
/* Memory for a part of the file, on a disk at its end. Returns 0 or an errno. */
int take_space(off_t at, off_t bytes);

extern PyMethodDef ring_functions[];
extern PyMethodDef launch_functions[];

static inline Segment *
segment_of(uint32_t number)
{
    return (Segment *)(ring.memory + segments_at(ring.limit) + (size_t)number * SEGMENT_BYTES);
}

static inline uint32_t
number_of_segment(const Segment *segment)
{
    return (uint32_t)(((const char *)segment - ring.memory - segments_at(ring.limit)) / SEGMENT_BYTES);
}

static inline Thread *
current_thread(void)
{
    Thread *thread = this_thread;
    return thread != NULL && thread->session == seen(ring.session) ? thread : attach_thread();
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
    struct Slot *slot; /* where it was while it was open; may be NULL */
} Sample;

/* Count a finished sample as lost, for which there is no room. */
void lose(const Thread *thread, Count *count, const Sample *sample);

/* What is known of a block beside its sample. */
typedef struct Details {
    const struct Spec *spec;  /* of its attributes; NULL: it has none */
    int64_t cpu;              /* CPU time of the thread as it was entered, then of the block; NO_VALUE: not known */
    uint64_t context_version; /* as it was entered */
    uint32_t count;
    int64_t values[]; /* NO_VALUE: not set */
} Details;

/* The segment that `thread` fills, with room for `rows`, or NULL when there is none or the recording has ended. */
static inline Segment *
ready_segment(Thread *thread, uint32_t rows)
{
    Segment *segment = thread->segment;
    return segment == NULL || segment->written > SEGMENT_ROWS - rows ? take_segment(thread, rows) : segment;
}

static inline void
put_row(Segment *segment, uint32_t row, const Sample *sample)
{
    segment->start[row] = sample->start;
    segment->duration[row] = sample->end - sample->start;
    segment->span[row] = sample->span;
    segment->parent[row] = sample->parent;
    segment->task[row] = sample->task;
    segment->operation[row] = sample->probe_id;
    segment->error[row] = sample->error;
    segment->weight[row] = sample->weight;
}

/* Last, so that the agent, and whoever reads the file of a killed process, find whole rows only. */
static inline void
publish_rows(Segment *segment, uint32_t written)
{
    segment->inverse = ~written;
    __atomic_store_n(&segment->written, written, __ATOMIC_RELEASE);
}

/* Whether a row of details says anything: the first one has the CPU time, each has VALUES_PER_ROW attributes. */
static inline int
says_anything(const Details *details, uint32_t index)
{
    int says = index == 0 && details->cpu != NO_VALUE;
    for (uint32_t i = index * VALUES_PER_ROW; i < details->count && i < (index + 1) * VALUES_PER_ROW; i++)
        says |= details->values[i] != NO_VALUE;
    return says;
}

static inline uint32_t
detail_rows(const Details *details)
{
    uint32_t rows = 0;
    for (uint32_t index = 0; index == 0 || index * VALUES_PER_ROW < details->count; index++)
        rows += (uint32_t)says_anything(details, index);
    return rows;
}

static inline void
put_details(Segment *segment, uint32_t row, const Sample *sample, const Details *details)
{
    for (uint32_t index = 0; index == 0 || index * VALUES_PER_ROW < details->count; index++) {
        if (!says_anything(details, index))
            continue;
        int64_t values[VALUES_PER_ROW];
        for (uint32_t i = 0; i < VALUES_PER_ROW; i++) {
            uint32_t place = index * VALUES_PER_ROW + i;
            values[i] = place < details->count ? details->values[place] : NO_VALUE;
        }
        segment->start[row] = index == 0 ? details->cpu : NO_VALUE;
        segment->duration[row] = values[0];
        segment->parent[row] = values[1];
        segment->task[row] = values[2];
        segment->span[row] = sample->span;
        segment->operation[row] = DETAILS;
        segment->error[row] = index;
        segment->weight[row] = 1;
        row++;
    }
}

/* Write a finished sample, or count it as lost when there is no room. Returns whether the block has ended by that: not
 * where the recording has ended first. `details` may be NULL; their rows follow the sample's, in the same segment, and
 * become visible together with it. */
static inline int
commit_with(Thread *thread, const Sample *sample, const Details *details)
{
    uint64_t session = seen(ring.session);
    uint32_t rows = details == NULL ? 1 : 1 + detail_rows(details);
    Segment *segment = ready_segment(thread, rows);
    if (seen(ring.session) != session || !seen(ring.recording))
        return 0; /* while this thread waited for a segment */
    Count *count = count_of(thread, sample->probe_id); /* not before: what was called meanwhile may have moved it */
    if (count == NULL)
        return 0;
    if (segment == NULL) {
        lose(thread, count, sample);
        return 1;
    }
    uint32_t row = segment->written;
    put_row(segment, row, sample);
    if (details != NULL)
        put_details(segment, row + 1, sample, details);
    publish_rows(segment, row + rows);
    count_up(count->committed, 1);
    if (seen(count->is_watched))
        look_at(sample->probe_id, sample->end - sample->start, sample->error, sample->span);
    return 1;
}

static inline int
commit(Thread *thread, const Sample *sample)
{
    return commit_with(thread, sample, NULL);
}

#endif
