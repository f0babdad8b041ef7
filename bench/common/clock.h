/*
 * clock.h - time: of the thread, for long stretches, and ticks for short ones.
 */
#ifndef BENCH_COMMON_CLOCK_H
#define BENCH_COMMON_CLOCK_H

#include <stdint.h>
#include <x86intrin.h>

/* CPU time of this thread in ns: preemption does not count. Costs a system call, so measure 100 us
 * or more. */
uint64_t clock_thread_ns(void);

/* Wall clock in ns. */
uint64_t clock_wall_ns(void);

/* For short stretches: ticks of the time stamp counter, in order with what is before and after.
 * Preemption counts, so repeat and take the median. */
static inline uint64_t clock_ticks(void)
{
    uint64_t ticks;

    _mm_lfence();
    ticks = __rdtsc();
    _mm_lfence();
    return ticks;
}

/* Time between two reads of clock_ticks(), less what reading costs; never negative. */
double clock_ticks_ns(uint64_t from, uint64_t to);

#endif
