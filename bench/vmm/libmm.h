/*
 * libmm.h - the builds of libmm that are measured, and what only they can do.
 *
 * Each is a whole libmm.a with the code that calls it, linked into one object of which nothing but
 * the struct below is visible (bench/CMakeLists.txt): so several live in one program.
 */
#ifndef BENCH_VMM_LIBMM_H
#define BENCH_VMM_LIBMM_H

#include "mapper.h"

struct libmm {
    struct mapper mapper;
};

extern const struct libmm libmm_vmm;          /* release, mm_host_cpu() inlined by MM_CPU_HEADER */
extern const struct libmm libmm_vmm_hardened; /* hardened, the same */

#endif
