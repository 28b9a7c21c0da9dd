/* Numbers of spans: each is given once in a process, and a span's is greater than its parent's. */
#ifndef QP_NUMBERS_H
#define QP_NUMBERS_H

#include "rings.h"

#if PARALLEL

/* A thread takes so many numbers at once. */
#define NUMBERS_AT_A_TIME 256
/* What is left of them is given up once so many have been taken since: readers go through samples by number, and keep
 * those that come out of turn in memory. */
#define OUT_OF_TURN (64 * NUMBERS_AT_A_TIME)

/* A number for the next span of `thread`. */
static inline int64_t
next_number(Thread *thread, int64_t parent)
{
    int64_t next = thread->last_number + 1;
    if (next > thread->end_of_numbers || next <= parent || next + OUT_OF_TURN < seen(ring.header->last_span)) {
        thread->end_of_numbers = add_together(ring.header->last_span, NUMBERS_AT_A_TIME);
        next = thread->end_of_numbers - NUMBERS_AT_A_TIME + 1;
    }
    return next;
}

/* The span with that number has been entered. */
static inline void
count_entered(Thread *thread, int64_t number)
{
    thread->last_number = number;
    if (thread->shares_entered)
        add_together(*thread->entered, 1);
    else
        count_up(*thread->entered, 1);
}

#else

static inline int64_t
next_number(const Thread *thread, int64_t parent)
{
    (void)thread;
    (void)parent;
    return last_span + 1;
}

static inline void
count_entered(const Thread *thread, int64_t number)
{
    (void)thread;
    __atomic_store_n(&ring.header->last_span, last_span = number, __ATOMIC_RELEASE);
}

#endif

#endif
