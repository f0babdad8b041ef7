/*
 * cpus.h - the CPUs of bench_vmm: threads, and what they would have flushed.
 */
#ifndef BENCH_VMM_CPUS_H
#define BENCH_VMM_CPUS_H

#include <stdint.h>

struct flushes {
    uint64_t page;     /* single translations: invlpg */
    uint64_t full;     /* everything */
    uint64_t load;     /* roots loaded; flushes too, but is no flush for what was removed */
    uint64_t ipi;      /* CPUs that were asked to flush */
    uint64_t ipi_page; /* what they flushed then; counted here, not with what is above */
    uint64_t ipi_full;
    uint64_t root;
};

/* Of the CPU that this thread stands for. */
extern _Thread_local struct flushes bench_flushes __attribute__((tls_model("initial-exec")));

/* What was counted since `before`. */
struct flushes flushes_since(const struct flushes *before);

#endif
