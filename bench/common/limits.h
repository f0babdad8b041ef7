/*
 * limits.h - what the machine allows: the operations that bound an allocator, or page tables.
 */
#ifndef BENCH_COMMON_LIMITS_H
#define BENCH_COMMON_LIMITS_H

#include <stddef.h>

/* ns of one locked add to a line that this CPU has, each waiting for the one before. */
double limit_lock_ns(void);

/* ns of a load and a store, each load from where the store before has written to. */
double limit_pair_ns(void);

/* ns to zero 4 KiB: `passes` times over `pages` of them from `page` on. */
double limit_zero_ns(char *page, unsigned pages, unsigned passes);

/* ns of one plain 8-byte store: `passes` times over `words` of them, another value each. */
double limit_store_ns(void *word, size_t words, unsigned passes);

/* A random cycle through the lines of [start, start + bytes); what limit_miss_ns() follows. */
void **limit_miss_prepare(void *start, size_t bytes);

/* ns of a load that waits for the one before. Goes on where the last call stopped: what that one
 * has read is in the caches. */
double limit_miss_ns(void ***at, unsigned loads);

#endif
