/*
 * libmm.h - the builds of libmm that are measured, and what only they can do.
 *
 * Each is a whole libmm.a with the code that calls it, linked into one object of which nothing but
 * the struct below is visible (bench/CMakeLists.txt): so several live in one program.
 */
#ifndef BENCH_PMM_LIBMM_H
#define BENCH_PMM_LIBMM_H

#include "allocator.h"

struct libmm {
    struct allocator allocator;

    /* mm_pmm_zero_ahead() until it says that it is enough; returns how many frames it zeroed. */
    size_t (*zero_ahead)(void *self);

    /* As take, with mm_pmm_alloc_zeroed(). */
    size_t (*take_zeroed)(void *self, uint32_t *frame, size_t count);

    /* mm_pmm_check(): the number of faults. */
    size_t (*check)(void *self);
};

extern const struct libmm libmm_inlined;  /* release, mm_host_cpu() inlined by MM_CPU_HEADER */
extern const struct libmm libmm_archive;  /* release, mm_host_cpu() a function */
extern const struct libmm libmm_hardened; /* hardened, inlined: a byte per frame */

#endif
