/*
 * trace.h - recorded allocations of page frames.
 */
#ifndef BENCH_PMM_TRACE_H
#define BENCH_PMM_TRACE_H

#include "allocator.h"

struct trace {
    struct trace_step *step;
    size_t count;
    uint32_t slots;       /* that are in use at once, at most */
    uint64_t peak_frames; /* that are allocated at once, at most */
    struct memory memory;
};

/* Read a file of bench/pmm/data (its README.md has the format). Ends the program if it is damaged. */
struct trace trace_read(const char *path);
void trace_free(struct trace *trace);

#endif
