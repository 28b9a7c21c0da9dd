/* Segments change hands: from the free ones to a thread, to the agent, and back. Whoever changes what is free and what
 * is full holds `lock_rings`, and gives it up before it calls into Python or sleeps. */
#include "slots.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Memory is reserved for so many segments at a time: a system call every 80,000 samples, if the agent has not made it. */
#define RESERVE_SEGMENTS 64
#define RESERVE_SEGMENTS_ON_DISK 8 /* that takes a quarter of a millisecond */
/* After there was none, nobody asks for so long: the kernel may take a millisecond to say no. */
#define NO_ROOM_NS 100000000
#define LONGEST_WAIT_NS 5000000000
#define BRAKE_NS 4000000
#define BRAKE_THREADS 4 /* more of them pause longer, because the others go on meanwhile */
#define LONGEST_BRAKE_NS 50000000
#define LONGEST_BRAKING_NS 2000000000
#define BRAKE_SEGMENTS 64 /* a smaller ring is full before anybody could react */
/* An agent that has not looked for so long may be gone. */
#define STALL_NS 1000000000
#define STALL_AGAIN_NS 250000000

/* Write zeros to the end of the file, which is at `at`. Returns 0 or an errno. */
static int
write_zeros(off_t at, off_t bytes)
{
    static const char zeros[SEGMENT_BYTES];
    for (off_t done = 0; done < bytes;) {
        size_t piece = bytes - done < (off_t)sizeof(zeros) ? (size_t)(bytes - done) : sizeof(zeros);
        ssize_t written = pwrite(ring.fd, zeros, piece, at + done);
        if (written > 0)
            done += written;
        else if (written == 0 || errno != EINTR) {
            int failure = written == 0 ? ENOSPC : errno;
            return ftruncate(ring.fd, at) < 0 ? errno : failure;
        }
    }
    return 0;
}

int
take_space(off_t at, off_t bytes)
{
    /* A page of the mapping that the file system finds no room for raises SIGBUS in the host. On a disk a reserved block
     * needs more of it when it is first written to, and a page may be part of a larger one that goes on behind the last
     * reserved block. So blocks are written, and the file ends with the last one. */
    return ring.is_on_disk ? write_zeros(at, bytes) : posix_fallocate(ring.fd, at, bytes);
}

int
reserve(uint32_t count)
{
    if (count > ring.limit - ring.reserved)
        count = ring.limit - ring.reserved;
    off_t at = (off_t)(segments_at(ring.limit) + (size_t)ring.reserved * SEGMENT_BYTES);
    int failure = count == 0 ? ENOSPC : take_space(at, (off_t)count * SEGMENT_BYTES);
    if (failure == 0)
        ring.reserved += count;
    return failure;
}

/* A segment that was never used becomes free. */
static int
extend(void)
{
    uint32_t reserved = __atomic_load_n(&ring.header->reserved, __ATOMIC_ACQUIRE);
    if (reserved > ring.reserved && reserved <= ring.limit)
        ring.reserved = reserved;
    if (ring.used == ring.reserved) {
        if (ring.used == ring.limit || __atomic_load_n(&ring.header->no_room, __ATOMIC_RELAXED) ||
            now_ns() < ring.no_room_until_ns)
            return 0;
        if (reserve(ring.is_on_disk ? RESERVE_SEGMENTS_ON_DISK : RESERVE_SEGMENTS) != 0) {
            ring.no_room_until_ns = now_ns() + NO_ROOM_NS;
            return 0;
        }
    }
    ring.free_segments[ring.free_length++] = ring.used;
    __atomic_store_n(&ring.header->used, ++ring.used, __ATOMIC_RELEASE);
    return 1;
}

/* Segments that the agent has given back become free. Whether there are any. */
static int
sweep(void)
{
    uint64_t released = __atomic_load_n(&ring.header->released, __ATOMIC_ACQUIRE);
    if (released == ring.swept_at)
        return 0;
    ring.swept_at = released;
    uint32_t kept = 0, before = ring.free_length;
    for (uint32_t i = 0; i < ring.full_length; i++) {
        uint32_t number = ring.full_segments[i];
        if (__atomic_load_n(&ring.drained[number], __ATOMIC_ACQUIRE) == drained_mark(segment_of(number)))
            ring.free_segments[ring.free_length++] = number;
        else
            ring.full_segments[kept++] = number;
    }
    ring.full_length = kept;
    return ring.free_length > before;
}

int
make_room(void)
{
    return ring.free_length > 0 || sweep() || extend();
}

/* The same, also with what threads that ended have left. Not where an account is at hand: that changes it. */
static int
make_all_room(void)
{
    return make_room() || (reap_if_ended() && make_room());
}

