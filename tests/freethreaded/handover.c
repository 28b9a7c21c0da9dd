/* The core's own code under ThreadSanitizer, without a Python: threads record, begin and end, and another one takes what
 * they have recorded as an agent does, by `docs/format.md`. It maps nothing of its own, so that the sanitizer knows the
 * memory that both use. `make tsan` builds it as of a Python without the interpreter lock, and runs it.
 *
 *     handover FOLDER
 *
 * It checks as well that each sample arrives once and whole, or is counted as lost. */
#define PY_SSIZE_T_CLEAN
#include "recording.c"
#include "accounts.c"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#if !PARALLEL
#error "as of a Python without the interpreter lock"
#endif

#define PROBES 8
#define PRODUCERS 4
#define GENERATIONS 5 /* of threads, one after the other in each place */
#define SAMPLES 15000 /* of a thread */
#define SPANS (2 * PRODUCERS * GENERATIONS * SAMPLES + PRODUCERS * GENERATIONS * 2 * NUMBERS_AT_A_TIME)

#include "numbers.h"

static void
check(int condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "handover: %s\n", what);
    exit(1);
}

/* ---- what the core asks of Python -------------------------------------------------------------------------------- */

PyThreadState *
PyEval_SaveThread(void)
{
    return NULL;
}

void
PyEval_RestoreThread(PyThreadState *state)
{
    (void)state;
}

void
PyUnstable_GC_VisitObjects(gcvisitobjects_t function, void *argument)
{
    function(NULL, argument); /* here no other thread runs when the recording ends */
}

void
forget_open_spans(void)
{
}

PyObject *
note_collection(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    return NULL;
}

/* ---- threads that record ----------------------------------------------------------------------------------------- */

static int is_watching = 1; /* the main thread reads accounts */

/* As `enter` and `leave` do, one block inside of another; without contexts, which are Python's. */
static void
record(Thread *thread, uint32_t probe_id, int64_t parent, int depth)
{
    Count *count = count_of(thread, probe_id);
    int64_t span = next_number(thread, parent);
    Slot *slot = take_slot(thread);
    if (slot != NULL) {
        slot->probe_id = probe_id;
        slot->thread = thread->id;
        slot->open.span = span;
        slot->open.start = 0;
        slot->open.parent = parent;
        slot->open.weight = 1;
    }
    count_up(count->started, 1);
    count_entered(thread, span);
    if (slot != NULL)
        publish_slot(slot, SLOT_OPEN);
    int64_t start = now_at_last_ns();
    if (slot != NULL)
        slot->open.start = start;
    check(span > parent, "a span's number is that of its parent or less");
    if (depth > 0)
        record(thread, (probe_id + 1) % PROBES, span, depth - 1);
    int64_t end = now_ns();
    check(end >= start, "time goes back");
    /* What the other side knows of it by heart. */
    Sample sample = {.start = 3 * span, .end = 5 * span, .span = span, .parent = parent, .task = ~span,
                     .probe_id = probe_id, .error = (uint32_t)span, .weight = 1, .slot = slot};
    Details *details = span % 3 == 0 ? malloc(sizeof(Details) + (VALUES_PER_ROW + 1) * sizeof(int64_t)) : NULL;
    if (details != NULL) {
        *details = (Details){.cpu = 7 * span, .count = VALUES_PER_ROW + 1};
        for (int i = 0; i <= VALUES_PER_ROW; i++)
            details->values[i] = 11 * span + i;
    }
    if (commit_with(thread, &sample, details) && slot != NULL)
        free_slot(thread, slot);
    free(details);
}

static void *
producer(void *argument)
{
    uint32_t place = (uint32_t)(uintptr_t)argument;
    for (int i = 0; i < SAMPLES; i++) {
        Thread *thread = current_thread();
        check(thread != NULL, "no memory");
        record(thread, (place + (uint32_t)i) % PROBES, 0, 1);
    }
    return NULL;
}

static void *
producers(void *place)
{
    for (int generation = 0; generation < GENERATIONS; generation++) {
        pthread_t thread;
        check(pthread_create(&thread, NULL, producer, place) == 0, "no thread");
        pthread_join(thread, NULL);
    }
    return NULL;
}

/* ---- the agent's side -------------------------------------------------------------------------------------------- */

static char arrived[SPANS + 1];
static uint64_t rows_arrived;
static int has_stopped;

/* The rows of details that follow a sample's. */
static void
check_details(const Segment *segment, uint32_t row, int64_t span)
{
    check(segment->operation[row] == DETAILS && segment->span[row] == span && segment->start[row] == 7 * span &&
              segment->duration[row] == 11 * span && segment->parent[row] == 11 * span + 1 &&
              segment->task[row] == 11 * span + 2 && segment->error[row] == 0,
          "details that are not whole");
    check(segment->operation[row + 1] == DETAILS && segment->span[row + 1] == span && segment->start[row + 1] == NO_VALUE &&
              segment->duration[row + 1] == 11 * span + 3 && segment->parent[row + 1] == NO_VALUE && segment->error[row + 1] == 1,
          "further details that are not whole");
}

/* The sample in a row, and its details. Returns how many rows that were. */
static uint32_t
take_sample(const Segment *segment, uint32_t row, uint32_t end)
{
    int64_t span = segment->span[row];
    check(span > 0 && span <= SPANS, "a number that was never given");
    check(!arrived[span], "a sample arrives twice");
    arrived[span] = 1;
    rows_arrived++;
    check(segment->start[row] == 3 * span && segment->duration[row] == 2 * span && segment->task[row] == ~span &&
              segment->error[row] == (uint32_t)span && segment->operation[row] < PROBES && segment->weight[row] == 1 &&
              segment->parent[row] < span,
          "a row that is not whole");
    if (span % 3 != 0)
        return 1;
    check(row + 3 <= end, "a sample without its details");
    check_details(segment, row + 1, span);
    return 3;
}

