#include "clock.h"

#if HAS_COUNTER

#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

/* A line holds for so long, in ns. A clock is slewed by 500 ppm at most (adjtimex(2)): that is half a microsecond. */
#define LINE_NS 1000000
/* The rate is taken over at least so long, in ns: two readings that are uncertain by 20 ns make it so by 2 ppm. */
#define RATE_NS 16000000
#define FIRST_RATE_NS 200000
/* Both clocks are read together if that took at most so many times what it took at best; else somebody came between. */
#define TOGETHER 3
/* Where a line ends so many ns off, the counter and the clock disagree; after a few times the counter is given up. */
#define DISAGREEMENT_NS 20000
#define MOST_DISAGREEMENTS 5

Line line;
int uses_counter;
#if PARALLEL
uint32_t line_version;
#endif

typedef struct {
    uint64_t ticks;
    int64_t ns;
} Moment;

static int disagreements;
static int64_t latest; /* no reading was later */
static Moment since;   /* that the rate is taken from; ns 0: there is none yet */
static double rate;    /* ns a tick; 0: not known */
static uint64_t narrowest = UINT64_MAX / TOGETHER; /* ticks that reading both clocks took at best */

/* Both clocks at one moment; whether that was possible. */
static int
read_both(Moment *moment)
{
    uint64_t before = __rdtsc();
    for (int tries = 0; tries < 4; tries++) {
        moment->ns = monotonic_ns();
        uint64_t after = __rdtsc(), width = after - before;
        moment->ticks = before + width / 2;
        if (width < narrowest)
            narrowest = width;
        if (width <= TOGETHER * narrowest)
            return 1;
        before = after;
    }
    return 0;
}

static int64_t
on_line(uint64_t ticks)
{
    return line.ns + ((int64_t)(ticks - line.ticks) * (int64_t)line.rate >> RATE_BITS);
}

/* A line that has ended not long ago should have led to `now`. */
static void
check(const Moment *now)
{
    if (line.length == 0 || now->ticks - line.ticks > 4 * line.length)
        return;
    int64_t difference = on_line(now->ticks) - now->ns;
    if (difference > -DISAGREEMENT_NS && difference < DISAGREEMENT_NS)
        return;
    rate = 0;
    since = *now;
    if (++disagreements > MOST_DISAGREEMENTS)
        tell(uses_counter, 0);
}

static void
measure_rate(const Moment *now)
{
    if (since.ns == 0)
        since = *now;
    int64_t ns = now->ns - since.ns, ticks = (int64_t)(now->ticks - since.ticks);
    if (ns < (rate == 0 ? FIRST_RATE_NS : RATE_NS))
        return;
    /* From 100 MHz to 10 GHz; otherwise the counter has been set, as of a machine that was moved. */
    rate = ticks > ns / 10 && ticks < ns * 10 ? (double)ns / (double)ticks : 0;
    since = *now;
}

/* A line that begins where none was left behind, and at its end meets the clock as far as can be foreseen. */
static Line
drawn(const Moment *now)
{
    int64_t ahead = latest > now->ns ? latest - now->ns : 0;
    if (rate == 0 || ahead > LINE_NS / 2)
        return (Line){0};
    double ticks = LINE_NS / rate;
    return (Line){
        .ticks = now->ticks,
        .ns = now->ns + ahead,
        .rate = (uint64_t)((double)(LINE_NS - ahead) / ticks * (double)((uint64_t)1 << RATE_BITS)),
        .length = (uint64_t)ticks,
    };
}

/* The time at `ticks`, for which the present line does not hold; begins another one. */
static int64_t
draw_line(uint64_t ticks)
{
    Moment now;
    if (line.length > 0)
        latest = on_line(line.ticks + line.length);
    int together = uses_counter && read_both(&now);
    if (together) {
        check(&now);
        measure_rate(&now);
    }
    Line next = together && uses_counter ? drawn(&now) : (Line){0};
    set_line(&next);
    int64_t result = line.length > 0 ? on_line(ticks) : monotonic_ns();
    if (result > latest)
        latest = result;
    return latest;
}

int64_t
begin_line(uint64_t ticks)
{
    lock_clock();
    /* Another thread may have begun one since these ticks were read, which are then from before it. */
    int is_drawn = PARALLEL && __rdtsc() - line.ticks < line.length;
    int64_t result = !is_drawn ? draw_line(ticks) : (int64_t)(ticks - line.ticks) < 0 ? line.ns : on_line(ticks);
    unlock_clock();
    return result;
}

const char *
clock_source(void)
{
    return seen(uses_counter) ? "counter" : "monotonic";
}

/* Whether the kernel takes the counter for its own clock, and so watches over it: that it is the same on all processors
 * and runs evenly. */
static int
kernel_trusts_counter(void)
{
    char name[16] = "";
    FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
    if (file == NULL)
        return 0;
    int found = fgets(name, sizeof(name), file) != NULL && strcmp(name, "tsc\n") == 0;
    fclose(file);
    return found;
}

void
prepare_clock(void)
{
    unsigned int a, b, c, d;
    const char *wanted = getenv("QUANTUM_PULSE_CLOCK");
    int access = 0;
    uses_counter = (wanted == NULL || strcmp(wanted, "monotonic") != 0) &&
                 __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1u << 8) != 0 && /* it runs at one rate, always */
                 prctl(PR_GET_TSC, &access) == 0 && access == PR_TSC_ENABLE && kernel_trusts_counter();
    for (int readings = 0; readings < 16; readings++)
        now_ns(); /* so that the rate is known the sooner, and what a reading takes */
}

#else

const char *
clock_source(void)
{
    return "monotonic";
}

void
prepare_clock(void)
{
}

#endif