void
finish_segment(Segment *segment)
{
    uint32_t number = number_of_segment(segment);
    __atomic_store_n(&segment->state, FULL, __ATOMIC_RELEASE);
    /* What is in parts already is free at once: perhaps nothing is released after it, and so nobody would look. */
    if (__atomic_load_n(&ring.drained[number], __ATOMIC_ACQUIRE) == drained_mark(segment))
        ring.free_segments[ring.free_length++] = number;
    else
        ring.full_segments[ring.full_length++] = number;
}

/* Count the rows of `segment` from `begin` on as lost, operation by operation. */
static void
count_lost_rows(Segment *segment, uint32_t begin)
{
    uint32_t end = segment->written;
    for (uint32_t row = begin; row < end; row++) {
        uint32_t probe_id = segment->operation[row];
        if (probe_id == UINT32_MAX)
            continue; /* counted with an earlier row */
        if (probe_id == COLLECTION || probe_id == DETAILS)
            continue; /* in no account; what details have for times may be any values */
        uint64_t samples = 0;
        int64_t first = INT64_MAX, last = INT64_MIN;
        for (uint32_t other = row; other < end; other++) {
            if (segment->operation[other] != probe_id)
                continue;
            segment->operation[other] = UINT32_MAX;
            samples++;
            if (segment->start[other] < first)
                first = segment->start[other];
            if (segment->start[other] + segment->duration[other] > last)
                last = segment->start[other] + segment->duration[other];
        }
        add_together(ring.header->lost, samples);
        count_overwritten(probe_id, segment->thread, samples, first, last);
    }
}

/* Take a full segment from the agent, unless that is copying it. Its rows from *begin on are in no part. */
static int
withdraw(uint32_t number, uint32_t *begin)
{
    Segment *segment = segment_of(number);
    uint64_t sequence = segment->sequence;
    /* Either we see its claim, or it sees that the sequence has changed: both store first and look afterwards. */
    __atomic_store_n(&segment->sequence, 0, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&ring.claimed[number], __ATOMIC_SEQ_CST) == sequence) {
        __atomic_store_n(&segment->sequence, sequence, __ATOMIC_RELEASE);
        return 0;
    }
    uint64_t drained = __atomic_load_n(&ring.drained[number], __ATOMIC_ACQUIRE);
    *begin = drained >> 32 == (uint32_t)sequence ? (uint32_t)drained : 0;
    __atomic_store_n(&segment->state, FREE, __ATOMIC_RELEASE);
    return 1;
}

int
overwrite(void)
{
    for (uint32_t i = 0; i < ring.full_length; i++) {
        uint32_t number = ring.full_segments[i], begin;
        if (!withdraw(number, &begin))
            continue;
        count_lost_rows(segment_of(number), begin);
        memmove(&ring.full_segments[i], &ring.full_segments[i + 1], (--ring.full_length - i) * sizeof(uint32_t));
        ring.free_segments[ring.free_length++] = number;
        return 1;
    }
    return 0;
}

static void
wake(void)
{
    ssize_t written = write(ring.wake_fd, "", 1); /* a full pipe wakes as well */
    (void)written;
}

/* Wake the agent when many segments are in use, once until it has released some. */
static void
wake_if_filling(void)
{
    if (ring.wake_fd < 0 || ring.used - ring.free_length < ring.wake_at)
        return;
    uint64_t released = __atomic_load_n(&ring.header->released, __ATOMIC_ACQUIRE);
    if (ring.waked_at == released + 1)
        return;
    sweep();
    if (ring.used - ring.free_length < ring.wake_at)
        return;
    ring.waked_at = released + 1;
    wake();
}

/* Full rings and nobody who empties them: let the recorder see to it. Whatever is wrong there is not the host's trouble.
 */
static void
report_stall(void)
{
    int64_t now = now_ns(), looked = __atomic_load_n(&ring.header->seen_ns, __ATOMIC_RELAXED);
    lock_rings();
    int is_due = ring.on_stall != NULL && now - looked >= STALL_NS && now - ring.stalled_ns >= STALL_AGAIN_NS;
    if (is_due)
        ring.stalled_ns = now;
    unlock_rings();
    if (!is_due)
        return;
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyObject *callback = Py_NewRef(ring.on_stall), *result = PyObject_CallNoArgs(callback);
    Py_DECREF(callback);
    Py_XDECREF(result);
    PyErr_Restore(type, value, trace);
}

/* Until somebody makes room, for a bounded time. Others run meanwhile, and may end the recording. With the lock, which is
 * given up meanwhile. */
static int
wait_for_room(void)
{
    uint64_t session = ring.session;
    int64_t give_up = now_ns() + LONGEST_WAIT_NS;
    if (ring.is_hopeless && ring.hopeless_at == ring.header->released)
        return 0;
    ring.is_hopeless = 0;
    while (ring.recording && ring.session == session && !make_all_room()) {
        if (now_ns() > give_up) {
            ring.is_hopeless = 1;
            ring.hopeless_at = ring.header->released;
            return 0;
        }
        unlock_rings();
        report_stall();
        Py_BEGIN_ALLOW_THREADS
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
        Py_END_ALLOW_THREADS
        lock_rings();
    }
    return ring.session == session && ring.free_length > 0;
}

