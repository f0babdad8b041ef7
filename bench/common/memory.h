/*
 * memory.h - memory of the bench: metadata as a kernel has them, and RAM that nobody touches.
 */
#ifndef BENCH_COMMON_MEMORY_H
#define BENCH_COMMON_MEMORY_H

#include <stddef.h>

struct memory {
    void *start;
    size_t bytes;
};

/* Zeroed, present, on 2 MiB pages where the system has them: like a kernel's direct map. */
struct memory memory_take(size_t bytes);

/* An address range that costs nothing until it is touched, aligned to 2 MiB. */
struct memory memory_reserve(size_t bytes);

void memory_give(struct memory *memory);

/* How many bytes of this process are on 2 MiB pages; 0 where the system does not tell. */
size_t memory_huge_bytes(void);

#endif
