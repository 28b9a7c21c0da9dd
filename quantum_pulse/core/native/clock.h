/* The clock that samples are taken with: CLOCK_MONOTONIC, to within a microsecond.
 *
 * Where the processor's time-stamp counter can be trusted, it says how much time has passed since the last reading of
 * CLOCK_MONOTONIC, for a millisecond at most; reading it takes a third of the time. So nothing need be known of its
 * frequency beforehand, and whatever disciplines CLOCK_MONOTONIC disciplines this clock too.
 *
 * All threads share one line, so that what they read is in one order. Where they run at the same time, one of them draws
 * it, and the others see by its version that it changes. */
#ifndef QP_CLOCK_H
#define QP_CLOCK_H

#include <stdint.h>
#include <time.h>

#include "parallel.h"

#if defined(__x86_64__)
#define HAS_COUNTER 1
#include <x86intrin.h>
#else
#define HAS_COUNTER 0
#endif

static inline int64_t
monotonic_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

#if HAS_COUNTER

#define RATE_BITS 32

/* A straight line from ticks to ns. */
typedef struct {
    uint64_t ticks; /* where it begins */
    int64_t ns;
    uint64_t rate;   /* ns a tick, times 2^RATE_BITS */
    uint64_t length; /* ticks for which it holds; 0: it has ended */
} Line;

extern Line line;
extern int uses_counter;

#if PARALLEL

extern uint32_t line_version; /* odd: it changes */

/* The present line; whether it was seen whole. */
static inline int
read_line(Line *now)
{
    uint32_t version = seen(line_version);
    *now = (Line){seen(line.ticks), seen(line.ns), seen(line.rate), seen(line.length)};
    return !(version & 1) && version == seen(line_version);
}

static inline void
set_line(const Line *next)
{
    tell(line_version, line_version + 1);
    tell(line.ticks, next->ticks);
    tell(line.ns, next->ns);
    tell(line.rate, next->rate);
    tell(line.length, next->length);
    tell(line_version, line_version + 1);
}

#else

static inline int
read_line(Line *now)
{
    *now = line;
    return 1;
}

static inline void
set_line(const Line *next)
{
    line = *next;
}

#endif

/* The time at `ticks`, if the present line reaches it. */
static inline int
on_present_line(uint64_t ticks, int64_t *ns)
{
    Line now;
    if (!read_line(&now))
        return 0;
    uint64_t passed = ticks - now.ticks;
    if (passed >= now.length)
        return 0;
    *ns = now.ns + (int64_t)(passed * now.rate >> RATE_BITS);
    return 1;
}

/* The slow half: read CLOCK_MONOTONIC, and begin a new line unless another thread just has. Returns the time at `ticks`,
 * which were read just now. */
int64_t begin_line(uint64_t ticks);

/* The present, as of the beginning of the call: for the end of what is timed. */
static inline int64_t
now_ns(void)
{
    if (!seen(uses_counter))
        return monotonic_ns();
    uint64_t ticks = __rdtsc();
    int64_t ns;
    return on_present_line(ticks, &ns) ? ns : begin_line(ticks);
}

/* The present, as of the end of the call: for the beginning of what is timed. */
static inline int64_t
now_at_last_ns(void)
{
    if (!seen(uses_counter))
        return monotonic_ns();
    uint64_t ticks = __rdtsc();
    int64_t ns;
    if (on_present_line(ticks, &ns))
        return ns;
    begin_line(ticks);
    return now_ns();
}

#else

#define now_ns monotonic_ns
#define now_at_last_ns monotonic_ns

#endif

/* What readings come from: "counter" or "monotonic". */
const char *clock_source(void);

/* Find out whether the counter can be trusted. QUANTUM_PULSE_CLOCK=monotonic in the environment: not to be. */
void prepare_clock(void);

#endif