/* The rows of a segment that are in no part yet; whether there were any. */
static int
drain_segment(uint32_t number)
{
    Segment *segment = segment_of(number);
    uint64_t *drained = (uint64_t *)&ring.drained[number], *claimed = (uint64_t *)&ring.claimed[number];
    uint32_t state = seen(segment->state);
    uint64_t sequence = seen(segment->sequence), mark = seen(*drained);
    if (sequence == 0 || (state != OWNED && state != FULL))
        return 0;
    uint32_t begin = mark >> 32 == (uint32_t)sequence ? (uint32_t)mark : 0;
    if (ring.on_full == OVERWRITE) {
        __atomic_store_n(claimed, sequence, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&segment->sequence, __ATOMIC_SEQ_CST) != sequence) {
            tell(*claimed, 0);
            return 0;
        }
    }
    uint32_t end = seen(segment->written);
    int has_rows = seen(segment->sequence) == sequence && end > begin;
    if (has_rows) {
        for (uint32_t row = begin; row < end;)
            row += take_sample(segment, row, end);
        tell(*drained, sequence << 32 | end);
        __atomic_add_fetch(&ring.header->released, 1, __ATOMIC_RELEASE);
        tell(ring.header->released_ns, now_ns());
    }
    if (ring.on_full == OVERWRITE)
        tell(*claimed, 0);
    return has_rows;
}

static void *
agent(void *unused)
{
    for (int is_last = 0;;) {
        int found = 0;
        uint32_t used = seen(ring.header->used);
        for (uint32_t number = 0; number < used; number++)
            found |= drain_segment(number);
        tell(ring.header->seen_ns, now_ns());
        if (is_last && !found)
            return unused;
        is_last = seen(has_stopped);
        if (!found)
            sched_yield();
    }
}

/* ---- both together ----------------------------------------------------------------------------------------------- */

static void
add_up(uint64_t *started, uint64_t *committed, uint64_t *lost)
{
    size_t length;
    lock_rings();
    Total *copy = copy_of_totals(&length);
    unlock_rings();
    check(copy != NULL, "no memory");
    int64_t sums[3] = {0};
    for (size_t i = 0; i < length; i++) {
        sums[0] += copy[i].started;
        sums[1] += copy[i].committed;
        sums[2] += copy[i].lost;
    }
    free(copy);
    *started = (uint64_t)sums[0];
    *committed = (uint64_t)sums[1];
    *lost = (uint64_t)sums[2];
}

static void *
watcher(void *unused)
{
    uint64_t started, committed, lost;
    while (seen(is_watching)) {
        add_up(&started, &committed, &lost);
        check(committed + lost <= started, "more has ended than was started");
        reap_if_ended();
        sched_yield();
    }
    return unused;
}

static void
run(const char *folder, int on_full, unsigned int segments)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%d-%u.ring", folder, on_full, segments);
    Options options = {
        .budget = RING_HEADER_BYTES + (unsigned long long)segments * SEGMENT_BYTES, .wake_fd = -1, .on_full = on_full, .first = 1};
    last_span = 0;
    memset(arrived, 0, sizeof(arrived));
    rows_arrived = 0;
    tell(has_stopped, 0);
    tell(is_watching, 1);
    check(prepare(path, &options) == 0, "no ring");
    publish();

    pthread_t threads_of[PRODUCERS], consumer, other;
    check(pthread_create(&consumer, NULL, agent, NULL) == 0 && pthread_create(&other, NULL, watcher, NULL) == 0, "no thread");
    for (uintptr_t place = 0; place < PRODUCERS; place++)
        check(pthread_create(&threads_of[place], NULL, producers, (void *)place) == 0, "no thread");
    for (int place = 0; place < PRODUCERS; place++)
        pthread_join(threads_of[place], NULL);
    tell(is_watching, 0);
    pthread_join(other, NULL);
    reap();
    tell(has_stopped, 1);
    pthread_join(consumer, NULL);

    uint64_t started, committed, lost, entered = 0, expected = 2ull * PRODUCERS * GENERATIONS * SAMPLES;
    add_up(&started, &committed, &lost);
    for (int i = 0; i < COUNTERS; i++)
        entered += ring.header->counter[i].entered;
    printf("on_full %d, %u segments: %lu rows arrived, %lu lost\n", on_full, segments, (unsigned long)rows_arrived,
           (unsigned long)lost);
    check(started == expected && entered == expected, "not all that was entered is counted");
    check(committed == rows_arrived && committed + lost == started, "the account does not add up");
    check(lost == ring.header->lost, "the header and the account differ");
    check(on_full != WAIT || lost == 0, "samples are lost although they wait");
    for (Slot *slot = (Slot *)(ring.memory + FIRST_SLOTS_OFFSET); (char *)slot < ring.memory + TEXTS_OFFSET; slot++)
        check(slot->kind != SLOT_OPEN, "a slot is still open");

    alone(end_session, NULL);
    free_rings();
    reap();
    unlink(path);
}

int
main(int count, char **arguments)
{
    check(count == 2, "handover FOLDER");
    prepare_clock();
    check(prepare_threads() == 0, "no threads");
    run(arguments[1], WAIT, 6);
    run(arguments[1], DROP, 6);
    run(arguments[1], OVERWRITE, 12);
    return 0;
}