/* When rings fill faster than they are emptied, slow down a little rather than lose samples: whoever records most pays,
 * a few BRAKE_NS at most for each segment, and only while they are being emptied. It begins where half is full, with
 * next to nothing but that others may have the processor: above all the agent, where there is none to spare. */
static void
brake(void)
{
    uint32_t half = ring.limit / 2;
    if (ring.on_full == OVERWRITE || ring.limit < BRAKE_SEGMENTS)
        return;
    lock_rings();
    uint32_t room = ring.free_length + (ring.limit - ring.used);
    if (room < half && sweep())
        room = ring.free_length + (ring.limit - ring.used);
    uint32_t recording = 0;
    for (const Thread *thread = threads; thread != NULL && room < half; thread = thread->next)
        recording += thread->session == ring.session && !__atomic_load_n(&thread->ended, __ATOMIC_RELAXED);
    unlock_rings();
    if (room >= half)
        return;
    if (now_ns() - __atomic_load_n(&ring.header->released_ns, __ATOMIC_RELAXED) > LONGEST_BRAKING_NS)
        return;
    double lack = (double)(half - room) / half, pause = BRAKE_NS * lack * lack;
    if (recording > BRAKE_THREADS)
        pause *= (double)recording / BRAKE_THREADS;
    if (pause > LONGEST_BRAKE_NS)
        pause = LONGEST_BRAKE_NS;
    Py_BEGIN_ALLOW_THREADS
    nanosleep(&(struct timespec){.tv_nsec = (long)pause}, NULL);
    Py_END_ALLOW_THREADS
}

/* A free segment becomes that of `thread`. */
static Segment *
own_free_segment(Thread *thread)
{
    uint32_t number = ring.free_segments[--ring.free_length]; /* the last one used: its pages are warm */
    Segment *segment = segment_of(number);
    /* `written` before `sequence`: whoever finds the new sequence must not find the rows of the old one. */
    __atomic_store_n(&segment->state, FREE, __ATOMIC_RELEASE);
    __atomic_store_n(&segment->written, 0, __ATOMIC_RELEASE);
    segment->inverse = ~(uint32_t)0;
    segment->thread = thread->id;
    __atomic_store_n(&segment->sequence, ++ring.sequence, __ATOMIC_RELEASE);
    __atomic_store_n(&segment->state, OWNED, __ATOMIC_RELEASE);
    wake_if_filling();
    thread->segment = segment;
    return segment;
}

Segment *
take_segment(Thread *thread, uint32_t rows)
{
    uint64_t session = seen(ring.session);
    if (thread->segment != NULL) {
        lock_rings();
        finish_segment(thread->segment);
        unlock_rings();
    }
    if (thread->segment != NULL || ++thread->lost_in_a_row >= SEGMENT_ROWS) {
        thread->segment = NULL;
        thread->lost_in_a_row = 0;
        brake();
        if (seen(ring.session) != session)
            return NULL; /* the recording has ended meanwhile */
    }
    Segment *segment = NULL;
    lock_rings();
    int has_room = make_all_room() || (ring.on_full == OVERWRITE && overwrite()) ||
                   (ring.on_full == WAIT && wait_for_room());
    int goes_on = ring.session == session;
    if (has_room && goes_on && thread->segment == NULL)
        segment = own_free_segment(thread);
    else if (has_room && goes_on && thread->segment->written <= SEGMENT_ROWS - rows)
        segment = thread->segment; /* the recorder was called, and recorded something itself */
    unlock_rings();
    if (!has_room && goes_on)
        report_stall();
    return segment;
}

void
lose(const Thread *thread, Count *count, const Sample *sample)
{
    /* First of all it is open no longer: whoever dies in here leaves one sample unreported, and none twice. */
    if (sample->slot != NULL)
        publish_slot(sample->slot, SLOT_FREE);
    add_together(ring.header->lost, 1);
    if (count->lost == 0)
        tell(count->first_loss, sample->start);
    tell(count->last_loss, sample->end);
    count_up(count->lost, 1);
    note_lost(&count->lost_slot, sample->probe_id, thread->id, NO_ROOM, 1, sample->start, sample->end);
}

/* ---- watching ---------------------------------------------------------------------------------------------------- */

void
note_trip(uint32_t probe_id, int64_t duration, uint32_t error, int64_t span)
{
    lock_rings();
    uint64_t trips = ring.header->trips, taken = __atomic_load_n(&ring.header->taken_trips, __ATOMIC_ACQUIRE);
    if (trips - taken < TRIPS) { /* the first few are enough */
        ring.header->trip[trips % TRIPS] = (Trip){probe_id, error, span, duration, 0};
        __atomic_store_n(&ring.header->trips, trips + 1, __ATOMIC_RELEASE);
    }
    unlock_rings();
    if (trips == taken && ring.wake_fd >= 0)
        wake();
}
