/*
 * mm/dialect/common.h - what the dialects share. Not a vocabulary: kernels include one of those.
 *
 * Context and cost of each function here and in the dialects are those of the calls that it makes.
 */
#include "../default.h" /* outside the guard: see mm/default.h */

#ifndef MM_DIALECT_COMMON_H
#define MM_DIALECT_COMMON_H

#include "../host.h"

/* For calls without a result, so that no failure is silent. */
static inline void mm_dialect_report(enum mm_err err, const char *what, const char *where,
                                     uint64_t address)
{
    struct mm_report report = MM_ZERO;

    report.kind = MM_REPORT_MISUSE;
    report.err = err;
    report.what = what;
    report.where = where;
    report.object = &mm_default;
    report.address = address;
    mm_host_report(&report);
}

static inline void mm_dialect_refused(enum mm_err err, const char *where, uint64_t address)
{
    if (err != MM_OK)
        mm_dialect_report(err, "refused, nothing changed", where, address);
}

/* What is left of init functions: mm_start() does the work. */
static inline void mm_dialect_started(const char *where)
{
    if (mm_default.state == 0)
        mm_dialect_report(MM_ERR_MISUSE, "mm_start(&mm_default, ...) comes first", where, 0);
}

/* What CR3 holds on this CPU, as an address. */
static inline uint64_t mm_dialect_cr3(void)
{
    struct mm_space *space = mm_space_current(&mm_default.vmm);

    return space != (struct mm_space *)0 ? space->root.raw : mm_default.kernel.root.raw;
}

static inline struct mm_heap_stats mm_dialect_heap(void)
{
    struct mm_heap_stats stats;

    mm_heap_get_stats(&mm_default.heap, &stats);
    return stats;
}

#endif
