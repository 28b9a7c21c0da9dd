/* The native clock over a counter and a CLOCK_MONOTONIC of the test's own. Reading either takes time, as it does. */
#include <x86intrin.h>
#include <stdint.h>
#include <time.h>

static uint64_t ticks;
static int64_t ns;
static double ticks_per_ns, rest;

void
pass_ns(int64_t passed)
{
    double more = (double)passed * ticks_per_ns + rest;
    ns += passed;
    ticks += (uint64_t)more;
    rest = more - (double)(uint64_t)more;
}

static unsigned long long
read_counter(void)
{
    pass_ns(8);
    return ticks;
}

static int
read_monotonic(clockid_t clock, struct timespec *time)
{
    (void)clock;
    pass_ns(15);
    time->tv_sec = ns / 1000000000;
    time->tv_nsec = ns % 1000000000;
    pass_ns(15);
    return 0;
}

#undef __rdtsc
#define __rdtsc read_counter
#define clock_gettime read_monotonic
#include "clock.c"

#if PARALLEL
pthread_mutex_t clock_lock = PTHREAD_MUTEX_INITIALIZER;
#endif

void
begin(int64_t at_ns, double rate)
{
    ns = at_ns;
    ticks_per_ns = rate;
    uses_counter = 1;
}

void
set_rate(double rate)
{
    ticks_per_ns = rate;
}

void
jump(int64_t by)
{
    ticks += (uint64_t)by;
}

int64_t
true_ns(void)
{
    return ns;
}

int64_t
reading(int at_last)
{
    return at_last ? now_at_last_ns() : now_ns();
}
