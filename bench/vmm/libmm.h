/*
 * libmm.h - the builds of libmm that are measured, and what only they can do.
 *
 * Each is a whole libmm.a with the code that calls it, linked into one object of which nothing but
 * the struct below is visible (bench/CMakeLists.txt): so several live in one program.
 */
#ifndef BENCH_VMM_LIBMM_H
#define BENCH_VMM_LIBMM_H

#include "../common/random.h"
#include "mapper.h"

struct libmm {
    struct mapper mapper;

    /* An arena with `spans` spans of 1 to `pages_max` pages. close returns the number of faults. */
    void *(*arena_open)(uint64_t spans, uint32_t pages_max, struct random *random);
    size_t (*arena_close)(void *arena);

    /* For each call: give back span index[i], take one of pages[i] pages in its place. */
    void (*arena_churn)(void *arena, const uint32_t *index, const uint32_t *pages, size_t calls);
};

extern const struct libmm libmm_vmm;          /* release, mm_host_cpu() inlined by MM_CPU_HEADER */
extern const struct libmm libmm_vmm_hardened; /* hardened, the same */

#endif
