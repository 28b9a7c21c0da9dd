/* Preloaded: the wall clock is ahead by as many seconds as the file named by WALL_OFFSET says. That is what setting the
 * clock looks like, and a machine that sleeps, during which CLOCK_MONOTONIC stands still. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int
clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    const char *path = getenv("WALL_OFFSET");
    if (clock == CLOCK_REALTIME && path != NULL) {
        FILE *file = fopen(path, "r");
        long offset = 0;
        if (file != NULL) {
            if (fscanf(file, "%ld", &offset) != 1)
                offset = 0;
            fclose(file);
        }
        time->tv_sec += offset;
    }
    return result;
}
