#include "slots.h"

#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

Thread *threads;
__thread Thread *this_thread;
static pthread_key_t thread_key;
static int has_ended; /* some thread, since the last `reap` */

/* Runs without the interpreter lock. */
static void
thread_ended(void *value)
{
    __atomic_store_n(&((Thread *)value)->ended, 1, __ATOMIC_RELEASE);
    __atomic_store_n(&has_ended, 1, __ATOMIC_RELEASE);
}

/* What `thread` has in advance of the present recording, of which it has nothing yet. */
static void
begin_advances(Thread *thread)
{
#if PARALLEL
    thread->last_number = ring.left_number;
    thread->end_of_numbers = ring.end_of_left;
    ring.left_number = ring.end_of_left = 0;
    thread->free_slots = NULL;
    thread->free_slots_length = 0;
    thread->entered = NULL;
    if (ring.header == NULL)
        return;
    uint32_t number = 1;
    while (number < COUNTERS && ring.counters_taken >> number & 1)
        number++;
    thread->shares_entered = number == COUNTERS;
    if (thread->shares_entered)
        number = 0;
    else
        ring.counters_taken |= (uint64_t)1 << number;
    thread->entered = &ring.header->counter[number].entered;
#else
    (void)thread;
#endif
}

/* A thread that has ended leaves them to others. */
static void
end_advances(Thread *thread)
{
#if PARALLEL
    return_slots(thread, 0);
    if (thread->end_of_numbers > ring.end_of_left) { /* the latest: others are out of turn */
        ring.left_number = thread->last_number;
        ring.end_of_left = thread->end_of_numbers;
    }
    if (!thread->shares_entered)
        ring.counters_taken &= ~((uint64_t)1 << ((Counter *)thread->entered - ring.header->counter));
#else
    (void)thread;
#endif
}

static Thread *
attach(void)
{
    Thread *thread = this_thread;
    if (thread == NULL) {
        reap_if_ended(); /* programs that start a thread for each request must not use up the segments */
        thread = calloc(1, sizeof(Thread));
        if (thread == NULL)
            return NULL;
        thread->id = (int64_t)syscall(SYS_gettid);
        thread->next = threads;
        threads = thread;
        this_thread = thread;
        pthread_setspecific(thread_key, thread);
    }
    thread->session = ring.session;
    begin_advances(thread);
    thread->context_version = 0;
    thread->task_version = 0;
    thread->segment = NULL;
    free(thread->counts);
    thread->counts = NULL;
    thread->counts_length = 0;
    return thread;
}

Thread *
attach_thread(void)
{
    lock_rings();
    Thread *thread = attach();
    unlock_rings();
    return thread;
}

void
reap(void)
{
    lock_rings();
    __atomic_store_n(&has_ended, 0, __ATOMIC_RELEASE);
    for (Thread **link = &threads; *link != NULL;) {
        Thread *thread = *link;
        if (!__atomic_load_n(&thread->ended, __ATOMIC_ACQUIRE)) {
            link = &thread->next;
            continue;
        }
        if (thread->session == ring.session && ring.in_use) {
            keep_counts(thread);
            if (thread->segment != NULL)
                finish_segment(thread->segment);
            end_advances(thread);
        }
        *link = thread->next;
        free(thread->counts);
        free(thread);
    }
    unlock_rings();
}

int
reap_if_ended(void)
{
    if (!__atomic_load_n(&has_ended, __ATOMIC_RELAXED))
        return 0;
    reap();
    return 1;
}

/* A child that C code has forked: nothing may be written into the parent's rings. Where Python forked, `forget` and
 * `start` follow. */
static void
after_fork_in_child(void)
{
    renew_locks();
    tell(ring.recording, 0);
}

int
prepare_threads(void)
{
    int failure = pthread_key_create(&thread_key, thread_ended);
    if (failure == 0)
        failure = pthread_atfork(NULL, NULL, after_fork_in_child);
    if (failure == 0)
        return 0;
    errno = failure;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}
