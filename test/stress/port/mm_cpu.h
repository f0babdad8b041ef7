/*
 * mm_cpu.h (stress) - a thread as a CPU that may be moved.
 *
 * Problem     In a kernel a thread is moved to another CPU at any instruction with interrupts on, and
 *             at none with interrupts off; a thread of a process knows neither.
 * Idea        "Interrupts off" is a depth, counted for each thread. While it is not 0 the index is
 *             the thread's own, which no other has; while it is 0 the index is a guess that may
 *             name any CPU (MM_PIN_LOCK), or again the thread's own (MM_PIN_NONE).
 * Invariants  C1 no two threads have the same index with interrupts off
 *             C2 the depth is 0 when a hook is called, and between operations
 * Locking     None: all of it is the thread's own.
 * Cost        A thread-local word for each guard; waiting yields, since there may be more threads
 *             than processors.
 * Rejected    port/user: there two threads on one index are two holders of a lock on one CPU, which
 *             the lock refuses, and rightly so.
 */
#ifndef MM_CPU_H
#define MM_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/host.h"
#include "mm/types.h"

typedef struct {
    char unused;
} mm_guard_t;

struct stress_cpu {
    unsigned self;  /* which thread: its index with interrupts off */
    unsigned home;  /* the CPU whose calls it takes */
    unsigned count; /* of CPUs to guess from; 0 = always at home */
    unsigned depth; /* guards held */
    uint32_t guess;
};
extern _Thread_local struct stress_cpu stress_cpu;

void stress_relax(void);

static inline mm_guard_t mm_cpu_guard(void)
{
    stress_cpu.depth++;
    __asm__ volatile("" : : : "memory");
    return (mm_guard_t){0};
}

static inline void mm_cpu_unguard(mm_guard_t guard)
{
    (void)guard;
    __asm__ volatile("" : : : "memory");
    stress_cpu.depth--;
}

static inline bool mm_cpu_interrupts_on(void)
{
    return stress_cpu.depth == 0;
}

static inline void mm_cpu_relax(void)
{
    stress_relax();
}

static inline unsigned mm_cpu_index(void)
{
    struct stress_cpu *cpu = &stress_cpu;

    if (cpu->depth != 0)
        return cpu->self;
    if (cpu->count == 0)
        return cpu->home;
    cpu->guess = cpu->guess * 1664525u + 1013904223u;
    return cpu->guess >> 28 != 0 ? cpu->home : (cpu->guess >> 8) % cpu->count;
}

#endif
