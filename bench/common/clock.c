/*
 * clock.c - time: of the thread, for long stretches, and ticks for short ones.
 *
 * Problem     The machine is shared: wall time counts other people's work. But thread CPU time costs
 *             a system call of some 200 ns, too much to measure sixty calls of 3 ns each.
 * Idea        Thread CPU time wherever a stretch is long; for short ones the time stamp counter,
 *             calibrated against the wall clock when first used, its own cost subtracted.
 * Invariants  The counter runs at a constant rate (constant_tsc of every x86_64 CPU since 2008).
 * Locking     None; calibrate from one thread.
 * Cost        Calibration 20 ms, once.
 * Rejected    Performance counters: virtual machines often have none.
 */
#include "clock.h"

#include <time.h>

static uint64_t read_ns(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_thread_ns(void)
{
    return read_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t clock_wall_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

static double ns_per_tick, overhead_ticks;

static void calibrate(void)
{
    uint64_t wall = clock_wall_ns();
    uint64_t ticks = clock_ticks();
    uint64_t least = UINT64_MAX;

    while (clock_wall_ns() - wall < 20000000)
        ;
    ns_per_tick = (double)(clock_wall_ns() - wall) / (double)(clock_ticks() - ticks);
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t from = clock_ticks();
        uint64_t cost = clock_ticks() - from;

        if (cost < least)
            least = cost;
    }
    overhead_ticks = (double)least;
}

double clock_ticks_ns(uint64_t from, uint64_t to)
{
    double ticks;

    if (ns_per_tick == 0)
        calibrate();
    ticks = (double)(to - from) - overhead_ticks;
    return ticks > 0 ? ticks * ns_per_tick : 0;
}
