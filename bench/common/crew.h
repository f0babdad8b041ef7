/*
 * crew.h - threads that work at the same time, each on a processor of its own.
 */
#ifndef BENCH_COMMON_CREW_H
#define BENCH_COMMON_CREW_H

#define CREW_MAX 2u

/* On a machine that does other things as well two threads may hardly meet: of so many attempts the
 * one counts in which they worked together for the largest part of the time; this part is enough. */
#define CREW_ATTEMPTS 5u
#define CREW_OVERLAP  0.9

/* What one of them does, as CPU `cpu`. */
typedef void crew_work(void *context, unsigned cpu);

struct crew_time {
    double cpu_ns;  /* of all together */
    double overlap; /* which part of the time all of them worked, at most 1 */
};

/* Each of `threads` threads does `before`, waits for the others, and does `work`, which is timed. */
struct crew_time crew_run(unsigned threads, crew_work *before, crew_work *work, void *context);

#endif
