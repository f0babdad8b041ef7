/*
 * mm_cpu.h (user) - the CPU as a process sees it: no interrupts, an index that the host knows.
 *
 * Problem     The frame allocator, and later a heap, are wanted in a process, where cli is a fault.
 * Idea        No interrupt can come between two instructions of a thread that blocks its signals or
 *             has none that allocates, so the guard does nothing and interrupts count as on.
 * Invariants  None of the machine's state is touched.
 * Locking     None. Signal handlers must not call libmm: the guard does not hold them off.
 * Cost        Nothing, but for the index: mm_host_cpu().
 * Rejected    Blocking signals in the guard: two system calls for each lock.
 */
#ifndef MM_CPU_H
#define MM_CPU_H

#include <stdbool.h>

#ifdef MM_CPU_HEADER
#include MM_CPU_HEADER
#endif
#include "mm/host.h"

typedef struct {
    char unused;
} mm_guard_t;

/* The compiler barrier is what the real ports have: accesses stay inside. */
static inline mm_guard_t mm_cpu_guard(void)
{
    __asm__ volatile("" : : : "memory");
    return (mm_guard_t){0};
}

static inline void mm_cpu_unguard(mm_guard_t guard)
{
    (void)guard;
    __asm__ volatile("" : : : "memory");
}

static inline bool mm_cpu_interrupts_on(void)
{
    return true;
}

static inline void mm_cpu_relax(void)
{
#if defined(__x86_64__)
    __asm__ volatile("pause" : : : "memory");
#else
    __asm__ volatile("" : : : "memory");
#endif
}

static inline unsigned mm_cpu_index(void)
{
    return mm_host_cpu();
}

#endif
